"""What is said of a series: its span, its verdicts, its counts, and who is loading it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec
import pytest

from streamforge.manager.engine.document import Status, Workflow
from streamforge.manager.engine.refusals import NotFound
from streamforge.manager.use_cases import Report
from streamforge.manager.workflows.series.model import Plan, SeriesProof
from streamforge_utils.model.coverage import Segment, Verdict
from streamforge_utils.model.errors import RetryableError
from streamforge_utils.model.kinds.candles import Interval
from streamforge_utils.model.kinds.registry import type_of
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange, parse_time_range
from streamforge_utils.ports.exchange import SymbolInfo
from tests.doubles.manualclock import ManualClock
from tests.doubles.scriptedexchange import ScriptedExchange
from tests.manager.execution.world import finish, launched, store_bars
from tests.manager.support import DAY_MS, DAY_START, MINUTE_MS, NOW, World, accepted, changed, put

SERIES = Series("BTCUSDT", "candles", "1m")
TYPE = "api_candles_1m"
DAY = 1440
"""Minutes; so are all numbers that follow, from the day's start."""

Told = Sequence[tuple[int, int, str, int]]
STORED, CLOSED, EXCHANGE, UNKNOWN = Verdict.STORED, Verdict.CLOSED, Verdict.EXCHANGE, Verdict.UNKNOWN


def stored(start_ms: int, end_ms: int, collection: str = "c", records: int = 0) -> Segment:
    return Segment(start_ms=start_ms, end_ms=end_ms, verdict=Verdict.STORED, collection=collection, records=records)


