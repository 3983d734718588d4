"""What is known of a series, as it is learnt, changed and forgotten.

In texts: `0-10 c` is stored in the collection `c`, `0-10 ours` has another verdict; minutes since 1970.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import msgspec
import pytest
import structlog

from streamforge.manager.coverage.leftovers import Leftover
from streamforge.manager.coverage.store import KIND, CoverageStore
from streamforge.manager.engine.persistence.workflow_store import OutOfDate
from streamforge.manager.workflows.series.model import Part, Plan
from streamforge_utils.model.coverage import Segment, Verdict, lacking
from streamforge_utils.model.errors import ConflictError, DamagedFile
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.ports.store import State
from tests.doubles.memorystore import MemoryStore
from tests.manager.support import rest

SERIES, NOBODY = Series("BTCUSDT", "candles", "1m"), Series("NOBODY", "candles", "1m")
MINUTE_MS = 60_000
DAY = 1440
"""Minutes."""


@pytest.fixture
def coverage() -> CoverageStore:
    return CoverageStore(MemoryStore())


def span(start: float, end: float) -> TimeRange:
    return TimeRange(int(start * MINUTE_MS), int(end * MINUTE_MS))


def segments(text: str) -> list[Segment]:
    found = []
    for one in filter(None, text.split(", ")):
        within, word = one.split()
        start, end = (int(float(minutes) * MINUTE_MS) for minutes in within.split("-"))
        verdict = Verdict(word) if word in set(Verdict) else Verdict.STORED
        collection = word if verdict is Verdict.STORED and word != "stored" else None
        found.append(Segment(start_ms=start, end_ms=end, verdict=verdict, collection=collection))
    return found


def within(one: Segment | Leftover) -> str:
    return f"{one.start_ms // MINUTE_MS}-{one.end_ms // MINUTE_MS}"


def text(found: Iterable[Segment]) -> str:
    return ", ".join(f"{within(one)} {one.collection or one.verdict.value}" for one in found)


async def known(coverage: CoverageStore, series: Series = SERIES) -> str:
    return text(await coverage.of(series))


async def learn(coverage: CoverageStore, settled: str) -> None:
    """As a plan says it."""
    await coverage.learn_plan(SERIES, Plan(exchange_now_ms=0, settled=tuple(segments(settled))), 0)


async def leftovers(coverage: CoverageStore) -> str:
    found = (await coverage.known(SERIES)).leftovers
    return ", ".join(f"{within(one)} {one.collection}{' whole' * one.whole}" for one in found)


async def test_what_is_learnt_later_counts_but_what_is_stored_stays_where_nothing_was_counted(
    coverage: CoverageStore,
) -> None:
    assert await known(coverage) == ""
    await coverage.lay_over(SERIES, segments("0-10 closed"))
    await coverage.lay_over(SERIES, segments("2-4 c"))
    assert await known(coverage) == "0-2 closed, 2-4 c, 4-10 closed"
    assert await known(coverage, Series("BTCUSDT", "candles", "1M")) == "", "a month is no minute"
    await learn(coverage, "3-15 exchange, 15-25 ours")
    assert await known(coverage) == "0-2 closed, 2-4 c, 4-15 exchange, 15-25 ours"
    await learn(coverage, "0-30 closed")
    assert await known(coverage) == "0-2 closed, 2-4 c, 4-30 closed"


async def test_what_is_learnt_of_parts_of_bars_is_known_of_the_bars_that_open_in_them(coverage: CoverageStore) -> None:
    await coverage.lay_over(SERIES, segments("0.25-0.75 exchange"))
    assert await known(coverage) == ""
    await coverage.lay_over(SERIES, segments("0.5-1.5 c"))
    assert await known(coverage) == "1-2 c"
    await coverage.lay_over(SERIES, segments("0-0.5 c"))
    assert await known(coverage) == "0-2 c"
    await coverage.forget(SERIES, "c", span(0.5, 1.5))
    assert await known(coverage) == "0-1 c", "of the first bar nothing was removed"


async def test_bars_of_three_days_are_kept_whole_on_the_grid_that_a_plan_or_a_proof_has_found() -> None:
    series, grid_ms = Series("BTCUSDT", "candles", "3d"), 4 * DAY * MINUTE_MS
    planned, proven = CoverageStore(MemoryStore()), CoverageStore(MemoryStore())
    learnt = segments(f"{DAY}-{5 * DAY} c, {5 * DAY}-{6 * DAY} ours")
    await planned.learn_plan(series, Plan(exchange_now_ms=0, first_ms=grid_ms), 0)
    await planned.lay_over(series, learnt)
    await proven.prove(series, learnt, grid_ms, 0)
    assert await known(planned, series) == await known(proven, series) == f"{DAY}-{7 * DAY} c"


async def test_what_retention_removes_is_expired_until_it_is_asked_for_again(coverage: CoverageStore) -> None:
    await coverage.lay_over(SERIES, segments("0-10 c, 10-20 other"))
    await coverage.forget(SERIES, "c", span(0, 20), whole=True)
    assert await known(coverage) == "0-10 expired, 10-20 other"
    assert [one.cause for one in await coverage.of(SERIES)] == ["retention", ""]
    assert lacking(await coverage.of(SERIES), span(0, 20)) == [span(0, 10)], "a request for it loads it again"
    await coverage.learn_plan(SERIES, Plan(exchange_now_ms=0, parts=(Part(span=span(5, 10)),)), 0)
    assert await known(coverage) == "0-5 expired, 5-10 unknown, 10-20 other"


async def test_of_what_retention_removes_the_last_id_stays_known(coverage: CoverageStore) -> None:
    series = Series("BTCUSDT", "trades")
    kept = segments("0-10 c, 10-20 d")
    kept = [msgspec.structs.replace(one, last_id=one.end_ms // MINUTE_MS - 1) for one in kept]
    await coverage.lay_over(series, kept)
    await coverage.forget(series, "c", span(0, 20), whole=True)
    assert [one.last_id for one in await coverage.of(series)] == [9, 19]
    await coverage.forget(series, "d", span(0, 15), whole=True)
    assert [one.last_id for one in await coverage.of(series)] == [None, 19], "what was cut is not known"
    await coverage.expire(series, span(10, 30), 25)
    assert [(text([one]), one.last_id) for one in await coverage.of(series)][-1] == ("20-30 expired", 25)


async def test_what_is_known_already_is_not_written() -> None:
    store = MemoryStore()
    for _ in range(3):
        await CoverageStore(store).lay_over(SERIES, segments("0-1 c"))
    assert len(store.puts) == 1


async def test_forgetting_concerns_one_collection_and_one_range(coverage: CoverageStore) -> None:
    await coverage.lay_over(SERIES, segments("0-10 c, 10-20 d, 20-30 exchange"))
    await coverage.forget(SERIES, "c", span(5, 25))
    assert await known(coverage) == "0-5 c, 10-20 d, 20-30 exchange"


async def test_what_is_forgotten_is_left_over_until_it_is_removed_or_stored_again(coverage: CoverageStore) -> None:
    await coverage.lay_over(SERIES, segments("0-100 c"))
    await coverage.forget(SERIES, "c", span(10, 40))
    await coverage.forget(SERIES, "c", span(40, 50))
    assert await leftovers(coverage) == "10-50 c"
    await coverage.removed(SERIES, "c", span(20, 30))
    await coverage.removed(SERIES, "d", span(0, 99))
    assert await leftovers(coverage) == "10-20 c, 30-50 c"
    await coverage.prove(SERIES, segments("15-35 c"), None, 1)
    assert await leftovers(coverage) == "10-15 c, 35-50 c"
    assert await known(coverage) == "0-10 c, 15-35 c, 50-100 c"


async def test_what_lies_elsewhere_from_now_on_is_left_over_where_it_was(coverage: CoverageStore) -> None:
    await coverage.lay_over(SERIES, segments("0-10 c, 10-20 d, 30-40 c, 60-70 stored"))
    await coverage.prove(SERIES, segments("5-15 e, 15-35 d, 60-65 e"), 7, 1)
    assert await leftovers(coverage) == "5-10 c, 30-35 c, 10-15 d"
    found = await coverage.known(SERIES)
    assert (found.phase_ms, found.verified_ms) == (7, None), "some of it was known, so nobody has counted all of it"
    assert text(found.segments) == "0-5 c, 5-15 e, 15-35 d, 35-40 c, 60-65 e, 65-70 stored"
    await coverage.lay_over(SERIES, segments("100-105 c0, 110-115 c1, 120-125 c2, 130-135 c3"))
    await coverage.prove(SERIES, segments("100-110 e, 110-112 f, 120-199 e"), 0, 1)
    assert "100-105 c0, 110-112 c1, 120-125 c2, 130-135 c3" in await leftovers(coverage)


async def test_what_is_left_over_is_cut_where_it_is_removed_and_joined_where_it_meets(coverage: CoverageStore) -> None:
    for start, end, whole in ((0, 10, False), (5, 8, True), (10, 20, False), (30, 40, False), (30, 40, True)):
        await coverage.forget(SERIES, "c", span(start, end), whole=whole)
    await coverage.forget(SERIES, "b", span(15, 25))
    assert await leftovers(coverage) == "15-25 b, 0-20 c, 30-40 c, 5-8 c whole, 30-40 c whole"
    await coverage.removed(SERIES, "c", span(0, 5))
    await coverage.removed(SERIES, "c", span(15, 40))
    assert await leftovers(coverage) == "15-25 b, 5-15 c, 5-8 c whole"
    await coverage.removed(SERIES, "c", span(5, 15))
    assert await leftovers(coverage) == "15-25 b"


async def test_a_series_is_counted_when_it_is_first_proven(coverage: CoverageStore) -> None:
    await learn(coverage, "0-5 closed")
    await coverage.prove(SERIES, segments("5-15 c"), None, 1)
    await coverage.prove(SERIES, segments("15-25 c"), None, 2)
    assert (await coverage.known(SERIES)).verified_ms == 1
    await coverage.verified(SERIES, 3)
    assert (await coverage.known(SERIES)).verified_ms == 3
    await coverage.verified(NOBODY, 3)
    assert [found.series async for found in coverage.all()] == [SERIES]


async def test_every_series_is_known_however_many_there_are(coverage: CoverageStore) -> None:
    every = [Series(f"S{n:03d}USDT", "candles", "1m") for n in range(501)]
    for series in every:
        await coverage.lay_over(series, segments("0-10 c"))
    found = [known.series async for known in coverage.all()]
    assert (len(found), set(found)) == (501, set(every))
    names, after = [], None
    while page := await coverage.page(after=after, limit=200):
        assert len(page) <= 200
        names += [known.series.id for _, known in page if known]
        assert {text(known.segments) for _, known in page if known} == {"0-10 c"}
        after = page[-1][0]
    assert sorted(names) == sorted(series.id for series in every)
    assert len(await coverage.page()) == 500


async def test_what_lies_in_a_collection_is_found_of_all_series_and_of_what_is_to_go_whole(
    coverage: CoverageStore,
) -> None:
    other = Series("ETHUSDT", "candles", "1m")
    await coverage.lay_over(SERIES, segments("0-10 c, 10-20 exchange, 20-30 c, 30-40 d, 40-50 ours"))
    await coverage.lay_over(other, segments("5-15 c, 15-20 stored"))
    await coverage.forget(other, "d", span(50, 60), whole=True)
    await coverage.forget(other, "e", span(60, 70))
    assert {name: sorted(places) for name, places in (await coverage.by_collection()).items()} == {
        "c": sorted([(SERIES, span(0, 10)), (SERIES, span(20, 30)), (other, span(5, 15))]),
        "d": sorted([(SERIES, span(30, 40)), (other, span(50, 60))]),
    }


async def test_a_plan_says_what_is_settled_what_is_asked_for_and_where_the_series_begins_and_ends(
    coverage: CoverageStore,
) -> None:
    first, last, now_ms = DAY * MINUTE_MS, 8 * DAY * MINUTE_MS, 9 * DAY * MINUTE_MS
    await coverage.lay_over(SERIES, segments(f"{2 * DAY}-{4 * DAY} c, {4 * DAY}-{5 * DAY} ours"))
    plan = Plan(
        exchange_now_ms=now_ms + 7,
        parts=rest("1970-01-04:1970-01-07", "1970-01-08:1970-01-09"),
        settled=tuple(segments(f"0-{3 * DAY} closed")),
        first_ms=first,
        last_ms=last,
    )
    await coverage.learn_plan(SERIES, plan, now_ms)
    found = await coverage.known(SERIES)
    days = [(one.start_ms / DAY / MINUTE_MS, one.end_ms / DAY / MINUTE_MS, one.verdict) for one in found.segments]
    assert days == [(0, 2, "closed"), (2, 4, "stored"), (4, 5, "ours"), (5, 6, "unknown"), (7, 8, "unknown")]
    assert (found.first_ms, found.last_ms, found.clock_ahead_ms) == (first, last, 7)
    await coverage.learn_plan(SERIES, Plan(exchange_now_ms=now_ms - 5), now_ms)
    still = msgspec.structs.replace(found, clock_ahead_ms=-5)
    assert await coverage.known(SERIES) == still, "what was found out stays"


async def test_what_a_removed_workflow_alone_had_asked_for_was_never_asked_for(coverage: CoverageStore) -> None:
    await coverage.lay_over(SERIES, segments("0-40 unknown, 40-50 c, 50-60 ours"))
    await coverage.unask(SERIES, span(10, 55), [span(0, 15), span(20, 25)])
    assert await known(coverage) == "0-15 unknown, 20-25 unknown, 40-50 c, 50-60 ours"
    await coverage.unask(SERIES, span(0, 60), [])
    assert await known(coverage) == "40-50 c, 50-60 ours"
    await coverage.unask(NOBODY, span(0, 60), [])
    assert [found.series async for found in coverage.all()] == [SERIES]


@pytest.mark.parametrize("before", ["", "40-50 c"], ids=["a document without segments", "stored"])
@pytest.mark.parametrize("span", [span(0, 60), None], ids=["asked", "nothing was asked for"])
async def test_a_change_that_is_late_finds_the_workflow_removed(before: str, span: TimeRange | None) -> None:
    """Stop, end and removal come between the look at the workflow and the write, and change nothing in the coverage.

    By another manager, as those of one write one after the other.
    """
    store = MemoryStore()
    coverage, another = CoverageStore(store), CoverageStore(store)
    await coverage.lay_over(SERIES, segments(before))
    looks: list[bool] = []

    async def condition() -> None:
        looks.append(True)
        if len(looks) > 1:
            raise OutOfDate
        await another.unask(SERIES, span, [])

    with pytest.raises(OutOfDate):
        await coverage.lay_over(SERIES, segments("0-10 c"), condition=condition)
    assert await known(coverage) == before


async def test_nothing_is_written_of_what_is_out_of_date(coverage: CoverageStore) -> None:
    async def removed() -> None:
        raise OutOfDate("the workflow was removed")

    plan = Plan(exchange_now_ms=0, parts=rest(str(span(0, DAY))))
    with pytest.raises(OutOfDate):
        await coverage.learn_plan(SERIES, plan, 0, condition=removed)
    with pytest.raises(OutOfDate):
        await coverage.prove(SERIES, segments("0-10 c"), None, 0, condition=removed)
    assert await known(coverage) == ""


async def test_many_changes_at_once_lose_nothing_and_wait_for_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    tried, store = 0, MemoryStore()
    put = store.put

    async def counted(*args: Any, **fields: Any) -> State:
        nonlocal tried
        tried += 1
        return await put(*args, **fields)

    monkeypatch.setattr(store, "put", counted)
    coverage = CoverageStore(store)
    await asyncio.gather(*(coverage.lay_over(SERIES, segments(f"{n}-{n + 1} c")) for n in range(60)))
    assert (await known(coverage), tried) == ("0-60 c", 60), "no change conflicts with another"


async def test_others_that_change_it_again_and_again_are_given_way_so_often_and_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store, tries = MemoryStore(), 0

    async def lose(*_: object, **__: object) -> None:
        nonlocal tries
        tries += 1
        raise ConflictError("another was first")

    monkeypatch.setattr(store, "put", lose)
    with pytest.raises(ConflictError, match=f"coverage of {SERIES.id} was changed by others 50 times in a row"):
        await CoverageStore(store).lay_over(SERIES, segments("0-10 c"))
    assert tries == 50


async def test_what_retention_removes_beside_a_collection_is_expired_and_the_collection_is_kept_in_mind(
    coverage: CoverageStore,
) -> None:
    await coverage.lay_over(SERIES, segments("0-10 c, 10-20 lost"))
    await coverage.expire(SERIES, span(5, 25), 9)
    found = [(within(one), one.verdict.value, one.collection, one.cause) for one in await coverage.of(SERIES)]
    assert found == [
        ("0-5", "stored", "c", ""),
        ("5-10", "expired", "c", "retention"),
        ("10-20", "lost", None, ""),
        ("20-25", "expired", None, "retention"),
    ]
    assert await coverage.by_collection() == {"c": [(SERIES, span(0, 5)), (SERIES, span(5, 10))]}
    await coverage.forget(SERIES, "c", span(0, 5), whole=True)
    await coverage.forget(SERIES, "c", span(5, 10), whole=True)
    assert await known(coverage) == "0-10 expired, 10-20 lost, 20-25 expired"


@pytest.mark.parametrize("body", [b'{"series":', b'{"series":{"symbol":"\xff"}}', b'{"segments":[{"verdict":"new"}]}'])
async def test_damaged_coverage_hurts_its_own_series_alone_and_is_named(body: bytes) -> None:
    store = MemoryStore()
    coverage, other = CoverageStore(store), Series("ETHUSDT", "candles", "1m")
    for series in (SERIES, other):
        await coverage.lay_over(series, segments(f"0-10 {series.symbol.lower()}"))
    whole = store.states[KIND, SERIES.id].body
    store.damage(KIND, SERIES.id, body)
    with structlog.testing.capture_logs() as logs:
        for asked in (coverage.known(SERIES), coverage.lay_over(SERIES, segments("0-5 c"))):
            with pytest.raises(DamagedFile, match=f"{SERIES.id} cannot be read.*restore"):
                await asked
        assert [found.series async for found in coverage.all()] == [other]
        assert [(id, known and known.series) for id, known in await coverage.page()] == [
            (other.id, other),
            (SERIES.id, None),
        ]
        assert await coverage.is_stored(SERIES.id), "it may be"
    assert list(coverage.unreadable) == [SERIES.id]
    assert [(log["log_level"], log["series"]) for log in logs] == [("error", SERIES.id)], "once"
    store.damage(KIND, SERIES.id, whole)
    assert (await known(coverage), coverage.unreadable) == ("0-10 btcusdt", {})
    store.damage(KIND, SERIES.id, body)
    assert await coverage.is_stored(SERIES.id)
    del store.states[KIND, SERIES.id]
    assert [found.series async for found in coverage.all()] == [other]
    assert coverage.unreadable == {}, "a store without it was restored"


async def test_of_many_series_all_that_is_known_is_read_and_each_that_is_damaged_is_named() -> None:
    store = MemoryStore()
    coverage, new = CoverageStore(store), Series("NEWUSDT", "candles", "1m")
    others = [Series(f"C{number}USDT", "candles", "1m") for number in range(3)]
    for series in (SERIES, *others):
        await coverage.lay_over(series, segments(f"0-10 {series.symbol.lower()}"))
    found = await coverage.known_of([SERIES, new, *others])
    assert found == {one: await coverage.known(one) for one in (SERIES, new, *others)}
    assert found[new].segments == ()
    for one in others[:2]:
        store.damage(KIND, one.id, b"{")
    with pytest.raises(DamagedFile, match=f"{others[0].id} cannot be read"):
        await coverage.known_of([SERIES, *others])
    assert list(coverage.unreadable) == [one.id for one in others[:2]]


async def test_a_collection_that_damaged_coverage_names_is_in_use_for_ever() -> None:
    store = MemoryStore()
    coverage = CoverageStore(store)
    await coverage.lay_over(SERIES, segments("0-10 c"))
    await coverage.lay_over(NOBODY, segments("0-10 d"))
    store.damage(KIND, SERIES.id, store.states[KIND, SERIES.id].body[:-1])
    ((series, whole),) = (found := await coverage.by_collection())["c"]
    assert (series, whole.start_ms, whole.end_ms > 10**15) == (SERIES, 0, True)
    assert found["d"] == [(NOBODY, span(0, 10))]
