from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from streamforge.manager.persistence.coverage_store import KIND, CoverageStore, Leftover, SeriesCoverage
from streamforge.manager.persistence.workflow_store import OutOfDate
from streamforge.manager.workflow import Part, Plan
from streamforge_utils.model.coverage import Segment, Verdict, lacking
from streamforge_utils.model.errors import ConflictError
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.ports.store import State
from tests.doubles.memorystore import MemoryStore
from tests.manager.support import rest

replace = msgspec.structs.replace
SERIES = Series("BTCUSDT", "candles", "1m")


MINUTE_MS = 60_000
DAY = 1440
"""Minutes."""


def span(start: float, end: float) -> TimeRange:
    """In minutes since 1970."""
    return TimeRange(int(start * MINUTE_MS), int(end * MINUTE_MS))


def segment(start: float, end: float, verdict: Verdict = Verdict.STORED, collection: str | None = "c") -> Segment:
    there = span(start, end)
    return Segment(start_ms=there.start_ms, end_ms=there.end_ms, verdict=verdict, collection=collection)


def minutes(one: Segment | Leftover) -> tuple[int, int]:
    return one.start_ms // MINUTE_MS, one.end_ms // MINUTE_MS


async def test_what_is_learnt_later_counts() -> None:
    coverage = CoverageStore(MemoryStore())
    assert await coverage.of(SERIES) == ()
    await coverage.lay_over(SERIES, [segment(0, 10, Verdict.CLOSED, None)])
    await coverage.lay_over(SERIES, [segment(2, 4)])
    assert [(*minutes(s), s.verdict.value) for s in await coverage.of(SERIES)] == [
        (0, 2, "closed"),
        (2, 4, "stored"),
        (4, 10, "closed"),
    ]
    assert await coverage.of(Series("BTCUSDT", "candles", "1M")) == (), "a month is no minute"


async def test_what_an_older_version_kept_as_not_over_yet_is_left_to_the_clock() -> None:
    store = MemoryStore()
    older = SeriesCoverage(series=SERIES, segments=(segment(0, 10), segment(10, 20, Verdict.PENDING, None)))
    await store.put(KIND, SERIES.id, msgspec.json.encode(older), expected=None)
    assert await CoverageStore(store).of(SERIES) == (segment(0, 10),)


async def test_parts_of_bars_that_an_older_version_kept_belong_to_the_bar_that_opens_in_them() -> None:
    store = MemoryStore()
    older = SeriesCoverage(
        series=SERIES, segments=(segment(0.5, 1, Verdict.EXCHANGE, None), segment(1, 2.5), segment(2.5, 2.75))
    )
    await store.put(KIND, SERIES.id, msgspec.json.encode(older), expected=None)
    assert await CoverageStore(store).of(SERIES) == (segment(1, 3),)


async def test_what_is_learnt_of_parts_of_bars_is_known_of_the_bars_that_open_in_them() -> None:
    coverage = CoverageStore(MemoryStore())
    await coverage.lay_over(SERIES, [segment(0.25, 0.75, Verdict.EXCHANGE, None)])
    assert await coverage.of(SERIES) == ()
    await coverage.lay_over(SERIES, [segment(0.5, 1.5)])
    assert await coverage.of(SERIES) == (segment(1, 2),)
    await coverage.lay_over(SERIES, [segment(0, 0.5)])
    assert await coverage.of(SERIES) == (segment(0, 2),)
    await coverage.forget(SERIES, "c", span(0.5, 1.5))
    assert await coverage.of(SERIES) == (segment(0, 1),), "of the first bar nothing was removed"


async def test_what_retention_removes_is_expired_until_it_is_asked_for_again() -> None:
    coverage = CoverageStore(MemoryStore())
    await coverage.lay_over(SERIES, [segment(0, 10), segment(10, 20, collection="other")])
    await coverage.forget(SERIES, "c", span(0, 20), whole=True)

    async def known() -> list[tuple[int, int, str, str]]:
        return [(*minutes(s), s.verdict.value, s.cause) for s in await coverage.of(SERIES)]

    assert await known() == [(0, 10, "expired", "retention"), (10, 20, "stored", "")]
    assert lacking(await coverage.of(SERIES), span(0, 20)) == [span(0, 10)], "a request for it loads it again"
    plan = Plan(exchange_now_ms=0, parts=(Part(span=span(5, 10)),))
    await coverage.learn_plan(SERIES, plan, 0)
    assert await known() == [(0, 5, "expired", "retention"), (5, 10, "unknown", ""), (10, 20, "stored", "")]


async def test_many_at_once_lose_nothing() -> None:
    coverage = CoverageStore(MemoryStore())
    await asyncio.gather(*(coverage.lay_over(SERIES, [segment(n, n + 1)]) for n in range(30)))
    assert [minutes(s) for s in await coverage.of(SERIES)] == [(0, 30)]


