"""What a picture of a series is drawn from: its bars at a level of detail."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import NamedTuple

import msgspec

from streamforge.manager.bars import answers as bar_answers
from streamforge.manager.bars.driver import RollupQueue
from streamforge.manager.bars.reader import bars_from_records, first_price
from streamforge.manager.bars.store import Rollups, marks_of
from streamforge.manager.coverage.service import Reports
from streamforge.manager.coverage.store import SeriesCoverage
from streamforge.manager.dependencies import Dependencies
from streamforge.manager.engine.refusals import NotFound
from streamforge.manager.presentation import moment_or_none, range_fields
from streamforge_utils.model.bar_sums import BarSum, merged
from streamforge_utils.model.completeness.grid import Grid
from streamforge_utils.model.coverage import SETTLED, Verdict, without
from streamforge_utils.model.daily_collections import DAY_MS
from streamforge_utils.model.detail_levels import CALENDAR, Levels, whole_bars
from streamforge_utils.model.errors import InvalidInput
from streamforge_utils.model.kinds.bars import BarInterval, joined_spans
from streamforge_utils.model.kinds.registry import kind_of, kinds, rule_of, series_of, type_of
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.model.verdict_runs import VerdictRun, parts_of, runs_of, worst

AT_ONCE = 20_000
"""Records that are added up before an answer; more are added up behind it."""
KEPT = 8
"""Pictures that are kept in memory, each for as long as the coverage says the same of it."""
_FORMAT = 2
"""Of an answer: another one has other tags."""
_DAY = CALENDAR[-2]
_NO_RECORDS = frozenset({Verdict.CLOSED, Verdict.PENDING})


class Picture(msgspec.Struct, frozen=True):
    """Bars as they are answered. etag: of those that can only change by a repair or a removal; None: of others."""

    bars: bar_answers.Bars
    etag: str | None


class _Said(NamedTuple):
    """What the coverage says of a picture. asked: the part of it that was asked for. runs: verdicts, but for what is
    `unknown` only because nobody asked for it, in a bar of which other parts were asked for."""

    asked: TimeRange | None
    runs: Sequence[VerdictRun]


class BarService:
    """Every method raises RetryableError where the store does not answer."""

    def __init__(self, deps: Dependencies, reports: Reports) -> None:
        self._deps, self._reports = deps, reports
        self._rollups = Rollups(deps.store)
        self._kept: dict[tuple[Series, str, TimeRange], tuple[SeriesCoverage, _Said, Picture]] = {}
        self.queue = RollupQueue(deps.store, deps.coverage, self._rollups, deps.clock)

    async def close(self) -> None:
        """End what is computed."""
        await self.queue.close()

    async def bars(self, symbol: str, type: str, start_ms: int | None, end_ms: int | None, most: int) -> Picture:
        """The bars of a range, `most` at most; without a start or an end, of what is stored.

        Raises InvalidInput (no bars are made of such records, or of such a range), or NotFound.
        """
        series = _priced(symbol, type)
        known = await self._deps.coverage.known(series)
        span = await self._span(known, type, start_ms, end_ms)
        levels = Levels.of(series, known.grid_ms)
        if not levels.every:
            raise NotFound(f"nothing of {symbol} {type} is stored yet that tells where its candles open")
        level = levels.chosen(span, most)
        whole = whole_bars(level, span)
        said = _said(runs_of(self._reports.of_span(known, whole)), level, whole, self._reports.all_asked(known))
        if (kept := self._kept.get((series, level.text, whole))) is not None and kept[:2] == (known, said):
            return kept[2]
        sums, lacking = await self._sums(known, whole, level, levels)
        bars = _columns(known, level, whole, said, sums, lacking)
        if bars.computing:
            return Picture(bars, None)
        found = Picture(bars, self._etag(known, whole, level, said))
        self._kept.pop((series, level.text, whole), None)
        self._kept[series, level.text, whole] = (known, said, found)
        while len(self._kept) > KEPT:
            del self._kept[next(iter(self._kept))]
        return found

    async def first_price(
        self, symbol: str, type: str, start_ms: int | None, end_ms: int | None
    ) -> bar_answers.FirstPrice:
        """The first price in a range; without a start or an end, of what is stored. Raises as `bars`."""
        known = await self._deps.coverage.known(_priced(symbol, type))
        span = await self._span(known, type, start_ms, end_ms)
        found = await first_price(self._deps.store, known, span)
        time_ms, price = (None, None) if found is None else found
        return bar_answers.FirstPrice(
            symbol=known.series.symbol,
            type=type_of(known.series),
            time=moment_or_none(time_ms),
            time_ms=time_ms,
            price=price,
        )

    async def _span(self, known: SeriesCoverage, type: str, start_ms: int | None, end_ms: int | None) -> TimeRange:
        span = _between(start_ms, end_ms)
        if not known.segments:  # it says which series may have been meant, where nothing is known of this one
            await self._reports.of_series(known.series.symbol, type, span)
        stored = self._reports.asked(known)
        if span is None and stored is not None:
            span = _between(
                stored.start_ms if start_ms is None else start_ms, stored.end_ms if end_ms is None else end_ms
            )
        if span is None:
            raise NotFound(f"nothing of {known.series.symbol} {type} is stored yet: give start and end, or load it")
        return span

    async def _sums(
        self, known: SeriesCoverage, span: TimeRange, level: BarInterval, levels: Levels
    ) -> tuple[list[BarSum], list[TimeRange]]:
        """The bars that have records, also some beside `span`, and the days whose records are not added up yet."""
        rolled, week = levels.rolled, level is CALENDAR[-1]
        if level not in rolled and not (week and _DAY in rolled):
            return await bars_from_records(self._deps.store, known, span, level.grid), []
        days = whole_bars(_DAY, span)
        marks = dict(sorted(marks_of(known, days, DAY_MS).items()))
        kept_as = _DAY if week else level
        kept = await self._rollups.read(known.series, kept_as.text, marks)
        lacking = joined_spans(TimeRange(day_ms, day_ms + DAY_MS) for day_ms in marks if day_ms not in kept)
        left = AT_ONCE
        for some in [*lacking]:
            if (left := left - self.queue.lacks(known, some)) < 0:
                break
            kept.update(await self.queue.make(known, some))
            lacking.remove(some)
        if lacking:
            self.queue.ask(known.series, kept_as.text, _in_bars(lacking, level if week else _DAY))
        return merged((one for day_ms in sorted(kept) for one in kept[day_ms]), level.grid), lacking

    def _etag(self, known: SeriesCoverage, span: TimeRange, level: BarInterval, told: _Said) -> str | None:
        """None: a day of it is not over, or something of it may still come."""
        if any(one.verdict not in SETTLED or one.verdict is Verdict.PENDING for one in told.runs):
            return None
        marks = marks_of(known, whole_bars(_DAY, span), DAY_MS)
        said = [_FORMAT, known.series, level.text, span, told, marks]
        return f'"{blake2b(msgspec.json.encode(said), digest_size=16).hexdigest()}"'


def _priced(symbol: str, type: str) -> Series:
    """The series. Raises InvalidInput where its records have no price."""
    series = series_of(symbol, type)
    if kind_of(series).bar_fields is None:
        able = ", ".join(kind.name for kind in kinds() if kind.bar_fields is not None)
        raise InvalidInput(
            "type",
            f"no bars are made of {type}: its records have no price. Bars are made of {able}; order books are at "
            "GET /books/{symbol}, all records at GET /collections/{name}/records",
        )
    return series


def _said(runs: Sequence[VerdictRun], level: BarInterval, span: TimeRange, asked: TimeRange | None) -> _Said:
    """runs: of `span`, whole bars of the level. asked: all that was asked for of the series."""
    if asked is None:
        return _Said(None, runs)
    bars = whole_bars(level, asked)
    edges = [(bars.start_ms, asked.start_ms), (asked.end_ms, bars.end_ms)]
    beside = [TimeRange(start_ms, end_ms) for start_ms, end_ms in edges if start_ms < end_ms]
    judged = list[VerdictRun]()
    for run in runs:
        whole = TimeRange(run.start_ms, run.end_ms)
        parts = without(whole, beside) if run.verdict is Verdict.UNKNOWN else [whole]
        judged += [VerdictRun(part.start_ms, part.end_ms, run.verdict) for part in parts]
    return _Said(asked.intersection(span), judged)


def _between(start_ms: int | None, end_ms: int | None) -> TimeRange | None:
    """None: one of them is. Raises InvalidInput."""
    if start_ms is None or end_ms is None:
        return None
    if end_ms <= start_ms:
        raise InvalidInput("end", f"the end {end_ms} is not after the start {start_ms}: choose a later end")
    return TimeRange(start_ms, end_ms)


def _in_bars(days: Sequence[TimeRange], level: BarInterval) -> list[TimeRange]:
    """The days of each bar of the level."""
    found = []
    for some in days:
        whole = whole_bars(level, some)
        for open_ms in level.grid.times(whole.start_ms, whole.end_ms):
            one = some.intersection(TimeRange(open_ms, level.grid.next(open_ms)))
            found += [] if one is None else [one]
    return found


def _columns(
    known: SeriesCoverage,
    level: BarInterval,
    span: TimeRange,
    said: _Said,
    sums: Sequence[BarSum],
    lacking: Sequence[TimeRange],
) -> bar_answers.Bars:
    times = level.grid.times(span.start_ms, span.end_ms)
    by_time = {one.time: one for one in sums}
    unready = set[int]()
    for days in lacking:
        first_ms = max(level.grid.floor(days.start_ms), span.start_ms)
        unready.update(level.grid.times(first_ms, min(days.end_ms, span.end_ms)))
    found = [None if time_ms in unready else by_time.get(time_ms) for time_ms in times]
    n = [
        None if time_ms in unready else 0 if one is None else one.records
        for time_ms, one in zip(times, found, strict=True)
    ]
    parts = list(parts_of(said.runs, [*times, span.end_ms]))
    rule, phase_ms = rule_of(known.series), known.grid_ms
    return bar_answers.Bars(
        symbol=known.series.symbol,
        type=type_of(known.series),
        interval=level.text,
        step_ms=level.grid.length_ms,
        **range_fields(span),
        asked_start_ms=None if said.asked is None else said.asked.start_ms,
        asked_end_ms=None if said.asked is None else said.asked.end_ms,
        computing=len(unready),
        time=list(times),
        open=[None if one is None else one.open for one in found],
        high=[None if one is None else one.high for one in found],
        low=[None if one is None else one.low for one in found],
        close=[None if one is None else one.close for one in found],
        volume=[None if one is None else float(one.volume) for one in found],
        n=n,
        expected=[
            _steps(rule, phase_ms, some) if isinstance(rule, Grid) else _told(some, records)
            for some, records in zip(parts, n, strict=True)
        ],
        verdict=[worst(one.verdict for one in some).value for some in parts],
    )


def _steps(rule: Grid, phase_ms: int | None, parts: Sequence[VerdictRun]) -> int:
    """How many records the grid has in the parts of a bar, but where none can be."""
    return sum(len(rule.times(one.start_ms, one.end_ms, phase_ms)) for one in parts if one.verdict not in _NO_RECORDS)


def _told(parts: Sequence[VerdictRun], records: int | None) -> int | None:
    """All that are there, if all are."""
    return records if all(one.verdict in _NO_RECORDS | {Verdict.STORED} for one in parts) else None
