"""An attention network on graphs as a model of the ladder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Annotated, NamedTuple

import msgspec
import numpy as np
import torch
from torch import Tensor

from streamforge.analytics.graphs.panel import Floats
from streamforge.analytics.models.dataset import DatasetDefinition, Sample
from streamforge.analytics.models.model import Arrays, Epoch, OnEpoch, check_arrays
from streamforge.analytics.models.training_parameters import Device
from streamforge.analytics.networks.layers import Attention, Neighbourhood, neighbourhood
from streamforge_utils.model.errors import InvalidInput

_Count = Annotated[int, msgspec.Meta(ge=1)]
_VARIANCE = 1 / 12
"""Of centred ranks."""
_MOST_AT_ONCE = 4096
"""Coins and edges."""


class AttentionSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The shape of the network, and how it learns.

    heads, width, layers: of the attention; width is that of a head. epochs: at most. batch: moments of a step. held:
    the share of moments, the latest, that say after which epoch it was best. purge: moments that are left out before
    these. patience: epochs without a better one after which it ends. threads: of the processor; with more than one,
    predictions may differ from run to run. device: auto: a GPU that CUDA knows, else the processor.
    """

    heads: _Count = 4
    width: _Count = 16
    layers: _Count = 2
    epochs: _Count = 5
    batch: _Count = 4
    learning_rate: Annotated[float, msgspec.Meta(gt=0)] = 0.003
    held: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.15
    purge: Annotated[int, msgspec.Meta(ge=0)] = 2
    patience: _Count = 2
    threads: _Count = 1
    device: Device = "auto"

    def used_device(self) -> str:
        """What it runs on here: `cpu`, or `cuda` and the name of the GPU. Raises InvalidInput where there is none."""
        device = _device(self)
        return "cpu" if device.type == "cpu" else f"cuda: {torch.cuda.get_device_name(device)}"

    def text(self) -> str:
        """All that makes a difference to predictions, for a contender's settings."""
        chosen = msgspec.json.encode(msgspec.structs.replace(self, device="auto")).decode()
        return f"attention {chosen}, {self.used_device()}, torch {torch.__version__}"


def _unheard(*_: object) -> None:
    pass


def attention(
    settings: AttentionSettings,
    *,
    on_epoch: OnEpoch = _unheard,
    on_batch: Callable[[], None] = _unheard,
) -> Callable[[int], AttentionModel]:
    """Makes the model for a seed, as a contender's `make`.

    on_epoch: is told of each epoch. on_batch: is called before each batch is made, and before each step. What they
    raise ends the learning. Raises InvalidInput for a device that is not there.
    """
    _device(settings)
    return partial(AttentionModel, settings, on_epoch=on_epoch, on_batch=on_batch)