async def test_what_is_known_already_is_not_written() -> None:
    store = MemoryStore()
    for _ in range(3):
        await CoverageStore(store).lay_over(SERIES, [segment(0, 1)])
    assert len(store.puts) == 1


async def test_forgetting_concerns_one_collection_and_one_range() -> None:
    coverage = CoverageStore(MemoryStore())
    await coverage.lay_over(
        SERIES, [segment(0, 10), segment(10, 20, collection="d"), segment(20, 30, Verdict.EXCHANGE, None)]
    )
    await coverage.forget(SERIES, "c", span(5, 25))
    assert [(*minutes(s), s.collection) for s in await coverage.of(SERIES)] == [
        (0, 5, "c"),
        (10, 20, "d"),
        (20, 30, None),
    ]


async def test_what_is_stored_stays_stored_whatever_else_is_learnt() -> None:
    coverage = CoverageStore(MemoryStore())
    await coverage.lay_over(SERIES, [segment(0, 10)])
    await coverage.learn(SERIES, [segment(5, 15, Verdict.EXCHANGE, None), segment(15, 25, Verdict.OURS, None)])
    assert [(*minutes(s), s.verdict.value, s.collection) for s in await coverage.of(SERIES)] == [
        (0, 10, "stored", "c"),
        (10, 15, "exchange", None),
        (15, 25, "ours", None),
    ]
    await coverage.learn(SERIES, [segment(0, 30, Verdict.CLOSED, None)])
    assert [(minutes(s)[1], s.verdict.value) for s in await coverage.of(SERIES)] == [(10, "stored"), (30, "closed")]


async def leftovers(coverage: CoverageStore) -> list[tuple[str, int, int]]:
    return [(one.collection, *minutes(one)) for one in (await coverage.known(SERIES)).leftovers]


async def test_what_is_forgotten_is_left_over_until_it_is_removed_or_stored_again() -> None:
    coverage = CoverageStore(MemoryStore())
    await coverage.lay_over(SERIES, [segment(0, 100)])
    await coverage.forget(SERIES, "c", span(10, 40))
    await coverage.forget(SERIES, "c", span(40, 50))
    assert await leftovers(coverage) == [("c", 10, 50)]
    await coverage.removed(SERIES, "c", span(20, 30))
    await coverage.removed(SERIES, "d", span(0, 99))
    assert await leftovers(coverage) == [("c", 10, 20), ("c", 30, 50)]
    await coverage.prove(SERIES, [segment(15, 35)], None, 1)
    assert await leftovers(coverage) == [("c", 10, 15), ("c", 35, 50)]
    assert [minutes(s) for s in await coverage.of(SERIES)] == [(0, 10), (15, 35), (50, 100)]


async def test_what_lies_elsewhere_from_now_on_is_left_over_where_it_was() -> None:
    coverage = CoverageStore(MemoryStore())
    await coverage.lay_over(SERIES, [segment(0, 10), segment(10, 20, collection="d"), segment(30, 40)])
    await coverage.prove(SERIES, [segment(5, 15, collection="e"), segment(15, 35, collection="d")], 7, 1)
    assert await leftovers(coverage) == [("c", 5, 10), ("c", 30, 35), ("d", 10, 15)]
    known = await coverage.known(SERIES)
    assert (known.phase_ms, known.verified_ms) == (7, None), "some of it was known, so nobody has counted all of it"
    assert [(*minutes(s), s.collection) for s in known.segments] == [
        (0, 5, "c"),
        (5, 15, "e"),
        (15, 35, "d"),
        (35, 40, "c"),
    ]


async def test_a_series_is_counted_when_it_is_first_proven() -> None:
    coverage = CoverageStore(MemoryStore())
    await coverage.learn(SERIES, [segment(0, 5, Verdict.CLOSED, None)])
    await coverage.prove(SERIES, [segment(5, 15)], None, 1)
    await coverage.prove(SERIES, [segment(15, 25)], None, 2)
    assert (await coverage.known(SERIES)).verified_ms == 1
    await coverage.verified(SERIES, 3)
    assert (await coverage.known(SERIES)).verified_ms == 3
    nobody = Series("NOBODY", "candles", "1m")
    await coverage.verified(nobody, 3)
    assert [known.series async for known in coverage.all()] == [SERIES]


