"""Which coins take part in a snapshot."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from streamforge.analytics.graphs.definition import GraphDefinition
from streamforge.analytics.graphs.panel import Floats, Window

_DAY_MS = 86_400_000


def taking_part(definition: GraphDefinition, window: Window) -> NDArray[np.intp]:
    """The places of the coins that take part, ascending."""
    last = (there for closes in window.closes[::-1] if (there := np.isfinite(closes)).any())
    chosen = next(last, None)
    if chosen is None:
        return np.empty(0, dtype=np.intp)
    rules = definition.universe
    if rules.min_volatility > 0:
        chosen = chosen & (
            _volatility(window.returns[-definition.window :])
            >= rules.min_volatility * math.sqrt(definition.hours_a_bar)
        )
    if rules.min_quote_volume > 0 or rules.largest:
        volume = _day_volume(definition, window)
        chosen = chosen & (volume >= rules.min_quote_volume)
        if rules.largest:
            return _largest(np.flatnonzero(chosen), volume, rules.largest)
    return np.flatnonzero(chosen)


def _largest(places: NDArray[np.intp], volume: Floats, count: int) -> NDArray[np.intp]:
    """Of `places` those with the largest volumes; of equal ones the first in order."""
    return np.sort(places[np.argsort(-volume[places], kind="stable")[:count]])


def _volatility(returns: Floats) -> Floats:
    """The standard deviation of each column; 0 where there are fewer than two returns."""
    if len(returns) < 2:
        return np.zeros(returns.shape[1])
    sums = np.add.reduce(returns, axis=0)
    if not np.isnan(sums).any():
        spread = np.einsum("ij,ij->j", returns, returns) - sums * sums / len(returns)
        return np.asarray(np.sqrt(np.maximum(0.0, spread) / (len(returns) - 1)))
    seen = np.isfinite(returns)
    count = seen.sum(axis=0)
    known = np.where(seen, returns, 0.0)
    centred = np.where(seen, known - known.sum(axis=0) / np.maximum(1, count), 0.0)
    variance = np.einsum("ij,ij->j", centred, centred) / np.maximum(1, count - 1)
    return np.where(count > 1, np.sqrt(variance), 0.0)


def _day_volume(definition: GraphDefinition, window: Window) -> Floats:
    """The median quote volume of a day, over the days before the snapshot in which there was any bar; 0 without one."""
    bars = max(1, _DAY_MS // definition.bar_ms)
    days = definition.universe.volume_days
    seen = window.volumes[-days * bars :].reshape(-1, bars, len(window.symbols))
    whole = np.where(np.isfinite(seen), seen, 0.0).sum(axis=1) * (_DAY_MS / (bars * definition.bar_ms))
    whole[~np.isfinite(seen).any(axis=1)] = np.nan
    found = np.zeros(len(window.symbols))
    known = np.isfinite(whole).any(axis=0)
    found[known] = np.nanmedian(whole[:, known], axis=0)
    return found
