"""Bars at every level of detail, compared with a plain computation over all records and all that the coverage says."""

from __future__ import annotations

from decimal import Decimal
from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamforge.manager.bars import service as bar_service
from streamforge.manager.bars.store import COLLECTION as ROLLUPS
from streamforge.manager.engine.refusals import NotFound
from streamforge_utils.model.coverage import Segment, Verdict
from streamforge_utils.model.errors import InvalidInput
from streamforge_utils.model.kinds.registry import kind_of, series_of
from streamforge_utils.model.timeranges import TimeRange, parse_time_range
from streamforge_utils.ports.store import Document
from tests.manager.bars.stored_bars import DAY_MS, HOUR_MS, START_MS, SYMBOL, Stored, drawn, picture, store, whole
from tests.manager.memory_service import NOW_MS, MemoryService


@settings(max_examples=100, deadline=None)
@given(
    type_name=st.sampled_from(["api_candles_15m", "api_candles_1h", "api_candles_8h"]),
    verdicts=st.lists(st.tuples(st.integers(1, 120), st.sampled_from(Verdict)), min_size=1, max_size=8),
    start=st.integers(-2 * DAY_MS, 14 * DAY_MS),
    length=st.integers(1, 16 * DAY_MS),
    most=st.sampled_from([5, 17, 60, 300, 2000]),
    at_once=st.sampled_from([0, 100, 10**6]),
    seed=st.integers(0, 99),
    edges=st.tuples(st.integers(0, 20), st.integers(0, 10)),
)
async def test_at_every_level_bars_are_those_of_all_records_and_verdicts_those_of_the_coverage(
    type_name: str,
    verdicts: list[tuple[int, Verdict]],
    start: int,
    length: int,
    most: int,
    at_once: int,
    seed: int,
    edges: tuple[int, int],
) -> None:
    service = await MemoryService.made()
    stored = drawn(series_of(SYMBOL, type_name), 11, [*verdicts, (7, Verdict.STORED)], seed, *edges)
    await store(service, stored)
    before = bar_service.AT_ONCE, bar_service.KEPT
    bar_service.AT_ONCE, bar_service.KEPT = at_once, seed % 2
    try:
        span = TimeRange(START_MS + start, START_MS + start + length)
        found = await whole(service, stored, span, most)
        assert len(found.time) <= most
        assert found.time == list(range(found.start_ms, found.end_ms, found.step_ms or 0))
        assert found.start_ms <= span.start_ms < span.end_ms <= found.end_ms
        assert await whole(service, stored, span, most) == found, "kept or not, it is the same"
        await whole(service, stored, None, 17)  # days, with both ends of what is stored
    finally:
        bar_service.AT_ONCE, bar_service.KEPT = before
        await service.bars.close()


@pytest.fixture
async def service() -> MemoryService:
    return await MemoryService.made()


HOURS = series_of(SYMBOL, "api_candles_1h")
WEEK = drawn(HOURS, 7, [(1000, Verdict.STORED)], 1)


async def test_without_a_range_it_is_that_of_what_is_stored(service: MemoryService) -> None:
    await store(service, WEEK)
    found = await whole(service, WEEK)
    assert (found.interval, found.step_ms, found.start_ms, found.end_ms) == (
        "4h", 4 * HOUR_MS, START_MS, START_MS + 7 * DAY_MS,
    )  # fmt: skip
    assert found.expected == [4] * 42


async def test_a_bar_at_an_edge_of_what_was_asked_for_is_judged_by_what_was(service: MemoryService) -> None:
    """Stored from Wednesday, 05:00, to Thursday of the week after, 19:00, with a hole of an hour where it is said."""
    part = drawn(HOURS, 11, [(1000, Verdict.STORED)], 1, 53, 5)
    await store(service, part)
    for most, wanted in (
        (2, [("1w", 115, 115, "stored"), ("1w", 91, 91, "pending")]),
        (11, [("1d", 19, 19, "stored"), *[("1d", 24, 24, "stored")] * 7, ("1d", 19, 19, "stored")]),
    ):
        found = await whole(service, part, most=most)
        rows = zip(found.n, found.expected, found.verdict, strict=True)
        assert [(found.interval, *row) for row in rows] == wanted
    for hours in (53, 259 - 1):
        hole = Segment(
            start_ms=START_MS + hours * HOUR_MS, end_ms=START_MS + (hours + 1) * HOUR_MS, verdict=Verdict.UNKNOWN
        )
        await service.know(HOURS, [hole])
    found = (await picture(service, part, TimeRange(START_MS, START_MS + 14 * DAY_MS), most=2)).bars
    assert [*zip(found.n, found.expected, found.verdict, strict=True)] == [(114, 115, "unknown"), (90, 91, "unknown")]
    far = (await picture(service, part, TimeRange(START_MS - 7 * DAY_MS, START_MS + 7 * DAY_MS), most=2)).bars
    assert (far.expected[0], far.verdict[0]) == (168, "unknown"), "of a bar in which nothing was asked for, all lacks"