async def test_what_is_left_over_is_cut_where_it_is_removed_and_joined_where_it_meets() -> None:
    coverage = CoverageStore(MemoryStore())
    for start, end, whole in ((0, 10, False), (5, 8, True), (10, 20, False), (30, 40, False), (30, 40, True)):
        await coverage.forget(SERIES, "c", span(start, end), whole=whole)
    await coverage.forget(SERIES, "b", span(15, 25))
    found = [(one.collection, *minutes(one), one.whole) for one in (await coverage.known(SERIES)).leftovers]
    assert found == [
        ("b", 15, 25, False),
        ("c", 0, 20, False),
        ("c", 30, 40, False),
        ("c", 5, 8, True),
        ("c", 30, 40, True),
    ]
    await coverage.removed(SERIES, "c", span(0, 5))
    await coverage.removed(SERIES, "c", span(15, 40))
    assert await leftovers(coverage) == [("b", 15, 25), ("c", 5, 15), ("c", 5, 8)]
    await coverage.removed(SERIES, "c", span(5, 15))
    assert await leftovers(coverage) == [("b", 15, 25)]


async def test_of_many_parts_each_is_left_over_where_it_lay() -> None:
    coverage = CoverageStore(MemoryStore())
    await coverage.lay_over(SERIES, [segment(10 * n, 10 * n + 5, collection=f"c{n}") for n in range(6)])
    await coverage.lay_over(SERIES, [segment(60, 65, collection=None)])
    await coverage.prove(
        SERIES, [segment(0, 10, collection="e"), segment(10, 12, collection="f"), segment(20, 99, collection="e")], 0, 1
    )
    assert await leftovers(coverage) == [
        ("c0", 0, 5),
        ("c1", 10, 12),
        ("c2", 20, 25),
        ("c3", 30, 35),
        ("c4", 40, 45),
        ("c5", 50, 55),
    ]


async def test_every_series_is_known_however_many_there_are() -> None:
    coverage = CoverageStore(MemoryStore())
    every = [Series(f"S{n:03d}USDT", "candles", "1m") for n in range(501)]
    for series in every:
        await coverage.lay_over(series, [segment(0, 10)])
    found = [known.series async for known in coverage.all()]
    assert len(found) == 501
    assert set(found) == set(every)
    names, after = [], None
    while page := await coverage.page(after=after, limit=200):
        assert len(page) <= 200
        names += [known.series.id for _, known in page]
        assert [known.segments for _, known in page] == [(segment(0, 10),)] * len(page)
        after = page[-1][0]
    assert sorted(names) == sorted(series.id for series in every)
    assert len(await coverage.page()) == 500


async def test_others_that_change_it_again_and_again_are_given_way_so_often_and_no_more() -> None:
    store, tries = MemoryStore(), 0

    async def lose(*_: object, **__: object) -> None:
        nonlocal tries
        tries += 1
        raise ConflictError("another was first")

    store.put = lose  # type: ignore[method-assign, assignment]
    with pytest.raises(ConflictError, match=f"coverage of {SERIES.id} was changed by others 50 times in a row"):
        await CoverageStore(store).lay_over(SERIES, [segment(0, 10)])
    assert tries == 50


async def test_what_lies_in_a_collection_is_found_of_all_series_and_of_what_is_to_go_whole() -> None:
    coverage, other = CoverageStore(MemoryStore()), Series("ETHUSDT", "candles", "1m")
    await coverage.lay_over(SERIES, [segment(0, 10), segment(10, 20, Verdict.EXCHANGE, None), segment(20, 30)])
    await coverage.lay_over(SERIES, [segment(30, 40, collection="d"), segment(40, 50, Verdict.OURS, "c")])
    await coverage.lay_over(other, [segment(5, 15), segment(15, 20, collection=None)])
    await coverage.forget(other, "d", span(50, 60), whole=True)
    await coverage.forget(other, "e", span(60, 70))
    found = {name: sorted(places) for name, places in (await coverage.by_collection()).items()}
    assert found == {
        "c": sorted([(SERIES, span(0, 10)), (SERIES, span(20, 30)), (other, span(5, 15))]),
        "d": sorted([(SERIES, span(30, 40)), (other, span(50, 60))]),
    }


