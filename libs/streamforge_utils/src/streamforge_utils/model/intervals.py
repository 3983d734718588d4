"""The candle intervals of Binance Spot and the grid of open times that each of them spans.

Source: Binance Spot REST, "Kline/Candlestick chart intervals". Times are unix milliseconds, UTC.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum

_SECOND = 1_000
_MINUTE = 60 * _SECOND
_HOUR = 60 * _MINUTE
_DAY = 24 * _HOUR
_MONDAY = 4 * _DAY  # the epoch was a Thursday; weeks open on Monday, 1970-01-05


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
    def step_ms(self) -> int | None:
        """Length in milliseconds; None for the month, whose length varies."""
        return _FIXED.get(self)

    @property
    def lower(self) -> str:  # type: ignore[override]
        """The spelling for lower-cased names and for the archive: `1M` is written `1mo`."""
        return "1mo" if self is Interval.MO1 else str(self.value)

    @property
    def aligned_by_calendar(self) -> bool:
        """False for `3d`: where its bars open is the exchange's own affair and must be taken from data."""
        return self is not Interval.D3

    @classmethod
    def parse(cls, text: str) -> Interval:
        """Read `text` in the exchange's spelling or the archive's (`1mo`). Raises ValueError naming the choices."""
        try:
            return cls("1M" if text == "1mo" else text)
        except ValueError:
            raise ValueError(f"interval {text!r} is not one of {', '.join(cls)}") from None

    def floor(self, time_ms: int, phase_ms: int | None = None) -> int:
        """The open time of the bar that holds `time_ms`.

        phase_ms: any known open time of the series; needed for `3d` only.
        """
        if self is Interval.MO1:
            return _month_start(_month_index(time_ms))
        step, phase = self._step_and_phase(phase_ms)
        return time_ms - (time_ms - phase) % step

    def ceil(self, time_ms: int, phase_ms: int | None = None) -> int:
        """The open time of the first bar that opens at `time_ms` or later.

        phase_ms: any known open time of the series; needed for `3d` only.
        """
        open_ms = self.floor(time_ms, phase_ms)
        return open_ms if open_ms == time_ms else self.next(open_ms)

    def next(self, open_time_ms: int) -> int:
        """The open time of the bar after the one that opens at `open_time_ms`."""
        if self is Interval.MO1:
            return _month_start(_month_index(open_time_ms) + 1)
        return open_time_ms + _FIXED[self]

    def close_time(self, open_time_ms: int) -> int:
        """The last millisecond of the bar."""
        return self.next(open_time_ms) - 1

    def grid(self, start_ms: int, end_ms: int, phase_ms: int | None = None) -> Sequence[int]:
        """All open times in the half-open range [start_ms, end_ms), ascending.

        For intervals of fixed length this is a `range`: its size costs nothing, however long the series.
        phase_ms: any known open time of the series; needed for `3d` only.
        """
        first = self.ceil(start_ms, phase_ms)
        if self is not Interval.MO1:
            return range(first, max(first, end_ms), _FIXED[self])
        months = []
        while first < end_ms:
            months.append(first)
            first = self.next(first)
        return months

    def _step_and_phase(self, phase_ms: int | None) -> tuple[int, int]:
        step = _FIXED[self]
        if self is Interval.W1:
            return step, _MONDAY
        if self is Interval.D3:
            if phase_ms is None:
                raise ValueError("the grid of 3d candles needs a known open time of the series")
            return step, phase_ms
        return step, 0


_FIXED: dict[Interval, int] = {
    Interval.S1: _SECOND,
    Interval.M1: _MINUTE,
    Interval.M3: 3 * _MINUTE,
    Interval.M5: 5 * _MINUTE,
    Interval.M15: 15 * _MINUTE,
    Interval.M30: 30 * _MINUTE,
    Interval.H1: _HOUR,
    Interval.H2: 2 * _HOUR,
    Interval.H4: 4 * _HOUR,
    Interval.H6: 6 * _HOUR,
    Interval.H8: 8 * _HOUR,
    Interval.H12: 12 * _HOUR,
    Interval.D1: _DAY,
    Interval.D3: 3 * _DAY,
    Interval.W1: 7 * _DAY,
}


def _month_index(time_ms: int) -> int:
    moment = datetime.fromtimestamp(time_ms // 1000, UTC)
    return moment.year * 12 + moment.month - 1


def _month_start(index: int) -> int:
    return int(datetime(index // 12, index % 12 + 1, 1, tzinfo=UTC).timestamp()) * 1000
