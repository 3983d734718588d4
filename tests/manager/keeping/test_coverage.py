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


async def test_what_is_stored_stays_stored_whatever_else_is_learnt() -> None:
    coverage = Coverage(MemoryStore())
    await coverage.lay_over(SERIES, [segment(0, 10)])
    await coverage.learn(SERIES, [segment(5, 15, Verdict.EXCHANGE, None), segment(15, 25, Verdict.OURS, None)])
    assert [(s.start_ms, s.end_ms, s.verdict.value, s.collection) for s in await coverage.of(SERIES)] == [
        (0, 10, "stored", "c"),
        (10, 15, "exchange", None),
        (15, 25, "ours", None),
    ]
    await coverage.learn(SERIES, [segment(0, 30, Verdict.CLOSED, None)])
    assert [(s.end_ms, s.verdict.value) for s in await coverage.of(SERIES)] == [(10, "stored"), (30, "closed")]


async def leftovers(coverage: Coverage) -> list[tuple[str, int, int]]:
    return [(one.collection, one.start_ms, one.end_ms) for one in (await coverage.known(SERIES)).leftovers]


async def test_what_is_forgotten_is_left_over_until_it_is_removed_or_stored_again() -> None:
    coverage = Coverage(MemoryStore())
    await coverage.lay_over(SERIES, [segment(0, 100)])
    await coverage.forget(SERIES, "c", TimeRange(10, 40))
    await coverage.forget(SERIES, "c", TimeRange(40, 50))
    assert await leftovers(coverage) == [("c", 10, 50)]
    await coverage.removed(SERIES, "c", TimeRange(20, 30))
    await coverage.removed(SERIES, "d", TimeRange(0, 99))
    assert await leftovers(coverage) == [("c", 10, 20), ("c", 30, 50)]
    await coverage.prove(SERIES, [segment(15, 35)], None, 1)
    assert await leftovers(coverage) == [("c", 10, 15), ("c", 35, 50)]
    assert [(s.start_ms, s.end_ms) for s in await coverage.of(SERIES)] == [(0, 10), (15, 35), (50, 100)]


async def test_what_lies_elsewhere_from_now_on_is_left_over_where_it_was() -> None:
    coverage = Coverage(MemoryStore())
    await coverage.lay_over(SERIES, [segment(0, 10), segment(10, 20, collection="d"), segment(30, 40)])
    await coverage.prove(SERIES, [segment(5, 15, collection="e"), segment(15, 35, collection="d")], 7, 1)
    assert await leftovers(coverage) == [("c", 5, 10), ("c", 30, 35), ("d", 10, 15)]
    known = await coverage.known(SERIES)
    assert (known.phase_ms, known.verified_ms) == (7, None), "some of it was known, so nobody has counted all of it"
    assert [(s.start_ms, s.end_ms, s.collection) for s in known.segments] == [
        (0, 5, "c"),
        (5, 15, "e"),
        (15, 35, "d"),
        (35, 40, "c"),
    ]


async def test_a_series_is_counted_when_it_is_first_proven() -> None:
    coverage = Coverage(MemoryStore())
    await coverage.learn(SERIES, [segment(0, 5, Verdict.CLOSED, None)])
    await coverage.prove(SERIES, [segment(5, 15)], None, 1)
    await coverage.prove(SERIES, [segment(15, 25)], None, 2)
    assert (await coverage.known(SERIES)).verified_ms == 1
    await coverage.verified(SERIES, 3)
    assert (await coverage.known(SERIES)).verified_ms == 3
    nobody = Series("NOBODY", "candles", "1m")
    await coverage.verified(nobody, 3)
    assert [known.series async for known in coverage.all()] == [SERIES]
