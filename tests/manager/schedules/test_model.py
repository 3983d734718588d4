"""Which run a schedule begins at a moment: on time, missed, made up for, skipped."""

from __future__ import annotations

from typing import Any

import pytest

from streamforge.manager.schedules.model import Definition, Missed, Run, RunState, Schedule, fired, overdue_ms
from streamforge_utils.model.timeranges import resolve_time_range
from tests.manager.support import DAY_MS, DAY_START, HOUR_MS, MINUTE_MS, replace

HOURLY = Definition(symbols=("BTCUSDT",), type="api_candles_1m", cron="0 * * * *", since="last")


def schedule(**fields: Any) -> Schedule:
    """One that has fired for the last time at the first hour of the day."""
    definition = replace(HOURLY, **fields)
    return Schedule(name="s", uid="u", definition=definition, created_ms=DAY_START, fired_ms=DAY_START)


def all_runs(one: Schedule, now_ms: int) -> list[Run]:
    """What it does at a moment, each run ending at once."""
    found: list[Run] = []
    while (after := fired(one, now_ms)) is not one:
        run = after.current
        assert run is not None
        found.append(run)
        if not run.ended:
            after = replace(after, current=replace(run, state=RunState.FINISHED, ended_ms=now_ms))
        one = after.settled()
    return found


def hours(*numbers: int) -> list[int]:
    return [DAY_START + number * HOUR_MS for number in numbers]


@pytest.mark.parametrize("missed", Missed)
def test_a_time_is_fired_once_it_has_come_and_never_again(missed: Missed) -> None:
    one = schedule(missed=missed)
    (at,) = hours(1)
    assert fired(one, at - 1) is one
    begun = fired(one, at + 59_999)
    run = begun.current
    assert run is not None
    assert (run.number, run.fire_ms, run.first_ms, run.times, run.late, run.state) == (
        1,
        at,
        at,
        1,
        "",
        RunState.STARTING,
    )
    over = replace(begun, current=None)
    for now_ms in (at - HOUR_MS, at, at + 1, at + HOUR_MS - 1):  # the clock may be set back
        assert fired(over, now_ms) is over


def test_missed_times_of_since_last_are_one_run() -> None:
    (run,) = all_runs(schedule(), DAY_START + 5 * HOUR_MS + 30 * MINUTE_MS)
    assert (run.fire_ms, run.first_ms, run.times) == (*hours(5, 1), 5)
    assert run.late == "no manager that fires schedules ran"
    assert run.request("BTCUSDT").since == "last"


def test_missed_times_of_a_relative_range_are_made_up_for_one_by_one() -> None:
    runs = all_runs(schedule(time_range="-1h:", since=None), DAY_START + 3 * HOUR_MS + 30 * MINUTE_MS)
    assert [run.fire_ms for run in runs] == hours(1, 2, 3)
    assert [run.request("BTCUSDT").time_range for run in runs] == [
        str(resolve_time_range("-1h:", fire_ms)) for fire_ms in hours(1, 2, 3)
    ]
    assert all(run.request("BTCUSDT").since is None for run in runs)


@pytest.mark.parametrize("time_range", ["2024-07", "2024-07:"])
def test_of_ranges_that_hold_one_another_the_largest_is_loaded(time_range: str) -> None:
    (run,) = all_runs(schedule(time_range=time_range, since=None), DAY_START + 3 * HOUR_MS + 30 * MINUTE_MS)
    assert (run.fire_ms, run.times) == (*hours(3), 3)


def test_of_many_missed_times_the_newest_hundred_are_made_up_for_and_the_others_told() -> None:
    runs = all_runs(schedule(time_range="-1h:", since=None), DAY_START + 150 * HOUR_MS + 30 * MINUTE_MS)
    skipped, *made_up = runs
    assert (skipped.state, skipped.times, skipped.first_ms, skipped.at_least) == (
        RunState.SKIPPED,
        50,
        *hours(1),
        False,
    )
    assert [run.fire_ms for run in made_up] == hours(*range(51, 151))
    assert [run.number for run in runs] == list(range(1, 102))


@pytest.mark.parametrize(("minutes", "skipped", "begun"), [(30, 5, []), (0, 4, hours(5))])
def test_missed_times_are_skipped_where_that_is_asked_for(minutes: int, skipped: int, begun: list[int]) -> None:
    runs = all_runs(schedule(missed=Missed.SKIP), DAY_START + 5 * HOUR_MS + minutes * MINUTE_MS)
    assert (runs[0].state, runs[0].times, runs[0].first_ms) == (RunState.SKIPPED, skipped, *hours(1))
    assert [run.fire_ms for run in runs[1:]] == begun


@pytest.mark.parametrize("missed", Missed)
def test_a_time_that_comes_while_a_run_goes_on_begins_no_second_one(missed: Missed) -> None:
    begun = fired(schedule(missed=missed), *hours(1))
    assert begun.current is not None
    later_ms = DAY_START + 3 * HOUR_MS + 10 * MINUTE_MS
    assert fired(begun, later_ms) is begun
    assert overdue_ms(begun, later_ms) == HOUR_MS + 10 * MINUTE_MS
    ended = replace(begun, current=replace(begun.current, state=RunState.FINISHED, ended_ms=later_ms)).settled()
    after = fired(ended, later_ms)
    assert after.current is not None
    assert (after.current.times, after.current.late) == (2, "the run before it (number 1) was still going on")
    assert after.current.state is (RunState.SKIPPED if missed is Missed.SKIP else RunState.STARTING)


def test_a_paused_schedule_fires_nothing() -> None:
    one = replace(schedule(), paused=True)
    assert fired(one, DAY_START + DAY_MS) is one
    assert overdue_ms(one, DAY_START + DAY_MS) == 0


def test_a_range_that_is_none_at_its_time_is_a_run_that_failed() -> None:
    (run,) = all_runs(schedule(time_range="2024-08-02:", since=None), *hours(1))
    assert run.state is RunState.ERROR
    assert "starts in the future" in run.reason


def test_failures_in_a_row_are_counted_until_a_run_succeeds() -> None:
    one = schedule()
    for state, failures in ((RunState.ERROR, 1), (RunState.ERROR, 2), (RunState.SKIPPED, 2), (RunState.FINISHED, 0)):
        run = Run(
            number=one.runs + 1, fire_ms=0, first_ms=0, state=state, begun_ms=0, ended_ms=7, definition=one.definition
        )
        one = replace(one, current=run).settled()
        assert (one.failures, one.current) == (failures, None)
    assert one.last_success_ms == 7
