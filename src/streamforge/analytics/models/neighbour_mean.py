"""The least model on a graph: linear in the features of a coin and the means of those of its neighbours."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from streamforge.analytics.graphs.panel import Floats
from streamforge.analytics.models.baselines import PENALTY, Ridge
from streamforge.analytics.models.dataset import Sample
from streamforge.analytics.models.model import Contender, Model
from streamforge.analytics.models.rewiring import Rewiring


class NeighbourMean(Ridge):
    """Ridge on own features and the means over the coins whose edges lead to a coin; 0 where there is none."""

    def inputs(self, sample: Sample) -> Floats:
        return np.concatenate([sample.features, neighbour_means(sample)], axis=1)


def neighbour_means(sample: Sample) -> Floats:
    """The shape of the features. Edges without a direction lead both ways; all count the same."""
    sources, targets = sample.edges.sources, sample.edges.targets
    if not sample.directed:
        sources, targets = np.concatenate([sources, targets]), np.concatenate([targets, sources])
    sums = np.zeros(sample.features.shape)
    np.add.at(sums, targets, sample.features[sources])
    count = np.bincount(targets, minlength=len(sums))
    return np.asarray(sums / np.maximum(1, count)[:, None])


def on_graph(make: Callable[[int], Model], *, seeded: bool, settings: str = "") -> list[Contender]:
    """The part of the ladder that has the graph, of one model. seeded: it depends on the seed also for given edges."""
    return [
        Contender("no_edges", make, Rewiring.NONE, seeded, settings),
        Contender("shuffled", make, Rewiring.SHUFFLED, True, settings),
        Contender("random", make, Rewiring.RANDOM, True, settings),
        Contender("graph", make, Rewiring.GRAPH, seeded, settings),
    ]


def neighbour_means_on_graph(penalty: float = PENALTY) -> list[Contender]:
    """The same, of the linear model."""
    return on_graph(partial(_neighbour_mean, penalty), seeded=False, settings=f"neighbour mean, penalty {penalty}")


def _neighbour_mean(penalty: float, _: int) -> NeighbourMean:
    return NeighbourMean(penalty)
