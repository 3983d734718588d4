"""Runs models on the same samples, folds and seeds; what was predicted before is taken over."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple, Protocol

import msgspec
import numpy as np

from streamforge.analytics.graphs.panel import Floats
from streamforge.analytics.models.dataset import Dataset, Sample
from streamforge.analytics.models.folds import FoldRules, folds
from streamforge.analytics.models.ladder_processes import LadderProcesses
from streamforge.analytics.models.model import Contender, Epoch, fitted
from streamforge.analytics.models.rewiring import rewired
from streamforge_utils.model.errors import InvalidInput

CODE_VERSION = 3
"""Of the way in which samples, folds and predictions are made: with another one nothing is taken over."""


class Part(msgspec.Struct, frozen=True):
    """What is predicted at once. run_id: a hash of the samples, the folds and the settings of the model."""

    run_id: str
    model: str
    seed: int
    fold: int


class Checkpoints(Protocol):
    """Keeps predictions of parts. What is kept under a part is the same whenever it is made."""

    def load(self, part: Part) -> bytes | None:
        """None: there is none."""

    def save(self, part: Part, predictions: bytes) -> None: ...


Progress = Callable[[Part, int, int], None]
"""Called for each finished part with its number and the total. What it raises ends the run."""
PartEpoch = Callable[[Part, Epoch], None]
"""Called for each epoch of a training, for several parts in turn, possibly from another thread."""
Predictions = dict[str, dict[int, list[Floats]]]
"""By model and seed, of each tested sample a number for each coin."""


class LadderRun(NamedTuple):
    """tested: the samples of all tests, ascending. predictions: of these; of a model without seeds for the first."""

    tested: list[Sample]
    predictions: Predictions

    @property
    def sha256(self) -> str:
        """Of all predictions."""
        found = hashlib.sha256()
        for model in sorted(self.predictions):
            for seed, values in sorted(self.predictions[model].items()):
                found.update(f"{model} {seed}\n".encode() + _encoded(values))
        return found.hexdigest()


def run_ladder(
    dataset: Dataset,
    contenders: Sequence[Contender],
    rules: FoldRules,
    seeds: Sequence[int],
    checkpoints: Checkpoints | None = None,
    progress: Progress | None = None,
    processes: LadderProcesses | None = None,
    on_epoch: PartEpoch | None = None,
) -> LadderRun:
    """Fit each model for each seed and fold, and predict the fold's test, which the model sees without targets.

    processes: in which models learn; None: in this one. Raises InvalidInput for predictions that are no numbers, and
    what `folds` and `processes` raise.
    """
    samples = dataset.samples
    parts = folds(dataset.definition, rules, [sample.time_ms for sample in samples])
    identity = msgspec.json.encode([CODE_VERSION, dataset.sha256, rules])
    runs = [(one, seed) for one in contenders for seed in (seeds if one.seeded else seeds[:1])]
    found: Predictions = {one.name: {seed: [] for of, seed in runs if of is one} for one in contenders}

    def begun() -> Iterator[_Begun]:
        for contender, seed in runs:
            settings = msgspec.json.encode([contender.name, contender.settings, contender.edges])
            run_id = hashlib.sha256(identity + settings).hexdigest()
            own: list[Sample] | None = None
            for fold in parts:
                part = Part(run_id, contender.name, seed, fold.number)
                test = [samples[at] for at in fold.test]
                kept = None if checkpoints is None else checkpoints.load(part)
                values = None if kept is None else _decoded(kept, test)
                if values is not None:
                    yield _Begun(part, test, values)
                    continue
                if own is None:
                    own = [rewired(sample, contender.edges, seed) for sample in samples]
                told = None if on_epoch is None else partial(on_epoch, part)
                given = contender, seed, [own[at] for at in fold.train], [own[at].blind() for at in fold.test], told
                yield _Begun(part, test, processes.begin(*given) if processes else partial(fitted, *given))

    total = len(runs) * len(parts)
    for number, one in enumerate(_ahead(begun(), processes.ahead if processes else 0), 1):
        if callable(one.values):
            values = one.values()
            _check(one.part.model, one.test, values)
            if checkpoints is not None:
                checkpoints.save(one.part, _encoded(values))
        else:
            values = one.values
        found[one.part.model][one.part.seed] += values
        if progress is not None:
            progress(one.part, number, total)
    return LadderRun([samples[at] for fold in parts for at in fold.test], found)


class _Begun(NamedTuple):
    """values: what was kept, or what waits for the predictions."""

    part: Part
    test: list[Sample]
    values: list[Floats] | Callable[[], list[Floats]]


def _ahead(items: Iterator[_Begun], count: int) -> Iterator[_Begun]:
    """The items in their order, each once so many behind it were taken."""
    taken = deque[_Begun]()
    for item in items:
        taken.append(item)
        if len(taken) > count:
            yield taken.popleft()
    yield from taken


def _check(model: str, test: Sequence[Sample], values: Sequence[Floats]) -> None:
    for sample, prediction in zip(test, values, strict=True):
        if prediction.shape != (len(sample.symbols),) or not np.isfinite(prediction).all():
            raise InvalidInput(
                "models",
                f"model {model} predicts no number for a coin at {sample.time_ms} (unix ms): "
                "it may have diverged; lower its rate of learning, or leave it out",
            )


def _encoded(values: Sequence[Floats]) -> bytes:
    return b"".join(one.astype("<f8").tobytes() for one in values)


def _decoded(kept: bytes, test: Sequence[Sample]) -> list[Floats] | None:
    """None: they are of other samples, or cut off."""
    ends = np.cumsum([len(sample.symbols) for sample in test])
    if len(kept) != 8 * ends[-1]:
        return None
    return [*np.split(np.frombuffer(kept, dtype="<f8").astype(np.float64), ends[:-1])]
