"""Schedules are fired exactly once for each time, wherever the manager dies."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamforge.manager.engine.document import Failure, Status
from streamforge.manager.engine.refusals import NotNow
from streamforge.manager.persistence.change_notes import SCHEDULE, Changed
from streamforge.manager.persistence.reservations import KEY_KEPT_MS
from streamforge.manager.policy import Policy
from streamforge.manager.schedules.driver import ScheduleDriver
from streamforge.manager.schedules.model import Definition, Load, Missed, Run, RunState
from streamforge.manager.schedules.store import RUNS_KEPT
from streamforge.manager.use_cases import StartRequest
from streamforge_utils.model.coverage import Segment, Verdict
from streamforge_utils.model.errors import RetryableError
from streamforge_utils.model.series import Series
from tests.manager.execution.world import exchange_of
from tests.manager.schedules.schedule_rig import HOUR, LAST, START_MS, SYMBOLS, Dead, rig_of
from tests.manager.support import DAY_MS, DAY_START, HOUR_MS, MINUTE_MS, replace


@pytest.mark.parametrize("definition", [LAST, HOUR], ids=["since last", "range"])
async def test_a_fire_time_makes_a_workflow_of_each_symbol_and_keeps_how_they_ended(definition: Definition) -> None:
    rig = await rig_of(definition)
    assert await rig.turn() == pytest.approx(ScheduleDriver.LONGEST_S)
    await rig.later(30 * MINUTE_MS - 5000)
    assert await rig.turn() == pytest.approx(5)
    await rig.later(5000)
    await rig.turn()
    workflows = await rig.workflows()
    assert sorted(one.symbol for one in workflows) == sorted(SYMBOLS)
    start = DAY_START - DAY_MS if definition is LAST else DAY_START
    assert {(one.span.start_ms, one.span.end_ms) for one in workflows} == {(start, DAY_START + HOUR_MS)}
    await rig.turn()
    assert len(await rig.workflows()) == 2
    await rig.end()
    await rig.turn()
    (run,) = await rig.runs()
    assert (run.state, run.fire_ms, run.ended_ms) == (RunState.FINISHED, DAY_START + HOUR_MS, DAY_START + HOUR_MS)
    assert [one.status for one in run.loads] == ["finished", "finished"]
    assert {one.queue_id for one in run.loads} == {one.queue_id for one in workflows}
    assert (await rig.schedule()).last_success_ms == DAY_START + HOUR_MS


@pytest.mark.parametrize("made_first", [False, True], ids=["before the write", "after it"])
@pytest.mark.parametrize(
    ("definition", "ends_between"), [(LAST, False), (HOUR, False), (HOUR, True)], ids=["since last", "range", "ended"]
)
async def test_a_death_at_any_write_changes_nothing_of_what_comes_out(
    definition: Definition, ends_between: bool, made_first: bool
) -> None:
    async def story(dies: int) -> tuple[int, object]:
        rig = await rig_of(definition)
        rig.ends_between = ends_between
        await rig.later(30 * MINUTE_MS)
        rig.writes, rig.dies, rig.made_first = 0, dies, made_first
        await rig.turn()
        await rig.end()
        await rig.turn()
        await rig.later(2 * HOUR_MS)
        await rig.turn()
        await rig.end()
        await rig.turn()
        await rig.end()
        await rig.turn()
        workflows = Counter((one.symbol, one.span) for one in await rig.workflows())
        runs = [(one.fire_ms, one.times, one.state, [load.status for load in one.loads]) for one in await rig.runs()]
        return rig.writes, (workflows, runs)

    writes, expected = await story(0)
    assert writes > 20
    for dies in range(1, writes + 1):
        assert (await story(dies))[1] == expected, f"it died at write {dies}"


OPERATIONS = st.one_of(
    st.tuples(st.just("later"), st.integers(1, 300)),
    st.tuples(st.just("back"), st.integers(1, 200)),
    st.tuples(st.just("kill"), st.integers(1, 12)),
    st.tuples(st.just("turn"), st.just(0)),
    st.tuples(st.just("end"), st.just(0)),
)


@settings(max_examples=60)
@given(st.lists(OPERATIONS, max_size=16), st.sampled_from([LAST, HOUR]), st.sampled_from(Missed))
def test_every_time_is_dealt_with_exactly_once(
    operations: Sequence[tuple[str, int]], definition: Definition, missed: Missed
) -> None:
    """Whatever is killed, and however the clock is set."""

    async def story() -> None:
        rig = await rig_of(replace(definition, missed=missed))
        latest_ms = START_MS
        for name, value in operations:
            if name == "later":
                await rig.later(value * MINUTE_MS)
            elif name == "back":
                await rig.later(-value * MINUTE_MS)
            elif name == "kill":
                rig.dies = rig.writes + value
            elif name == "end":
                await rig.end()
            if name in ("turn", "end", "kill"):
                await rig.turn()
                latest_ms = max(latest_ms, rig.clock.now_ms())
        rig.dies = 0
        # What was put off by a run, and whose time the clock then said is still to come, comes again.
        latest_ms = max(latest_ms, rig.clock.now_ms())
        await rig.later(latest_ms - rig.clock.now_ms())
        for _ in range(40):
            await rig.end()
            await rig.turn()
        found = await rig.schedule()
        assert found.current is None
        runs = await rig.runs()
        assert [run.number for run in runs] == list(range(1, len(runs) + 1))
        expected = range(DAY_START + HOUR_MS, latest_ms + 1, HOUR_MS)
        assert sum(run.times for run in runs) == len(expected)
        assert [run.fire_ms for run in runs] == sorted({run.fire_ms for run in runs})
        spans = Counter((one.symbol, one.span) for one in await rig.workflows())
        assert set(spans.values()) <= {1}
        made = [load.queue_id for run in runs for load in run.loads if load.queue_id]
        assert len(made) == len(set(made)) == len(await rig.workflows())

    asyncio.run(story())


async def test_nothing_new_and_what_is_refused_are_told_of_each_symbol() -> None:
    rig = await rig_of(LAST)
    await rig.world.deps.coverage.lay_over(
        Series("BTCUSDT", "candles", "1m"),
        [Segment(start_ms=DAY_START, end_ms=DAY_START + HOUR_MS, verdict=Verdict.STORED, collection="c")],
    )
    schedule = await rig.world.deps.schedules.get("s")
    assert schedule is not None
    changed = replace(schedule.schedule, definition=replace(LAST, symbols=("BTCUSDT", "NOSUCH")))
    await rig.world.deps.schedules.replace(schedule, changed)
    await rig.later(30 * MINUTE_MS)
    await rig.turn()
    (run,) = await rig.runs()
    assert [one.status for one in run.loads] == ["up-to-date", "refused"]
    assert (run.state, run.reason.startswith("NOSUCH: NOSUCH is not a symbol")) == (RunState.ERROR, True)
    assert not await rig.workflows()


async def test_a_failed_workflow_is_a_failed_run_with_its_reason() -> None:
    rig = await rig_of()
    await rig.later(30 * MINUTE_MS)
    await rig.turn()
    await rig.end(Status.ERROR, failure=Failure(reason="the disk is full", next_step="make room"))
    await rig.turn()
    assert (await rig.runs())[0].reason == "BTCUSDT: the disk is full; ETHUSDT: the disk is full"
    assert (await rig.schedule()).failures == 1


async def test_a_run_without_room_begins_once_there_is_some() -> None:
    rig = await rig_of(policy=Policy(max_live=1))
    await rig.world.manager.start(StartRequest(symbol="BTCUSDT", type="api_candles_1m", time_range="2024-07-01"))
    await rig.later(30 * MINUTE_MS)
    assert await rig.turn() >= 1
    listed = await rig.world.manager.schedules.get("s")
    assert "workflows are waiting or running" in str(listed.waiting)
    for _ in range(3):
        await rig.end()
        await rig.turn()
    await rig.end()
    await rig.turn()
    assert [one.state for one in await rig.runs()] == [RunState.FINISHED]
    assert len(await rig.workflows()) == 3


async def test_of_a_schedule_that_is_removed_while_its_run_waits_nothing_is_kept() -> None:
    rig = await rig_of(policy=Policy(max_live=1))
    await rig.world.manager.start(StartRequest(symbol="BTCUSDT", type="api_candles_1m", time_range="2024-07-01"))
    await rig.later(30 * MINUTE_MS)
    await rig.turn()
    driver = rig.world.manager.schedules.driver
    assert len(driver.waiting) == len(driver._failures) == 1
    await rig.world.manager.schedules.remove("s")
    await rig.turn()
    assert (driver.waiting, driver._failures) == ({}, {})


@pytest.mark.parametrize("why", [RetryableError("the bus is away"), NotNow("another exchange answers")])
async def test_a_run_that_cannot_begin_for_a_day_has_failed(monkeypatch: pytest.MonkeyPatch, why: Exception) -> None:
    rig = await rig_of()
    rig.driver = rig.world.manager.schedules.driver

    async def away(*_: object, **__: object) -> Any:
        raise why

    monkeypatch.setattr(rig.driver, "_start", away)
    await rig.later(30 * MINUTE_MS)
    await rig.turn()
    assert (await rig.world.manager.schedules.get("s")).waiting == str(why)
    await rig.later(DAY_MS + HOUR_MS)
    await rig.turn()
    run = (await rig.runs())[0]
    assert (run.state, f"it could not begin for a day: {why}" in run.reason) == (RunState.ERROR, True)


async def test_a_run_whose_symbols_are_not_listed_for_a_day_has_failed_and_waits_no_more() -> None:
    rig = await rig_of(replace(HOUR, symbols=("*USDT",), cron="0 1 1 8 *"))
    exchange_of(rig.world).failing = RetryableError("no route")
    await rig.later(30 * MINUTE_MS)
    await rig.turn()
    await rig.later(DAY_MS + HOUR_MS)
    await rig.turn()
    assert (await rig.runs())[0].reason == "the exchange does not list its symbols: no route"
    assert (await rig.world.manager.schedules.get("s")).waiting is None


async def test_the_keys_of_a_run_that_is_being_begun_outlast_a_day() -> None:
    """The manager died after the first workflow was made, and is back two days later."""
    rig = await rig_of()
    await rig.later(30 * MINUTE_MS)
    rig.dies, rig.made_first = rig.writes + 6, True  # the run; then code, key and workflow, of both symbols at once
    with pytest.raises(Dead):
        await rig.driver.turn()
    rig.dies = 0
    await rig.start()
    assert len(await rig.workflows()) == 1
    await rig.end()
    await rig.later(2 * KEY_KEPT_MS)
    await rig.world.deps.reservations.expire((), await rig.world.deps.schedules.keys())
    await rig.turn()
    spans = Counter((one.symbol, one.span) for one in await rig.workflows())
    assert set(spans.values()) == {1}


async def test_the_history_is_bounded_and_goes_with_the_schedule() -> None:
    rig = await rig_of(replace(HOUR, missed=Missed.SKIP, symbols=("BTCUSDT",)))
    await rig.later(-30 * MINUTE_MS)
    for _ in range(RUNS_KEPT + 5):
        await rig.later(HOUR_MS)
        await rig.turn()
        await rig.end()
        await rig.turn()
    runs = await rig.runs()
    assert len(runs) == RUNS_KEPT
    assert runs[-1].number == (await rig.schedule()).runs > RUNS_KEPT
    await rig.world.manager.schedules.remove("s")
    assert not [key for key in rig.world.store.states if key[0].startswith("schedule")]
    assert await rig.workflows(), "workflows stay"


async def test_what_is_left_of_a_schedule_whose_removal_was_cut_short_is_removed() -> None:
    rig = await rig_of(replace(HOUR, missed=Missed.SKIP))
    await rig.later(3 * HOUR_MS + 40 * MINUTE_MS)
    await rig.turn()
    rig.dies, rig.made_first = rig.writes + 2, True  # the note of who removes it, and the schedule
    with pytest.raises(Dead):
        await rig.world.manager.schedules.remove("s")
    rig.dies, rig.dead = 0, False
    assert [key for key in rig.world.store.states if key[0] == "schedule-run"]
    await rig.start()
    await rig.world.deps.schedules.forget_removed()
    assert not [key for key in rig.world.store.states if key[0].startswith("schedule")]


async def test_a_schedule_that_cannot_be_read_holds_up_no_other_one() -> None:
    rig = await rig_of()
    await rig.add(HOUR, "other")
    rig.world.store.damage("schedule", "other", b'{"format": 1}')
    await rig.later(30 * MINUTE_MS)
    await rig.turn()
    assert len(await rig.workflows()) == 2
    listed = await rig.world.manager.schedules.list()
    assert [one.schedule.name for one in listed] == ["s"]
    assert list(rig.world.manager.schedules.unreadable) == ["other"]
    await rig.world.manager.schedules.remove("other")
    await rig.world.manager.schedules.list()
    assert not rig.world.manager.schedules.unreadable


async def test_metrics_say_what_is_overdue_and_when_a_run_last_succeeded() -> None:
    rig = await rig_of()
    await rig.later(30 * MINUTE_MS)
    await rig.turn()
    await rig.later(90 * MINUTE_MS)
    await rig.turn()
    gauges = rig.world.observer.gauges
    assert gauges["schedule_overdue_seconds{schedule=s}"] == 1800
    await rig.end()
    await rig.turn()
    await rig.end()
    await rig.turn()
    assert gauges["schedule_overdue_seconds{schedule=s}"] == 0
    assert gauges["schedule_last_success_timestamp_seconds{schedule=s}"] == rig.clock.now_ms() / 1000
    await rig.world.manager.schedules.remove("s")
    await rig.turn()
    assert not [name for name in gauges if "schedule=s" in name]


async def test_the_driver_looks_at_once_when_a_schedule_is_changed_and_goes_on_after_an_error() -> None:
    rig = await rig_of()
    rig.world.store.failing = RetryableError("away")
    driving = asyncio.create_task(rig.driver.run())
    try:
        await rig.clock.sleeping(1)
        rig.world.store.failing = None
        await rig.world.manager.schedules.run("s")
        while not await rig.workflows():  # noqa: ASYNC110 (no event tells it)
            await asyncio.sleep(0)
        assert rig.driver.fires
    finally:
        driving.cancel()
        await asyncio.gather(driving, return_exceptions=True)
    assert not rig.driver.fires


async def test_a_pattern_is_read_anew_by_each_run_and_takes_in_what_is_delisted() -> None:
    rig = await rig_of(replace(HOUR, symbols=("*USDT", "ETHUSDT")))
    exchange = exchange_of(rig.world)
    exchange.failing = RetryableError("no route")
    await rig.later(30 * MINUTE_MS)
    assert await rig.turn() >= 1
    assert "no route" in str((await rig.world.manager.schedules.get("s")).waiting)
    rig.world.deps.changes.take()
    exchange.failing = RetryableError("nobody answers")
    assert await rig.turn() >= 1
    assert Changed(SCHEDULE, "s") in rig.world.deps.changes.take()[0], "no document has changed"
    exchange.failing = None
    first = exchange.listed[0]
    exchange.listed = [
        replace(first, symbol="BTCUSDT"),
        replace(first, symbol="OLDUSDT", status="BREAK"),
        replace(first, symbol="BTCEUR"),
        replace(first, symbol="ETHUSDT"),
    ]
    await rig.turn()
    assert {one.symbol for one in await rig.workflows()} == {"BTCUSDT", "ETHUSDT", "OLDUSDT"}
    exchange.listed = []
    await rig.end()
    await rig.later(HOUR_MS)
    await rig.turn()
    await rig.end()
    await rig.turn()
    assert [one.symbol for one in (await rig.runs())[-1].loads] == ["ETHUSDT"]


async def test_a_run_of_very_many_symbols_keeps_those_that_failed() -> None:
    loads = [Load(symbol=f"S{n}", status="error" if n == 999 else "finished") for n in range(1000)]
    run = Run(number=1, fire_ms=0, first_ms=0, state=RunState.RUNNING, begun_ms=0, definition=HOUR, loads=tuple(loads))
    kept = run.kept()
    assert (len(kept.loads), kept.left_out, kept.loads[0].symbol) == (200, 800, "S999")
