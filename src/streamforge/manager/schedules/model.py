"""A schedule as the manager remembers it: one document, changed by compare-and-set. Times: unix milliseconds, UTC.

Each change of the document is one step: a fire time becomes the current run, its workflows are made, it ends, it goes
into the history. A manager that dies between two steps leaves a document that says what is still to be done.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any

import msgspec

from streamforge.manager.batches.symbol_selection import is_pattern
from streamforge.manager.schedules.fire_times import FireTimes
from streamforge.manager.use_cases import StartRequest
from streamforge.manager.workflows.series.model import SourceChoice
from streamforge_utils.model.errors import InvalidInput
from streamforge_utils.model.timeranges import resolve_time_range

FORMAT = 1
ON_TIME_MS = 60_000
"""A fire time that passed longer ago was missed."""
OVERDUE_MS = 600_000
MOST_SYMBOLS = 1000
MOST_LOADS_KEPT = 200
"""Of a run that has ended so many symbols are kept, those that failed first; the others are counted."""
MOST_FAILURES = 3
"""So many runs that failed in a row are told by `doctor`."""
_NAMED = 3


class Missed(StrEnum):
    """What becomes of fire times that passed while no run could begin."""

    CATCH_UP = "catch-up"
    SKIP = "skip"


class RunState(StrEnum):
    """Where a run stands; the last three are ends."""

    STARTING = "starting"
    RUNNING = "running"
    FINISHED = "finished"
    ERROR = "error"
    SKIPPED = "skipped"


RUN_ENDED = frozenset({RunState.FINISHED, RunState.ERROR, RunState.SKIPPED})
GOES_ON, NOTHING_NEW, REFUSED, REMOVED = "running", "up-to-date", "refused", "removed"
"""What became of one symbol of a run, beside the ends of a workflow."""


class Definition(msgspec.Struct, frozen=True, kw_only=True):
    """What is loaded, and when. symbols: also patterns, which each run reads again. time_range, since, default_start,
    source: as in `StartRequest`. labels: of each workflow."""

    symbols: tuple[str, ...]
    type: str
    cron: str
    timezone: str = "UTC"
    missed: Missed = Missed.CATCH_UP
    time_range: str = ""
    since: str | None = None
    default_start: str | None = None
    labels: dict[str, str] = {}
    source: SourceChoice = SourceChoice.AUTO

    @property
    def fire_times(self) -> FireTimes:
        return FireTimes(self.cron, self.timezone)


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one symbol of a run. status: `running`, the end of its workflow, `up-to-date`, `refused` or
    `removed`. joined: another request had started the workflow."""

    symbol: str
    queue_id: str | None = None
    status: str = GOES_ON
    reason: str = ""
    joined: bool = False

    @property
    def failed(self) -> bool:
        return self.status in ("error", "interrupted", REFUSED, REMOVED)


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One firing. number: 1, 2, … of its schedule; with that one's uid it names the run.

    fire_ms: its fire time; first_ms, times: it stands for so many, of which this is the first; at_least: or more.
    late: why it was not on time, or why it was skipped. definition, time_range: what it loads, also if the schedule is
    changed meanwhile; time_range is absolute, or empty. chosen: its symbols, once the exchange has
    listed what patterns fit. left_out: loads that are not kept.
    """

    number: int
    fire_ms: int
    first_ms: int
    times: int = 1
    at_least: bool = False
    by_hand: bool = False
    late: str = ""
    state: RunState
    begun_ms: int
    ended_ms: int | None = None
    definition: Definition
    time_range: str = ""
    chosen: tuple[str, ...] | None = None
    loads: tuple[Load, ...] = ()
    left_out: int = 0
    reason: str = ""

    @property
    def ended(self) -> bool:
        return self.state in RUN_ENDED

    @property
    def to_start(self) -> Sequence[str]:
        """The symbols of which nothing was begun yet."""
        begun = {one.symbol for one in self.loads}
        symbols = self.definition.symbols if self.chosen is None else self.chosen
        return [symbol for symbol in symbols if symbol not in begun]

    @property
    def is_open(self) -> bool:
        """Whether the exchange has still to say what its patterns fit."""
        return self.chosen is None and any(map(is_pattern, self.definition.symbols))

    def failed(self, reason: str, now_ms: int) -> Run:
        """The run, ended for this reason."""
        return msgspec.structs.replace(self, state=RunState.ERROR, ended_ms=now_ms, reason=reason)

    def kept(self) -> Run:
        """The run as it is kept: of very many loads those that failed come first, and the rest is counted."""
        if len(self.loads) <= MOST_LOADS_KEPT:
            return self
        ordered = sorted(self.loads, key=lambda one: not one.failed)
        return msgspec.structs.replace(
            self, chosen=None, loads=tuple(ordered[:MOST_LOADS_KEPT]), left_out=len(ordered) - MOST_LOADS_KEPT
        )

    def request(self, symbol: str) -> StartRequest:
        """The request for one of its symbols."""
        of = self.definition
        return StartRequest(
            symbol=symbol,
            type=of.type,
            time_range=self.time_range,
            since=None if self.time_range else of.since,
            default_start=None if self.time_range else of.default_start,
            labels=of.labels,
            source=of.source,
        )

    def with_loads(self, loads: Sequence[Load], now_ms: int) -> Run:
        """The run with what is known of its symbols; ended once all of them are."""
        changed = msgspec.structs.replace(self, loads=tuple(loads))
        if changed.to_start:
            return changed
        if any(one.status == GOES_ON for one in loads):
            return msgspec.structs.replace(changed, state=RunState.RUNNING)
        failed = [one for one in loads if one.failed]
        state = RunState.ERROR if failed else RunState.FINISHED
        return msgspec.structs.replace(changed, state=state, ended_ms=now_ms, reason=_reasons(failed))


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """uid: of this schedule, also where another one had its name. fired_ms: fire times until then are dealt with.

    runs: numbers given to runs. current: the run that is under way, or that has ended and is not in the history yet.
    latest: the run that ended last, but for skipped ones. failures: runs in a row that failed.
    """

    format: int = FORMAT
    name: str
    uid: str
    definition: Definition
    created_ms: int
    paused: bool = False
    fired_ms: int
    runs: int = 0
    current: Run | None = None
    latest: Run | None = None
    last_success_ms: int | None = None
    failures: int = 0

    def with_run(self, **fields: Any) -> Schedule:
        """This schedule with a new current run."""
        number = self.runs + 1
        run = Run(number=number, definition=self.definition, **fields)
        return msgspec.structs.replace(self, runs=number, current=run)

    def settled(self) -> Schedule:
        """This schedule once its ended run is in the history."""
        run = self.current
        if run is None or run.state is RunState.SKIPPED:
            return msgspec.structs.replace(self, current=None)
        finished = run.state is RunState.FINISHED
        return msgspec.structs.replace(
            self,
            current=None,
            latest=run.kept(),
            last_success_ms=run.ended_ms if finished else self.last_success_ms,
            failures=0 if finished else self.failures + 1,
        )


def fired(schedule: Schedule, now_ms: int) -> Schedule:
    """The schedule with the next run that is due at `now_ms`, or as it is.

    The clock going backwards makes nothing due: fire times until `fired_ms` are dealt with.
    """
    of = schedule.definition
    if schedule.paused or schedule.current is not None or now_ms <= schedule.fired_ms:
        return schedule
    passed = of.fire_times.passed(schedule.fired_ms, now_ms)
    if not passed.times:
        return schedule
    last_ms = passed.times[-1]
    on_time = now_ms - last_ms <= ON_TIME_MS
    missed = passed.count - on_time
    if missed and of.missed is Missed.SKIP:
        # The newest one is not missed if it is on time: it is the next step.
        until_ms = passed.times[-2] if on_time else last_ms
        return _skipped(schedule, until_ms, missed, now_ms, at_least=passed.at_least)
    if of.time_range and (passed.count > len(passed.times) or passed.at_least):
        older = max(1, passed.count - len(passed.times))
        return _skipped(schedule, passed.times[0] - 1, older, now_ms, at_least=passed.at_least)
    # What came since is loaded by one run, however many times have passed; a range of its own by each.
    fire_ms = _apart(of.time_range, passed.times)[0] if of.time_range else last_ms
    times = passed.count - sum(time_ms > fire_ms for time_ms in passed.times)
    late = "" if now_ms - fire_ms <= ON_TIME_MS and times == 1 else _late(schedule, fire_ms)
    return _begun(schedule, fire_ms, now_ms, times, at_least=passed.at_least, late=late)


def _first_ms(schedule: Schedule, fire_ms: int) -> int:
    """The first fire time that is not dealt with, of those until `fire_ms`."""
    first_ms = schedule.definition.fire_times.next(schedule.fired_ms)
    return fire_ms if first_ms is None else min(first_ms, fire_ms)


def _apart(time_range: str, times: Sequence[int]) -> Sequence[int]:
    """Those of `times` whose ranges are not part of a later one's."""
    kept: list[int] = []
    later: list[tuple[int, int]] = []
    for time_ms in reversed(times):
        try:
            span = resolve_time_range(time_range, time_ms)
        except InvalidInput:
            continue
        if not any(start_ms <= span.start_ms and span.end_ms <= end_ms for start_ms, end_ms in later):
            kept.append(time_ms)
            later.append((span.start_ms, span.end_ms))
    return kept[::-1] or times[-1:]


