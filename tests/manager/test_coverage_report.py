"""What is said of a series: its span, its verdicts, its counts, and who is loading it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest

from streamforge.manager.persistence.coverage_store import KIND
from streamforge.manager.service import NotFound, Report
from streamforge.manager.workflow import Plan, Proof, Status, Workflow
from streamforge_utils.model.coverage import Segment, Verdict
from streamforge_utils.model.errors import RetryableError
from streamforge_utils.model.kinds.candles import Interval, candle_key
from streamforge_utils.model.kinds.registry import type_of
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange, parse_time_range
from streamforge_utils.ports.exchange import SymbolInfo
from streamforge_utils.ports.store import Document
from tests.doubles.manualclock import ManualClock
from tests.doubles.scriptedexchange import ScriptedExchange
from tests.manager.execution.world import finish, launched, store_bars
from tests.manager.stored import put
from tests.manager.support import DAY_MS, DAY_START, MINUTE_MS, NOW, World, accepted, rest

SERIES = Series("BTCUSDT", "candles", "1m")
TYPE = "api_candles_1m"


def stored(start_ms: int, end_ms: int, collection: str = "c", records: int = 0) -> Segment:
    return Segment(start_ms=start_ms, end_ms=end_ms, verdict=Verdict.STORED, collection=collection, records=records)


def told(report: Report) -> Sequence[tuple[int, int, str, int]]:
    """Minutes from the day's start, verdict, records."""
    return [
        ((s.start_ms - DAY_START) // MINUTE_MS, (s.end_ms - DAY_START) // MINUTE_MS, s.verdict.value, s.records)
        for s in report.segments
    ]


def day(number: int) -> int:
    return DAY_START + number * DAY_MS


async def test_what_lies_between_stored_ranges_is_unknown_and_the_span_is_named(world: World) -> None:
    await world.deps.coverage.lay_over(SERIES, [stored(day(0), day(1)), stored(day(3), day(4))])
    report = await world.manager.series_coverage("btcusdt", TYPE)
    assert (report.basis, report.span) == ("asked", TimeRange(day(0), day(4)))
    assert told(report) == [(0, 1440, "stored", 1440), (1440, 4320, "unknown", 0), (4320, 5760, "stored", 1440)]


async def test_what_is_closed_or_not_over_at_the_ends_is_not_spoken_of() -> None:
    world = World(clock=ManualClock(day(1)))
    await world.start()
    closed = Segment(start_ms=day(-9), end_ms=day(0), verdict=Verdict.CLOSED)
    await world.deps.coverage.lay_over(SERIES, [closed, stored(day(0), day(1))])
    assert (await world.manager.series_coverage("BTCUSDT", TYPE)).span == TimeRange(day(0), day(1))
    asked = TimeRange(day(-1), day(2))
    assert [v for _, _, v, _ in told(await world.manager.series_coverage("BTCUSDT", TYPE, asked))] == [
        "closed", "stored", "pending",
    ]  # fmt: skip


async def test_what_is_over_by_now_and_nobody_has_asked_for_is_unknown_in_a_range_that_is_named() -> None:
    world = World(clock=ManualClock(day(1) + 90 * MINUTE_MS + 1))
    await world.start()
    await world.deps.coverage.lay_over(SERIES, [stored(day(0), day(1))])
    assert told(await world.manager.series_coverage("BTCUSDT", TYPE)) == [(0, 1440, "stored", 1440)]
    whole = await world.manager.series_coverage("BTCUSDT", TYPE, TimeRange(day(0), day(2)))
    assert told(whole)[1:] == [(1440, 1530, "unknown", 0), (1530, 2880, "pending", 0)]


HOUR_MS = 60 * MINUTE_MS
HOURS = Series("BTCUSDT", "candles", "1h")


async def hours(world: World, start_ms: int, end_ms: int) -> Sequence[tuple[int, int, str, int]]:
    """What is said of the hourly candles in a range that is given in minutes from the day's start."""
    span = TimeRange(DAY_START + start_ms * MINUTE_MS, DAY_START + end_ms * MINUTE_MS)
    return told(await world.manager.series_coverage("BTCUSDT", "api_candles_1h", span))


def minutes(start: int, end: int, verdict: Verdict) -> Segment:
    collection = "c" if verdict is Verdict.STORED else None
    start_ms, end_ms = DAY_START + start * MINUTE_MS, DAY_START + end * MINUTE_MS
    return Segment(start_ms=start_ms, end_ms=end_ms, verdict=verdict, collection=collection)


async def test_a_bar_that_is_not_over_is_pending_to_its_end_whenever_it_was_asked_for() -> None:
    clock = ManualClock(DAY_START + 200 * MINUTE_MS)
    world = World(clock=clock)
    await world.start()
    await world.deps.coverage.lay_over(HOURS, [minutes(0, 180, Verdict.STORED)])
    assert await hours(world, 0, 200) == [(0, 180, "stored", 3), (180, 200, "pending", 0)]
    assert await hours(world, 180, 200) == [(180, 200, "pending", 0)]
    assert await hours(world, 199, 200) == []
    # To the end of the day as well: what nobody can have is not missing.
    assert await hours(world, 0, 1440) == [(0, 180, "stored", 3), (180, 1440, "pending", 0)]
    clock.advance(3600)
    assert await hours(world, 0, 260) == [
        (0, 180, "stored", 3), (180, 240, "unknown", 0), (240, 260, "pending", 0),
    ]  # fmt: skip


async def test_what_is_said_of_a_range_is_said_of_the_bars_that_open_in_it(world: World) -> None:
    # The bar of 3:00 is stored, by a range that ended in it.
    known = [minutes(0, 210, Verdict.STORED), minutes(360, 419, Verdict.EXCHANGE)]
    await world.deps.coverage.lay_over(HOURS, known)
    assert await hours(world, 0, 225) == [(0, 225, "stored", 4)]
    assert await hours(world, 30, 225) == [(60, 225, "stored", 3)]
    assert await hours(world, 215, 225) == await hours(world, 310, 360) == []
    assert await hours(world, 210, 420) == [(240, 360, "unknown", 0), (360, 420, "exchange", 0)]
    assert await hours(world, 310, 390) == [(360, 390, "exchange", 0)]
    assert await hours(world, 250, 310) == [(300, 310, "unknown", 0)]


async def test_what_is_not_over_yet_of_a_series_that_has_ended_is_closed() -> None:
    world = World(clock=ManualClock(day(1)))
    await world.start()
    plan = Plan(exchange_now_ms=day(1), first_ms=day(-1), last_ms=day(0))
    await world.deps.coverage.learn_plan(SERIES, plan, day(1))
    await world.deps.coverage.lay_over(SERIES, [stored(day(-1), day(0))])
    report = await world.manager.series_coverage("BTCUSDT", TYPE, TimeRange(day(0), day(2)))
    assert told(report) == [(0, 1440, "unknown", 0), (1440, 2880, "closed", 0)]


async def test_a_series_of_which_all_is_closed_is_spoken_of(world: World) -> None:
    await world.deps.coverage.lay_over(SERIES, [minutes(0, 60, Verdict.CLOSED)])
    report = await world.manager.series_coverage("BTCUSDT", TYPE)
    assert (report.span, told(report)) == (TimeRange(day(0), day(0) + HOUR_MS), [(0, 60, "closed", 0)])


async def test_a_range_that_is_named_is_spoken_of_as_soon_as_a_plan_has_found_the_series() -> None:
    world = World(clock=ManualClock(DAY_START + 90 * MINUTE_MS))
    await world.start()
    plan = Plan(exchange_now_ms=world.clock.now_ms(), until_ms=DAY_START, first_ms=day(-9))
    await world.deps.coverage.learn_plan(HOURS, plan, plan.exchange_now_ms)
    assert await hours(world, 60, 90) == [(60, 90, "pending", 0)]
    assert await hours(world, 10, 50) == []
    assert await hours(world, 0, 60) == [(0, 60, "unknown", 0)]
    with pytest.raises(NotFound, match="nothing is known of BTCUSDT api_candles_1h"):
        await world.manager.series_coverage("BTCUSDT", "api_candles_1h")


async def test_unknown_ranges_that_touch_are_one(world: World) -> None:
    asked = Segment(start_ms=day(1), end_ms=day(2), verdict=Verdict.UNKNOWN)
    await world.deps.coverage.lay_over(SERIES, [asked])
    report = await world.manager.series_coverage("BTCUSDT", TYPE, TimeRange(day(0), day(4)))
    assert told(report) == [(0, 5760, "unknown", 0)]


async def test_a_hole_that_another_workflow_asked_for_stays(world: World) -> None:
    coverage = world.deps.coverage
    await coverage.lay_over(SERIES, [Segment(start_ms=day(0), end_ms=day(3), verdict=Verdict.UNKNOWN)])
    await coverage.unask(SERIES, TimeRange(day(0), day(2)), [TimeRange(day(1), day(4))])
    assert [(s.start_ms, s.end_ms) for s in await coverage.of(SERIES)] == [(day(1), day(3))]


async def test_the_clock_of_the_exchange_tells_what_is_over() -> None:
    clock = ManualClock(day(400))
    world = World(clock=clock)
    await world.start()
    plan = Plan(exchange_now_ms=day(1) + MINUTE_MS // 2, first_ms=day(-1))
    await world.deps.coverage.learn_plan(SERIES, plan, clock.now_ms())
    await world.deps.coverage.lay_over(SERIES, [stored(day(0), day(1))])
    whole = TimeRange(day(1), day(2))
    assert told(await world.manager.series_coverage("BTCUSDT", TYPE, whole)) == [(1440, 2880, "pending", 0)]
    clock.advance(60)
    assert told(await world.manager.series_coverage("BTCUSDT", TYPE, whole))[0] == (1440, 1441, "unknown", 0)


async def test_a_load_that_was_interrupted_leaves_a_hole_to_the_end_of_what_it_was_asked_for() -> None:
    world = World(clock=ManualClock(NOW))
    await world.start()
    queue_id = (await world.deps.workflows.create(accepted(time_range="2024-08-01:2024-08-03"))).workflow.queue_id
    await world.turns(3)
    workflow = await world.workflow(queue_id)
    store_bars(world, workflow, range(day(0), day(0) + 100 * MINUTE_MS, MINUTE_MS))
    await world.manager.stop(queue_id)
    await world.turns(2)
    finish(world, workflow)
    await world.turns(4)
    assert (await world.workflow(queue_id)).status is Status.INTERRUPTED
    report = await world.manager.series_coverage("BTCUSDT", TYPE)
    assert told(report) == [(0, 100, "stored", 100), (100, 2880, "unknown", 0)]
    await world.manager.remove(queue_id)
    assert told(await world.manager.series_coverage("BTCUSDT", TYPE)) == [(0, 100, "stored", 100)]
    await world.die()


async def test_right_after_a_crash_the_range_is_unknown_and_its_workflow_is_named() -> None:
    world = World(clock=ManualClock(NOW))
    await world.start()
    workflow = await launched(world, accepted())
    await world.die()
    await world.start()
    report = await world.manager.series_coverage("BTCUSDT", TYPE)
    assert told(report) == [(0, 1440, "unknown", 0)]
    assert [one.queue_id for one in report.loading] == [workflow.queue_id]


async def test_a_workflow_without_a_plan_is_spoken_of_too(world: World) -> None:
    queue_id = await put(world, accepted())
    report = await world.manager.series_coverage("BTCUSDT", TYPE)
    assert (report.span, told(report)) == (TimeRange(day(0), day(1)), [(0, 1440, "unknown", 0)])
    assert [one.queue_id for one in report.loading] == [queue_id]
    elsewhere = await world.manager.series_coverage("BTCUSDT", TYPE, TimeRange(day(1), day(2)))
    assert elsewhere.loading == []


async def test_the_whole_life_is_from_the_first_bar_to_the_last_that_is_over(world: World) -> None:
    plan = Plan(exchange_now_ms=NOW, first_ms=day(-100))
    await world.deps.coverage.learn_plan(SERIES, plan, plan.exchange_now_ms)
    await world.deps.coverage.lay_over(SERIES, [stored(day(0), day(1))])
    now_ms = world.clock.now_ms()
    report = await world.manager.series_coverage("BTCUSDT", TYPE, life=True)
    assert report.span is not None
    assert (report.basis, report.span.start_ms) == ("life", day(-100))
    assert now_ms // MINUTE_MS * MINUTE_MS <= report.span.end_ms <= world.clock.now_ms()
    assert [s.verdict.value for s in report.segments] == ["unknown", "stored", "unknown"]
    await world.deps.coverage.learn_plan(
        SERIES, msgspec.structs.replace(plan, last_ms=day(2) - MINUTE_MS), plan.exchange_now_ms
    )
    report = await world.manager.series_coverage("BTCUSDT", TYPE, life=True)
    assert report.span == TimeRange(day(-100), day(2))


@pytest.mark.parametrize(
    ("interval", "opens", "cut", "count"),
    [
        (Interval.M1, range(day(0), day(2), MINUTE_MS), (day(0) + 1, day(1) + 1), 1440),
        (Interval.D3, range(day(0) + DAY_MS, day(60), 3 * DAY_MS), (day(5), day(14)), 3),
        (Interval.D3, range(day(0) + DAY_MS, day(60), 3 * DAY_MS), (day(4), day(14)), 4),
        (Interval.W1, Interval.W1.rule.times(day(0), day(60)), (day(5), day(26)), 3),
        (Interval.MO1, Interval.MO1.rule.times(day(0), day(100)), (day(0), day(62)), 3),
    ],
)
async def test_a_part_of_a_stored_range_has_its_exact_count(
    world: World, interval: Interval, opens: Sequence[int], cut: tuple[int, int], count: int
) -> None:
    series = Series("BTCUSDT", "candles", interval.value)
    documents = [Document(candle_key("BTCUSDT", interval.value, time), 1, b"{}") for time in opens]
    await world.store.upsert("c", documents)
    await world.deps.coverage.lay_over(series, [stored(opens[0], interval.rule.next(opens[-1]))])
    report = await world.manager.series_coverage("BTCUSDT", type_of(series), TimeRange(*cut))
    assert [s.records for s in report.segments] == [count]
    assert count == len([time for time in opens if cut[0] <= time < cut[1]])


async def test_the_phase_of_a_series_is_taken_from_its_plan_where_that_is_known(world: World) -> None:
    series = Series("BTCUSDT", "candles", "3d")
    await world.deps.coverage.learn_plan(series, Plan(exchange_now_ms=NOW, first_ms=day(1)), NOW)
    await world.deps.coverage.lay_over(series, [stored(day(1), day(31))])
    report = await world.manager.series_coverage("BTCUSDT", "api_candles_3d", TimeRange(day(2), day(8)))
    assert [s.records for s in report.segments] == [2]


async def test_a_document_of_an_older_version_is_read_and_its_counts_are_made_good(world: World) -> None:
    body = {
        "format": 1,
        "series": {"symbol": "BTCUSDT", "kind": "candles", "interval": "1m"},
        "segments": [
            {"start_ms": day(0), "end_ms": day(1), "verdict": "stored", "collection": "c", "records": 0},
            {"start_ms": day(1), "end_ms": day(2), "verdict": "exchange"},
        ],
    }
    await world.store.put(KIND, SERIES.id, msgspec.json.encode(body), expected=None)
    report = await world.manager.series_coverage("BTCUSDT", TYPE)
    assert told(report) == [(0, 1440, "stored", 1440), (1440, 2880, "exchange", 0)]
    life = await world.manager.series_coverage("BTCUSDT", TYPE, life=True)
    assert life.span is not None
    assert life.span.start_ms == day(0)


async def test_a_series_of_which_nothing_is_known_is_an_error(world: World) -> None:
    with pytest.raises(NotFound, match="nothing is known of ETHUSDT api_candles_1m: nothing of it was loaded yet"):
        await world.manager.series_coverage("ethusdt", TYPE)
    await world.deps.coverage.lay_over(SERIES, [stored(day(0), day(1))])
    with pytest.raises(NotFound, match=r"nothing is known of BTCUSD api_candles_1m: did you mean BTCUSDT\?") as near:
        await world.manager.series_coverage("BTCUSD", TYPE, TimeRange(day(0), day(1)))
    assert near.value.meant == ("BTCUSDT",)
    with pytest.raises(NotFound, match="nothing of it was loaded yet") as far:
        await world.manager.series_coverage("BTCUSDT", "api_candles_1h")
    assert far.value.meant == ()


async def test_another_symbol_is_suggested_only_where_the_exchange_does_not_have_this_one(world: World) -> None:
    await world.deps.coverage.lay_over(SERIES, [stored(day(0), day(1))])
    assert isinstance(world.exchange, ScriptedExchange)
    world.exchange.listed.append(SymbolInfo(symbol="ETHUSDT", status="TRADING"))
    unknown = "nothing is known of ETHUSDT api_candles_1m: nothing of it was loaded yet"
    with pytest.raises(NotFound) as listed:
        await world.manager.series_coverage("ETHUSDT", TYPE)
    assert (str(listed.value), listed.value.meant) == (f"{unknown}.", ())
    world.exchange.failing = RetryableError("no way there")
    with pytest.raises(NotFound) as silent:
        await world.manager.series_coverage("ETHUSDT", TYPE)
    doubt = " (or is BTCUSDT meant, of which something was?)."
    assert (str(silent.value), silent.value.meant) == (unknown + doubt, ())


async def test_a_plan_says_where_the_series_begins_and_marks_what_is_to_be_loaded(world: World) -> None:
    closed = Segment(start_ms=day(-2), end_ms=day(-1), verdict=Verdict.CLOSED)
    plan = Plan(exchange_now_ms=NOW, parts=rest("2024-08-01:2024-08-03"), settled=(closed,), first_ms=day(-1))
    await world.deps.coverage.lay_over(SERIES, [stored(day(0), day(1))])
    await world.deps.coverage.learn_plan(SERIES, plan, plan.exchange_now_ms)
    known = await world.deps.coverage.known(SERIES)
    assert known is not None
    assert (known.first_ms, known.last_ms) == (day(-1), None)
    assert [(s.start_ms, s.end_ms, s.verdict.value) for s in known.segments] == [
        (day(-2), day(-1), "closed"),
        (day(0), day(1), "stored"),
        (day(1), day(2), "unknown"),
    ]


async def test_what_is_said_of_ended_workflows_is_of_now() -> None:
    world = World(clock=ManualClock(NOW))
    await world.start()
    ended = await proven(world, "aaaaaa")
    other = await proven(world, "bbbbbb", time_range="2024-08-02")
    live = (await world.deps.workflows.create(accepted("cccccc", symbol="ETHUSDT"))).workflow
    await world.deps.coverage.lay_over(SERIES, [stored(day(0), day(1), records=1440)])
    found = await world.manager.coverages([ended, other, live])
    assert {queue_id: told(report) for queue_id, report in found.items()} == {
        ended.queue_id: [(0, 1440, "stored", 1440)],
        other.queue_id: [(1440, 2880, "unknown", 0)],
    }
    gone = Segment(start_ms=day(0), end_ms=day(0) + 40 * MINUTE_MS, verdict=Verdict.OURS)
    await world.deps.coverage.lay_over(SERIES, [gone])
    found = await world.manager.coverages([ended])
    assert told(found[ended.queue_id]) == [(0, 40, "ours", 0), (40, 1440, "stored", 1400)]


async def test_of_an_ended_workflow_and_of_its_range_the_same_is_said_where_no_grid_is_known() -> None:
    clock = ManualClock(NOW)
    world = World(clock=clock)
    await world.start()
    series = Series("BTCUSDT", "candles", "3d")
    closed = Segment(start_ms=NOW - 4 * DAY_MS, end_ms=NOW - 3 * DAY_MS, verdict=Verdict.CLOSED)
    plan = Plan(exchange_now_ms=NOW, until_ms=NOW - 3 * DAY_MS, settled=(closed,))
    await world.deps.coverage.learn_plan(series, plan, NOW)
    workflow = accepted("dddddd", type="api_candles_3d", time_range="2024-08-07:2024-08-11")
    proof = Proof(round=1, checked_ms=NOW, expected=0, stored=0, segments=(closed,), whole=True)
    finished = msgspec.structs.replace(workflow, status=Status.FINISHED, ended_ms=NOW, plan=plan, proof=proof)
    await world.deps.workflows.create(finished)
    for seconds in (0, 60):
        clock.advance(seconds)
        now = (await world.manager.coverages([finished]))[finished.queue_id]
        assert (now.span, now.segments) == (closed.span, [closed])
        assert now.segments == (await world.manager.coverage(finished.queue_id)).segments


async def test_a_span_that_is_named_can_be_asked_for_where_no_grid_is_known() -> None:
    clock = ManualClock(NOW)
    world = World(clock=clock)
    await world.start()
    pending = Segment(start_ms=NOW - 3 * DAY_MS, end_ms=NOW, verdict=Verdict.UNKNOWN)
    await world.deps.coverage.lay_over(Series("BTCUSDT", "candles", "3d"), [pending])
    clock.advance(3.7)
    report = await world.manager.series_coverage("BTCUSDT", "api_candles_3d", life=True)
    assert report.span is not None
    assert report.span == TimeRange(NOW - 3 * DAY_MS, NOW + 3000)
    assert parse_time_range(str(report.span)) == report.span


async def proven(world: World, code: str, time_range: str = "2024-08-01") -> Workflow:
    """A workflow that was proven complete and has finished."""
    workflow = accepted(code, time_range=time_range)
    proof = Proof(round=1, checked_ms=NOW, expected=1440, stored=1440, segments=(), whole=True)
    finished = msgspec.structs.replace(workflow, status=Status.FINISHED, ended_ms=NOW, proof=proof)
    return (await world.deps.workflows.create(finished)).workflow
