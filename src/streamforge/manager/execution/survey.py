"""Which bars of a range a collection holds: its keys against the grid, page by page."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence

import msgspec

from streamforge_utils.model.candles import FIRST_TIME_MS, candle_key
from streamforge_utils.model.intervals import Interval
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.ports.store import DocumentStore

_KEYS_A_PAGE = 50_000


class Survey(msgspec.Struct, frozen=True, kw_only=True):
    """Which bars of a range are stored. holes: ranges without a record, sorted. stored: number of records."""

    span: TimeRange
    expected: int
    stored: int
    holes: tuple[TimeRange, ...]


async def survey(
    store: DocumentStore, collection: str, symbol: str, interval: Interval, span: TimeRange, phase_ms: int | None
) -> Survey:
    """Compare the keys in `collection` with the grid of `span`. Raises RetryableError."""
    start_ms = max(span.start_ms, FIRST_TIME_MS)
    last = candle_key(symbol, interval.value, max(span.end_ms, start_ms))
    first = candle_key(symbol, interval.value, start_ms)
    prefix = len(candle_key(symbol, interval.value, 0)) - 1
    holes: list[TimeRange] = []
    stored = 0
    cursor_ms = span.start_ms
    while True:
        keys = await store.keys(collection, first=first, last=last, limit=_KEYS_A_PAGE)
        times = [int(key[prefix:]) for key in keys]
        stored += len(times)
        full = len(keys) == _KEYS_A_PAGE
        until_ms = times[-1] + 1 if full else span.end_ms
        grid = interval.grid(cursor_ms, until_ms, phase_ms)
        if len(grid) != len(times) or not _same(grid, times):
            for hole in _between(grid, times):
                if holes and holes[-1].end_ms == hole[0]:
                    holes[-1] = TimeRange(holes[-1].start_ms, interval.next(hole[1]))
                else:
                    holes.append(TimeRange(hole[0], interval.next(hole[1])))
        if not full:
            break
        cursor_ms = until_ms
        first = keys[-1] + "\x00"
    expected = len(interval.grid(span.start_ms, span.end_ms, phase_ms))
    return Survey(span=span, expected=expected, stored=stored, holes=tuple(holes))


def _between(grid: Sequence[int], times: Sequence[int]) -> Iterator[tuple[int, int]]:
    """The first and the last open time of each run of `grid` that is not in `times` (sorted).

    What lies between two stored times is never written out: it may be most of a year of seconds.
    """
    at = 0
    for time in times:
        index = bisect_left(grid, time, at)
        if index > at:
            yield grid[at], grid[index - 1]
        at = index + 1 if index < len(grid) and grid[index] == time else index
    if at < len(grid):
        yield grid[at], grid[-1]


def _same(grid: Sequence[int], times: Sequence[int]) -> bool:
    return all(map(int.__eq__, grid, times))
