"""What a model is, and how the ladder makes one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from streamforge.analytics.graphs.panel import Floats
from streamforge.analytics.models.dataset import Sample
from streamforge.analytics.models.rewiring import Rewiring


class Model(Protocol):
    """Learns from samples, and predicts others. A seed is given when it is made: equal seeds, equal predictions."""

    def fit(self, train: Sequence[Sample]) -> None:
        """Learn from these alone. A target that is NaN is none."""

    def predict(self, test: Sequence[Sample]) -> list[Floats]:
        """Of each sample a number for each coin: the larger, the better it is expected to do. The samples are blind."""


class Contender(NamedTuple):
    """A model of the ladder.

    make: gives a new one for a seed. edges: which ones its samples have. seeded: the seed makes a difference.
    settings: text that differs where the same name is made another way.
    """

    name: str
    make: Callable[[int], Model]
    edges: Rewiring = Rewiring.NONE
    seeded: bool = False
    settings: str = ""