def _begun(schedule: Schedule, fire_ms: int, now_ms: int, times: int, *, at_least: bool, late: str) -> Schedule:
    fields = {
        "first_ms": _first_ms(schedule, fire_ms),
        "times": times,
        "at_least": at_least,
        "late": late,
        "begun_ms": now_ms,
    }
    begun = msgspec.structs.replace(schedule, fired_ms=fire_ms)
    try:
        span = _range_at(schedule.definition, fire_ms)
    except InvalidInput as error:
        return begun.with_run(fire_ms=fire_ms, state=RunState.ERROR, ended_ms=now_ms, reason=str(error), **fields)
    return begun.with_run(fire_ms=fire_ms, state=RunState.STARTING, time_range=span, **fields)


def by_hand(schedule: Schedule, now_ms: int) -> Schedule:
    """The schedule with a run that a person asked for. Raises InvalidInput for a range that is none at this time."""
    span = _range_at(schedule.definition, now_ms)
    return schedule.with_run(
        fire_ms=now_ms, first_ms=now_ms, by_hand=True, state=RunState.STARTING, begun_ms=now_ms, time_range=span
    )


def _range_at(of: Definition, fire_ms: int) -> str:
    return str(resolve_time_range(of.time_range, fire_ms)) if of.time_range else ""


