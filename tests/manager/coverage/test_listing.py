"""Many series in an order: every page of every order compared with all of them sorted at once."""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from streamforge.manager.coverage.listing import CoverageRequest, SeriesOrder
from streamforge_utils.model.coverage import Segment, Verdict
from streamforge_utils.model.series import Series
from streamforge_utils.model.verdict_runs import VerdictRun, figures_of
from tests.manager.memory_service import MemoryService

HOUR_MS, COUNT, HOURS = 3_600_000, 250, 6
START_MS = 1_722_470_400_000
END_MS = START_MS + HOURS * HOUR_MS


@pytest.fixture
async def service() -> MemoryService:
    """Many series of a few hours each, of drawn verdicts."""
    made, draws = await MemoryService.made(), Random(7)
    for number in range(COUNT):
        segments = [
            Segment(
                start_ms=START_MS + at * HOUR_MS,
                end_ms=START_MS + (at + 1) * HOUR_MS,
                verdict=(verdict := draws.choice([Verdict.STORED, Verdict.STORED, Verdict.OURS, Verdict.CLOSED])),
                collection="c" if verdict is Verdict.STORED else None,
            )
            for at in range(HOURS)
        ]
        await made.know(Series(f"C{number * 7919 % COUNT:03d}USDT", "candles", "1h"), segments)
    return made


async def pages(service: MemoryService, order: SeriesOrder, verdicts: frozenset[Verdict]) -> list[tuple[str, float]]:
    """The series of all pages, each with what they are ordered by."""
    listed, cursor = list[tuple[str, float]](), None
    while True:
        asked = CoverageRequest(order=order, verdicts=verdicts, cursor=cursor, limit=30)
        page = await service.coverage_listing.page(asked)
        assert (page.start_ms, page.end_ms) == (START_MS, END_MS)
        for one in page.series:
            figures = figures_of(VerdictRun(start, end, Verdict(verdict)) for start, end, verdict in one.runs)
            assert (one.share, one.hole, one.proven_end_ms) == (
                figures.share,
                figures.hole and (figures.hole.start_ms, figures.hole.end_ms),
                figures.proven_end_ms,
            )
            listed.append((one.symbol, order.number(figures)))
        cursor = page.cursor
        if cursor is None:
            assert page.total == len(listed)
            return listed


@pytest.mark.parametrize("order", SeriesOrder)
@pytest.mark.parametrize("verdicts", [frozenset(), frozenset({Verdict.OURS})])
async def test_the_pages_of_an_order_have_each_series_once(
    service: MemoryService, order: SeriesOrder, verdicts: frozenset[Verdict]
) -> None:
    listed = await pages(service, order, verdicts)
    assert listed == sorted(listed, key=lambda one: (one[1], one[0]), reverse=order is SeriesOrder.SYMBOL_DOWN)
    holes = {s for s, number in await pages(service, SeriesOrder.HOLE, frozenset()) if number > 0}
    everything = {f"C{number:03d}USDT" for number in range(COUNT)}
    assert {symbol for symbol, _ in listed} == (holes if verdicts else everything)
    assert len(listed) == len({symbol for symbol, _ in listed})


async def test_others_go_on_while_many_series_are_looked_at(service: MemoryService) -> None:
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    task = asyncio.create_task(other())
    await service.coverage_listing.page(CoverageRequest(order=SeriesOrder.SHARE, limit=1))
    task.cancel()
    assert turns >= COUNT


async def test_a_series_whose_coverage_is_damaged_is_left_out(service: MemoryService) -> None:
    for number in (0, COUNT - 1):
        service.world.store.damage("series", f"C{number:03d}USDT/candles/1h", b"{")
    left = [f"C{number:03d}USDT" for number in range(1, COUNT - 1)]
    assert [symbol for symbol, _ in await pages(service, SeriesOrder.SYMBOL, frozenset())] == left
    first = await service.series(limit=200)
    second = await service.series(cursor=first.cursor, limit=200)
    assert sorted(one.symbol for page in (first, second) for one in page.series) == left
