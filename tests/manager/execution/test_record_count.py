"""What the store holds, counted against what coverage says of it, as segments."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from streamforge.manager.execution.record_count import counted, gone, pieces, stored_in
from streamforge.manager.execution.survey import Survey
from streamforge.manager.persistence.coverage_store import SeriesCoverage
from streamforge_utils.model.coverage import Segment, Verdict
from streamforge_utils.model.kinds.candles import Interval, candle_key
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.ports.store import Document
from tests.doubles.memorystore import MemoryStore
from tests.manager.support import DAY_MS, DAY_START, MINUTE_MS

C = "collection"
M1, D3 = Interval.M1, Interval.D3
SERIES = Series("BTCUSDT", "candles", "1m")


def minute(number: float) -> int:
    return DAY_START + int(number * MINUTE_MS)


def span(first: float, last: float) -> TimeRange:
    return TimeRange(minute(first), minute(last))


def said(first: float, last: float, verdict: Verdict, collection: str | None = None, records: int = 0) -> Segment:
    return Segment(start_ms=minute(first), end_ms=minute(last), verdict=verdict, collection=collection, records=records)


def stored(first: float, last: float, records: int = 0, collection: str | None = C) -> Segment:
    return said(first, last, Verdict.STORED, collection, records)


class Store(MemoryStore):
    """looked: how often the keys were looked at. limits: how many were asked for each time."""

    def __init__(self) -> None:
        super().__init__()
        self.looked = 0
        self.limits: list[object] = []

    async def keys(self, *args: object, **more: object) -> Sequence[str]:
        self.looked += 1
        self.limits.append(more["limit"])
        return await super().keys(*args, **more)  # type: ignore[arg-type]


def store_of(*opens: int, series: Series = SERIES, collection: str = C) -> Store:
    store = Store()
    keys = [candle_key(series.symbol, series.interval, time) for time in opens]
    store.documents[collection] = {key: Document(key, 1, b"{}") for key in keys}
    return store


async def test_keys_are_looked_at_only_where_their_number_is_another() -> None:
    store = store_of(*(minute(n) for n in (-1, 0, 1, 2, 3)))
    whole = Survey(span=span(0, 3), expected=3, stored=3, holes=())
    assert await stored_in(store, C, SERIES, span(0, 3), None, every_key=False) == whole
    assert store.looked == 0
    assert await stored_in(store, C, SERIES, span(0, 3), None) == whole
    assert (store.looked, store.limits) == (1, [50_000])
    assert await stored_in(store, C, SERIES, span(0, 5), None, every_key=False) == Survey(
        span=span(0, 5), expected=5, stored=4, holes=(span(4, 5),)
    )
    assert store.looked == 2


async def test_where_no_bar_opens_none_is_looked_for() -> None:
    store = store_of(minute(0), minute(0.5))
    assert await stored_in(store, C, SERIES, span(0.25, 0.75), None, every_key=False) == Survey(
        span=span(0.25, 0.75), expected=0, stored=0, holes=()
    )
    assert store.looked == 0


async def test_a_range_from_before_all_keys_is_counted() -> None:
    opens = [1_000_000_000_000 + n * DAY_MS for n in range(3)]
    first = opens[0] // DAY_MS * DAY_MS + DAY_MS
    series = Series("BTCUSDT", "candles", "1d")
    store = store_of(first, first + DAY_MS, series=series)
    found = await stored_in(store, C, series, TimeRange(0, first + 2 * DAY_MS), None, every_key=False)
    assert (found.stored, found.holes) == (2, (TimeRange(0, first),))


async def test_each_stored_segment_is_counted_and_the_others_stay_as_they_are() -> None:
    known = SeriesCoverage(
        series=SERIES,
        segments=(
            stored(0, 4, 9),
            said(4, 5, Verdict.EXCHANGE),
            stored(5, 6, 7, None),
            stored(6.25, 6.5, 7),
            stored(7, 9, 9, "other"),
        ),
    )
    store = store_of(*(minute(n) for n in (0, 2, 3)))
    assert await counted(store, known, span(-1, 8), every_key=True) == [
        said(-1, 0, Verdict.UNKNOWN),
        stored(0, 1, 1),
        said(1, 2, Verdict.OURS),
        stored(2, 4, 2),
        said(4, 5, Verdict.EXCHANGE),
        stored(5, 6, 7, None),
        said(6, 6.25, Verdict.UNKNOWN),
        stored(6.25, 6.5, 7),
        said(6.5, 7, Verdict.UNKNOWN),
        said(7, 8, Verdict.OURS),
    ]


async def test_a_record_beside_the_grid_passes_for_one_only_where_not_every_key_is_looked_at() -> None:
    store = store_of(minute(0), minute(1.5), minute(2))
    known = SeriesCoverage(series=SERIES, segments=(stored(0, 3),))
    assert await counted(store, known, span(0, 3), every_key=False) == [stored(0, 3, 3)]
    assert await counted(store, known, span(0, 3), every_key=True) == [
        stored(0, 1, 1),
        said(1, 2, Verdict.OURS),
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
    known = [stored(0, 4), said(4, 6, Verdict.EXCHANGE), stored(6, 9, 3, "other")]
    found = [said(1, 7, Verdict.OURS), stored(7, 8), said(8, 20, Verdict.OURS), said(20, 30, Verdict.UNKNOWN)]
    assert gone(found, known) == [said(1, 4, Verdict.OURS), said(6, 7, Verdict.OURS), said(8, 9, Verdict.OURS)]


@pytest.mark.parametrize("hole", [Verdict.UNKNOWN, Verdict.OURS])
def test_a_survey_is_told_without_a_gap(hole: Verdict) -> None:
    found = Survey(span=span(0.5, 9.5), expected=9, stored=5, holes=(span(1, 2), span(4, 6), span(9, 10)))
    expected = [
        said(0.5, 2, hole),  # no bar opens in its first half
        stored(2, 4, 2),
        said(4, 6, hole),
        stored(6, 9, 3),
        said(9, 9.5, hole),
    ]
    if hole is Verdict.UNKNOWN:
        assert pieces(found, C, M1.rule, None) == expected
    assert pieces(found, C, M1.rule, None, hole) == expected
    whole = Survey(span=span(0, 3), expected=3, stored=3, holes=())
    assert pieces(whole, C, M1.rule, None, hole) == [stored(0, 3, 3)]
    three = Survey(span=TimeRange(DAY_START, DAY_START + 6 * DAY_MS), expected=2, stored=2, holes=())
    assert [s.records for s in pieces(three, C, D3.rule, DAY_START + DAY_MS, hole)] == [2]