async def test_the_first_price_of_a_range_is_that_of_its_first_record(service: MemoryService) -> None:
    holes = drawn(HOURS, 7, [(30, Verdict.STORED), (10, Verdict.LOST)], 5)
    await store(service, holes)
    for hour in range(160):
        at_ms = START_MS + hour * HOUR_MS - 1
        found = await service.bars.first_price(SYMBOL, "api_candles_1h", at_ms, None)
        assert (found.time_ms, found.price) == next(one for one in holes.records if one[0] >= at_ms)[:2], hour
    lost = next(one for one in holes.segments if one.verdict is Verdict.LOST)
    none = await service.bars.first_price(SYMBOL, "api_candles_1h", lost.start_ms, lost.end_ms)
    assert (none.time, none.time_ms, none.price) == (None, None, None)
    with pytest.raises(InvalidInput, match="no bars are made of ws_orderbook"):
        await service.bars.first_price(SYMBOL, "ws_orderbook", None, None)


@pytest.mark.parametrize("most", [1, 3, 18, 72])
async def test_what_lies_in_the_store_and_is_not_proven_is_no_data(service: MemoryService, most: int) -> None:
    verdicts = [(5, Verdict.STORED), (4, Verdict.EXPIRED), (3, Verdict.UNKNOWN), (2, Verdict.OURS)]
    holes = drawn(HOURS, 3, verdicts, 4)
    await store(service, holes)
    found = await whole(service, holes, TimeRange(START_MS, START_MS + 3 * DAY_MS), most)
    assert sum(n or 0 for n in found.n) == len(holes.records) < 72


async def test_a_picture_is_kept_while_the_coverage_says_the_same_of_it(service: MemoryService) -> None:
    await store(service, WEEK)
    first = await picture(service, WEEK)
    records, service.world.store.documents = service.world.store.documents, {}
    assert await picture(service, WEEK) == first
    await service.know(HOURS, [Segment(start_ms=START_MS, end_ms=START_MS + HOUR_MS, verdict=Verdict.OURS)])
    assert (await picture(service, WEEK)).bars.n == [0] * 42
    service.world.store.documents = records
    for most in range(50, 50 + bar_service.KEPT):
        await picture(service, WEEK, TimeRange(START_MS, START_MS + most * HOUR_MS))
    assert (await picture(service, WEEK)).bars.n == [3, *[4] * 41], "the oldest of many goes"


async def test_records_that_are_gone_are_fewer_than_expected(service: MemoryService) -> None:
    await store(service, WEEK)
    del service.world.store.documents[WEEK.segments[0].collection or ""]
    found = (await picture(service, WEEK, most=7)).bars
    assert (found.n[:2], found.expected[:2], found.verdict[0]) == ([0, 24], [24, 24], "stored")


async def test_a_day_that_is_not_over_is_never_kept_and_changes(service: MemoryService) -> None:
    day_ms = NOW_MS // DAY_MS * DAY_MS
    stored = Stored(HOURS, [], [(day_ms + hour * HOUR_MS, *(5.0 + hour,) * 5) for hour in range(10)])
    for hours in (5, 10):
        last = TimeRange(day_ms, day_ms + hours * HOUR_MS)
        segment = Segment(start_ms=last.start_ms, end_ms=last.end_ms, verdict=Verdict.STORED, collection="live")
        inside = [one for one in stored.records if one[0] in last]
        await store(service, Stored(HOURS, [segment], inside))
        found = (await picture(service, stored, TimeRange(day_ms - 300 * DAY_MS, day_ms + 1), 400)).bars
        assert (found.n[-1], found.close[-1], found.expected[-1]) == (hours, 4.0 + hours, hours)
        assert found.verdict[-1] == "pending"
    assert ROLLUPS not in service.world.store.documents


