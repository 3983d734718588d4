"""Symbols that only the archive has: its files answer where the exchange does not know the symbol."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from streamforge.manager.catalogue.archived_symbols import ARCHIVED, ArchiveSilent, WithArchived
from streamforge.manager.workflows.history.planner import prepare
from streamforge.manager.workflows.series.questions import ask_again
from streamforge_utils.model.coverage import Verdict, verdict_of
from streamforge_utils.model.errors import InvalidInput, PermanentError, RetryableError
from streamforge_utils.model.kinds.candles import Interval
from streamforge_utils.model.kinds.paging import ById, ByTime, Page, Question
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange, parse_time_range
from streamforge_utils.ports.archive import FileRefused
from streamforge_utils.ports.exchange import SymbolInfo
from tests.doubles.candles import candle, page_of
from tests.doubles.memoryarchive import MemoryArchive, published, with_files
from tests.doubles.scriptedexchange import ScriptedExchange
from tests.manager.support import DAY_MS, DAY_START, HOUR_MS, NOW

GONE = Series("GONEUSDT", "candles", "1h")
HOLE_MS = DAY_START + 30 * HOUR_MS
OPENS = [time_ms for time_ms in range(DAY_START + 6 * HOUR_MS, DAY_START + 60 * HOUR_MS, HOUR_MS) if time_ms != HOLE_MS]
"""Three days, from 06:00 of the first to 12:00 of the last; an hour of the second lacks."""


class Unlisting(ScriptedExchange):
    """Lists BTCUSDT alone."""

    async def symbol_info(self, symbol: str) -> SymbolInfo:
        self._check()
        if symbol != "BTCUSDT":
            raise InvalidInput("symbol", f"{symbol} is not listed")
        return await super().symbol_info(symbol)

    async def page(self, series: Series, question: Question) -> Page:
        await self.symbol_info(series.symbol)
        raise AssertionError("the tests are about another symbol")


@pytest.fixture(autouse=True)
def _files() -> Iterator[None]:
    with with_files(GONE):
        yield


def both() -> tuple[WithArchived, MemoryArchive]:
    def content(series: Series, span: TimeRange) -> Page:
        return page_of([candle(one, interval=Interval.H1, symbol=series.symbol) for one in OPENS if one in span])

    files = [published(text, symbol="GONEUSDT") for text in ("2024-08", *(f"2024-08-0{day}" for day in (1, 2, 3)))]
    archive = MemoryArchive(files[1:], content)
    return WithArchived(Unlisting(Interval.H1, (), now_ms=NOW), archive), archive


async def test_a_plan_loads_what_files_have_and_what_lies_beyond_the_first_and_last_record_is_closed() -> None:
    exchange, archive = both()
    span = TimeRange(DAY_START, DAY_START + 4 * DAY_MS)
    plan = await prepare(exchange, GONE, span, (), exchange_now_ms=NOW, again=False, archive=archive)
    assert (plan.archived, plan.first_ms, plan.last_ms) == (True, OPENS[0], OPENS[-1])
    assert [(part.source, part.span) for part in plan.parts] == [
        ("archive", TimeRange(OPENS[0], OPENS[-1] + HOUR_MS))
    ], "no request is planned, though few would do"
    assert {one.verdict for one in plan.settled} == {Verdict.CLOSED}
    archive.published.pop(1)
    plan = await prepare(exchange, GONE, span, (), exchange_now_ms=NOW, again=False, archive=archive)
    (unknown,) = (one for one in plan.settled if one.verdict is Verdict.UNKNOWN)
    assert unknown.cause == "only the archive has the symbol: no file of 2024-08-02"


async def test_a_hole_is_the_exchanges_where_its_file_has_no_such_record_and_ours_where_it_has() -> None:
    exchange, archive = both()
    hole = verdict_of(TimeRange(HOLE_MS - HOUR_MS, HOLE_MS + HOUR_MS), Verdict.UNKNOWN)
    for refused in ({}, {"GONEUSDT-2024-08.zip": "its checksum is wrong"}):
        archive.refused = refused
        assert [(one.verdict, one.start_ms) for one in await ask_again(exchange, GONE, hole, None)] == [
            (Verdict.OURS, HOLE_MS - HOUR_MS),
            (Verdict.EXCHANGE, HOLE_MS),
        ]
        archive.published.insert(0, published("2024-08", symbol="GONEUSDT"))  # the days take its place
    archive.refused = {}
    later = ByTime(TimeRange(NOW - HOUR_MS, NOW))
    assert not await exchange.page(GONE, later)
    first = await exchange.page(GONE, ByTime(TimeRange(0, NOW), limit=2))
    last = await exchange.page(GONE, ByTime(TimeRange(0, NOW), limit=2, newest=True))
    assert ([*first.positions], [*last.positions]) == (OPENS[:2], OPENS[-2:])


async def test_a_hole_of_many_files_is_looked_for_in_all_of_them() -> None:
    exchange, archive = both()
    whole = TimeRange(OPENS[0], OPENS[-1] + HOUR_MS)
    for month in ([], [published("2024-08", symbol="GONEUSDT")]):
        archive.published = [*month, *archive.published]
        archive.refused = {"GONEUSDT-2024-08.zip": "its checksum is wrong"}
        answers = await ask_again(exchange, GONE, verdict_of(whole, Verdict.UNKNOWN), None)
        assert [one.span for one in answers if one.verdict is Verdict.EXCHANGE] == [
            TimeRange(HOLE_MS, HOLE_MS + HOUR_MS)
        ]
    for newest in (False, True):
        page = await exchange.page(GONE, ByTime(whole, limit=20, newest=newest))
        assert [*page.positions] == (OPENS[-20:] if newest else OPENS[:20])


@pytest.mark.parametrize("days", [(), (1, 3)])
async def test_what_a_refused_month_had_and_no_day_has_is_no_answer(days: tuple[int, ...]) -> None:
    exchange, archive = both()
    archive.published = [published(text, symbol="GONEUSDT") for text in ("2024-08", *(f"2024-08-0{n}" for n in days))]
    archive.refused = {"GONEUSDT-2024-08.zip": "its checksum is wrong"}
    lacking = TimeRange(DAY_START + DAY_MS, DAY_START + 2 * DAY_MS)
    with pytest.raises(FileRefused, match=r"2024-08\.zip: its checksum is wrong"):
        await exchange.page(GONE, ByTime(lacking))
    with pytest.raises(PermanentError, match=r"the hole 2024-08-02.* its checksum is wrong"):
        await ask_again(exchange, GONE, verdict_of(lacking, Verdict.UNKNOWN), None)
    if days:
        assert [*(await exchange.page(GONE, ByTime(TimeRange(0, NOW), limit=2))).positions] == OPENS[:2]


@pytest.mark.parametrize("days", [(), (1, 2, 3)])
async def test_a_refused_file_at_an_edge_narrows_no_plan(days: tuple[int, ...]) -> None:
    exchange, archive = both()
    archive.published = [published(text, symbol="GONEUSDT") for text in ("2024-07", *(f"2024-08-0{n}" for n in days))]
    archive.refused = {"GONEUSDT-2024-07.zip": "its checksum is wrong"}
    july, end_ms = parse_time_range("2024-07"), DAY_START + len(days) * DAY_MS
    span = TimeRange(july.start_ms - DAY_MS, end_ms + DAY_MS)
    plan = await prepare(exchange, GONE, span, (), exchange_now_ms=NOW, again=False, archive=archive)
    assert [(part.source, part.span) for part in plan.parts] == [("archive", TimeRange(july.start_ms, end_ms))]
    assert [(one.verdict, one.span) for one in plan.settled] == [
        (Verdict.CLOSED, TimeRange(span.start_ms, july.start_ms)),
        (Verdict.CLOSED, TimeRange(end_ms, span.end_ms)),
    ]
    three = Series("GONEUSDT", "candles", "3d")
    with pytest.raises(FileRefused, match="its checksum is wrong"):  # nothing else tells where its bars open
        await prepare(exchange, three, span, (), exchange_now_ms=NOW, again=False, archive=archive)


async def test_what_neither_has_is_refused_and_one_wrong_answer_ends_no_series() -> None:
    exchange, archive = both()
    assert (await exchange.symbol_info("GONEUSDT")).status == ARCHIVED
    assert (await exchange.symbol_info("BTCUSDT")).status == "TRADING"
    for symbol, question in (("NONEUSDT", ByTime(parse_time_range("2024-08-01"))), ("GONEUSDT", ById(1))):
        with pytest.raises(InvalidInput, match="is not listed"):
            await exchange.page(Series(symbol, "candles", "1h"), question)
    with pytest.raises(InvalidInput, match="is not listed"):
        await exchange.symbol_info("NONEUSDT")
    archive.failing = RetryableError("no route")
    with pytest.raises(ArchiveSilent, match="GONEUSDT is not known: no route"):
        await exchange.symbol_info("GONEUSDT")
    archive.failing = None
    there = Unlisting(Interval.H1, (), now_ms=NOW)
    there.listed = [SymbolInfo(symbol="GONEUSDT", status="TRADING")]
    with pytest.raises(RetryableError, match="list of all symbols has it"):
        await WithArchived(there, archive).symbol_info("GONEUSDT")
