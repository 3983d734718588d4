"""What a model is, and how the ladder makes one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from streamforge.analytics.graphs.panel import Floats
from streamforge.analytics.models.dataset import Sample
from streamforge.analytics.models.rewiring import Rewiring
from streamforge_utils.model.errors import InvalidInput

Arrays = dict[str, NDArray[Any]]


class Model(Protocol):
    """Learns from samples, and predicts others. A seed is given when it is made: equal seeds, equal predictions."""

    def fit(self, train: Sequence[Sample]) -> None:
        """Learn from these alone. A target that is NaN is none."""

    def predict(self, test: Sequence[Sample]) -> list[Floats]:
        """Of each sample a number for each coin: the larger, the better it is expected to do. The samples are blind."""


class Epoch(NamedTuple):
    """Where the learning is.

    number: from 1 to `epochs`. loss: by the variance of the target. held: the same of the moments that are held out;
    NaN: there are none.
    """

    number: int
    epochs: int
    loss: float
    held: float


OnEpoch = Callable[[Epoch], None]


@runtime_checkable
class LearnsByEpochs(Protocol):
    """A model that tells of each epoch."""

    on_epoch: OnEpoch


class Publishable(Model, Protocol):
    """A model that can be published: what it learnt is arrays, of which others make the same predictions."""

    def state(self) -> Arrays:
        """Copies of the trained parameters."""

    def restore(self, state: Arrays) -> None:
        """Take what another one of the same settings learnt. Raises InvalidInput for arrays of another model."""


def check_arrays(model: str, state: Arrays, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raises InvalidInput where arrays are missing or too many, of another shape, or no finite numbers."""
    found = {name: one.shape for name, one in state.items()}
    for name in dict.fromkeys((*shapes, *found)):
        if found.get(name) != shapes.get(name):
            raise InvalidInput(
                "model",
                f"the arrays are of no {model} with these settings: {name} has the shape {found.get(name)}, "
                f"{shapes.get(name)} is expected; take the settings it was made with",
            )
        if not np.issubdtype(state[name].dtype, np.floating) or not np.isfinite(state[name]).all():
            raise InvalidInput("model", f"array {name} of the {model} is not of finite numbers: make the model again")


class Contender(NamedTuple):
    """A model of the ladder.

    make: gives a new one for a seed. edges: which ones its samples have. seeded: the seed makes a difference.
    settings: text that differs where the same name is made another way. To learn in another process it is pickled.
    """

    name: str
    make: Callable[[int], Model]
    edges: Rewiring = Rewiring.NONE
    seeded: bool = False
    settings: str = ""


def fitted(
    contender: Contender,
    seed: int,
    train: Sequence[Sample],
    test: Sequence[Sample],
    on_epoch: OnEpoch | None = None,
) -> list[Floats]:
    """What a new one, trained on `train`, predicts of `test`. on_epoch: called for each epoch, if there are any."""
    model = contender.make(seed)
    if on_epoch is not None and isinstance(model, LearnsByEpochs):
        model.on_epoch = on_epoch
    model.fit(train)
    return model.predict(test)
