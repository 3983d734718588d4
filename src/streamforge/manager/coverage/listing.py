"""Stored series by page: their spans and counts, and the verdicts of many of them as runs."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from enum import StrEnum
from typing import Annotated

import msgspec

from streamforge.manager.bars import answers as bar_answers
from streamforge.manager.coverage import answers as data_answers
from streamforge.manager.coverage.service import Reports
from streamforge.manager.coverage.store import CoverageStore, SeriesCoverage
from streamforge.manager.dependencies import Dependencies
from streamforge.manager.presentation import range_fields
from streamforge.manager.use_cases import lost_cursor
from streamforge_utils.model.coverage import Verdict
from streamforge_utils.model.errors import InvalidInput
from streamforge_utils.model.kinds.registry import series_of, type_of
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.model.verdict_runs import RunFigures, VerdictRun, figures_of, on_bins, runs_of

_A_PAGE = 100
"""Documents that are read and decoded at once; leases and events wait for no more."""
_FIRST_MS, _LAST_MS = -62_135_596_800_000, 253_402_300_800_000
"""The years 1 to 9999."""

Place = tuple[float, str]
"""Where a series is in an order: what it is ordered by, then its symbol and type."""


class SeriesOrder(StrEnum):
    """Of series: by symbol and type, share stored, longest hole, or end of what is stored; `-`: the other way."""

    SYMBOL = "symbol"
    SYMBOL_DOWN = "-symbol"
    SHARE = "share"
    SHARE_DOWN = "-share"
    HOLE = "hole"
    HOLE_DOWN = "-hole"
    PROVEN = "proven"
    PROVEN_DOWN = "-proven"

    @property
    def by_symbol(self) -> bool:
        return self in (SeriesOrder.SYMBOL, SeriesOrder.SYMBOL_DOWN)

    def number(self, figures: RunFigures) -> float:
        """What series are ordered by before their symbols, the least first."""
        share, hole, proven_end_ms = figures
        match self.removeprefix("-"):
            case "share":
                found = 1.0 if share is None else share
            case "hole":
                found = 0 if hole is None else hole.end_ms - hole.start_ms
            case "proven":
                found = _FIRST_MS if proven_end_ms is None else proven_end_ms
            case _:
                found = 0
        return -found if self.startswith("-") else found

    def follows(self, place: Place, last: Place) -> bool:
        return place < last if self is SeriesOrder.SYMBOL_DOWN else place > last


class CoverageRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for. start_ms, end_ms: None takes that of the page before, or of all that is stored of what fits.

    prefix: of the symbol. verdicts: series that have a run of one of them in the range; none of them: all series.
    """

    start_ms: int | None = None
    end_ms: int | None = None
    bins: int = bar_answers.BINS
    prefix: str = ""
    type: str | None = None
    verdicts: frozenset[Verdict] = frozenset()
    order: SeriesOrder = SeriesOrder.SYMBOL
    cursor: str | None = None
    limit: int = bar_answers.SERIES


_Ms = Annotated[int, msgspec.Meta(ge=_FIRST_MS, le=_LAST_MS)]


class _Cursor(msgspec.Struct, frozen=True, array_like=True):
    """The place of the last series of a page, and the range of the first page, which all have."""

    start_ms: _Ms
    end_ms: _Ms
    order: SeriesOrder
    number: float
    name: str

    def text(self) -> str:
        return base64.urlsafe_b64encode(msgspec.json.encode(self)).decode()

    @classmethod
    def read(cls, text: str, order: SeriesOrder) -> _Cursor:
        """Raises InvalidInput."""
        try:
            found = msgspec.json.decode(base64.urlsafe_b64decode(text), type=cls)
        except (ValueError, msgspec.MsgspecError) as error:
            raise lost_cursor(text, "series") from error
        if found.order is not order:
            raise InvalidInput("cursor", f"cursor {text[:80]!r} is not of the order {order}: begin again without one")
        return found


