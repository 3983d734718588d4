"""Fires schedules: makes the workflows of each fire time, sees how they end, and keeps the history.

It is driven by the stored documents: one change of a document at a time, each of which says what comes next. Nothing
is lost or done twice where the manager dies in between: a fire time is dealt with once it is in the document, and the
workflows of a run are made under keys that follow from it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Protocol

import msgspec
import structlog

from streamforge.manager.actor import acting
from streamforge.manager.batches.symbol_chooser import Chooser
from streamforge.manager.batches.symbol_selection import is_pattern
from streamforge.manager.catalogue.symbols import fitting
from streamforge.manager.dependencies import Dependencies
from streamforge.manager.engine.document import Status
from streamforge.manager.engine.refusals import NotFound, NotNow
from streamforge.manager.models.requests import NothingToScore
from streamforge.manager.persistence.change_notes import SCHEDULE
from streamforge.manager.schedules.model import (
    GOES_ON,
    MOST_SYMBOLS,
    NOTHING_NEW,
    REFUSED,
    REMOVED,
    Definition,
    Load,
    Run,
    RunState,
    Schedule,
    fired,
    overdue_ms,
)
from streamforge.manager.schedules.store import StoredSchedule, key_of
from streamforge.manager.use_cases import KeyReused, Started, StartRequest, UpToDate
from streamforge_utils.model.errors import ConfigError, ConflictError, PermanentError, RetryableError, StreamForgeError
from streamforge_utils.ports.exchange import SymbolInfo
from streamforge_utils.ports.retry import backoff_s

_replace = msgspec.structs.replace
_log = structlog.get_logger(__name__)


class Start(Protocol):
    """Accepts a request, as `WorkflowService.start` does."""

    def __call__(self, request: StartRequest, *, idempotency_key: str | None = None) -> Awaitable[Started]: ...


class ScheduleDriver:
    """Drives all schedules. `run` goes on until it is cancelled; `wake` makes it look now.

    fires: `run` is on. waiting: why a run cannot begin at the moment, by the schedule's uid.
    Times to fire go by the manager's clock; what is over goes by the exchange's.
    """

    LONGEST_S = 30.0
    """A clock that was set is noticed after this long."""
    LOOK_EVERY_S = 2.0
    RETRY_FIRST_S, RETRY_LONGEST_S = 2.0, 60.0
    GIVE_UP_MS = 86_400_000
    LIST_WITHIN_S = 10.0
    AT_ONCE = 8
    STEPS = 20

    def __init__(self, deps: Dependencies, start: Start) -> None:
        self._deps = deps
        self._start = start
        self._wake = asyncio.Event()
        self._failures: dict[str, int] = {}
        self._shown: set[str] = set()
        self.fires = False
        self.waiting: dict[str, str] = {}

    def wake(self) -> None:
        """Look now: a schedule was changed."""
        self._wake.set()

    async def run(self) -> None:
        """Fire until cancelled. An error, of the store or of our own, is logged, and tried again."""
        self.fires = True
        tidied = False
        try:
            while True:
                self._wake.clear()
                try:
                    if not tidied:
                        await self._deps.schedules.forget_removed()
                        tidied = True
                    pause_s = await self.turn()
                except Exception as error:
                    pause_s = self.LOOK_EVERY_S
                    unexpected = not isinstance(error, StreamForgeError)
                    _log.warning("firing schedules failed, trying again", error=str(error), exc_info=unexpected)
                    self._deps.observer.count("schedule_failures_total")
                await self._rest(pause_s)
        finally:
            self.fires = False

    async def _rest(self, seconds: float) -> None:
        waits = [asyncio.ensure_future(one) for one in (self._wake.wait(), self._deps.clock.sleep(seconds))]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in waits:
                one.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    async def turn(self) -> float:
        """Do for every schedule what can be done now; seconds until there is more. Raises RetryableError."""
        self._deps.fence()
        found = await self._deps.schedules.all()
        pauses = await asyncio.gather(*map(self._drive_alone, found))
        self._forget([stored.schedule for stored in found])
        return min(pauses, default=self.LONGEST_S)

    async def _drive_alone(self, stored: StoredSchedule) -> float:
        """Drive one schedule so that what is wrong with it holds up no other one."""
        name = stored.schedule.name
        try:
            return await self._drive(stored)
        except ConflictError:
            return 0.0  # a person has changed it: it is read again
        except Exception as error:
            unexpected = not isinstance(error, StreamForgeError)
            _log.warning("a schedule failed, trying again", schedule=name, error=str(error), exc_info=unexpected)
            self._deps.observer.count("schedule_failures_total")
            return self.LOOK_EVERY_S

    async def _drive(self, stored: StoredSchedule) -> float:
        store, clock = self._deps.schedules, self._deps.clock
        for _ in range(self.STEPS):
            schedule = stored.schedule
            run = schedule.current
            if run is None:
                changed = fired(schedule, clock.now_ms())
            elif run.ended:
                await store.keep(schedule)
                changed = schedule.settled()
            else:
                changed = await self._advanced(schedule, run)
            if changed == schedule:
                return self._pause_s(schedule)
            stored = await store.replace(stored, changed)
            self._tell(schedule, changed)
            if run is not None and not run.ended and run.to_start:
                return 0.0  # other schedules have their turn
        return 0.0

    async def _advanced(self, schedule: Schedule, run: Run) -> Schedule:
        """The schedule with what has become of the workflows of its run by now."""
        now_ms = self._deps.clock.now_ms()
        changed: Schedule
        if run.is_open:
            changed = _replace(schedule, current=await self._chosen(schedule, run, now_ms))
            return changed
        loads = list(run.loads)
        if symbols := run.to_start[: self.AT_ONCE]:
            begun = await asyncio.gather(*(self._begun(schedule, run, one) for one in symbols))
            loads += [one for one in begun if one is not None]
            if len(loads) > len(run.loads):
                self._waits_no_more(schedule)
        else:
            loads = [await self._looked(one) for one in loads]
        changed = _replace(schedule, current=run.with_loads(loads, now_ms))
        return changed

    async def _chosen(self, schedule: Schedule, run: Run, now_ms: int) -> Run:
        """The run with the symbols that its patterns fit now, those that only the archive still has among them."""
        listed, reason = await self._listed(run.definition)
        if reason:
            if now_ms - run.begun_ms > self.GIVE_UP_MS:
                self._waits_no_more(schedule)
                return run.failed(reason, now_ms)
            self._failures[schedule.uid] = self._failures.get(schedule.uid, 0) + 1
            self._wait(schedule, reason)
            return run
        self._waits_no_more(schedule)
        symbols: dict[str, None] = {}
        for word in run.definition.symbols:
            fits = [one.symbol for one in fitting(listed, word, None)] if is_pattern(word) else [word]
            symbols |= dict.fromkeys(fits)
        if not 0 < len(symbols) <= MOST_SYMBOLS:
            return run.failed(f"its patterns fit {len(symbols)} symbols: 1 to {MOST_SYMBOLS} are possible", now_ms)
        chosen: Run = _replace(run, chosen=tuple(symbols))
        return chosen

    async def _listed(self, of: Definition) -> tuple[Sequence[SymbolInfo], str]:
        """What exchange and archive have; or why that is not known now."""
        try:
            chooser = Chooser(self._deps, self._deps.exchange.symbols)
            return await chooser.listed(of.type, of.source, self.LIST_WITHIN_S)
        except (StreamForgeError, TimeoutError) as error:
            return (), f"the exchange does not list its symbols: {str(error) or 'no answer in time'}"

    async def _begun(self, schedule: Schedule, run: Run, symbol: str) -> Load | None:
        """What became of the request for a symbol; None: it could not be made at the moment."""
        try:
            with acting(f"schedule {schedule.name}"):
                started = await self._start(run.request(symbol), idempotency_key=key_of(schedule, run, symbol))
        except (UpToDate, NothingToScore):
            return Load(symbol=symbol, status=NOTHING_NEW)
        except (RetryableError, ConflictError, NotNow) as error:
            if self._deps.clock.now_ms() - run.begun_ms > self.GIVE_UP_MS:
                return Load(symbol=symbol, status=REFUSED, reason=f"it could not begin for a day: {error}")
            self._failures[schedule.uid] = self._failures.get(schedule.uid, 0) + 1
            self._wait(schedule, str(error))
            return None
        except (PermanentError, ConfigError, KeyReused, NotFound) as error:
            return Load(symbol=symbol, status=REFUSED, reason=str(error))
        return Load(symbol=symbol, queue_id=started.workflow.queue_id, joined=started.joined)

    def _waits_no_more(self, schedule: Schedule) -> None:
        self._failures.pop(schedule.uid, None)
        self._wait(schedule, None)

    def _wait(self, schedule: Schedule, reason: str | None) -> None:
        """Why its run cannot begin, if anything holds it up. The feed tells of it, though no document changes."""
        before = self.waiting.pop(schedule.uid, None)
        if reason is not None:
            self.waiting[schedule.uid] = reason
        if reason != before:
            self._deps.changes.add(SCHEDULE, schedule.name)

    async def _looked(self, load: Load) -> Load:
        """The load as its workflow is now."""
        if load.status != GOES_ON or load.queue_id is None:
            return load
        changed: Load
        try:
            stored = await self._deps.workflows.get(load.queue_id)
        except ConfigError as error:
            changed = _replace(load, status=Status.ERROR.value, reason=str(error))
            return changed
        if stored is None:
            changed = _replace(load, status=REMOVED, reason="its workflow was removed before it had ended")
            return changed
        workflow = stored.workflow
        if not workflow.ended:
            return load
        reason = "" if workflow.failure is None else workflow.failure.reason
        changed = _replace(load, status=workflow.status.value, reason=reason)
        return changed

    def _pause_s(self, schedule: Schedule) -> float:
        """Seconds until the schedule is to be looked at again."""
        observer, now_ms = self._deps.observer, self._deps.clock.now_ms()
        late_ms, success_ms = overdue_ms(schedule, now_ms), schedule.last_success_ms or 0
        observer.gauge("schedule_overdue_seconds", late_ms / 1000, schedule=schedule.name)
        observer.gauge("schedule_last_success_timestamp_seconds", success_ms / 1000, schedule=schedule.name)
        self._shown.add(schedule.name)
        run = schedule.current
        if run is not None and run.state is RunState.RUNNING:
            return self.LOOK_EVERY_S
        if run is not None:
            failures = max(1, self._failures.get(schedule.uid, 1))
            return backoff_s(failures, first_s=self.RETRY_FIRST_S, longest_s=self.RETRY_LONGEST_S)
        if schedule.paused:
            return self.LONGEST_S
        next_ms = schedule.definition.fire_times.next(max(now_ms, schedule.fired_ms))
        return self.LONGEST_S if next_ms is None else min(self.LONGEST_S, max(0.0, (next_ms - now_ms) / 1000))

    def _forget(self, there: Sequence[Schedule]) -> None:
        """Forget what was known of schedules that are gone, and show their metrics no longer."""
        names, uids = {one.name for one in there}, {one.uid for one in there}
        for name in self._shown - names:
            self._deps.observer.forget("schedule_overdue_seconds", schedule=name)
            self._deps.observer.forget("schedule_last_success_timestamp_seconds", schedule=name)
        self._shown &= names
        self._failures = {uid: tries for uid, tries in self._failures.items() if uid in uids}
        self.waiting = {uid: reason for uid, reason in self.waiting.items() if uid in uids}

    def _tell(self, before: Schedule, now: Schedule) -> None:
        run, earlier = now.current, before.current
        if run is not None and run.ended and (earlier is None or not earlier.ended):
            self._deps.observer.count("schedule_runs_total", outcome=run.state.value)
            _log.info("schedule", schedule=now.name, run=run.number, state=run.state.value, reason=run.reason or None)
