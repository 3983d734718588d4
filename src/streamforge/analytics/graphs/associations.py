"""How strongly coins are associated: of the returns of a window a number for each pair."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamforge.analytics.graphs.definition import GraphDefinition, Method
from streamforge.analytics.graphs.panel import Floats

UNITS = 1_000_000
"""Associations are whole millionths: what is less depends on the machine's arithmetic."""
_RIDGES = (0.0, 0.05, 0.1, 0.2, 0.4, 0.8)
_CUT = 24
_ROWS = 64
_LOWER = np.tri(_ROWS, k=-1, dtype=np.bool_)
_NEAR = 1e-3


class Associations(NamedTuple):
    """A row and a column for each coin. weights: in millionths; 0 where there is none, and on the diagonal.
    known: which pairs have one; None: all do.

    A pair has none if it has too few returns, or one of the two never moves. Of lead_lag the row leads: [i, j] is of
    the returns of i and those of j `lag` bars later. The others are symmetric.
    """

    weights: NDArray[np.int32]
    known: NDArray[np.bool_] | None


class ProductSums:
    """Sums of products of returns, which the windows of neighbouring moments share.

    A window is cut where the number of a bar is a multiple of `_CUT`. So it depends on the bars alone what is summed
    first, and not on which windows came before: the sums of a moment have the same bits in a series and alone.
    """

    def __init__(self) -> None:
        self._key: tuple[int, int, bytes] | None = None
        self._sums = np.empty((0, 0))

    def take(self, first: int, columns: NDArray[np.intp], returns: Floats) -> tuple[Floats | None, Floats]:
        """The sums over the bars between the first and the last cut, and the returns of the other bars.

        first: the number of the bar of the first row. columns: what the columns are, other ones have other sums.
        """
        low, high = -first % _CUT, (first + len(returns)) // _CUT * _CUT - first
        if high <= low:
            return None, returns
        key = (first + low, first + high, columns.tobytes())
        if key != self._key:
            self._key, self._sums = key, returns[low:high].T @ returns[low:high]
        return self._sums, np.concatenate([returns[:low], returns[high:]])


def associations(
    definition: GraphDefinition,
    returns: Floats,
    columns: NDArray[np.intp] | None = None,
    first: int = 0,
    sums: ProductSums | None = None,
) -> Associations:
    """Of the coins of a window.

    returns: a row for each bar, a column for each coin, NaN where there is none; `lag` rows more than the window has.
    columns, first, sums: as `ProductSums.take` has them.
    """
    least = max(3, math.ceil(definition.min_overlap * definition.window))
    if definition.method in (Method.LEAD_LAG, Method.PARTIAL):
        later = returns[definition.lag :]
        found = _correlations(returns[: len(later)] if definition.lag else later, later, least)
        if definition.method is Method.PARTIAL:
            found = _partial(found, returns)
        np.fill_diagonal(found, np.nan)
        return _in_units(found)
    if definition.method is Method.SPEARMAN:
        returns, sums = ranks(returns), None
    size = returns.shape[1]
    if len(returns) < least:
        return Associations(np.zeros((size, size), dtype=np.int32), np.zeros((size, size), dtype=np.bool_))
    columns = np.arange(size) if columns is None else columns
    shared, rest = (sums or ProductSums()).take(first, columns, returns)
    return _of_products(returns, least, shared, rest)


def _of_products(returns: Floats, least: int, shared: Floats | None, rest: Floats) -> Associations:
    """The correlations of each two columns. shared: sums of products over the rows that are not in `rest`."""
    count, size = returns.shape
    sums = np.add.reduce(returns, axis=0)
    squares = np.einsum("ij,ij->j", rest, rest)
    if shared is not None:
        squares += shared.diagonal()
    variance = squares - sums * sums / count
    # Pair by pair: a value is missing, or the mean is so large that too few digits of the variance are left.
    enough = variance > _NEAR * squares
    odd = np.flatnonzero(~enough)
    scale = np.full(size, np.nan)
    scale[enough] = np.sqrt(UNITS / variance[enough])
    left, right = np.vstack([rest, sums / -count]).T.copy(), np.vstack([rest, sums])
    found = np.empty((size, size), dtype=np.int32)
    for low in range(0, size, _ROWS):
        # Half of the matrix, so few rows at a time that what is computed of them stays in the processor's cache.
        rows, later = slice(low, low + _ROWS), slice(low + _ROWS, size)
        block = left[rows] @ right[:, low:]
        if shared is not None:
            block += shared[rows, low:]
        block *= scale[rows, np.newaxis]
        block *= scale[low:]
        np.rint(block, out=block)
        if len(odd):
            np.copyto(block, 0.0, where=np.isnan(block))
        found[rows, low:] = block
        found[later, rows] = found[rows, later].T
        corner = found[rows, rows]
        np.copyto(corner, corner.T, where=_LOWER[: len(corner), : len(corner)])
    np.fill_diagonal(found, 0)
    if not len(odd):
        return Associations(found, None)
    pairs = _pairwise(returns[:, odd], returns, least)
    upper = np.triu(pairs[:, odd], 1)
    pairs[:, odd] = upper + upper.T
    pairs[np.arange(len(odd)), odd] = np.nan
    some = _in_units(pairs)
    known = ~np.eye(size, dtype=np.bool_)
    found[odd], known[odd] = some
    found[:, odd], known[:, odd] = found[odd].T, known[odd].T
    return Associations(found, known)


def _in_units(associations: Floats) -> Associations:
    known = np.isfinite(associations)
    return Associations(np.rint(np.where(known, associations, 0.0) * UNITS).astype(np.int32), known)


