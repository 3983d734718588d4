from __future__ import annotations

import asyncio

from streamforge.manager.keeping.coverage import Coverage
from streamforge_utils.model.coverage import Segment, Verdict
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange
from tests.doubles.memorystore import MemoryStore

SERIES = Series("BTCUSDT", "candles", "1m")


def segment(start: int, end: int, verdict: Verdict = Verdict.STORED, collection: str | None = "c") -> Segment:
    return Segment(start_ms=start, end_ms=end, verdict=verdict, collection=collection)


async def test_what_is_learnt_later_counts() -> None:
    coverage = Coverage(MemoryStore())
    assert await coverage.of(SERIES) == ()
    await coverage.lay_over(SERIES, [segment(0, 10, Verdict.PENDING, None)])
    await coverage.lay_over(SERIES, [segment(2, 4)])
    assert [(s.start_ms, s.end_ms, s.verdict.value) for s in await coverage.of(SERIES)] == [
        (0, 2, "pending"),
        (2, 4, "stored"),
        (4, 10, "pending"),
    ]
    assert await coverage.of(Series("BTCUSDT", "candles", "1M")) == (), "a month is no minute"


async def test_many_at_once_lose_nothing() -> None:
    coverage = Coverage(MemoryStore())
    await asyncio.gather(*(coverage.lay_over(SERIES, [segment(n, n + 1)]) for n in range(30)))
    assert [(s.start_ms, s.end_ms) for s in await coverage.of(SERIES)] == [(0, 30)]


async def test_what_is_known_already_is_not_written() -> None:
    store = MemoryStore()
    for _ in range(3):
        await Coverage(store).lay_over(SERIES, [segment(0, 1)])
    assert len(store.puts) == 1


async def test_forgetting_concerns_one_collection_and_one_range() -> None:
    coverage = Coverage(MemoryStore())
    await coverage.lay_over(
        SERIES, [segment(0, 10), segment(10, 20, collection="d"), segment(20, 30, Verdict.EXCHANGE, None)]
    )
    await coverage.forget(SERIES, "c", TimeRange(5, 25))
    assert [(s.start_ms, s.end_ms, s.collection) for s in await coverage.of(SERIES)] == [
        (0, 5, "c"),
        (10, 20, "d"),
        (20, 30, None),
    ]


async def test_what_another_collection_holds_stays_stored_whatever_is_learnt() -> None:
    coverage = Coverage(MemoryStore())
    await coverage.lay_over(SERIES, [segment(0, 10, collection="other"), segment(10, 20, collection="mine")])
    learnt = [segment(5, 15, Verdict.EXCHANGE, None), segment(15, 25, Verdict.OURS, None)]
    await coverage.learn(SERIES, learnt, "mine")
    assert [(s.start_ms, s.end_ms, s.verdict.value, s.collection) for s in await coverage.of(SERIES)] == [
        (0, 10, "stored", "other"),
        (10, 15, "exchange", None),
        (15, 25, "ours", None),
    ]
    await coverage.learn(SERIES, [segment(0, 30, Verdict.CLOSED, None)])
    assert [(s.end_ms, s.verdict.value) for s in await coverage.of(SERIES)] == [(10, "stored"), (30, "closed")]
    await coverage.learn(SERIES, [segment(2, 4, collection="mine")], "mine")
    assert [(s.end_ms, s.collection) for s in await coverage.of(SERIES)][:3] == [
        (2, "other"),
        (4, "mine"),
        (10, "other"),
    ]
