"""What the store holds of a series: where its records lie, and which of those lack that must be there, as segments."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamforge.manager.coverage import record_count
from streamforge.manager.coverage.record_count import (
    counted,
    gone,
    holes_in,
    key_range,
    positions_of,
    stored_positions,
    survey,
    time_of,
)
from streamforge.manager.coverage.store import SeriesCoverage
from streamforge.manager.workflows.series.questions import ask_again
from streamforge_utils.model.coverage import Segment, Verdict, verdict_of
from streamforge_utils.model.kinds.candles import Interval
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange, parse_time_range
from tests.doubles import ticks
from tests.doubles.candles import candle_key
from tests.doubles.memorystore import MemoryStore
from tests.doubles.scriptedexchange import ScriptedExchange
from tests.doubles.ticks import SERIES as TICKS
from tests.doubles.ticks import ticks_of_a_market
from tests.manager.execution.world import SERIES, C, hold, minute, segment, span, stored
from tests.manager.support import DAY_MS, DAY_START, MINUTE_MS, NOW

pytestmark = pytest.mark.usefixtures("ticks")

M1, D3 = Interval.M1, Interval.D3


async def holes(
    times: Iterable[int], span: TimeRange, interval: Interval = M1, phase_ms: int | None = None
) -> list[TimeRange]:
    store, series = MemoryStore(), Series("BTCUSDT", "candles", interval.value)
    hold(store, *times, series=series)
    grid = interval.rule
    return grid.spans(await holes_in(store, C, series, grid.times(span.start_ms, span.end_ms, phase_ms)))


async def test_other_series_in_the_same_collection_do_not_count() -> None:
    store = MemoryStore()
    for interval, symbol in ((Interval.M3, "BTCUSDT"), (M1, "BTCUSDTX"), (M1, "ABTCUSDT")):
        hold(store, DAY_START, series=Series(symbol, "candles", interval.value))
    assert await holes_in(store, C, SERIES, [minute(0)]) == [(minute(0), minute(0))]


@given(st.sets(st.integers(-3, 43)), st.sets(st.integers(0, 40)), st.integers(1, 9))
async def test_holes_are_the_grid_without_what_is_stored(there: set[int], beside: set[int], page: int) -> None:
    before, record_count._POSITIONS_A_PAGE = record_count._POSITIONS_A_PAGE, page
    try:
        found = await holes({*map(minute, there), *(minute(n) + 7 for n in beside)}, span(0, 40))
    finally:
        record_count._POSITIONS_A_PAGE = before
    missing = {n for n in range(40) if any(minute(n) in hole for hole in found)}
    assert missing == set(range(40)) - there
    assert all(a.end_ms < b.start_ms for a, b in pairwise(found)), "joined, sorted"
    assert all((hole.start_ms - DAY_START) % MINUTE_MS == (hole.end_ms - DAY_START) % MINUTE_MS == 0 for hole in found)


async def test_a_year_of_seconds_of_which_little_is_there_costs_next_to_nothing() -> None:
    year = parse_time_range("2024")
    found = await holes([year.start_ms, year.start_ms + 1000, year.start_ms + 3000], year, Interval.S1)
    assert [h.start_ms - year.start_ms for h in found] == [2000, 4000]
    assert found[-1].end_ms == year.end_ms


@pytest.mark.parametrize(
    ("interval", "text", "phase", "gone", "hole"),
    [
        (Interval.MO1, "2024", None, 2, "2024-03-01:2024-04-01"),
        (Interval.W1, "2024-02", None, 1, "2024-02-12:2024-02-19"),
        (Interval.D3, "2024-02", 1_704_153_600_000, 0, "2024-02-01:2024-02-04"),
    ],
)
async def test_long_bars(interval: Interval, text: str, phase: int | None, gone: int, hole: str) -> None:
    wanted = parse_time_range(text)
    opens = list(interval.rule.times(wanted.start_ms, wanted.end_ms, phase))
    found = await holes(opens[:gone] + opens[gone + 1 :], wanted, interval, phase)
    assert [str(h) for h in found] == [str(parse_time_range(hole))]
    there = ScriptedExchange(interval, opens, now_ms=NOW + 999 * DAY_MS)
    (segment,) = await ask_again(
        there, Series("BTCUSDT", "candles", interval.value), verdict_of(found[0], Verdict.UNKNOWN), phase
    )
    assert (segment.verdict, segment.span) == (Verdict.OURS, found[0])


class Store(MemoryStore):
    """limits: how many keys were asked for each time."""

    def __init__(self) -> None:
        super().__init__()
        self.limits: list[object] = []

    async def keys(self, *args: object, **more: object) -> Sequence[str]:
        self.limits.append(more["limit"])
        return await super().keys(*args, **more)  # type: ignore[arg-type]


def store_of(*opens: int, series: Series = SERIES) -> Store:
    store = Store()
    hold(store, *opens, series=series)
    return store


async def surveyed(
    store: MemoryStore, span: TimeRange, series: Series = SERIES, phase_ms: int | None = None
) -> list[Segment]:
    """What one collection holds of `span`."""
    wanted = Interval(series.interval).rule.times(span.start_ms, span.end_ms, phase_ms)
    place = Segment(start_ms=span.start_ms, end_ms=span.end_ms, verdict=Verdict.STORED, collection=C)
    return await survey(store, series, span, wanted, [place], phase_ms)


async def test_keys_are_looked_at_only_where_their_number_is_another() -> None:
    store = store_of(*(minute(n) for n in (-1, 0, 1, 2, 3)))
    known = SeriesCoverage(series=SERIES, segments=(stored(0, 5),))
    assert await counted(store, known, span(0, 3), every_key=False) == [stored(0, 3, 3)]
    assert store.limits == []
    assert await counted(store, known, span(0, 3), every_key=True) == [stored(0, 3, 3)]
    assert store.limits == [50_000]
    ours = segment(4, 5, Verdict.OURS)
    assert await counted(store, known, span(0, 5), every_key=False) == [stored(0, 4, 4), ours]
    assert len(store.limits) == 2


async def test_where_no_bar_opens_none_is_looked_for() -> None:
    store = store_of(minute(0), minute(0.5))
    assert await surveyed(store, span(0.25, 0.75)) == [segment(0.25, 0.75, Verdict.UNKNOWN)]
    known = SeriesCoverage(series=SERIES, segments=(stored(0, 3, 3),))
    assert await counted(store, known, span(0.25, 0.75), every_key=False) == [stored(0.25, 0.75)]
    assert store.limits == []


async def test_a_range_from_before_all_keys_is_counted() -> None:
    opens = [1_000_000_000_000 + n * DAY_MS for n in range(3)]
    first = opens[0] // DAY_MS * DAY_MS + DAY_MS
    series = Series("BTCUSDT", "candles", "1d")
    hole, held = await surveyed(
        store_of(first, first + DAY_MS, series=series), TimeRange(0, first + 2 * DAY_MS), series
    )
    assert (hole.verdict, hole.span, held.records) == (Verdict.UNKNOWN, TimeRange(0, first), 2)


async def test_each_stored_segment_is_counted_and_the_others_are_left_out() -> None:
    known = SeriesCoverage(
        series=SERIES,
        segments=(
            stored(0, 4, 9),
            segment(4, 5, Verdict.EXCHANGE),
            stored(5, 6, 7, None),
            stored(6.25, 6.5, 7),
            stored(7, 9, 9, "other"),
        ),
    )
    store = store_of(*(minute(n) for n in (0, 2, 3)))
    assert await counted(store, known, span(-1, 8), every_key=True) == [
        stored(0, 1, 1),
        segment(1, 2, Verdict.OURS),
        stored(2, 4, 2),
        stored(6.25, 6.5, 7),
        segment(7, 8, Verdict.OURS),
    ]


async def test_a_record_beside_the_grid_passes_for_one_only_where_not_every_key_is_looked_at() -> None:
    store = store_of(minute(0), minute(1.5), minute(2))
    known = SeriesCoverage(series=SERIES, segments=(stored(0, 3),))
    assert await counted(store, known, span(0, 3), every_key=False) == [stored(0, 3, 3)]
    assert await counted(store, known, span(0, 3), every_key=True) == [
        stored(0, 1, 1),
        segment(1, 2, Verdict.OURS),
        stored(2, 3, 1),
    ]


@pytest.mark.parametrize("phase_ms", [None, DAY_START])
async def test_bars_of_three_days_of_which_not_one_is_there_are_ours(phase_ms: int | None) -> None:
    series = Series("BTCUSDT", "candles", "3d")
    held = Segment(start_ms=DAY_START, end_ms=DAY_START + 6 * DAY_MS, verdict=Verdict.STORED, collection=C, records=2)
    known = SeriesCoverage(series=series, segments=(held,), phase_ms=phase_ms)
    found = await counted(store_of(), known, held.span, every_key=True)
    assert [(s.span, s.verdict, s.records, s.collection) for s in found] == [(held.span, Verdict.OURS, 0, None)]


def test_only_what_was_called_stored_is_gone() -> None:
    known = [stored(0, 4), segment(4, 6, Verdict.EXCHANGE), stored(6, 9, 3, "other")]
    found = [segment(1, 7, Verdict.OURS), stored(7, 8), segment(8, 20, Verdict.OURS), segment(20, 30, Verdict.UNKNOWN)]
    assert gone(found, known) == [segment(1, 4, Verdict.OURS), segment(6, 7, Verdict.OURS), segment(8, 9, Verdict.OURS)]


async def test_what_is_stored_and_what_is_not_have_no_gap_between_them() -> None:
    store, unknown = store_of(*(minute(n) for n in (0, 2, 3, 6, 7, 8))), Verdict.UNKNOWN
    assert await surveyed(store, span(0.5, 9.5)) == [
        segment(0.5, 2, unknown),  # no bar opens in its first half
        stored(2, 4, 2),
        segment(4, 6, unknown),
        stored(6, 9, 3),
        segment(9, 9.5, unknown),
    ]
    opens, series = [DAY_START + n * DAY_MS for n in (1, 4)], Series("BTCUSDT", "candles", "3d")
    six_days = TimeRange(DAY_START, DAY_START + 6 * DAY_MS)
    found = await surveyed(store_of(*opens, series=series), six_days, series, opens[0])
    assert [s.records for s in found] == [2]


@given(st.lists(st.sampled_from([C, "other", "third", None]), min_size=1, max_size=30), st.data())
async def test_of_two_places_with_a_record_the_first_counts_within_its_time(
    held: list[str | None], data: st.DataObject
) -> None:
    """Each bar is in one collection, or in none; some are in another one too."""
    store, wanted = MemoryStore(), span(0, len(held))
    more = data.draw(st.lists(st.sampled_from(["third", None]), min_size=len(held), max_size=len(held)))
    for collection in (C, "other", "third"):
        opens = [minute(n) for n, where in enumerate(zip(held, more, strict=True)) if collection in where]
        hold(store, *opens, collection=collection)
    cut = data.draw(st.integers(0, len(held)))
    places = [
        stored(0, len(held)),
        stored(0, cut, 0, "other") if cut else stored(0, 1),
        stored(0, len(held), 0, "third"),
    ]
    found = await survey(store, SERIES, wanted, range(wanted.start_ms, wanted.end_ms, MINUTE_MS), places, None)
    told = [one.collection for one in found for _ in range(one.start_ms, one.end_ms, MINUTE_MS)]

    def expected(number: int) -> str | None:
        first, second = held[number], more[number]
        return second if first == "other" and number >= cut else first or second

    assert told == [expected(number) for number in range(len(held))]
    assert sum(one.records for one in found) == sum(where is not None for where in told)


@given(market=ticks_of_a_market(), data=st.data())
async def test_what_is_stored_is_counted_id_by_id(market: list[tuple[int, int]], data: st.DataObject) -> None:
    where = data.draw(st.lists(st.sampled_from(["c", "c", "d", None]), min_size=len(market), max_size=len(market)))
    store = MemoryStore()
    for collection in ("c", "d"):
        ticks.hold(store, [t for t, w in zip(market, where, strict=True) if w == collection], collection)
    span = TimeRange(ticks.START - 5, market[-1][1] + 1)
    places = [Segment(start_ms=span.start_ms, end_ms=span.end_ms, verdict=Verdict.STORED, collection=c) for c in "cd"]
    ids = range(market[0][0], market[-1][0] + 1)
    held = dict(zip((tick for tick, _ in market), where, strict=True))
    found = await survey(store, TICKS, span, ids, places, None)
    assert (found[0].start_ms, found[-1].end_ms) == (span.start_ms, span.end_ms)
    for one in found:
        if one.verdict is Verdict.STORED:
            assert {held[tick] for tick in range(one.first_id or 0, (one.last_id or 0) + 1)} == {one.collection}
    told = {
        tick: s.verdict for s in found if s.first_id is not None for tick in range(s.first_id, (s.last_id or 0) + 1)
    }
    if any(where):
        assert sorted(told) == list(ids)
    assert all(told.get(tick) is not Verdict.STORED for tick in ids if held[tick] is None)
    # Without the exchange's word nothing is said of what lies before the first and behind the last stored record.
    unasked = await survey(store, TICKS, span, None, places, None)
    assert (unasked[0].start_ms, unasked[-1].end_ms) == (span.start_ms, span.end_ms)
    stored = [s for s in unasked if s.verdict is Verdict.STORED]
    assert all(held[t] == s.collection for s in stored for t in range(s.first_id or 0, (s.last_id or 0) + 1))


@pytest.mark.parametrize("every_key", [True, False])
@given(market=ticks_of_a_market(), data=st.data())
async def test_a_stored_segment_is_counted_and_what_it_lacks_is_ours(
    every_key: bool, market: list[tuple[int, int]], data: st.DataObject
) -> None:
    span = TimeRange(ticks.START - 5, market[-1][1] + 1)
    whole = Segment(
        start_ms=span.start_ms,
        end_ms=span.end_ms,
        verdict=Verdict.STORED,
        collection="c",
        first_id=market[0][0],
        last_id=market[-1][0],
    )
    known = SeriesCoverage(series=TICKS, segments=(whole,))
    lost = data.draw(st.sets(st.sampled_from(market)))
    store = ticks.hold(MemoryStore(), [tick for tick in market if tick not in lost])
    found = await counted(store, known, span, every_key=every_key)
    assert any(s.verdict is Verdict.OURS for s in found) == bool(lost)
    assert sum(s.records for s in found) <= len(market) - len(lost)
    if not lost:
        assert sum(s.records for s in found) == len(market)
        # A part of it, too: the records at its edges are found by their times.
        cut = data.draw(st.integers(span.start_ms + 1, span.end_ms - 1))
        parts = [TimeRange(span.start_ms, cut), TimeRange(cut, span.end_ms)]
        counts = [sum(s.records for s in await counted(store, known, one, every_key=every_key)) for one in parts]
        assert counts == [sum(time in one for _, time in market) for one in parts]


@pytest.mark.parametrize("every_key", [True, False])
async def test_a_part_in_which_nothing_happened_stays_stored(every_key: bool) -> None:
    market = [(5, ticks.START), (6, ticks.START + 1000)]
    store = ticks.hold(MemoryStore(), market)
    whole = Segment(
        start_ms=ticks.START,
        end_ms=ticks.START + 2000,
        verdict=Verdict.STORED,
        collection="c",
        first_id=5,
        last_id=6,
    )
    known = SeriesCoverage(series=TICKS, segments=(whole,))
    quiet = TimeRange(ticks.START + 10, ticks.START + 500)
    found = await counted(store, known, quiet, every_key=every_key)
    assert [(one.span, one.verdict, one.records) for one in found] == [(quiet, Verdict.STORED, 0)]


@given(market=ticks_of_a_market(), start=st.integers(-2, 30_000), length=st.integers(1, 30_000))
async def test_of_ids_the_records_tell_which_a_range_has(
    market: list[tuple[int, int]], start: int, length: int
) -> None:
    span = TimeRange(ticks.START + start, ticks.START + start + length)
    inside = [tick for tick, time in market if time in span]
    store = ticks.hold(MemoryStore(), market)
    found = await stored_positions(store, "c", TICKS, span)
    assert [tick for tick, _ in market if tick in found] == inside
    first, last = await key_range(store, "c", TICKS, span)
    assert await store.keys("c", first=first, last=last) == [ticks.KIND.key(TICKS, tick) for tick in inside]


async def test_where_positions_are_times_no_record_is_read() -> None:
    store, span = MemoryStore(), TimeRange(ticks.START, ticks.START + 60_000)
    assert await stored_positions(store, "c", SERIES, span) == range(ticks.START, ticks.START + 60_000)
    keys = candle_key("BTCUSDT", "1m", span.start_ms), candle_key("BTCUSDT", "1m", span.end_ms)
    assert await key_range(store, "c", SERIES, span) == keys
    assert await time_of(store, "c", SERIES, ticks.START) == ticks.START


async def test_a_record_that_is_gone_tells_no_time() -> None:
    store = ticks.hold(MemoryStore(), [(7, ticks.START)])
    assert [await time_of(store, "c", TICKS, tick) for tick in (6, 7, 8)] == [None, ticks.START, None]


async def test_where_a_grid_lies_is_not_known_before_the_first_of_its_records() -> None:
    segment = Segment(start_ms=ticks.START, end_ms=ticks.START + 60_000, verdict=Verdict.STORED, collection="c")
    assert await positions_of(MemoryStore(), Series("BTCUSDT", "candles", "3d"), segment, segment.span, None) is None


async def test_the_ids_of_a_part_are_found_by_its_times_where_the_segment_does_not_name_them() -> None:
    market = [(number, ticks.START + 10 * number) for number in range(10)]
    store = ticks.hold(MemoryStore(), market)
    segment = Segment(start_ms=ticks.START, end_ms=ticks.START + 100, verdict=Verdict.STORED, collection="c")
    assert await positions_of(store, TICKS, segment, segment.span, None) == range(10)
    named = Segment(
        start_ms=ticks.START, end_ms=ticks.START + 100, verdict=Verdict.STORED, collection="c", first_id=0, last_id=9
    )
    for number in (0, 9):
        del store.documents["c"][ticks.KIND.key(TICKS, number)]
    assert await positions_of(store, TICKS, named, segment.span, None) == range(10), "also of those that are gone"
    assert await positions_of(store, TICKS, named, TimeRange(ticks.START + 20, ticks.START + 51), None) == range(2, 6)