def _correlations(left: Floats, right: Floats, least: int) -> Floats:
    """Of each column of `left` with each of `right`, over the rows that both have; NaN below `least` rows.

    Of a matrix with itself they are symmetric to the last bit.
    """
    if len(left) < least:
        return np.full((left.shape[1], right.shape[1]), np.nan)
    one = _standardized(left)
    other = one if right is left else _standardized(right)
    # What rounding has left beyond 1 is gone in millionths.
    found = _pairwise(left, right, least) if one is None or other is None else np.asarray(one.T @ other)
    return np.triu(found) + np.triu(found, 1).T if right is left else found


def _standardized(values: Floats) -> Floats | None:
    """Columns with mean 0 and length 1; NaN where a column does not vary. None: a value is missing."""
    mean = np.add.reduce(values, axis=0) / len(values)
    if np.isnan(mean).any():
        return None
    centred = values - mean
    length = np.sqrt(np.einsum("ij,ij->j", centred, centred))
    # Of equal numbers the mean may be off by a rounding; few columns come so near that it has to be looked at.
    near = np.flatnonzero(length <= 1e-6 * len(values) * np.abs(mean))
    if len(near):
        flat = values[:, near].max(axis=0) == values[:, near].min(axis=0)
        length[near[flat | (length[near] == 0)]] = np.nan
    centred /= length
    return np.asarray(centred)


def _pairwise(left: Floats, right: Floats, least: int) -> Floats:
    """As `_correlations`, where some are NaN."""
    seen_left, seen_right = np.isfinite(left), np.isfinite(right)
    # Centred and scaled as a whole first, so that nothing is lost where sums are taken from sums.
    one, other = _filled(left, seen_left), _filled(right, seen_right)
    here, there = seen_left.astype(np.float64), seen_right.astype(np.float64)
    count = here.T @ there
    sums, others = one.T @ there, here.T @ other
    with np.errstate(divide="ignore", invalid="ignore"):
        covariance = one.T @ other - sums * others / count
        spread = (one * one).T @ there - sums * sums / count
        spread_of_other = here.T @ (other * other) - others * others / count
        found = covariance / np.sqrt(spread * spread_of_other)
    varies = (spread > 1e-9 * count) & (spread_of_other > 1e-9 * count)
    found[~varies | (count < least)] = np.nan
    return np.clip(found, -1.0, 1.0, out=found)


def _filled(values: Floats, seen: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> Floats:
    """Columns with mean 0 and deviation 1 over what is seen; 0 where nothing is."""
    count = np.maximum(1, seen.sum(axis=0))
    known = np.where(seen, values, 0.0)
    centred = np.where(seen, known - known.sum(axis=0) / count, 0.0)
    deviation = np.sqrt(np.einsum("ij,ij->j", centred, centred) / count)
    largest = np.where(seen, np.abs(known), 0.0).max(axis=0, initial=0.0)
    centred[:, deviation <= 1e-12 * largest] = 0.0
    np.divide(centred, deviation, out=centred, where=deviation > 0)
    return centred


def ranks(values: Floats) -> Floats:
    """Of each column the ranks among what it has, equal numbers with the mean of theirs; NaN stays."""
    found = np.full(values.shape, np.nan)
    for column in range(values.shape[1]):
        seen = np.isfinite(values[:, column])
        _, place, counts = np.unique(values[seen, column], return_inverse=True, return_counts=True)
        last = np.cumsum(counts)
        found[seen, column] = (last - (counts - 1) / 2)[place]
    return found


def _partial(correlations: Floats, returns: Floats) -> Floats:
    """Partial correlations by the inverse of the correlations, which are shrunk towards none as far as their errors
    ask for it (Schäfer and Strimmer 2005). Coins without a correlation to some other have none to any."""
    found = np.full(correlations.shape, np.nan)
    usable = _complete(correlations)
    if len(usable) < 2:
        return found
    matrix = correlations[np.ix_(usable, usable)]
    np.fill_diagonal(matrix, 0.0)
    one = _filled(returns[:, usable], np.isfinite(returns[:, usable]))
    n = len(one)
    squares = one * one
    errors = np.maximum(0.0, squares.T @ squares - (one.T @ one) ** 2 / n) * n / (n - 1) ** 3
    np.fill_diagonal(errors, 0.0)
    total = float((matrix * matrix).sum())
    shrinkage = min(1.0, max(0.0, float(errors.sum()) / total)) if total > 0 else 1.0
    for more in _RIDGES:
        strength = 1.0 - (1.0 - shrinkage) * (1.0 - more)
        shrunk = (1.0 - strength) * matrix
        np.fill_diagonal(shrunk, 1.0)
        try:
            np.linalg.cholesky(shrunk)
        except np.linalg.LinAlgError:  # pairs of different rows need not fit together
            continue
        inverse = np.linalg.inv(shrunk)
        scale = np.sqrt(np.diag(inverse))
        partial = -inverse / np.outer(scale, scale)
        found[np.ix_(usable, usable)] = np.clip((partial + partial.T) / 2, -1.0, 1.0)
        return found
    return found


def _complete(correlations: Floats) -> list[int]:
    """Of the coins as many as have a correlation with all others that are left; those with the fewest go first."""
    missing = np.isnan(correlations)
    np.fill_diagonal(missing, False)
    left = list(range(len(correlations)))
    while left:
        counts = missing[np.ix_(left, left)].sum(axis=1)
        if not counts.max():
            break
        left.pop(len(left) - 1 - int(counts[::-1].argmax()))
    return left