def _skipped(schedule: Schedule, until_ms: int, times: int, now_ms: int, *, at_least: bool) -> Schedule:
    skipped = msgspec.structs.replace(schedule, fired_ms=until_ms)
    return skipped.with_run(
        fire_ms=until_ms,
        first_ms=_first_ms(schedule, until_ms),
        times=times,
        at_least=at_least,
        late=_late(schedule, until_ms),
        state=RunState.SKIPPED,
        begun_ms=now_ms,
        ended_ms=now_ms,
    )


def _late(schedule: Schedule, fire_ms: int) -> str:
    """Why nothing began at the time."""
    before = schedule.latest
    if before is not None and before.begun_ms <= fire_ms <= (before.ended_ms or 0):
        return f"the run before it (number {before.number}) was still going on"
    return "no manager that fires schedules ran"


def _reasons(failed: Sequence[Load]) -> str:
    told = [f"{one.symbol}: {one.reason or one.status}" for one in failed[:_NAMED]]
    return "; ".join([*told, *([f"and {len(failed) - len(told)} more"] if len(failed) > len(told) else [])])


def overdue_ms(schedule: Schedule, now_ms: int) -> int:
    """For how long a fire time has passed for which no run has begun; 0: none has."""
    if schedule.paused or now_ms <= schedule.fired_ms:
        return 0
    first_ms = schedule.definition.fire_times.next(schedule.fired_ms)
    return 0 if first_ms is None else max(0, now_ms - first_ms)
