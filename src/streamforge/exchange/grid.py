"""The bars of an interval as integers: bar i opens at `open_ms(i)`, and bar i+1 opens where it ends."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from streamforge_utils.model.kinds.candles import Interval
from streamforge_utils.model.timeranges import TimeRange

D3_PHASE_MS = 86_400_000
"""Where our 3d bars open: 1970-01-02 and every three days. Binance's own alignment is not documented, so a client
must read it from data; ours is not the one that dividing by three days would give."""


class Grid:
    """The bars of one interval. offset_ms: how far local time is ahead of UTC (Binance's `timeZone`)."""

    __slots__ = ("_phase_ms", "_step_ms", "interval", "offset_ms")

    def __init__(self, interval: Interval, offset_ms: int = 0) -> None:
        self.interval = interval
        self.offset_ms = offset_ms
        self._step_ms = interval.step_ms
        phase = interval.rule.floor(0, D3_PHASE_MS) if self._step_ms is not None else 0
        self._phase_ms = phase - offset_ms

    def index(self, time_ms: int) -> int:
        """The bar that holds `time_ms`."""
        if self._step_ms is not None:
            return (time_ms - self._phase_ms) // self._step_ms
        moment = datetime.fromtimestamp((time_ms + self.offset_ms) // 1000, UTC)
        return moment.year * 12 + moment.month - 1

    def first_from(self, time_ms: int) -> int:
        """The first bar that opens at `time_ms` or later."""
        index = self.index(time_ms)
        return index if self.open_ms(index) >= time_ms else index + 1

    def open_ms(self, index: int) -> int:
        """When bar `index` opens, unix ms."""
        if self._step_ms is not None:
            return index * self._step_ms + self._phase_ms
        start = datetime(index // 12, index % 12 + 1, 1, tzinfo=UTC)
        return int(start.timestamp()) * 1000 - self.offset_ms

    def opens(self, first: int, last: int) -> list[int]:
        """When the bars `first` to `last` open and when the last one ends: last - first + 2 instants, unix ms."""
        if self._step_ms is not None:
            return list(range(self.open_ms(first), self.open_ms(last + 1) + 1, self._step_ms))
        return [self.open_ms(index) for index in range(first, last + 2)]


Bars = tuple[int, int]
"""A range of bars: first and last, both included."""


def without_holes(grid: Grid, bars: Bars, holes: Iterable[TimeRange]) -> list[Bars]:
    """`bars` without those that lie wholly inside a hole; ascending, disjoint."""
    left = [bars] if bars[0] <= bars[1] else []
    for hole in holes:
        gone_first, gone_last = grid.first_from(hole.start_ms), grid.index(hole.end_ms) - 1
        if gone_first > gone_last:
            continue
        pieces: list[Bars] = []
        for first, last in left:
            if gone_last < first or gone_first > last:
                pieces.append((first, last))
                continue
            if first < gone_first:
                pieces.append((first, gone_first - 1))
            if gone_last < last:
                pieces.append((gone_last + 1, last))
        left = pieces
    return left


def limited(pieces: list[Bars], limit: int, *, newest: bool) -> list[Bars]:
    """At most `limit` bars of `pieces`: the oldest ones, or the newest. Ascending either way."""
    kept: list[Bars] = []
    for first, last in reversed(pieces) if newest else pieces:
        if limit <= 0:
            break
        take = min(limit, last - first + 1)
        kept.append((last - take + 1, last) if newest else (first, first + take - 1))
        limit -= take
    return kept[::-1] if newest else kept
