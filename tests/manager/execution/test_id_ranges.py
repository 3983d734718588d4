"""Records with consecutive ids: which of them a range of time has, at the exchange and in a collection."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamforge.manager.execution.id_ranges import bounds_at_exchange, count_ids, counted_ids, ids_at_exchange
from streamforge.manager.execution.planner import prepare
from streamforge.manager.execution.proof import ask_again
from streamforge.manager.persistence.coverage_store import SeriesCoverage
from streamforge.manager.persistence.stored_ids import key_range, stored_ids
from streamforge_utils.model.coverage import Segment, Verdict
from streamforge_utils.model.errors import RetryableError
from streamforge_utils.model.kinds.paging import Page
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.ports.store import Document
from tests.doubles.memorystore import MemoryStore
from tests.doubles.ticks import KIND, SERIES, TickExchange, message, page_of, registered

NOW = 1_722_556_800_000
START = NOW - 100_000


@pytest.fixture(autouse=True, scope="module")
def ticks() -> Iterator[None]:
    with registered():
        yield


@st.composite
def markets(draw: st.DrawFn, most: int = 25) -> list[tuple[int, int]]:
    """Ticks, each an id and a time; several may share a time."""
    at, first = START, draw(st.integers(0, 50))
    steps = draw(st.lists(st.sampled_from([0, 0, 1, 3, 1000]), min_size=1, max_size=most))
    found = []
    for number, step in enumerate(steps, first):
        at += step
        found.append((number, at))
    return found


def store_of(ticks: Sequence[tuple[int, int]], collection: str = "c") -> MemoryStore:
    store = MemoryStore()
    put(store, ticks, collection)
    return store


def put(store: MemoryStore, ticks: Sequence[tuple[int, int]], collection: str) -> None:
    there = store.documents.setdefault(collection, {})
    for tick, time in ticks:
        key, version, body = KIND.document(None, message(tick, time))
        there[key] = Document(key, version, body)


@given(market=markets(), start=st.integers(-2, 30_000), length=st.integers(1, 30_000))
async def test_the_ids_of_a_range_are_those_of_its_records(
    market: list[tuple[int, int]], start: int, length: int
) -> None:
    span = TimeRange(START + start, START + start + length)
    inside = [tick for tick, time in market if time in span]
    found = await ids_at_exchange(TickExchange(market, now_ms=NOW), SERIES, span, NOW)
    assert list(found) == inside
    store = store_of(market)
    found = await stored_ids(store, "c", SERIES, span)
    assert [tick for tick, _ in market if tick in found] == inside
    first, last = await key_range(store, "c", SERIES, span)
    assert await store.keys("c", first=first, last=last) == [KIND.key(SERIES, tick) for tick in inside]


async def test_an_answer_that_leaves_out_the_first_record_is_not_believed() -> None:
    market = [(5, START), (6, START + 1), (7, START + 2)]
    there = TickExchange(market, now_ms=NOW, lie=lambda number, page: page_of([market[1]]) if number == 0 else page)
    assert await ids_at_exchange(there, SERIES, TimeRange(START, START + 2), NOW) == range(5, 7)


async def test_who_contradicts_itself_again_and_again_is_given_up() -> None:
    there = TickExchange(
        [(5, START)], now_ms=NOW, lie=lambda number, page: page_of([(n - number, START + 9) for n in (99, 100)])
    )
    with pytest.raises(RetryableError, match="contradicted itself 5 times"):
        await ids_at_exchange(there, SERIES, TimeRange(START, START + 2), NOW)


@pytest.mark.parametrize("trading", [True, False])
async def test_a_series_begins_and_ends_where_two_answers_say_so(trading: bool) -> None:
    market = [(5, START), (6, START + 1), (9, START + 7)]
    found = await bounds_at_exchange(TickExchange(market, now_ms=NOW), SERIES, NOW, trading=trading)
    assert found == (START, None if trading else START + 7)
    empty = Page((), (), (), ())
    once = TickExchange(market, now_ms=NOW, lie=lambda number, page: empty if number < 2 else page)
    assert await bounds_at_exchange(once, SERIES, NOW, trading=True) == (START, None)
    assert await bounds_at_exchange(TickExchange([], now_ms=NOW), SERIES, NOW, trading=True) is None


@given(market=markets(), data=st.data())
async def test_what_is_stored_is_counted_id_by_id(market: list[tuple[int, int]], data: st.DataObject) -> None:
    where = data.draw(st.lists(st.sampled_from(["c", "c", "d", None]), min_size=len(market), max_size=len(market)))
    store = MemoryStore()
    for collection in ("c", "d"):
        put(store, [t for t, w in zip(market, where, strict=True) if w == collection], collection)
    span = TimeRange(START - 5, market[-1][1] + 1)
    ids = range(market[0][0], market[-1][0] + 1)
    held = dict(zip((tick for tick, _ in market), where, strict=True))
    found = await count_ids(store, SERIES, ["c", "d"], span, ids)
    assert (found[0].start_ms, found[-1].end_ms) == (span.start_ms, span.end_ms)
    for segment in found:
        if segment.verdict is Verdict.STORED:
            assert {held[tick] for tick in range(segment.first_id or 0, (segment.last_id or 0) + 1)} == {
                segment.collection
            }
    told = {
        tick: s.verdict for s in found if s.first_id is not None for tick in range(s.first_id, (s.last_id or 0) + 1)
    }
    if any(where):
        assert sorted(told) == list(ids)
    assert all(told.get(tick) is not Verdict.STORED for tick in ids if held[tick] is None)
    # Without the exchange's word nothing is said of what lies before the first and behind the last stored record.
    unasked = await count_ids(store, SERIES, ["c", "d"], span, None)
    assert (unasked[0].start_ms, unasked[-1].end_ms) == (span.start_ms, span.end_ms)
    stored = [s for s in unasked if s.verdict is Verdict.STORED]
    assert all(held[t] == s.collection for s in stored for t in range(s.first_id or 0, (s.last_id or 0) + 1))


@pytest.mark.parametrize("every_key", [True, False])
@given(market=markets(), data=st.data())
async def test_a_stored_segment_is_counted_and_what_it_lacks_is_ours(
    every_key: bool, market: list[tuple[int, int]], data: st.DataObject
) -> None:
    span = TimeRange(START - 5, market[-1][1] + 1)
    whole = Segment(
        start_ms=span.start_ms,
        end_ms=span.end_ms,
        verdict=Verdict.STORED,
        collection="c",
        first_id=market[0][0],
        last_id=market[-1][0],
    )
    known = SeriesCoverage(series=SERIES, segments=(whole,))
    gone = data.draw(st.sets(st.sampled_from(market)))
    store = store_of([tick for tick in market if tick not in gone])
    found = await counted_ids(store, known, span, every_key=every_key)
    assert any(s.verdict is Verdict.OURS for s in found) == bool(gone)
    assert sum(s.records for s in found) <= len(market) - len(gone)
    if not gone:
        assert sum(s.records for s in found) == len(market)
        # A part of it, too: the records at its edges are found by their times.
        cut = data.draw(st.integers(span.start_ms + 1, span.end_ms - 1))
        parts = [TimeRange(span.start_ms, cut), TimeRange(cut, span.end_ms)]
        counts = [sum(s.records for s in await counted_ids(store, known, one, every_key=every_key)) for one in parts]
        assert counts == [sum(time in one for _, time in market) for one in parts]


async def test_a_plan_says_what_there_is_by_time_and_how_much_by_id() -> None:
    market = [(number, START + number * 100) for number in range(100, 200)]
    there = TickExchange(market, now_ms=NOW)
    span = TimeRange(START, START + 15_000)
    plan = await prepare(there, SERIES, span, (), exchange_now_ms=NOW, again=False)
    assert [part.span for part in plan.parts] == [TimeRange(START + 10_000, START + 15_000)]
    assert (plan.bars, plan.expected, plan.there, plan.first_ms, plan.last_ms) == (50, 50, 0, START + 10_000, None)
    assert [(s.start_ms, s.end_ms, s.verdict) for s in plan.settled] == [(START, START + 10_000, Verdict.CLOSED)]
    known = Segment(
        start_ms=START + 10_000,
        end_ms=START + 12_000,
        verdict=Verdict.STORED,
        collection="c",
        records=20,
        first_id=100,
        last_id=119,
    )
    plan = await prepare(there, SERIES, span, (known,), exchange_now_ms=NOW, again=False)
    assert [part.span for part in plan.parts] == [TimeRange(START + 12_000, START + 15_000)]
    assert (plan.bars, plan.expected, plan.there) == (50, 30, 20)


async def test_a_hole_is_asked_for_by_id() -> None:
    market = [(number, START + number) for number in range(20) if number not in (7, 8, 9)]
    there = TickExchange(market, now_ms=NOW)

    def hole(first: int, last: int) -> Segment:
        return Segment(start_ms=START, end_ms=START + 1, verdict=Verdict.UNKNOWN, first_id=first, last_id=last)

    assert [s.verdict for s in await ask_again(there, SERIES, hole(7, 9), None)] == [Verdict.EXCHANGE]
    assert len(there.asked) == 4
    assert [s.verdict for s in await ask_again(there, SERIES, hole(8, 11), None)] == [Verdict.OURS]
    assert [s.verdict for s in await ask_again(there, SERIES, hole(3, 3), None)] == [Verdict.OURS]
