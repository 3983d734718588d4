"""Which associations become edges."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamforge.analytics.graphs.associations import UNITS
from streamforge.analytics.graphs.definition import GraphDefinition, Method, Sign

_NONE = -1
_ROWS = 64


class Edges(NamedTuple):
    """Edges, ascending by target and source. sources, targets: places of coins. weights: in millionths.

    Those of pairs without a direction are there once, from the lesser place to the greater.
    """

    sources: NDArray[np.int32]
    targets: NDArray[np.int32]
    weights: NDArray[np.int32]


def edges_of(definition: GraphDefinition, weights: NDArray[np.int32]) -> Edges:
    """The edges of a snapshot. weights: as `Associations` has them."""
    sizes = _sizes(weights, definition.sign)
    if definition.top_k is not None:
        return _largest(weights, sizes.T if definition.method is Method.LEAD_LAG else sizes, definition.top_k)
    if definition.threshold is not None:
        least = max(1, round(definition.threshold * UNITS))
        chosen = sizes >= least
        if definition.method is not Method.LEAD_LAG:
            chosen = np.triu(chosen, 1)
        return _sorted(weights, *np.nonzero(chosen))
    return _sorted(weights, *(spanning_tree(sizes) if definition.mst else planar_graph(sizes)))


def _blocks(count: int) -> list[slice]:
    """Rows of a matrix, so few at a time that what is computed of them stays in the processor's cache."""
    return [slice(first, first + _ROWS) for first in range(0, count, _ROWS)]


def _sizes(weights: NDArray[np.int32], sign: Sign) -> NDArray[np.int32]:
    """How large each is for the choice; 0 or less: it is none."""
    if sign is Sign.ANY:
        return np.abs(weights)
    return weights if sign is Sign.POSITIVE else -weights


def _sorted(weights: NDArray[np.int32], sources: NDArray[np.intp], targets: NDArray[np.intp]) -> Edges:
    order = np.lexsort((sources, targets))
    sources, targets = sources[order], targets[order]
    return Edges(sources.astype(np.int32), targets.astype(np.int32), weights[sources, targets])


def _largest(weights: NDArray[np.int32], towards: NDArray[np.int32], top_k: int) -> Edges:
    """To each coin from the `top_k` others whose association with it is largest; of equal ones the first in order.

    towards: a row for each coin that an edge can lead to, a column for each from which.
    A size and a place make one number, so that the largest are found without sorting: 20 bits and 11 bits.
    """
    count = len(towards)
    k = min(top_k, count - 1)
    if k < 1:
        empty = np.empty(0, dtype=np.int32)
        return Edges(empty, empty, empty)
    places = (2_047 - np.arange(count)).astype(np.int32)
    best = np.empty((count, k), dtype=np.int32)
    for rows in _blocks(count):
        keys = np.ascontiguousarray(towards[rows]) << 11
        keys |= places
        keys.partition(count - k, axis=1)
        best[rows] = keys[:, count - k :]
    # By row the places of the sources, ascending; what has no size becomes one behind all.
    sources = np.where(best > 2_047, 2_047 - (best & 2_047), count)
    sources.sort(axis=1)
    targets, at = np.nonzero(sources < count)
    chosen = sources[targets, at]
    return Edges(chosen, targets.astype(np.int32), weights[chosen, targets])


def spanning_tree(sizes: NDArray[np.int32]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The pairs of the forest that joins whatever can be joined, with the largest sizes in all (Prim).

    sizes: symmetric; 0 or less: no pair. Of equal ones that of the lesser place is taken.
    """
    count = len(sizes)
    left = np.ones(count, dtype=bool)
    best = np.zeros(count, dtype=np.int32)
    parent = np.zeros(count, dtype=np.intp)
    sources, targets = list[int](), list[int]()
    for _ in range(count):
        reach = np.where(left, best, _NONE)
        at = int(reach.argmax())
        if best[at] > 0:
            sources.append(min(at, int(parent[at])))
            targets.append(max(at, int(parent[at])))
        left[at] = False
        better = left & (sizes[at] > best)
        best[better] = sizes[at][better]
        parent[better] = at
    return np.asarray(sources, dtype=np.intp), np.asarray(targets, dtype=np.intp)


def planar_graph(sizes: NDArray[np.int32]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The pairs of a planar graph of triangles with large sizes (TMFG, Massara, Di Matteo and Aste 2016).

    It begins with the four coins whose sizes above the mean add up to most; then the coin and the triangle that gain
    most are joined, until no coin is left. Of equal gains that of the first coin in order, in the oldest triangle, is
    taken. Pairs without a size fill it up, and are left out at the end. Of fewer than four coins all pairs are taken.
    """
    count = len(sizes)
    worth = np.maximum(sizes, 0).astype(np.int64)
    np.fill_diagonal(worth, 0)
    pairs = [(i, j) for i in range(min(count, 3)) for j in range(i)] if count < 4 else _planar_pairs(worth)
    joined = [(min(pair), max(pair)) for pair in pairs if worth[pair] > 0]
    ends = np.asarray(joined, dtype=np.intp).reshape(-1, 2)
    return ends[:, 0], ends[:, 1]


def _planar_pairs(worth: NDArray[np.int64]) -> list[tuple[int, int]]:
    count = len(worth)
    above = np.where(worth * count * count > worth.sum(), worth, 0).sum(axis=1)
    first = sorted(np.argsort(-above, kind="stable")[:4].tolist())
    pairs = [(i, j) for i in first for j in first if i < j]
    triangles = [tuple(one for one in first if one != left) for left in reversed(first)]
    gains = np.full((2 * count - 4 + count, count), _NONE, dtype=np.int64)
    for place, triangle in enumerate(triangles):
        gains[place] = worth[list(triangle)].sum(axis=0)
    left = np.ones(count, dtype=bool)
    left[first] = False
    best_place = gains[:4].argmax(axis=0)
    best = gains[:4].max(axis=0)
    for _ in range(count - 4):
        coin = int(np.where(left, best, _NONE).argmax())
        place = int(best_place[coin])
        corners = triangles[place]
        pairs += [(coin, corner) for corner in corners]
        left[coin] = False
        gains[place] = _NONE
        begin = len(triangles)
        for out in reversed(corners):
            triangle = (*(one for one in corners if one != out), coin)
            gains[len(triangles)] = worth[list(triangle)].sum(axis=0)
            triangles.append(triangle)
        stale = np.flatnonzero(best_place == place)
        best_place[stale] = gains[: len(triangles), stale].argmax(axis=0)
        best[stale] = gains[best_place[stale], stale]
        newer = gains[begin : len(triangles)]
        at = newer.argmax(axis=0)
        gain = newer[at, np.arange(count)]
        better = gain > best
        best[better], best_place[better] = gain[better], begin + at[better]
    return pairs
