"""What the store holds: its keys against the grid, and counted against what coverage says of it, as segments."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamforge.manager.execution import record_count
from streamforge.manager.execution.proof import ask_again
from streamforge.manager.execution.record_count import counted, gone, holes_in, stored_in, verdict_of
from streamforge.manager.persistence.coverage_store import SeriesCoverage
from streamforge_utils.model.coverage import Segment, Verdict
from streamforge_utils.model.kinds.candles import Interval
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange, parse_time_range
from tests.doubles.memorystore import MemoryStore
from tests.doubles.scriptedexchange import ScriptedExchange
from tests.manager.execution.world import SERIES, C, hold, minute, segment, span, stored
from tests.manager.support import DAY_MS, DAY_START, MINUTE_MS, NOW

M1, D3 = Interval.M1, Interval.D3


async def holes(
    times: Iterable[int], span: TimeRange, interval: Interval = M1, phase_ms: int | None = None
) -> list[TimeRange]:
    store, series = MemoryStore(), Series("BTCUSDT", "candles", interval.value)
    hold(store, *times, series=series)
    return await holes_in(store, C, series, span, phase_ms)


async def test_other_series_in_the_same_collection_do_not_count() -> None:
    store = MemoryStore()
    for interval, symbol in ((Interval.M3, "BTCUSDT"), (M1, "BTCUSDTX"), (M1, "ABTCUSDT")):
        hold(store, DAY_START, series=Series(symbol, "candles", interval.value))
    assert await holes_in(store, C, SERIES, span(0, 1), None) == [span(0, 1)]


@given(st.sets(st.integers(-3, 43)), st.sets(st.integers(0, 40)), st.integers(1, 9))
async def test_holes_are_the_grid_without_what_is_stored(there: set[int], beside: set[int], page: int) -> None:
    before, record_count._KEYS_A_PAGE = record_count._KEYS_A_PAGE, page
    try:
        found = await holes({*map(minute, there), *(minute(n) + 7 for n in beside)}, span(0, 40))
    finally:
        record_count._KEYS_A_PAGE = before
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


async def test_keys_are_looked_at_only_where_their_number_is_another() -> None:
    store = store_of(*(minute(n) for n in (-1, 0, 1, 2, 3)))
    assert await stored_in(store, C, SERIES, span(0, 3), None, every_key=False) == [stored(0, 3, 3)]
    assert store.limits == []
    assert await stored_in(store, C, SERIES, span(0, 3), None) == [stored(0, 3, 3)]
    assert store.limits == [50_000]
    unknown = segment(4, 5, Verdict.UNKNOWN)
    assert await stored_in(store, C, SERIES, span(0, 5), None, every_key=False) == [stored(0, 4, 4), unknown]
    assert len(store.limits) == 2


async def test_where_no_bar_opens_none_is_looked_for() -> None:
    store = store_of(minute(0), minute(0.5))
    unknown = segment(0.25, 0.75, Verdict.UNKNOWN)
    assert await stored_in(store, C, SERIES, span(0.25, 0.75), None, every_key=False) == [unknown]
    assert store.limits == []


async def test_a_range_from_before_all_keys_is_counted() -> None:
    opens = [1_000_000_000_000 + n * DAY_MS for n in range(3)]
    first = opens[0] // DAY_MS * DAY_MS + DAY_MS
    series = Series("BTCUSDT", "candles", "1d")
    store = store_of(first, first + DAY_MS, series=series)
    hole, held = await stored_in(store, C, series, TimeRange(0, first + 2 * DAY_MS), None, every_key=False)
    assert (hole.verdict, hole.span, held.records) == (Verdict.UNKNOWN, TimeRange(0, first), 2)


async def test_each_stored_segment_is_counted_and_the_others_stay_as_they_are() -> None:
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
        segment(-1, 0, Verdict.UNKNOWN),
        stored(0, 1, 1),
        segment(1, 2, Verdict.OURS),
        stored(2, 4, 2),
        segment(4, 5, Verdict.EXCHANGE),
        stored(5, 6, 7, None),
        segment(6, 6.25, Verdict.UNKNOWN),
        stored(6.25, 6.5, 7),
        segment(6.5, 7, Verdict.UNKNOWN),
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


@pytest.mark.parametrize("hole", [Verdict.UNKNOWN, Verdict.OURS])
async def test_what_is_stored_and_what_is_not_have_no_gap_between_them(hole: Verdict) -> None:
    store = store_of(*(minute(n) for n in (0, 2, 3, 6, 7, 8)))
    assert await stored_in(store, C, SERIES, span(0.5, 9.5), None, hole=hole) == [
        segment(0.5, 2, hole),  # no bar opens in its first half
        stored(2, 4, 2),
        segment(4, 6, hole),
        stored(6, 9, 3),
        segment(9, 9.5, hole),
    ]
    opens, series = [DAY_START + n * DAY_MS for n in (1, 4)], Series("BTCUSDT", "candles", "3d")
    six_days = TimeRange(DAY_START, DAY_START + 6 * DAY_MS)
    found = await stored_in(store_of(*opens, series=series), C, series, six_days, opens[0], hole=hole)
    assert [s.records for s in found] == [2]
