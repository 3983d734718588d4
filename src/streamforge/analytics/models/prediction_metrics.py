"""How well predictions agree with what came after."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from streamforge.analytics.graphs.panel import Floats
from streamforge.analytics.models.dataset import Sample, centred_ranks

NORMAL_95 = 1.959963984540054
_DAY_MS = 86_400_000
_LEAST_COINS = 3


def counts(sample: Sample) -> bool:
    """Whether a correlation can be told: three coins or more have returns, which are not all equal."""
    known = sample.returns[np.isfinite(sample.returns)]
    return len(known) >= _LEAST_COINS and bool(known.max() > known.min())


def information_coefficients(samples: Sequence[Sample], predictions: Sequence[Floats], *, ranked: bool) -> Floats:
    """Of each sample that counts the correlation (of ranks: Spearman) of predictions and returns across its coins.

    0 where all predictions are equal.
    """
    found = []
    for sample, prediction in zip(samples, predictions, strict=True):
        if counts(sample):
            known = np.isfinite(sample.returns)
            left, right = prediction[known], sample.returns[known]
            if ranked:
                left, right = centred_ranks(left), sample.target[known]
            found.append(_correlation(left, right))
    return np.asarray(found, dtype=np.float64)


def _correlation(left: Floats, right: Floats) -> float:
    if left.max() == left.min():
        return 0.0
    one, other = left - left.mean(), right - right.mean()
    return float(one @ other / np.sqrt((one @ one) * (other @ other)))


def lags(count: int, overlap: int) -> int:
    """How many lags the error of a mean allows for. overlap: how many moments the target of one reaches into."""
    return max(overlap, int(4 * (count / 100) ** (2 / 9)))


def mean_error(values: Floats, lag: int) -> float:
    """The standard error of the mean of a series that is correlated with itself (Newey and West 1987, Bartlett)."""
    count = len(values)
    if count < 2:
        return 0.0
    centred = values - values.mean()
    total = float(centred @ centred)
    for shift in range(1, min(lag, count - 1) + 1):
        total += 2 * (1 - shift / (lag + 1)) * float(centred[shift:] @ centred[:-shift])
    return float(np.sqrt(max(0.0, total))) / count


def t_statistic(values: Floats, lag: int) -> float | None:
    """Of the mean; None where the series does not vary: it has none."""
    error = mean_error(values, lag)
    return float(values.mean()) / error if error > 0 else None


def information_ratio(values: Floats) -> float | None:
    """Mean by standard deviation (ICIR), of a moment, not of a year; None where the series does not vary."""
    deviation = float(values.std(ddof=1)) if len(values) > 1 else 0.0
    return float(values.mean()) / deviation if deviation > 0 else None


class Direction:
    """How often the sign was right: up is a number above 0.

    share: of right ones. low, high: its 95 % interval by a bootstrap of blocks of days. up: how many returns went up;
    who always says the same is right in that share, or the rest.
    """

    __slots__ = ("high", "low", "share", "up")

    def __init__(
        self,
        samples: Sequence[Sample],
        predictions: Sequence[Floats],
        *,
        seed: int,
        block_ms: int = _DAY_MS,
        draws: int = 1000,
    ) -> None:
        right, ups, totals = list[int](), list[int](), list[int]()
        for sample, prediction in zip(samples, predictions, strict=True):
            known = np.isfinite(sample.returns)
            up = sample.returns[known] > 0
            right.append(int(((prediction[known] > 0) == up).sum()))
            ups.append(int(up.sum()))
            totals.append(len(up))
        total = max(1, sum(totals))
        self.share = sum(right) / total
        self.up = sum(ups) / total
        _, block = np.unique([sample.time_ms // block_ms for sample in samples], return_inverse=True)
        hits, sizes = np.bincount(block, right), np.bincount(block, totals)
        picked = np.random.default_rng(seed).integers(len(hits), size=(draws, len(hits)))
        shares = hits[picked].sum(axis=1) / np.maximum(1, sizes[picked].sum(axis=1))
        self.low, self.high = (float(np.quantile(shares, at)) for at in (0.025, 0.975))


def precision_at(samples: Sequence[Sample], predictions: Sequence[Floats], k: int) -> tuple[float, float]:
    """The share of the `k` coins predicted best that are among the `k` best, and the base rate: what chance gives.

    Means over samples that count. Where the k-th is one of equals, they share the places that are left.
    """
    found, base = [], []
    for sample, prediction in zip(samples, predictions, strict=True):
        if counts(sample):
            known = np.isfinite(sample.returns)
            places = min(k, int(known.sum()))
            chosen, best = _best(prediction[known], places), _best(sample.returns[known], places)
            found.append(float(chosen @ best) / places)
            base.append(places / int(known.sum()))
    return (float(np.mean(found)), float(np.mean(base))) if found else (0.0, 0.0)


def _best(values: Floats, k: int) -> Floats:
    """1 for the k largest, 0 for the others, and a share for those on the border."""
    border = np.sort(values)[-k]
    above, equal = values > border, values == border
    return np.asarray(np.where(equal, (k - above.sum()) / equal.sum(), above))
