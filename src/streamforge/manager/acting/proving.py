"""The proof that a range is stored: its keys against the grid, and each hole asked for again at the exchange."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence

import msgspec

from streamforge_utils.model.candles import FIRST_TIME_MS, candle_key
from streamforge_utils.model.coverage import Segment, Verdict
from streamforge_utils.model.errors import PermanentError
from streamforge_utils.model.intervals import Interval
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.ports.exchange import Exchange
from streamforge_utils.ports.store import DocumentStore

_KEYS_A_PAGE = 50_000
_HOLE_A_REQUEST = 900
"""Bars of a hole asked for at once: below a page of 1000, so that the request is cut differently from the loader's."""

_ROUNDS = 2
"""How often each question about a hole is put."""


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


async def ask_again(
    exchange: Exchange, symbol: str, interval: Interval, hole: TimeRange, phase_ms: int | None
) -> list[Segment]:
    """What the exchange says of a hole, asked by two requests cut differently from each other, each up to twice.

    The bars that any answer had are `ours`; those that no answer had are `exchange`. A single empty or short answer
    proves nothing: exchanges give such. Raises RetryableError.
    """
    grid = interval.grid(hole.start_ms, hole.end_ms, phase_ms)
    found: set[int] = set()
    for index in range(0, len(grid), _HOLE_A_REQUEST):
        part = grid[index : index + _HOLE_A_REQUEST]
        end_ms = interval.next(part[-1])
        questions = (
            (TimeRange(part[0], end_ms), True),
            (TimeRange(part[0], interval.next(end_ms)), False),
        )
        for span, newest in questions * _ROUNDS:
            try:
                page = await exchange.candles(symbol, interval, span, limit=1000, newest=newest)
            except PermanentError as error:
                raise PermanentError(f"the hole {hole} could not be asked for: {error}") from error
            found.update(candle.open_time for candle in page)
            if all(time in found for time in part):
                break
    ours = [time for time in grid if time in found]
    theirs = [time for time in grid if time not in found]
    return sorted(
        [
            *(_verdict(run, Verdict.OURS) for run in _runs(ours, interval)),
            *(_verdict(run, Verdict.EXCHANGE) for run in _runs(theirs, interval)),
        ],
        key=lambda segment: segment.start_ms,
    )


def segments_of(
    found: Survey, verdicts: Sequence[Segment] | None, collection: str, interval: Interval, phase_ms: int | None
) -> list[Segment]:
    """The survey as segments: `stored` between the holes; `verdicts` speak of the holes, all `unknown` if None."""
    if verdicts is None:
        verdicts = [_verdict(hole, Verdict.UNKNOWN) for hole in found.holes]
    segments: list[Segment] = []
    cursor_ms = found.span.start_ms
    for hole in [*verdicts, None]:
        until_ms = found.span.end_ms if hole is None else hole.start_ms
        if until_ms > cursor_ms:
            bars = len(interval.grid(cursor_ms, until_ms, phase_ms))
            between = TimeRange(cursor_ms, until_ms)
            # Where no bar opens nothing is stored, though nothing is lacking.
            segments.append(
                Segment(
                    start_ms=cursor_ms,
                    end_ms=until_ms,
                    verdict=Verdict.STORED,
                    collection=collection,
                    records=bars,
                )
                if bars
                else _verdict(between, Verdict.EXCHANGE)
            )
        if hole is not None:
            segments.append(hole)
            cursor_ms = hole.end_ms
    return segments


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


def _runs(times: Sequence[int], interval: Interval) -> list[TimeRange]:
    runs: list[TimeRange] = []
    for time in times:
        if runs and runs[-1].end_ms == time:
            runs[-1] = TimeRange(runs[-1].start_ms, interval.next(time))
        else:
            runs.append(TimeRange(time, interval.next(time)))
    return runs


def _verdict(run: TimeRange, verdict: Verdict) -> Segment:
    return Segment(start_ms=run.start_ms, end_ms=run.end_ms, verdict=verdict)
