"""Consecutive ids: what runs of stored ids say of a range of time, compared with a look at every record."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from streamforge_utils.model.completeness import Sequence
from streamforge_utils.model.completeness.rule import Bounds, Run
from streamforge_utils.model.completeness.sequence import meets
from streamforge_utils.model.coverage import Segment, Verdict
from streamforge_utils.model.errors import RetryableError
from streamforge_utils.model.kinds.paging import ById, Page
from streamforge_utils.model.timeranges import TimeRange
from tests.doubles.ticks import NOW, SERIES, START, TickExchange, page_of, ticks_of_a_market

RULE = Sequence()


@st.composite
def markets(draw: st.DrawFn) -> tuple[list[int], list[str | None]]:
    """The times of consecutive records, and the collection in which each is stored, if it is."""
    steps = draw(st.lists(st.sampled_from([0, 0, 1, 2, 7]), min_size=1, max_size=25))
    times, at = [], draw(st.integers(0, 3))
    for step in steps:
        at += step
        times.append(at)
    held = draw(st.lists(st.sampled_from(["a", "a", "b", None]), min_size=len(times), max_size=len(times)))
    return times, held


def runs_of(times: list[int], held: list[str | None], first_id: int) -> list[Run]:
    runs: list[Run] = []
    for number, (time, where) in enumerate(zip(times, held, strict=True), first_id):
        if runs and runs[-1].collection == where:
            last = runs.pop()
            runs.append(Run(last.first, number, where, last.first_ms, time if where else 0))
        else:
            runs.append(Run(number, number, where, time if where else 0, time if where else 0))
    return runs


@given(markets(), st.integers(0, 1000), st.integers(1, 5))
def test_segments_cover_the_range_and_say_only_what_is_true(
    market: tuple[list[int], list[str | None]], first_id: int, more: int
) -> None:
    times, held = market
    span = TimeRange(0, times[-1] + more)
    found = RULE.survey(span, runs_of(times, held, first_id), None)
    # Without a gap, in time and in ids.
    assert (found[0].start_ms, found[-1].end_ms) == (span.start_ms, span.end_ms)
    assert all(left.end_ms == right.start_ms for left, right in pairwise(found))
    assert all(segment.start_ms < segment.end_ms for segment in found)
    assert (found[0].first_id, found[-1].last_id) == (first_id, first_id + len(times) - 1)
    assert all((left.last_id or 0) + 1 == right.first_id for left, right in pairwise(found))
    records = dict(enumerate(zip(times, held, strict=True), first_id))
    for segment in found:
        ids = RULE.expected(segment, None)
        assert ids is not None
        if segment.verdict is Verdict.STORED:
            assert segment.records == len(ids)
            assert {records[number][1] for number in ids} == {segment.collection}
            continue
        # Each record that lacks is loaded with the hole, a millisecond beyond both ends.
        lacking = [records[number][0] for number in ids if records[number][1] is None]
        assert lacking or len({records[number][1] for number in ids}) > 1  # two collections with the same millisecond
        assert all(segment.start_ms - 1 <= time <= segment.end_ms for time in lacking)


@given(markets())
def test_where_all_is_stored_in_one_place_there_is_one_segment(market: tuple[list[int], list[str | None]]) -> None:
    times, _ = market
    (segment,) = RULE.survey(TimeRange(0, times[-1] + 1), runs_of(times, ["a"] * len(times), 7), None)
    assert (segment.verdict, segment.records) == (Verdict.STORED, len(times))


def stored(start: int, end: int, first: int | None, last: int | None, collection: str = "a") -> Segment:
    return Segment(
        start_ms=start, end_ms=end, verdict=Verdict.STORED, collection=collection, first_id=first, last_id=last
    )


def test_neighbours_must_meet_by_their_ids() -> None:
    together = [stored(0, 10, 1, 5), stored(10, 20, 6, 9, "b")]
    assert meets(*together)
    assert RULE.whole(together, None) == together
    apart = [stored(0, 10, 1, 5), stored(10, 20, 8, 9, "b")]
    assert not meets(*apart)
    hole = Segment(start_ms=10, end_ms=11, verdict=Verdict.UNKNOWN, first_id=6, last_id=7)
    assert RULE.whole(apart, None) == [apart[0], hole, stored(11, 20, 8, 9, "b")]
    untold = [stored(0, 10, 1, None), stored(10, 20, 8, 9, "b")]
    assert RULE.whole(untold, None) == untold


def test_a_time_without_a_record_between_stored_ones_is_judged_by_their_ids() -> None:
    silence = Segment(start_ms=10, end_ms=20, verdict=Verdict.EXCHANGE)
    before, meeting, later = stored(0, 10, 1, 5), stored(20, 30, 6, 9, "b"), stored(20, 30, 8, 9, "b")
    assert RULE.whole([before, silence, meeting], None) == [stored(0, 20, 1, 5), meeting]
    hole = Segment(start_ms=10, end_ms=20, verdict=Verdict.UNKNOWN, first_id=6, last_id=7)
    assert RULE.whole([before, silence, later], None) == [before, hole, later]
    asked = Segment(start_ms=10, end_ms=20, verdict=Verdict.EXCHANGE, first_id=6, last_id=7)
    unknown = Segment(start_ms=30, end_ms=40, verdict=Verdict.UNKNOWN)
    untold = stored(20, 30, None, 9)
    for kept in ([before, asked, later], [before, silence, unknown], [silence, later], [before, silence, untold]):
        assert RULE.whole(kept, None) == kept


@given(st.integers(0, 10**12 - 2000), st.integers(1, 2000), st.integers(1, 1000))
def test_a_hole_is_asked_for_by_requests_that_begin_at_different_ids(first_id: int, count: int, most: int) -> None:
    hole = Segment(start_ms=0, end_ms=1, verdict=Verdict.UNKNOWN, first_id=first_id, last_id=first_id + count - 1)
    wanted: list[int] = []
    for part, questions in RULE.questions(hole, None, most):
        wanted += part
        starts = set()
        for question in questions:
            assert isinstance(question, ById)
            assert question.limit is not None
            asked = range(question.first_id, question.first_id + question.limit)
            assert part[0] in asked
            assert part[-1] in asked
            assert question.limit <= min(most, 901)
            starts.add(question.first_id)
        assert len(starts) == (2 if part[0] and most > 1 else 1)
    assert wanted == list(range(first_id, first_id + count))


def test_one_record_that_the_exchange_has_makes_the_hole_ours() -> None:
    hole = Segment(start_ms=0, end_ms=1, verdict=Verdict.UNKNOWN, first_id=5, last_id=7)
    assert [s.verdict for s in RULE.answered(hole, {4, 8}, None)] == [Verdict.EXCHANGE], "its neighbours are there"
    (ours,) = RULE.answered(hole, {4, 6}, None)
    assert (ours.verdict, ours.first_id, ours.last_id) == (Verdict.OURS, 5, 7)


@given(market=ticks_of_a_market(), start=st.integers(-2, 30_000), length=st.integers(1, 30_000))
async def test_the_ids_of_a_range_are_those_of_its_records(
    market: list[tuple[int, int]], start: int, length: int
) -> None:
    span = TimeRange(START + start, START + start + length)
    inside = [tick for tick, time in market if time in span]
    assert list(await RULE.existing(TickExchange(market, now_ms=NOW), SERIES, span, NOW, None)) == inside


async def test_an_answer_that_leaves_out_the_first_record_is_not_believed() -> None:
    market = [(5, START), (6, START + 1), (7, START + 2)]
    there = TickExchange(market, now_ms=NOW, lie=lambda number, page: page_of([market[1]]) if number == 0 else page)
    assert await RULE.existing(there, SERIES, TimeRange(START, START + 2), NOW, None) == range(5, 7)


@pytest.mark.parametrize("lies", [1, 2, 3])
async def test_an_empty_answer_is_not_believed_where_a_later_record_is_known(lies: int) -> None:
    """Or the newest id would be the end of any range."""
    market = [(number, START + number) for number in range(100)]
    empty = Page((), (), (), ())
    there = TickExchange(market, now_ms=NOW, lie=lambda number, page: empty if number < lies else page)
    assert await RULE.existing(there, SERIES, TimeRange(START, START + 50), NOW, None) == range(50)


async def test_who_contradicts_itself_again_and_again_is_given_up() -> None:
    there = TickExchange(
        [(5, START)], now_ms=NOW, lie=lambda number, page: page_of([(n - number, START + 9) for n in (99, 100)])
    )
    with pytest.raises(RetryableError, match="contradicted itself 5 times about which records a range has"):
        await RULE.existing(there, SERIES, TimeRange(START, START + 2), NOW, None)


@pytest.mark.parametrize(("trading", "lies"), [(True, 2), (False, 3)])  # three: a whole round
async def test_a_series_begins_and_ends_where_two_answers_say_so(trading: bool, lies: int) -> None:
    market = [(5, START), (6, START + 1), (9, START + 7)]
    found = await RULE.bounds(TickExchange(market, now_ms=NOW), SERIES, NOW, trading=trading)
    floor = "the exchange gives no record before id 5"
    assert found == Bounds(START, None if trading else START + 7, floor, 5)
    empty = Page((), (), (), ())
    once = TickExchange(market, now_ms=NOW, lie=lambda number, page: empty if number < lies else page)
    assert await RULE.bounds(once, SERIES, NOW, trading=True) == Bounds(START, floor=floor, floor_id=5)
    for first in (0, 1):
        whole = TickExchange([(first, START), (first + 1, START)], now_ms=NOW)
        assert await RULE.bounds(whole, SERIES, NOW, trading=True) == Bounds(START)
    assert await RULE.bounds(TickExchange([], now_ms=NOW), SERIES, NOW, trading=True) is None


def test_an_answer_counts_for_exactly_the_hole_that_was_asked_for() -> None:
    hole = Segment(start_ms=10, end_ms=20, verdict=Verdict.UNKNOWN, first_id=6, last_id=7)
    answer = replace(hole, verdict=Verdict.EXCHANGE)
    longer = replace(hole, end_ms=30, last_id=9)
    assert RULE.with_answers([stored(0, 10, 1, 5), hole], [answer]) == [stored(0, 10, 1, 5), answer]
    assert RULE.with_answers([longer], [answer]) == [longer]


def test_only_the_records_tell_when_an_id_happened() -> None:
    assert (RULE.position_at(START), RULE.time_at(5), RULE.shown(5)) == (None, None, "id 5")
