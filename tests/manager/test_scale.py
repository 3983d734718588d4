"""Work counted in calls, which no busy machine changes: of a look at many workflows, and of lists of many."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from types import FrameType

from streamforge.manager.coverage.answers import Series as SeriesAnswer
from streamforge.manager.engine.document import Status, Workflow
from streamforge.manager.policy import Policy
from streamforge.manager.presentation import coverage_answer, workflow_summary
from streamforge.manager.workflows.series.model import Plan
from streamforge_utils.model.coverage import Segment, Verdict
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange
from tests.doubles.manualclock import ManualClock
from tests.manager.support import (
    DAY_MS,
    DAY_START,
    HOUR_MS,
    LOADER,
    MINUTE_MS,
    NOW,
    SINK,
    World,
    accepted,
    changed,
    planned,
    put,
    replace,
    said,
)


async def calls_of_a_turn(world: World) -> int:
    """How many functions one look calls, with what it sets going."""
    calls = 0

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal calls
        calls += event == "call"

    sys.setprofile(count)
    try:
        await world.reconciler.turn()
    finally:
        sys.setprofile(None)
    await world.settle()
    return calls


async def busy_world(live: int, ended: int) -> World:
    """So many live workflows whose workers have started, beside so many ended ones."""
    world = World(clock=ManualClock(NOW), policy=Policy(max_running=live))
    await world.start()
    for number in range(ended):
        done = replace(accepted(f"9{number:05d}", created_ms=NOW + number), status=Status.FINISHED, ended_ms=NOW)
        await world.deps.workflows.create(done)
    for number in range(live):
        await world.deps.workflows.create(planned(code=f"{number:06d}"))
    world.reconciler._retained_at = float("inf")  # beside the loop, once a minute
    await world.turns(3)
    assert len(world.launcher.running()) == 2 * live
    for stored in world.deps.workflows.live.values():
        for target in (LOADER, SINK):
            world.say(said(stored.workflow, target, "started"))
    await world.turns()
    return world


async def costs(live: int, ended: int) -> tuple[int, int]:
    """Calls of a look at which nothing is new, and of one that hears a heartbeat of every worker."""
    world = await busy_world(live, ended)
    quiet = await calls_of_a_turn(world)
    for stored in world.deps.workflows.live.values():
        for target in (LOADER, SINK):
            world.say(said(stored.workflow, target, "loading", records=1, position=DAY_START))
    await world.reconciler._events.read_all()
    loud = await calls_of_a_turn(world)
    await world.die()
    return quiet, loud


async def test_a_look_grows_with_the_live_workflows_and_not_faster() -> None:
    (quiet_few, loud_few), (quiet_many, loud_many) = await costs(40, 0), await costs(400, 0)
    assert quiet_many < 11 * quiet_few
    assert loud_many < 11 * loud_few


async def test_a_look_does_not_grow_with_the_ended_workflows() -> None:
    for alone, beside in zip(await costs(40, 0), await costs(40, 2000), strict=True):
        assert abs(beside - alone) < 0.01 * alone, "2,000 more calls would be a third"


async def test_thousands_that_wait_for_a_slot_cost_little_each() -> None:
    calls = {}
    for waiting in (300, 3000):
        world = World(clock=ManualClock(NOW))
        await world.start()
        for number in range(waiting):
            symbol = f"S{number}USDT"  # of one series, whose ranges overlap, one would wait for the other
            await world.deps.workflows.create(accepted(f"{number:06d}", created_ms=NOW + number, symbol=symbol))
        await world.reconciler.turn()
        running = [s.workflow for s in world.deps.workflows.live.values() if s.workflow.status is Status.RUNNING]
        assert [w.queue_id[-6:] for w in running] == [f"{number:06d}" for number in range(8)], "the oldest first"
        await world.settle()
        calls[waiting] = await calls_of_a_turn(world)
        await world.die()
    assert calls[3000] < 11 * calls[300]


SERIES = Series("BTCUSDT", "candles", "1m")
HOURS = Series("BTCUSDT", "candles", "1h")
WHOLE_DAY = Plan(exchange_now_ms=NOW, there=1440, bars=1440)


async def at(now_ms: int) -> World:
    world = World(clock=ManualClock(now_ms))
    await world.start()
    return world


def part(start_ms: int, end_ms: int, verdict: Verdict = Verdict.STORED) -> Segment:
    collection = "c" if verdict is Verdict.STORED else None
    return Segment(start_ms=DAY_START + start_ms, end_ms=DAY_START + end_ms, verdict=verdict, collection=collection)


def minutes_with_holes(count: int) -> list[Segment]:
    """Every other minute is stored."""
    return [part(2 * number * MINUTE_MS, (2 * number + 1) * MINUTE_MS) for number in range(count)]


def ended(number: int, span: TimeRange) -> Workflow:
    found = accepted(f"{number:06d}")
    return changed(found, status=Status.INTERRUPTED, ended_ms=NOW, surveyed=True, plan=WHOLE_DAY, span=span)


def minutes(start: int, count: int) -> TimeRange:
    return TimeRange(DAY_START + start * MINUTE_MS, DAY_START + (start + count) * MINUTE_MS)


async def calls(world: World, listed: Sequence[Workflow]) -> int:
    """How many functions are called to say what is known of the ranges of `listed`; with a few of the interpreter."""
    number = 0

    def called(_frame: FrameType, event: str, _arg: object) -> None:
        nonlocal number
        number += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(called)
    try:
        found = await world.manager.reports.of_ended(listed)
    finally:
        sys.setprofile(before)
    assert len(found) == len(listed)
    return number


async def test_a_list_costs_the_same_beside_many_live_workflows() -> None:
    world = await at(NOW)
    await world.deps.coverage.lay_over(SERIES, minutes_with_holes(10))
    listed = [ended(number, minutes(number, 10)) for number in range(20)]
    alone = await calls(world, listed)
    for number in range(200):
        await put(world, accepted(f"{number:06d}", symbol="ETHUSDT"))
        await put(world, accepted(f"{number:06d}"))
    assert await calls(world, listed) < 2 * alone


async def test_a_list_costs_as_much_of_a_series_as_its_ranges_hold() -> None:
    world = await at(NOW)
    await world.deps.coverage.lay_over(SERIES, minutes_with_holes(4000))
    listed = [ended(number, minutes(100 * number, 10)) for number in range(41)]
    one, all_of_them = await calls(world, listed[:1]), await calls(world, listed)
    # Of ten segments each; all of the series is gone through once.
    assert (all_of_them - one) / 40 < 400
    same = [replace(listed[0], queue_id=f"{number}") for number in range(41)]
    assert (await calls(world, same) - one) / 40 < 30


async def test_other_tasks_run_while_a_list_is_made() -> None:
    world = await at(NOW)
    await world.deps.coverage.lay_over(SERIES, minutes_with_holes(500))
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    try:
        few = [ended(0, minutes(0, 500))]
        assert len(await world.manager.reports.of_ended(few)) == 1
        before, turns = turns, 0
        many = [ended(number, minutes(number, 500)) for number in range(21)]
        assert len(await world.manager.reports.of_ended(many)) == 21
    finally:
        counting.cancel()
    assert turns - before >= 20


async def series_and_coverage(series: Series, segments: Sequence[Segment]) -> SeriesAnswer:
    """What the list of series says of one, once it is clear that its coverage says the same."""
    world = await at(DAY_START + 9 * DAY_MS)
    await world.deps.coverage.lay_over(series, segments)
    [listed] = (await world.manager.series()).series
    assert (listed.start_ms, listed.end_ms) == (segments[0].start_ms, segments[-1].end_ms)
    report = coverage_answer(await world.manager.reports.of_series(series.symbol, listed.type))
    assert report.complete is listed.complete
    assert [one.verdict for one in report.segments if one.verdict != "stored"] == ["unknown"] * listed.holes
    assert sum(one.records for one in report.segments) == listed.records
    return listed


async def test_in_a_list_of_series_ranges_that_meet_inside_a_bar_have_no_hole_between_them() -> None:
    segments = [part(0, 210 * MINUTE_MS), part(225 * MINUTE_MS, 5 * HOUR_MS)]
    said = await series_and_coverage(HOURS, segments)
    assert (said.complete, said.holes, said.records) == (True, 0, 5)


async def test_in_a_list_of_series_nothing_is_stored_of_a_bar_whose_first_part_was_removed() -> None:
    rest, later = part(210 * MINUTE_MS, 4 * HOUR_MS), part(5 * HOUR_MS, 6 * HOUR_MS)
    for segments, told in (([rest], (None, None, 0)), ([rest, later], (later.start_ms, later.end_ms, 1))):
        world = await at(DAY_START + 9 * DAY_MS)
        await world.deps.coverage.lay_over(HOURS, segments)
        [one] = (await world.manager.series()).series
        assert (one.start_ms, one.end_ms, one.records) == told
    whole = [part(3 * HOUR_MS, 210 * MINUTE_MS), rest]  # in two parts
    assert (await series_and_coverage(HOURS, whole)).records == 1


async def test_an_ended_workflow_without_a_proof_has_stored_what_is_there_now() -> None:
    world = await at(NOW)
    workflow = ended(1, TimeRange(DAY_START, DAY_START + DAY_MS))
    await world.deps.coverage.lay_over(SERIES, [part(0, DAY_MS)])
    assert await stored_of_expected(world, workflow) == (1440, 1440)
    await world.deps.coverage.lay_over(SERIES, [part(0, 40 * MINUTE_MS, Verdict.OURS)])
    assert await stored_of_expected(world, workflow) == (1400, 1440)
    await world.deps.coverage.forget(SERIES, "c", workflow.span)
    assert await stored_of_expected(world, workflow) == (0, 1440)


async def test_an_ended_workflow_without_a_plan_has_no_range_to_count() -> None:
    world = await at(NOW)
    workflow = changed(ended(1, minutes(0, 10)), plan=None)
    assert await world.manager.reports.of_ended([workflow]) == {}
    assert await stored_of_expected(world, workflow) == (0, None)


async def stored_of_expected(world: World, workflow: Workflow) -> tuple[int, int | None]:
    now = await world.manager.reports.of_ended([workflow])
    progress = workflow_summary(workflow, None, now.get(workflow.queue_id)).progress
    return progress.records_stored, progress.records_expected