class CoverageListing:
    """Raises RetryableError where the store does not answer."""

    def __init__(self, deps: Dependencies, reports: Reports) -> None:
        self._deps, self._reports = deps, reports

    async def page(self, asked: CoverageRequest) -> bar_answers.CoverageRuns:
        """A page of series with their verdicts. Raises InvalidInput."""
        at = None if asked.cursor is None else _Cursor.read(asked.cursor, asked.order)
        wanted = None if asked.type is None else series_of("ANY", asked.type)
        span = await self._span(asked, at, wanted)
        if span is None:
            return bar_answers.CoverageRuns(
                **dict.fromkeys(("start", "end", "start_ms", "end_ms")), series=[], total=0, cursor=None
            )
        total, found = 0, list[tuple[Place, SeriesCoverage]]()
        async for known in self._all(asked.prefix, wanted):
            place = await self._place(known, span, asked)
            if place is None:
                continue
            total += 1
            if at is None or asked.order.follows(place, (at.number, at.name)):
                found.append((place, known))
            if len(found) > 2 * asked.limit:  # memory does not grow with the number of series
                found = _first(found, asked)
        found = _first(found, asked)
        more, found = len(found) > asked.limit, found[: asked.limit]
        listed = [await self._series_runs(known, span, asked.bins) for _, known in found]
        cursor = _Cursor(span.start_ms, span.end_ms, asked.order, *found[-1][0]).text() if more else None
        return bar_answers.CoverageRuns(**range_fields(span), series=listed, total=total, cursor=cursor)

    async def _span(self, asked: CoverageRequest, at: _Cursor | None, wanted: Series | None) -> TimeRange | None:
        start_ms, end_ms = asked.start_ms, asked.end_ms
        if at is not None:
            start_ms = at.start_ms if start_ms is None else start_ms
            end_ms = at.end_ms if end_ms is None else end_ms
        if start_ms is None or end_ms is None:
            spans = [self._reports.asked(known) async for known in self._all(asked.prefix, wanted)]
            stored = [one for one in spans if one is not None]
            start_ms = min((one.start_ms for one in stored), default=None) if start_ms is None else start_ms
            end_ms = max((one.end_ms for one in stored), default=None) if end_ms is None else end_ms
        if start_ms is None or end_ms is None:
            return None
        if end_ms <= start_ms:
            raise InvalidInput("end", f"the end {end_ms} is not after the start {start_ms}: choose a later end")
        return TimeRange(start_ms, end_ms)

    async def _place(self, known: SeriesCoverage, span: TimeRange, asked: CoverageRequest) -> Place | None:
        """Where the series is in the order; None: it does not fit."""
        name = f"{known.series.symbol} {type_of(known.series)}"
        if asked.order.by_symbol and not asked.verdicts:
            return 0, name
        runs = await self._runs(known, span)
        if asked.verdicts and not any(one.verdict in asked.verdicts for one in runs):
            return None
        return asked.order.number(figures_of(runs)), name

    async def _series_runs(self, known: SeriesCoverage, span: TimeRange, bins: int) -> bar_answers.SeriesRuns:
        runs = await self._runs(known, span)
        share, hole, proven_end_ms = figures_of(runs)
        return bar_answers.SeriesRuns(
            symbol=known.series.symbol,
            type=type_of(known.series),
            runs=[(one.start_ms, one.end_ms, one.verdict.value) for one in on_bins(runs, span, bins)],
            share=share,
            hole=None if hole is None else (hole.start_ms, hole.end_ms),
            proven_end_ms=proven_end_ms,
        )

    async def _runs(self, known: SeriesCoverage, span: TimeRange) -> list[VerdictRun]:
        await asyncio.sleep(0)  # leases and events do not wait for a list
        return runs_of(self._reports.of_span(known, span))

    async def _all(self, prefix: str, wanted: Series | None) -> AsyncIterator[SeriesCoverage]:
        """The series whose symbol begins so, of the kind and interval of `wanted`."""
        after: str | None = None
        while True:
            page = await self._deps.coverage.page(after=after, limit=_A_PAGE)
            for known in (one for _, one in page if one is not None):
                fits = wanted is None or (known.series.kind, known.series.interval) == (wanted.kind, wanted.interval)
                if fits and known.series.symbol.startswith(prefix):
                    yield known
            if len(page) < _A_PAGE:
                return
            after = page[-1][0]


def _first(found: list[tuple[Place, SeriesCoverage]], asked: CoverageRequest) -> list[tuple[Place, SeriesCoverage]]:
    """Those of the next page, and one more that tells whether there is another."""
    return sorted(found, key=lambda one: one[0], reverse=asked.order is SeriesOrder.SYMBOL_DOWN)[: asked.limit + 1]


async def series_page(
    coverage: CoverageStore, reports: Reports, *, cursor: str | None, limit: int, prefix: str, type: str | None
) -> data_answers.SeriesPage:
    """The series behind the cursor whose symbol begins with `prefix` and that have the type.

    Raises InvalidInput for a cursor or a type that is none, or RetryableError.
    """
    wanted = None if type is None else series_of("ANY", type)
    found, after, more = list[tuple[str, SeriesCoverage]](), cursor, True
    while more and len(found) <= limit:
        try:
            page = await coverage.page(after=after, limit=limit + 1)
        except InvalidInput as error:
            raise lost_cursor(after or "", "series") from error
        for name, known in page:
            if known is None:
                continue
            fits = wanted is None or (known.series.kind, known.series.interval) == (wanted.kind, wanted.interval)
            if fits and known.series.symbol.startswith(prefix):
                found.append((name, known))
        more = len(page) > limit
        after = page[-1][0] if page else None
    listed = await reports.of_stored([known for _, known in found[:limit]])
    return data_answers.SeriesPage(series=listed, cursor=found[limit - 1][0] if len(found) > limit else None)
