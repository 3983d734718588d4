"""What predictions would have earned: long what is predicted best, short what is predicted worst."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

from streamforge.analytics.graphs.panel import Floats
from streamforge.analytics.models.dataset import Sample, centred_ranks
from streamforge.analytics.models.dataset_definition import DatasetDefinition

_YEAR_MS = 365 * 86_400_000
_EULER_GAMMA = 0.5772156649015329


class Portfolio:
    """Positions of one moment each, held for the horizon; their sizes are proportional to centred ranks, 1 in all.

    gross, net: return of each moment, before and after fees. turnover: what was traded for it, entering and leaving,
    by the sum of positions. A coin that could not be entered has none. Prices that move positions are not evened out.
    Where the horizon is longer than a step, a moment goes on with the positions of the moment that ends when it begins.
    """

    __slots__ = ("_apart", "_year", "gross", "net", "turnover")

    def __init__(
        self, definition: DatasetDefinition, samples: Sequence[Sample], predictions: Sequence[Floats], fee_bp: float
    ) -> None:
        graph = definition.graph
        self._apart = -(-definition.horizon // graph.step)
        self._year = _YEAR_MS / (self._apart * graph.step_ms)
        held = [_positions(sample, prediction) for sample, prediction in zip(samples, predictions, strict=True)]
        lasting = self._apart * graph.step == definition.horizon
        gross, turnover = list[float](), list[float]()
        for at, sample in enumerate(samples):
            gross.append(math.fsum(held[at][symbol] * back for symbol, back in _returns(sample)))
            before = held[at - self._apart] if at >= self._apart else {}
            if lasting:
                traded = [held[at].get(one, 0.0) - before.get(one, 0.0) for one in {**held[at], **before}]
            else:
                traded = [*held[at].values(), *before.values()]
            turnover.append(math.fsum(abs(one) for one in traded))
        self.gross = np.asarray(gross)
        self.turnover = np.asarray(turnover)
        self.net = self.gross - fee_bp / 10_000 * self.turnover

    @property
    def share(self) -> Floats:
        """`net` of capital that is divided among the moments whose positions are held at once."""
        return np.asarray(self.net / self._apart)

    def sharpe(self, *, net: bool) -> float:
        """Of a year, without a rate of interest. Where targets overlap, the mean of series without an overlap."""
        series = self._series(self.net if net else self.gross)
        return float(np.mean([_sharpe(one) * math.sqrt(self._year) for one in series]))

    def deflated(self, trials: int) -> float:
        """The probability that the Sharpe ratio after fees is above that which the best of `trials` has by chance."""
        return float(np.mean([deflated_sharpe(one, trials) for one in self._series(self.net)]))

    def _series(self, values: Floats) -> list[Floats]:
        return [values[first :: self._apart] for first in range(self._apart)]


def deflated_sharpe(returns: Floats, trials: int) -> float:
    """The deflated Sharpe ratio, a probability (Bailey and López de Prado 2014); 0.5 or less: no better than chance.

    The trials are taken as independent, with the variance that the ratio has where there is no skill.
    """
    count = len(returns)
    ratio = _sharpe(returns)
    if count < 3 or returns.std() == 0:
        return 0.0
    scaled = (returns - returns.mean()) / returns.std()
    skew, kurtosis = float((scaled**3).mean()), float((scaled**4).mean())
    normal = NormalDist()
    best = 0.0
    if trials > 1:
        best = (1 - _EULER_GAMMA) * normal.inv_cdf(1 - 1 / trials) + _EULER_GAMMA * normal.inv_cdf(
            1 - 1 / (trials * math.e)
        )
    error = math.sqrt(max(1e-12, 1 - skew * ratio + (kurtosis - 1) / 4 * ratio**2))
    return normal.cdf((ratio * math.sqrt(count - 1) - best) / error)


def _sharpe(returns: Floats) -> float:
    deviation = float(returns.std(ddof=1)) if len(returns) > 1 else 0.0
    return float(returns.mean()) / deviation if deviation > 0 else 0.0


def _returns(sample: Sample) -> list[tuple[str, float]]:
    known = np.isfinite(sample.returns)
    return [(sample.symbols[at], float(sample.returns[at])) for at in np.flatnonzero(known)]


def _positions(sample: Sample, prediction: Floats) -> dict[str, float]:
    """Of each coin that can be entered; all 0 where no prediction differs from another."""
    known = np.flatnonzero(np.isfinite(sample.returns))
    sizes = centred_ranks(prediction[known])
    total = float(np.abs(sizes).sum())
    return dict(zip([sample.symbols[at] for at in known], (sizes / total if total else sizes).tolist(), strict=True))
