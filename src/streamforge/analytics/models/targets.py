"""What models predict: returns that begin after the moment of decision."""

from __future__ import annotations

import numpy as np

from streamforge.analytics.graphs.panel import Floats, Panel
from streamforge.analytics.models.dataset_definition import DELAY


def returns_after(panel: Panel, time_ms: int, places: list[int], horizon: int, delay: int = DELAY) -> Floats:
    """The simple return of each coin from the open `delay` bars after `time_ms` to the open `horizon` bars later.

    places: of the coins in the panel. A coin without that last bar leaves at its last close before it, whether it has
    ended or the exchange had a hole. NaN: it has no bar to enter at. Raises what `Panel.after` raises.
    """
    opens, closes = panel.after(time_ms + delay * panel.bar_ms, horizon + 1)
    opens, held = opens[:, places], closes[:-1, places]
    last = len(held) - 1 - np.isfinite(held)[::-1].argmax(axis=0)
    at_close = held[last, np.arange(len(places))]
    leaving = np.where(np.isfinite(opens[-1]), opens[-1], at_close)
    return np.asarray(leaving / opens[0] - 1.0)
