"""Makes the API's answers about schedules. Pure."""

from __future__ import annotations

from streamforge.manager.presentation import answer, moment, moment_or_none
from streamforge.manager.schedules import answers as schedule_answers
from streamforge.manager.schedules.model import Run
from streamforge.manager.schedules.service import Listed


def schedule_answer(found: Listed) -> schedule_answers.Schedule:
    """A schedule as it is now."""
    schedule, of = found.schedule, found.schedule.definition
    return schedule_answers.Schedule(
        name=schedule.name,
        symbols=list(of.symbols),
        type=of.type,
        cron=of.cron,
        labels=of.labels,
        timezone=of.timezone,
        missed=of.missed.value,
        source=of.source.value,
        since=of.since,
        start=of.default_start,
        time_range=of.time_range or None,
        paused=schedule.paused,
        created_at=moment(schedule.created_ms),
        next_at=moment_or_none(found.next_ms),
        last_success_at=moment_or_none(schedule.last_success_ms),
        failures=schedule.failures,
        overdue=found.overdue,
        undriven=found.undriven,
        waiting_for=found.waiting,
        doubt=found.doubt,
        current=None if schedule.current is None else run_answer(schedule.current),
        latest=None if schedule.latest is None else run_answer(schedule.latest),
    )


def run_answer(run: Run) -> schedule_answers.ScheduleRun:
    """A run, under way or ended."""
    return answer(
        schedule_answers.ScheduleRun,
        run,
        state=run.state.value,
        fire_at=moment(run.fire_ms),
        first_at=moment(run.first_ms),
        begun_at=moment(run.begun_ms),
        ended_at=moment_or_none(run.ended_ms),
        late=run.late or None,
        reason=run.reason or None,
        time_range=run.time_range or None,
        loads=[answer(schedule_answers.ScheduleLoad, one) for one in run.loads],
    )