def purge_of(definition: DatasetDefinition) -> int:
    """The `purge` with which no target of what is learnt from reaches into what is held out."""
    return -(-definition.span_ms // definition.graph.step_ms)


class _Part(NamedTuple):
    """Moments of a batch that go through the network at once.

    known: 1 where there is a target, of which there are `size`; else 0, like the target.
    """

    given: Neighbourhood
    target: Tensor
    known: Tensor
    size: int


class AttentionModel:
    """GATv2: layers of attention, each with ELU, and a linear one. Adam lessens the squared error of the target."""

    def __init__(
        self,
        settings: AttentionSettings,
        seed: int,
        on_epoch: OnEpoch = _unheard,
        on_batch: Callable[[], None] = _unheard,
    ) -> None:
        self._settings = settings
        self._seed = seed
        self.on_epoch = on_epoch
        self._on_batch = on_batch
        self._weights: dict[str, Tensor] = {}

    def fit(self, train: Sequence[Sample]) -> None:
        """Raises InvalidInput where it diverges."""
        settings = self._settings
        learnt, held = self._divided(train)
        with _exact(settings):
            generator = torch.Generator().manual_seed(self._seed)
            self._weights = self._drawn(train[0].features.shape[1], generator)
            for one in self._weights.values():
                one.requires_grad_()
            optimizer = torch.optim.Adam(self._weights.values(), lr=settings.learning_rate, fused=True)
            best, waited, kept = np.inf, 0, dict[str, Tensor]()
            # Each moment is in one batch, which stays the same: only their order is drawn anew.
            batches = self._batches(learnt)
            checks = [part for batch in self._batches(held) for part in batch]
            if not batches:
                raise InvalidInput("folds", "no coin in the training data has a target: use more moments")
            for number in range(1, settings.epochs + 1):
                order = torch.randperm(len(batches), generator=generator).tolist()
                loss = self._epoch([batches[at] for at in order], optimizer)
                with torch.no_grad():
                    told = _mean([float(self._loss(part)) for part in checks], checks)
                self.on_epoch(Epoch(number, settings.epochs, loss, told))
                if not np.isfinite(loss) or (checks and not np.isfinite(told)):
                    raise InvalidInput(
                        "learning_rate",
                        f"the attention network of seed {self._seed} diverged in epoch {number} (loss {loss}): lower "
                        f"its learning_rate, {settings.learning_rate:g} now",
                    )
                waited += 1
                if not checks or told < best:
                    best, waited = told, 0
                    kept = {name: one.detach().clone() for name, one in self._weights.items()}
                if waited >= settings.patience:
                    break
            self._weights = kept

    def predict(self, test: Sequence[Sample]) -> list[Floats]:
        """Raises ValueError for a model that was neither trained nor restored."""
        if not self._weights:
            raise ValueError("the attention network is not trained yet")
        device = _device(self._settings)
        with _exact(self._settings), torch.no_grad():
            # One by one: beside others the last digits would differ.
            outputs = (self._output(neighbourhood([one], device)) for one in test)
            return [output.cpu().numpy().astype(np.float64) for output in outputs]

    def state(self) -> Arrays:
        return {name: one.detach().cpu().numpy().copy() for name, one in self._weights.items()}

    def restore(self, state: Arrays) -> None:
        """Raises InvalidInput for arrays of another network."""
        features = state["0.left"].shape[:1] if "0.left" in state else (1,)
        shapes = self._shapes(*features)
        check_arrays("attention network", state, shapes)
        device = _device(self._settings)
        self._weights = {name: torch.from_numpy(state[name].astype(np.float32)).to(device) for name in shapes}

    def _divided(self, train: Sequence[Sample]) -> tuple[Sequence[Sample], Sequence[Sample]]:
        """What is learnt from, and what is held out; nothing is where little would be left."""
        settings = self._settings
        first = len(train) - round(settings.held * len(train))
        end = first - settings.purge
        return (train[:end], train[first:]) if end >= 2 * (len(train) - first) else (train, train[:0])

    def _shapes(self, features: int) -> dict[str, tuple[int, ...]]:
        settings = self._settings
        wide = settings.heads * settings.width
        found = dict[str, tuple[int, ...]]()
        for layer in range(settings.layers):
            inputs = features if layer == 0 else wide
            found |= {f"{layer}.{name}": (inputs, wide) for name in ("left", "right", "own")}
            found |= {f"{layer}.score": (settings.heads, settings.width), f"{layer}.bias": (wide,)}
        return found | {"last.weights": (wide,), "last.bias": (1,)}

    def _drawn(self, features: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Glorot and Bengio's; features that are ranks have a variance of 1/12, which the first layer makes up for."""
        found = dict[str, Tensor]()
        for name, shape in self._shapes(features).items():
            limit = 0.0 if name.endswith("bias") else float(np.sqrt(6 / (shape[0] + (*shape, 1)[1])))
            if name in ("0.left", "0.right", "0.own"):
                limit *= float(np.sqrt(1 / _VARIANCE))
            found[name] = (2 * torch.rand(shape, generator=generator) - 1) * limit
        device = _device(self._settings)
        return {name: one.to(device) for name, one in found.items()}

    def _batches(self, samples: Sequence[Sample]) -> list[list[_Part]]:
        """Without those in which nothing is known."""
        found = list[list[_Part]]()
        for first in range(0, len(samples), self._settings.batch):
            self._on_batch()
            known = [one for one in samples[first : first + self._settings.batch] if _is_known(one)]
            if known:
                found.append([_part(some, _device(self._settings)) for some in _at_once(known)])
        return found

    def _epoch(self, batches: Sequence[Sequence[_Part]], optimizer: torch.optim.Adam) -> float:
        found = list[float]()
        for batch in batches:
            self._on_batch()
            optimizer.zero_grad()
            size = sum(part.size for part in batch)
            for part in batch:
                loss = self._loss(part)
                (loss * (part.size / size)).backward()
                found.append(float(loss.detach()))
            optimizer.step()
        return _mean(found, [part for batch in batches for part in batch])

    def _loss(self, part: _Part) -> Tensor:
        apart = part.known * (self._output(part.given) - part.target)
        return (apart @ apart) / (_VARIANCE * part.size)

    def _output(self, given: Neighbourhood) -> Tensor:
        weights, found = self._weights, given.features
        for layer in range(self._settings.layers):
            own = Attention(*(weights[f"{layer}.{name}"] for name in Attention._fields))
            found = torch.nn.functional.elu(own(found, given.neighbours, given.unused))
        return found @ weights["last.weights"] + weights["last.bias"]


def _is_known(sample: Sample) -> bool:
    return bool(np.isfinite(sample.target).any())


def _at_once(samples: Sequence[Sample]) -> list[list[Sample]]:
    """Small moments together; what is larger than a processor's cache takes half as long again."""
    found, size = list[list[Sample]](), _MOST_AT_ONCE
    for sample in samples:
        own = len(sample.symbols) + len(sample.edges.sources)
        if size + own > _MOST_AT_ONCE:
            found.append([])
            size = 0
        found[-1].append(sample)
        size += own
    return found


def _part(samples: Sequence[Sample], device: torch.device) -> _Part:
    target = np.concatenate([one.target for one in samples]).astype(np.float32)
    known = np.isfinite(target)
    numbers = np.where(known, target, 0), known.astype(np.float32)
    one, other = (torch.from_numpy(values).to(device) for values in numbers)
    return _Part(neighbourhood(samples, device), one, other, int(known.sum()))


def _mean(losses: Sequence[float], parts: Sequence[_Part]) -> float:
    """By how many targets each is of; NaN without any."""
    count = sum(part.size for part in parts)
    return sum(loss * part.size for loss, part in zip(losses, parts, strict=True)) / count if count else np.nan


@contextmanager
def _exact(settings: AttentionSettings) -> Iterator[None]:
    """So many threads, and what gives the same each time; as before afterwards, as it holds for the whole process."""
    threads, before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    filled = torch.utils.deterministic.fill_uninitialized_memory
    torch.set_num_threads(settings.threads)
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # nothing is read before it is written
    try:
        yield
    finally:
        torch.utils.deterministic.fill_uninitialized_memory = filled
        torch.use_deterministic_algorithms(before)
        torch.set_num_threads(threads)


def _device(settings: AttentionSettings) -> torch.device:
    there = torch.cuda.is_available()
    if settings.device == "cuda" and not there:
        raise InvalidInput("device", "no GPU that CUDA knows is here: take device cpu, or auto")
    return torch.device("cuda" if there and settings.device != "cpu" else "cpu")
