"""The candle intervals of Binance Spot and the grid of open times that each of them spans.

Source: Binance Spot REST, "Kline/Candlestick chart intervals". Times are unix milliseconds, UTC.
"""

from __future__ import annotations

from enum import StrEnum

from streamforge_utils.model.completeness.grid import Grid

_DAY = 86_400_000
_MONDAY = 4 * _DAY  # the epoch was a Thursday; weeks open on Monday, 1970-01-05
_UNITS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": _DAY}


class Interval(StrEnum):
    """A candle interval as the exchange spells it; case matters (`1m` is a minute, `1M` a month)."""

    S1 = "1s"
    M1 = "1m"
    M3 = "3m"
    M5 = "5m"
    M15 = "15m"
    M30 = "30m"
    H1 = "1h"
    H2 = "2h"
    H4 = "4h"
    H6 = "6h"
    H8 = "8h"
    H12 = "12h"
    D1 = "1d"
    D3 = "3d"
    W1 = "1w"
    MO1 = "1M"

    @property
    def rule(self) -> Grid:
        """The grid of its open times."""
        return _GRIDS[self]

    @property
    def step_ms(self) -> int | None:
        """Length in milliseconds; None for the month, whose length varies."""
        return _GRIDS[self].length_ms

    @property
    def lower(self) -> str:  # type: ignore[override]
        """The spelling for lower-cased names and for the archive: `1M` is written `1mo`."""
        return "1mo" if self is Interval.MO1 else str(self.value)

    @classmethod
    def parse(cls, text: str) -> Interval:
        """Read `text` in the exchange's spelling or the archive's (`1mo`). Raises ValueError naming the choices."""
        try:
            return cls("1M" if text == "1mo" else text)
        except ValueError:
            raise ValueError(f"interval {text!r} is not one of {', '.join(cls)}") from None

    def close_time(self, open_time_ms: int) -> int:
        """The last millisecond of the bar."""
        return _GRIDS[self].next(open_time_ms) - 1


_GRIDS = {
    Interval.D3: Grid(3 * _DAY, None),  # where its bars open is the exchange's own affair
    Interval.W1: Grid(7 * _DAY, _MONDAY),
    Interval.MO1: Grid(None),
}
_GRIDS |= {one: Grid(int(one[:-1]) * _UNITS[one[-1]]) for one in Interval if one not in _GRIDS}