def days(found: Sequence[Segment]) -> list[tuple[int, int, str]]:
    """By days since 1970."""
    return [(start // DAY, end // DAY, s.verdict.value) for s in found for start, end in [minutes(s)]]


async def test_a_plan_says_what_is_settled_what_is_asked_for_and_where_the_series_begins_and_ends() -> None:
    coverage = CoverageStore(MemoryStore())
    await coverage.lay_over(SERIES, [segment(2 * DAY, 4 * DAY), segment(4 * DAY, 5 * DAY, Verdict.OURS, None)])
    plan = Plan(
        exchange_now_ms=9 * DAY * MINUTE_MS + 7,
        parts=rest("1970-01-04:1970-01-07", "1970-01-08:1970-01-09"),
        settled=(segment(0, 3 * DAY, Verdict.CLOSED, None),),
        first_ms=DAY * MINUTE_MS,
        last_ms=8 * DAY * MINUTE_MS,
    )
    await coverage.learn_plan(SERIES, plan, 9 * DAY * MINUTE_MS)
    known = await coverage.known(SERIES)
    assert days(known.segments) == [
        (0, 2, "closed"),
        (2, 4, "stored"),
        (4, 5, "ours"),
        (5, 6, "unknown"),
        (7, 8, "unknown"),
    ]
    assert (known.first_ms, known.last_ms, known.clock_ahead_ms) == (DAY * MINUTE_MS, 8 * DAY * MINUTE_MS, 7)
    nothing = Plan(exchange_now_ms=9 * DAY * MINUTE_MS - 5)
    await coverage.learn_plan(SERIES, nothing, 9 * DAY * MINUTE_MS)
    assert await coverage.known(SERIES) == replace(known, clock_ahead_ms=-5), "what was found out stays"


async def test_what_a_removed_workflow_alone_had_asked_for_was_never_asked_for() -> None:
    coverage = CoverageStore(MemoryStore())
    asked = [segment(0, 40, Verdict.UNKNOWN, None), segment(40, 50), segment(50, 60, Verdict.OURS, None)]
    await coverage.lay_over(SERIES, asked)
    await coverage.unask(SERIES, span(10, 55), [span(0, 15), span(20, 25)])
    assert [(*minutes(s), s.verdict.value) for s in await coverage.of(SERIES)] == [
        (0, 15, "unknown"),
        (20, 25, "unknown"),
        (40, 50, "stored"),
        (50, 60, "ours"),
    ]
    await coverage.unask(SERIES, span(0, 60), [])
    assert [s.verdict.value for s in await coverage.of(SERIES)] == ["stored", "ours"]
    await coverage.unask(Series("NOBODY", "candles", "1m"), span(0, 60), [])
    assert [known.series async for known in coverage.all()] == [SERIES]


@pytest.mark.parametrize("before", [(), (segment(40, 50),)], ids=["a document without segments", "stored"])
@pytest.mark.parametrize("span", [span(0, 60), None], ids=["asked", "nothing was asked for"])
async def test_a_change_that_is_late_finds_the_workflow_removed(
    before: Sequence[Segment], span: TimeRange | None
) -> None:
    """Stop, end and removal come between the look at the workflow and the write, and change nothing in the coverage.

    By another manager, as those of one write one after the other.
    """
    store = MemoryStore()
    coverage, another = CoverageStore(store), CoverageStore(store)
    await coverage.lay_over(SERIES, before)
    looks: list[bool] = []

    async def condition() -> None:
        looks.append(True)
        if len(looks) > 1:
            raise OutOfDate
        await another.unask(SERIES, span, [])

    with pytest.raises(OutOfDate):
        await coverage.lay_over(SERIES, [segment(0, 10)], condition=condition)
    assert await coverage.of(SERIES) == before


@pytest.mark.parametrize("known", [{"phase_ms": 4 * DAY * MINUTE_MS}, {"first_ms": 4 * DAY * MINUTE_MS}], ids=str)
async def test_bars_of_three_days_are_kept_whole_on_the_grid_that_is_known(known: dict[str, int]) -> None:
    store, series = MemoryStore(), Series("BTCUSDT", "candles", "3d")
    segments = segment(DAY, 5 * DAY), segment(5 * DAY, 6 * DAY, Verdict.OURS, None)
    older = replace(SeriesCoverage(series=series, segments=segments), **known)
    await store.put(KIND, series.id, msgspec.json.encode(older), expected=None)
    assert await CoverageStore(store).of(series) == (segment(DAY, 7 * DAY),)


async def test_changes_of_a_series_wait_for_each_other_and_do_not_conflict() -> None:
    tried = 0

    class Slow(MemoryStore):
        async def get(self, kind: str, id: str) -> State | None:
            found = await super().get(kind, id)
            await asyncio.sleep(0)
            return found

        async def put(self, *args: Any, **fields: Any) -> State:
            nonlocal tried
            tried += 1
            return await super().put(*args, **fields)

    coverage = CoverageStore(Slow())
    await asyncio.gather(*(coverage.lay_over(SERIES, [segment(n, n + 1)]) for n in range(60)))
    assert await coverage.of(SERIES) == (segment(0, 60),)
    assert tried == 60


async def test_nothing_is_written_of_what_is_out_of_date() -> None:
    coverage = CoverageStore(MemoryStore())

    async def removed() -> None:
        raise OutOfDate("the workflow was removed")

    plan = Plan(exchange_now_ms=0, parts=rest(str(span(0, DAY))))
    with pytest.raises(OutOfDate):
        await coverage.learn_plan(SERIES, plan, 0, condition=removed)
    with pytest.raises(OutOfDate):
        await coverage.prove(SERIES, [segment(0, 10)], None, 0, condition=removed)
    assert await coverage.of(SERIES) == ()
