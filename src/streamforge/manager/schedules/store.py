"""Schedules in the state store, and the history of their runs: the newest of each, a document for each run."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import msgspec
import structlog

from streamforge.manager.engine.stored_document import require_format
from streamforge.manager.persistence.change_notes import SCHEDULE, ChangeNotes
from streamforge.manager.schedules.model import FORMAT, Run, RunState, Schedule
from streamforge_utils.model.errors import ConfigError, ConflictError
from streamforge_utils.model.messages import DECODE_ERRORS
from streamforge_utils.ports.store import State, StateStore, states_of

KIND = "schedule"
RUN_KIND = "schedule-run"
RUNS_KEPT = 100
_log = structlog.get_logger(__name__)


class StoredSchedule(msgspec.Struct, frozen=True):
    """A schedule with the revision it was read at."""

    schedule: Schedule
    revision: str


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Schedule).decode
_decode_run = msgspec.json.Decoder(Run).decode


class ScheduleStore:
    """All schedules. Nothing is kept in memory but why one cannot be read (`unreadable`, by name)."""

    def __init__(self, states: StateStore, changes: ChangeNotes | None = None) -> None:
        self._states = states
        self._changes = changes or ChangeNotes()
        self.unreadable: dict[str, str] = {}

    async def get(self, name: str) -> StoredSchedule | None:
        """The schedule, or None. Raises ConfigError (it is damaged, or of a newer version) or RetryableError."""
        state = await self._states.get(KIND, name)
        return None if state is None else _stored(state)

    async def all(self) -> Sequence[StoredSchedule]:
        """Every schedule that can be read, by name. Raises RetryableError."""
        found: list[StoredSchedule] = []
        unreadable: dict[str, str] = {}
        async for state in states_of(self._states, KIND):
            try:
                found.append(_stored(state))
            except ConfigError as error:
                unreadable[state.id] = str(error)
                if state.id not in self.unreadable:
                    _log.error("a schedule cannot be read", schedule=state.id, error=str(error))
        self.unreadable = unreadable
        return sorted(found, key=lambda one: one.schedule.name)

    async def create(self, schedule: Schedule) -> StoredSchedule:
        """Store a new schedule. Raises ConflictError if its name is taken."""
        return await self._write(schedule, None)

    async def replace(self, stored: StoredSchedule, schedule: Schedule) -> StoredSchedule:
        """Store `schedule` in the place of `stored`. Raises ConflictError if that is no longer the latest."""
        return stored if schedule == stored.schedule else await self._write(schedule, stored.revision)

    async def _write(self, schedule: Schedule, expected: str | None) -> StoredSchedule:
        state = await self._states.put(
            KIND, schedule.name, _encode(schedule), expected=expected, created_ms=schedule.created_ms
        )
        self._changes.add(SCHEDULE, schedule.name)
        return StoredSchedule(schedule, state.revision)

    async def remove(self, stored: StoredSchedule) -> None:
        """Forget the schedule and the history of its runs. Raises ConflictError if it was changed meanwhile."""
        uid = stored.schedule.uid
        await self._states.remove(KIND, stored.schedule.name, expected=stored.revision)
        self._changes.add(SCHEDULE, stored.schedule.name)
        await self.forget(uid)

    async def remove_unreadable(self, name: str) -> None:
        """Forget a schedule whose document cannot be read; its history goes with `forget_removed`."""
        state = await self._states.get(KIND, name)
        if state is not None:
            await self._states.remove(KIND, name, expected=state.revision)
            self._changes.add(SCHEDULE, name)

    async def forget(self, uid: str, *, kept: int = 0) -> None:
        """Remove the history of a schedule but for the newest `kept` runs."""
        states = [state async for state in states_of(self._states, RUN_KIND, {"schedule": [uid]})]
        for state in states[kept:]:
            with suppress(ConflictError):
                await self._states.remove(RUN_KIND, state.id, expected=state.revision)

    async def forget_removed(self) -> None:
        """Remove the history of schedules that are gone: their removal was cut short."""
        there = {stored.schedule.uid for stored in await self.all()}
        if self.unreadable:
            return
        found = [state async for state in states_of(self._states, RUN_KIND)]
        for uid in {state.labels.get("schedule", "") for state in found} - there:
            await self.forget(uid)

    async def keep(self, schedule: Schedule) -> None:
        """Put the current run, which has ended, into the history; again is no error. The oldest runs are forgotten."""
        run = schedule.current
        assert run is not None, schedule.name  # noqa: S101 - who calls has looked
        # By number alone, as clocks go back: all were made at the same time.
        id, body, labels = f"{schedule.uid}-{run.number:010d}", _encode(run.kept()), {"schedule": schedule.uid}
        with suppress(ConflictError):
            await self._states.put(RUN_KIND, id, body, expected=None, labels=labels, created_ms=0)
        await self.forget(schedule.uid, kept=RUNS_KEPT)

    async def runs(self, uid: str, *, limit: int = RUNS_KEPT) -> Sequence[Run]:
        """The runs of a schedule that have ended, newest first. Raises RetryableError."""
        found = await self._states.find(RUN_KIND, where={"schedule": [uid]}, limit=limit)
        return [_decode_run(state.body) for state in found]

    async def keys(self) -> Sequence[str]:
        """The Idempotency-Keys of what is being begun: they are not forgotten before that is done."""
        runs = [(one.schedule, one.schedule.current) for one in await self.all()]
        return [
            key_of(schedule, run, symbol)
            for schedule, run in runs
            if run is not None and run.state is RunState.STARTING
            for symbol in run.to_start
        ]


def key_of(schedule: Schedule, run: Run, symbol: str) -> str:
    """The Idempotency-Key of one symbol of a run: the same in every manager and at every try."""
    return f"schedule/{schedule.uid}/{run.number}/{run.fire_ms}/{symbol}"


def _stored(state: State) -> StoredSchedule:
    what = f"schedule {state.id}"
    try:
        require_format(state.body, FORMAT, f"{what}: ")
        return StoredSchedule(_decode(state.body), state.revision)
    except DECODE_ERRORS as error:
        raise ConfigError(
            f"{what} cannot be read, its document is damaged ({error}): remove it, and add it again"
        ) from error
