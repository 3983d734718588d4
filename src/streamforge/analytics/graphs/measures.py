"""What a snapshot's shape tells: of each coin its place in the graph, of the graph how much it holds together."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamforge.analytics.graphs.associations import UNITS
from streamforge.analytics.graphs.selection import Edges

_DAMPING = 0.85
_ROUNDS = 50
_JOINED = -1


class CoinMeasures(NamedTuple):
    """Of each coin, in the graph without directions. degree: how many others it is joined to. strength: the sizes of
    these edges in all, in millionths. clustering: which share of the pairs of these others are joined. pagerank: the
    share of a walk along edges, by their sizes, that is spent there."""

    degree: NDArray[np.int32]
    strength: NDArray[np.int64]
    clustering: NDArray[np.float32]
    pagerank: NDArray[np.float32]


def coin_measures(edges: Edges, count: int) -> CoinMeasures:
    """Of each of `count` coins, by the edges of a snapshot."""
    sizes = np.zeros((count, count), dtype=np.int32)
    np.maximum.at(sizes, (edges.sources, edges.targets), np.abs(edges.weights))
    sizes = np.maximum(sizes, sizes.T)
    joined = sizes > 0
    degree = joined.sum(axis=1, dtype=np.int32)
    low, high = np.minimum(edges.sources, edges.targets), np.maximum(edges.sources, edges.targets)
    ends, others = np.divmod(np.unique(low.astype(np.int64) * count + high), max(1, count))
    triangles = np.zeros(count, dtype=np.int64)
    bits = np.zeros((count, -(-count // 64) * 64), dtype=bool)
    bits[:, :count] = joined
    words = np.packbits(bits, axis=1).view(np.uint64)
    common = np.bitwise_count(words[ends] & words[others]).sum(axis=1, dtype=np.int64)
    np.add.at(triangles, ends, common)
    np.add.at(triangles, others, common)
    pairs = np.maximum(1, degree.astype(np.int64) * (degree - 1))
    strength = sizes.sum(axis=1, dtype=np.int64)
    rank = _pagerank(np.concatenate([ends, others]), np.concatenate([others, ends]), sizes, strength)
    return CoinMeasures(degree, strength, (triangles / pairs).astype(np.float32), rank)


def _pagerank(
    sources: NDArray[np.intp], targets: NDArray[np.intp], sizes: NDArray[np.int32], strength: NDArray[np.int64]
) -> NDArray[np.float32]:
    """sources, targets: of each edge in both directions."""
    count = len(sizes)
    share = sizes[sources, targets] / strength[sources]
    alone = strength == 0
    rank = np.full(count, 1.0 / max(1, count))
    for _ in range(_ROUNDS):
        spread = rank[alone].sum() / max(1, count)
        along = np.bincount(targets, rank[sources] * share, count)
        rank = (1 - _DAMPING) / max(1, count) + _DAMPING * (along + spread)
    return rank.astype(np.float32)


def tree_length(weights: NDArray[np.int32], known: NDArray[np.bool_] | None) -> int | None:
    """The length of the shortest tree that spans the coins which are associated with any other, in millionths: the
    distance of two is the square root of 2 · (1 - their association). None: there is none that spans all of them.
    weights, known: as `Associations` has them, symmetric."""
    sizes = weights + UNITS + 1
    if known is not None:
        np.copyto(sizes, 0, where=~known)
        some = known.any(axis=1)
        if not some.all():
            sizes = sizes[np.ix_(some, some)]
    count = len(sizes)
    if count < 2:
        return None
    best, most = sizes[0].copy(), np.full(count, np.iinfo(np.int32).max, dtype=np.int32)
    at, found = 0, list[int]()
    # As `spanning_tree`, but which of equal sizes are taken does not matter: all such trees have the same sizes.
    while len(found) < count - 1:
        best[at] = most[at] = _JOINED
        at = int(best.argmax())
        found.append(int(best[at]))
        if found[-1] <= 0:
            return None
        np.maximum(best, sizes[at], out=best)
        np.minimum(best, most, out=best)
    distances = np.sqrt(2.0 * UNITS * (2 * UNITS + 1 - np.array(found, dtype=np.int64)))
    return int(np.rint(distances).astype(np.int64).sum())


def turnover(now: NDArray[np.int64], before: NDArray[np.int64]) -> float | None:
    """Which share of the edges of two snapshots is in one of them alone. now, before: a unique number for each edge,
    0 or more."""
    if not len(now) + len(before):
        return None
    there = np.zeros(1 + max(now.max(initial=0), before.max(initial=0)), dtype=np.bool_)
    there[before] = True
    both = int(np.count_nonzero(there[now]))
    return 1.0 - both / (len(now) + len(before) - both)
