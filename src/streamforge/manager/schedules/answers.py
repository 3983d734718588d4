"""The JSON that the API answers about schedules."""

from __future__ import annotations

from typing import Annotated

import msgspec

from streamforge.manager.answers import Moment, example, meaning, one_of
from streamforge.manager.schedules.model import Missed, RunState
from streamforge.manager.workflows.series.model import SourceChoice


class ScheduleLoad(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one symbol of a run."""

    symbol: Annotated[str, example("BTCUSDT")]
    queue_id: Annotated[str | None, meaning("Its workflow; none where nothing was started.")] = None
    status: Annotated[
        str,
        meaning(
            "That of the workflow; `up-to-date`: nothing was new; `refused`: no workflow could be made; `removed`: the "
            "workflow was removed before it had ended."
        ),
    ]
    reason: str = ""
    joined: Annotated[bool, meaning("Whether another request had started the workflow.")] = False


class ScheduleRun(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a schedule: of one fire time, or of several that were missed."""

    number: Annotated[int, meaning("1, 2, … of its schedule.")]
    state: Annotated[str, one_of(RunState)]
    fire_at: Moment
    times: Annotated[int, meaning("How many fire times it stands for; the latest one is `fire_at`.")] = 1
    first_at: Annotated[Moment, meaning("The first of them.")]
    at_least: Annotated[bool, meaning("Whether it stands for more than `times`, which were not counted.")] = False
    by_hand: Annotated[bool, meaning("Whether a person asked for it.")] = False
    late: Annotated[str | None, meaning("Why it did not begin in time, or was skipped.")] = None
    begun_at: Moment
    ended_at: Moment | None = None
    time_range: Annotated[str | None, meaning("What it loads; none: what is new since the coverage's end.")] = None
    reason: Annotated[str | None, meaning("Why it failed.")] = None
    loads: list[ScheduleLoad] = []
    left_out: Annotated[int, meaning("Symbols that are not listed, of a run of very many.")] = 0


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule."""

    name: Annotated[str, example("nightly")]
    symbols: list[str]
    type: Annotated[str, example("api_candles_1m")]
    cron: Annotated[str, example("5 0 * * *")]
    labels: Annotated[dict[str, str], meaning("Of each workflow.", {"team": "research"})] = {}
    timezone: Annotated[str, example("Europe/Moscow")]
    missed: Annotated[str, one_of(Missed)]
    source: Annotated[str, one_of(SourceChoice), meaning("Where the records are wanted from.")] = SourceChoice.AUTO
    since: Annotated[str | None, meaning("`last`: what is new since the coverage's end; else `time_range` counts.")]
    start: Annotated[str | None, meaning("Where `since last` begins with a series of which nothing is known.")]
    time_range: Annotated[str | None, meaning("Words such as `-1d:`, which each fire time gives another range.")]
    paused: bool
    created_at: Moment
    next_at: Annotated[Moment | None, meaning("When it fires next; none while it is paused.")]
    last_success_at: Annotated[Moment | None, meaning("When a run last ended without a failure.")]
    failures: Annotated[int, meaning("How many runs in a row have failed of late.")]
    overdue: Annotated[str | None, meaning("What a person should look at: a fire time without a run, or failures.")]
    undriven: Annotated[str | None, meaning("Why nothing fires it at the moment.")]
    waiting_for: Annotated[str | None, meaning("Why its run cannot begin at the moment.")]
    doubt: Annotated[
        str | None, meaning("What could not be checked of the change that this answers: the exchange did not answer.")
    ] = None
    current: Annotated[ScheduleRun | None, meaning("The run that is under way.")]
    latest: Annotated[ScheduleRun | None, meaning("The run that ended last; skipped ones do not count.")]


class Schedules(msgspec.Struct, frozen=True, kw_only=True):
    """All schedules, by name."""

    schedules: list[Schedule]
    unreadable: Annotated[dict[str, str], meaning("Why a schedule cannot be read, by its name.")]


class ScheduleRuns(msgspec.Struct, frozen=True, kw_only=True):
    """The runs of a schedule that have ended, newest first; the newest hundred are kept."""

    name: str
    runs: list[ScheduleRun]
