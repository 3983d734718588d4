"""The features of the coins of a snapshot."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from streamforge.analytics.graphs.definition import Feature, GraphDefinition, Measure
from streamforge.analytics.graphs.panel import Floats, Window


def features_of(
    definition: GraphDefinition, window: Window, places: Sequence[int] | NDArray[np.intp]
) -> NDArray[np.float32]:
    """A row for each coin, a column for each feature; NaN where bars that it needs are missing.

    As singles: the last digits of doubles depend on the machine's arithmetic.
    """
    columns = [
        _feature(one, window.closes[:, places], window.volumes[:, places], window.returns[:, places])
        for one in definition.read_features()
    ]
    found = np.stack(columns, axis=1) if columns else np.empty((len(places), 0))
    return found.astype(np.float32)


def _feature(feature: Feature, closes: Floats, volumes: Floats, returns: Floats) -> Floats:
    bars = feature.bars
    if feature.measure is Measure.RETURN:
        return np.asarray(np.log(closes[-1] / closes[-1 - bars]))
    if feature.measure is Measure.VOLATILITY:
        return np.asarray(returns[-bars:].std(axis=0, ddof=1))
    last = volumes[-bars:]
    found = np.full(last.shape[1], np.nan)
    known = np.isfinite(last).any(axis=0)
    found[known] = np.nanmedian(last[:, known], axis=0)
    return found
