"""Other edges for the same coins: what a model on the graph is compared with."""

from __future__ import annotations

from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from streamforge.analytics.graphs.selection import Edges
from streamforge.analytics.models.dataset import Sample

_ROUNDS = 8


class Rewiring(StrEnum):
    """none: no edges. shuffled: others, each coin with as many as before. random: others, as many in all. graph: its
    own."""

    NONE = "none"
    SHUFFLED = "shuffled"
    RANDOM = "random"
    GRAPH = "graph"


def rewired(sample: Sample, rewiring: Rewiring, seed: int) -> Sample:
    """The sample with such edges; they depend on the seed and the moment alone."""
    if rewiring is Rewiring.GRAPH:
        return sample
    if rewiring is Rewiring.NONE:
        empty = np.empty(0, dtype=np.int32)
        return sample._replace(edges=Edges(empty, empty, empty))
    generator = np.random.default_rng([seed, sample.time_ms])
    if rewiring is Rewiring.SHUFFLED:
        return sample._replace(edges=shuffled(sample.edges, sample.directed, generator))
    return sample._replace(edges=drawn(sample.edges, len(sample.symbols), sample.directed, generator))


def shuffled(edges: Edges, directed: bool, generator: np.random.Generator) -> Edges:
    """Edges after random swaps of two ends: no loop, no pair twice, the degrees of each coin (in and out) the same."""
    ends = np.stack([edges.sources, edges.targets]).astype(np.int64)
    count = ends.shape[1]
    size = int(ends.max(initial=0)) + 1
    for _ in range(_ROUNDS):
        if not directed:
            turned = generator.random(count) < 0.5
            ends[:, turned] = ends[::-1, turned]
        half = count // 2
        order = generator.permutation(count)[: 2 * half]
        one, other = order[:half], order[half:]
        swapped = ends[:, order]
        swapped[1] = ends[1][np.concatenate([other, one])]
        # Refused: a loop, a pair that is there now, and one that two swaps would make.
        keys = np.concatenate([_keys(swapped, size, directed), _keys(ends, size, directed)])
        _, place, counts = np.unique(keys, return_inverse=True, return_counts=True)
        bad = (swapped[0] == swapped[1]) | (counts[place[: 2 * half]] > 1)
        good = ~(bad[:half] | bad[half:])
        ends[:, one[good]], ends[:, other[good]] = swapped[:, :half][:, good], swapped[:, half:][:, good]
    return _sorted(ends, edges.weights, directed)


def drawn(edges: Edges, coins: int, directed: bool, generator: np.random.Generator) -> Edges:
    """As many edges between pairs drawn at random, with the same weights."""
    if directed:
        source, target = np.divmod(
            generator.choice(coins * max(0, coins - 1), len(edges.sources), replace=False), max(1, coins - 1)
        )
        ends = np.stack([source, target + (target >= source)])
    else:
        pairs = np.stack(np.triu_indices(coins, 1))
        ends = pairs[:, generator.choice(pairs.shape[1], len(edges.sources), replace=False)]
    return _sorted(ends, edges.weights, directed)


def _keys(ends: NDArray[np.int64], size: int, directed: bool) -> NDArray[np.int64]:
    """A number for each pair."""
    sources, targets = ends if directed else (ends.min(axis=0), ends.max(axis=0))
    return np.asarray(sources * size + targets)


def _sorted(ends: NDArray[np.int64], weights: NDArray[np.int32], directed: bool) -> Edges:
    sources, targets = ends if directed else (ends.min(axis=0), ends.max(axis=0))
    order = np.lexsort((targets, sources))
    return Edges(sources[order].astype(np.int32), targets[order].astype(np.int32), weights[order])