async def test_trades_make_bars_by_their_own_time_and_each_id_counts(service: MemoryService) -> None:
    series, minute = series_of(SYMBOL, "ws_trades"), 60_000
    day_ms, draws, times = NOW_MS // DAY_MS * DAY_MS - DAY_MS, Random(3), [0, 0, 59_999, 60_000, 200_000, DAY_MS + 7]
    times += sorted(draws.randrange(DAY_MS + 100_000, DAY_MS + HOUR_MS * 3) for _ in range(50))
    rows = [(day_ms + time, 7, draws.randrange(1, 999) / 10, draws.randrange(1, 999) / 1000) for time in times]
    end_ms, segments = day_ms + DAY_MS + 3 * HOUR_MS, list[Segment]()
    for at, (time, *_, price, size) in enumerate(rows):
        body = {"symbol": SYMBOL, "trade_id": at, "price": price, "quantity": size, "timestamp": time}
        body["is_buyer_maker"] = True
        name = f"btcusdt_ws_trades_2024080{1 if time < day_ms + DAY_MS else 2}"
        key = kind_of(series).key(series, at)
        await service.world.store.upsert(name, [Document(key, 1, msgspec.json.encode(body))])
    for number, start_ms in ((1, day_ms), (2, day_ms + DAY_MS)):
        stop_ms = min(start_ms + DAY_MS, end_ms)
        name = f"btcusdt_ws_trades_2024080{number}"
        segments.append(Segment(start_ms=start_ms, end_ms=stop_ms, verdict=Verdict.STORED, collection=name))
    await service.know(series, segments)

    for most, step in ((2000, minute), (50, HOUR_MS)):
        await service.bars.bars(SYMBOL, "ws_trades", day_ms, end_ms, most)
        await service.bars.queue.idle()
        found = (await service.bars.bars(SYMBOL, "ws_trades", day_ms, end_ms, most)).bars
        assert found.step_ms == step
        by_bar: dict[int, list[tuple[int, int, float, float]]] = {}
        for row in rows:
            by_bar.setdefault(row[0] // step * step, []).append(row)
        assert found.n == [len(by_bar.get(time, ())) for time in found.time]
        assert found.expected == found.n, "all of it is proven"
        assert {*found.verdict} == {"stored"}
        for at, time in enumerate(found.time):
            held = by_bar.get(time, [])
            assert found.open[at] == (held[0][2] if held else None)
            assert found.high[at] == max((row[2] for row in held), default=None)
            assert found.low[at] == min((row[2] for row in held), default=None)
            assert found.close[at] == (held[-1][2] if held else None)
            assert found.volume[at] == (float(sum(Decimal(repr(row[3])) for row in held)) if held else None)
    for time, _, price, _ in (rows[0], rows[4]):
        first = await service.bars.first_price(SYMBOL, "ws_trades", time, end_ms)
        assert (first.time_ms, first.price) == (time, price)
    before = (await service.bars.bars(SYMBOL, "ws_trades", day_ms - HOUR_MS, day_ms + HOUR_MS, 50)).bars
    assert (before.expected[0], before.verdict[0]) == (None, "unknown"), "of a hole nobody knows how many there are"


async def test_an_answer_of_settled_days_has_a_tag_until_something_of_it_changes(service: MemoryService) -> None:
    await store(service, WEEK)
    span = parse_time_range("2024-07-22:2024-07-29")
    tag = (await picture(service, WEEK, span)).etag
    assert tag is not None
    assert (await picture(service, WEEK, span)).etag == tag
    assert (await picture(service, WEEK, span, 50)).etag == tag, "of the same bars"
    assert (await picture(service, WEEK, span, 10)).etag != tag
    assert (await picture(service, WEEK, parse_time_range("2024-07-22:2024-07-30"))).etag is None, "not all is known"
    last = Segment(start_ms=NOW_MS - HOUR_MS, end_ms=NOW_MS, verdict=Verdict.STORED, collection="c")
    await service.know(HOURS, [last])
    assert (await picture(service, WEEK, last.span)).etag is not None
    assert (await picture(service, WEEK, TimeRange(last.start_ms, NOW_MS + HOUR_MS))).etag is None, "not over"
    await service.world.deps.coverage.prove(HOURS, WEEK.segments[3:4], None, 0, loaded=[WEEK.segments[3].span])
    changed = (await picture(service, WEEK, span)).etag
    assert changed not in (None, tag)
    lost = Segment(start_ms=START_MS, end_ms=START_MS + HOUR_MS, verdict=Verdict.EXCHANGE)
    await service.know(HOURS, [lost])
    assert (await picture(service, WEEK, span)).etag not in (None, tag, changed)


async def test_what_has_no_bars_is_refused_with_what_to_do(service: MemoryService) -> None:
    with pytest.raises(InvalidInput, match=r"no bars are made of ws_orderbook.*GET /books"):
        await service.bars.bars(SYMBOL, "ws_orderbook", None, None, 100)
    with pytest.raises(NotFound, match="nothing of it was loaded yet"):
        await picture(service, WEEK)
    await service.know(HOURS, [Segment(start_ms=START_MS, end_ms=START_MS + HOUR_MS, verdict=Verdict.UNKNOWN)])
    assert (await picture(service, WEEK)).bars.verdict == ["unknown"]
    with pytest.raises(InvalidInput, match="choose a later end"):
        await service.bars.bars(SYMBOL, "api_candles_1h", START_MS, START_MS, 100)
    days = series_of(SYMBOL, "api_candles_3d")
    await service.know(days, [Segment(start_ms=START_MS, end_ms=START_MS + DAY_MS, verdict=Verdict.UNKNOWN)])
    with pytest.raises(NotFound, match="where its candles open"):
        await service.bars.bars(SYMBOL, "api_candles_3d", None, None, 100)