def told(report: Report) -> Told:
    """Start, end, verdict, records."""
    return [
        ((s.start_ms - DAY_START) // MINUTE_MS, (s.end_ms - DAY_START) // MINUTE_MS, s.verdict.value, s.records)
        for s in report.segments
    ]


def at(minute: float) -> int:
    return DAY_START + round(minute * MINUTE_MS)


def day(number: int) -> int:
    return DAY_START + number * DAY_MS


class Case(NamedTuple):
    """What is known at a moment, and what is said of ranges then; of None: of all that was asked for."""

    interval: str
    now: float
    known: Sequence[tuple[int, int, Verdict]]
    said: Mapping[tuple[int, int] | None, Told | None]
    plan: Plan | None = None


CASES = {
    "what lies between stored ranges is unknown": Case(
        "1m", 9 * DAY, [(0, DAY, STORED), (3 * DAY, 4 * DAY, STORED)],
        {None: [(0, 1440, "stored", 1440), (1440, 4320, "unknown", 0), (4320, 5760, "stored", 1440)]},
    ),
    "what is closed or not over at the ends is spoken of only where it is named": Case(
        "1m", DAY, [(-9 * DAY, 0, CLOSED), (0, DAY, STORED)],
        {
            None: [(0, 1440, "stored", 1440)],
            (-DAY, 2 * DAY): [(-1440, 0, "closed", 0), (0, 1440, "stored", 1440), (1440, 2880, "pending", 0)],
        },
    ),
    "what is over by now and nobody has asked for is unknown in a range that is named": Case(
        "1m", DAY + 90.1, [(0, DAY, STORED)],
        {
            None: [(0, 1440, "stored", 1440)],
            (0, 2 * DAY): [(0, 1440, "stored", 1440), (1440, 1530, "unknown", 0), (1530, 2880, "pending", 0)],
        },
    ),
    "a bar that is not over is pending to its end": Case(
        "1h", 200, [(0, 180, STORED)],
        {
            (0, 200): [(0, 180, "stored", 3), (180, 200, "pending", 0)],
            (180, 200): [(180, 200, "pending", 0)],
            (199, 200): [],
            # To the end of the day as well: what nobody can have is not missing.
            (0, 1440): [(0, 180, "stored", 3), (180, 1440, "pending", 0)],
        },
    ),
    "an hour later it is over": Case(
        "1h", 260, [(0, 180, STORED)],
        {(0, 260): [(0, 180, "stored", 3), (180, 240, "unknown", 0), (240, 260, "pending", 0)]},
    ),
    "what is said of a range is said of the bars that open in it": Case(
        "1h", 9 * DAY, [(0, 210, STORED), (360, 419, EXCHANGE)],  # the bar of 3:00 by a range that ended in it
        {
            (0, 225): [(0, 225, "stored", 4)],
            (30, 225): [(60, 225, "stored", 3)],
            (215, 225): [],
            (310, 360): [],
            (210, 420): [(240, 360, "unknown", 0), (360, 420, "exchange", 0)],
            (310, 390): [(360, 390, "exchange", 0)],
            (250, 310): [(300, 310, "unknown", 0)],
        },
    ),
    "what is not over yet of a series that has ended is closed": Case(
        "1m", DAY, [(-DAY, 0, STORED)], {(0, 2 * DAY): [(0, 1440, "unknown", 0), (1440, 2880, "closed", 0)]},
        Plan(exchange_now_ms=day(1), first_ms=day(-1), last_ms=day(0)),
    ),
    "a series of which all is closed is spoken of": Case(
        "1m", 9 * DAY, [(0, 60, CLOSED)], {None: [(0, 60, "closed", 0)]}
    ),
    "a range that is named is spoken of as soon as a plan has found the series": Case(
        "1h", 90, [],
        {(60, 90): [(60, 90, "pending", 0)], (10, 50): [], (0, 60): [(0, 60, "unknown", 0)], None: None},
        Plan(exchange_now_ms=at(90), until_ms=DAY_START, first_ms=day(-9)),
    ),
    "unknown ranges that touch are one": Case(
        "1m", 9 * DAY, [(DAY, 2 * DAY, UNKNOWN)], {(0, 4 * DAY): [(0, 5760, "unknown", 0)]}
    ),
    "the clock of the exchange tells what is not over": Case(
        "1m", 400 * DAY, [(0, DAY, STORED)], {(DAY, 2 * DAY): [(1440, 2880, "pending", 0)]},
        Plan(exchange_now_ms=at(DAY + 0.5), first_ms=day(-1)),
    ),
    "the clock of the exchange tells what is over": Case(
        "1m", 400 * DAY, [(0, DAY, STORED)],
        {(DAY, 2 * DAY): [(1440, 1441, "unknown", 0), (1441, 2880, "pending", 0)]},
        Plan(exchange_now_ms=at(DAY + 1.5), first_ms=day(-1)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_what_is_said_of_a_series(case: Case) -> None:
    world = World(clock=ManualClock(at(case.now)))
    await world.start()
    series = Series("BTCUSDT", "candles", case.interval)
    if case.plan is not None:
        await world.deps.coverage.learn_plan(series, case.plan, at(case.now))
    known = [
        Segment(start_ms=at(start), end_ms=at(end), verdict=verdict, collection="c" if verdict is STORED else None)
        for start, end, verdict in case.known
    ]
    await world.deps.coverage.lay_over(series, known)
    for asked, said in case.said.items():
        span = None if asked is None else TimeRange(at(asked[0]), at(asked[1]))
        if said is None:
            with pytest.raises(NotFound, match=f"nothing is known of BTCUSDT api_candles_{case.interval}"):
                await world.manager.reports.of_series("btcusdt", type_of(series), span)
            continue
        report = await world.manager.reports.of_series("btcusdt", type_of(series), span)
        assert told(report) == said, asked
        spoken_of = span or TimeRange(at(said[0][0]), at(said[-1][1]))
        assert (report.basis, report.span) == ("range" if asked else "asked", spoken_of)


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
    report = await world.manager.reports.of_series("BTCUSDT", TYPE)
    assert told(report) == [(0, 100, "stored", 100), (100, 2880, "unknown", 0)]
    await world.manager.remove(queue_id)
    assert told(await world.manager.reports.of_series("BTCUSDT", TYPE)) == [(0, 100, "stored", 100)]
    await world.die()


async def test_right_after_a_crash_the_range_is_unknown_and_its_workflow_is_named() -> None:
    world = World(clock=ManualClock(NOW))
    await world.start()
    workflow = await launched(world, accepted())
    await world.die()
    await world.start()
    report = await world.manager.reports.of_series("BTCUSDT", TYPE)
    assert told(report) == [(0, 1440, "unknown", 0)]
    assert [one.queue_id for one in report.loading] == [workflow.queue_id]


async def test_a_workflow_without_a_plan_is_spoken_of_too(world: World) -> None:
    queue_id = await put(world, accepted())
    report = await world.manager.reports.of_series("BTCUSDT", TYPE)
    assert (report.span, told(report)) == (TimeRange(day(0), day(1)), [(0, 1440, "unknown", 0)])
    assert [one.queue_id for one in report.loading] == [queue_id]
    elsewhere = await world.manager.reports.of_series("BTCUSDT", TYPE, TimeRange(day(1), day(2)))
    assert elsewhere.loading == []


async def test_the_whole_life_is_from_the_first_bar_to_the_last_that_is_over(world: World) -> None:
    await world.deps.coverage.lay_over(SERIES, [stored(day(0), day(1))])
    unplanned = await world.manager.reports.of_series("BTCUSDT", TYPE, life=True)
    assert (unplanned.basis, unplanned.span is not None and unplanned.span.start_ms) == ("life", day(0))
    plan = Plan(exchange_now_ms=NOW, first_ms=day(-100))
    await world.deps.coverage.learn_plan(SERIES, plan, plan.exchange_now_ms)
    now_ms = world.clock.now_ms()
    report = await world.manager.reports.of_series("BTCUSDT", TYPE, life=True)
    assert report.span is not None
    assert (report.basis, report.span.start_ms) == ("life", day(-100))
    assert now_ms // MINUTE_MS * MINUTE_MS <= report.span.end_ms <= world.clock.now_ms()
    assert [s.verdict.value for s in report.segments] == ["unknown", "stored", "unknown"]
    await world.deps.coverage.learn_plan(
        SERIES, msgspec.structs.replace(plan, last_ms=day(2) - MINUTE_MS), plan.exchange_now_ms
    )
    report = await world.manager.reports.of_series("BTCUSDT", TYPE, life=True)
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
    await world.deps.coverage.learn_plan(series, Plan(exchange_now_ms=NOW, first_ms=opens[0]), NOW)
    await world.deps.coverage.lay_over(series, [stored(opens[0], interval.rule.next(opens[-1]))])
    report = await world.manager.reports.of_series("BTCUSDT", type_of(series), TimeRange(*cut))
    assert [s.records for s in report.segments] == [count]
    assert count == len([time for time in opens if cut[0] <= time < cut[1]])


async def test_a_series_of_which_nothing_is_known_is_an_error(world: World) -> None:
    with pytest.raises(NotFound, match="nothing is known of ETHUSDT api_candles_1m: nothing of it was loaded yet"):
        await world.manager.reports.of_series("ethusdt", TYPE)
    await world.deps.coverage.lay_over(SERIES, [stored(day(0), day(1))])
    with pytest.raises(NotFound, match=r"nothing is known of BTCUSD api_candles_1m: did you mean BTCUSDT\?") as near:
        await world.manager.reports.of_series("BTCUSD", TYPE, TimeRange(day(0), day(1)))
    assert near.value.meant == ("BTCUSDT",)
    with pytest.raises(NotFound, match="nothing of it was loaded yet") as far:
        await world.manager.reports.of_series("BTCUSDT", "api_candles_1h")
    assert far.value.meant == ()


async def test_another_symbol_is_suggested_only_where_the_exchange_does_not_have_this_one(world: World) -> None:
    await world.deps.coverage.lay_over(SERIES, [stored(day(0), day(1))])
    assert isinstance(world.exchange, ScriptedExchange)
    world.exchange.listed.append(SymbolInfo(symbol="ETHUSDT", status="TRADING"))
    unknown = "nothing is known of ETHUSDT api_candles_1m: nothing of it was loaded yet"
    with pytest.raises(NotFound) as listed:
        await world.manager.reports.of_series("ETHUSDT", TYPE)
    assert (str(listed.value), listed.value.meant) == (f"{unknown}.", ())
    world.exchange.failing = RetryableError("no way there")
    with pytest.raises(NotFound) as silent:
        await world.manager.reports.of_series("ETHUSDT", TYPE)
    doubt = " (or is BTCUSDT meant, of which something was?)."
    assert (str(silent.value), silent.value.meant) == (unknown + doubt, ())


async def test_what_is_said_of_ended_workflows_is_of_now() -> None:
    world = World(clock=ManualClock(NOW))
    await world.start()
    ended = await proven(world, "aaaaaa")
    other = await proven(world, "bbbbbb", time_range="2024-08-02")
    live = (await world.deps.workflows.create(accepted("cccccc", symbol="ETHUSDT"))).workflow
    await world.deps.coverage.lay_over(SERIES, [stored(day(0), day(1), records=1440)])
    found = await world.manager.reports.of_ended([ended, other, live])
    assert {queue_id: told(report) for queue_id, report in found.items()} == {
        ended.queue_id: [(0, 1440, "stored", 1440)],
        other.queue_id: [(1440, 2880, "unknown", 0)],
    }
    gone = Segment(start_ms=day(0), end_ms=day(0) + 40 * MINUTE_MS, verdict=Verdict.OURS)
    await world.deps.coverage.lay_over(SERIES, [gone])
    found = await world.manager.reports.of_ended([ended])
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
    proof = SeriesProof(round=1, checked_ms=NOW, expected=0, stored=0, segments=(closed,))
    finished = changed(workflow, status=Status.FINISHED, ended_ms=NOW, plan=plan, proof=proof)
    await world.deps.workflows.create(finished)
    for seconds in (0, 60):
        clock.advance(seconds)
        now = (await world.manager.reports.of_ended([finished]))[finished.queue_id]
        assert (now.span, now.segments) == (closed.span, [closed])
        assert now.segments == (await world.manager.coverage(finished.queue_id)).segments


async def test_a_span_that_is_named_can_be_asked_for_where_no_grid_is_known() -> None:
    clock = ManualClock(NOW)
    world = World(clock=clock)
    await world.start()
    pending = Segment(start_ms=NOW - 3 * DAY_MS, end_ms=NOW, verdict=Verdict.UNKNOWN)
    await world.deps.coverage.lay_over(Series("BTCUSDT", "candles", "3d"), [pending])
    clock.advance(3.7)
    report = await world.manager.reports.of_series("BTCUSDT", "api_candles_3d", life=True)
    assert report.span is not None
    assert report.span == TimeRange(NOW - 3 * DAY_MS, NOW + 3000)
    assert parse_time_range(str(report.span)) == report.span


async def proven(world: World, code: str, time_range: str = "2024-08-01") -> Workflow:
    """A workflow that was proven complete and has finished."""
    workflow = accepted(code, time_range=time_range)
    proof = SeriesProof(round=1, checked_ms=NOW, expected=1440, stored=1440, segments=())
    finished = changed(workflow, status=Status.FINISHED, ended_ms=NOW, proof=proof)
    return (await world.deps.workflows.create(finished)).workflow
