"""Workflows in the state store, and the ones that are still going on in memory.

The manager is the only writer; compare-and-set catches what would go wrong all the same (a second manager, a bug).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Unpack

import msgspec
import structlog

from streamforge.manager.engine.document import ENDED, Status, Workflow
from streamforge.manager.engine.stored_document import decode_workflow, encode_workflow
from streamforge.manager.persistence.change_notes import BATCH, WORKFLOW, ChangeNotes
from streamforge.manager.workflow_labels import NAMED
from streamforge_utils.model.errors import ConfigError, ConflictError
from streamforge_utils.model.messages import DECODE_ERRORS
from streamforge_utils.ports.store import Selected, State, StateStore, states_of

KIND = "workflow"
_NEWEST = 1000
_ALIKE = 0.94
"""Two names of one series and day, which share all but their six last characters, are less alike."""
_log = structlog.get_logger(__name__)
_LIVE = tuple(status.value for status in Status if status not in ENDED)


class Unreadable(ConfigError):
    """A stored workflow cannot be read; the message names it."""


class OutOfDate(Exception):
    """A workflow has entered another epoch, or is gone: what was begun for it before must change nothing."""


class Stored(msgspec.Struct, frozen=True):
    """A workflow with the revision it was read at."""

    workflow: Workflow
    revision: str
    noted: bool = False
    """It holds progress that is in memory only; losing it costs nothing but a second look."""


class WorkflowStore:
    """All workflows. Those that have not ended are kept in memory (`live`), so that a look at them costs nothing."""

    def __init__(self, states: StateStore, changes: ChangeNotes | None = None) -> None:
        self._states = states
        self._changes = changes or ChangeNotes()
        self._live: dict[str, Stored] = {}
        self._changed_of_batches: dict[str, set[str]] = {}
        self.unreadable: dict[str, str] = {}
        """Why a workflow that is there cannot be read, by queue_id. Its jobs are left alone."""

    @property
    def live(self) -> Mapping[str, Stored]:
        """The workflows that have not ended, by queue_id, as last stored."""
        return self._live

    async def load(self) -> None:
        """Read the live workflows, in the place of those in memory. Those that cannot be read are left out.

        Before anything else; again only where another process may have changed them.
        """
        found = [stored async for state in self._all_live() if (stored := self._readable(state)) is not None]
        # Oldest first: who has waited longest gets the next free slot.
        self._live.clear()  # kept itself: others hold it
        self._live |= {
            stored.workflow.queue_id: stored for stored in sorted(found, key=lambda s: s.workflow.created_ms)
        }

    async def adopt(self) -> None:
        """Take in live workflows that are stored and not in memory: their maker never heard that it worked."""
        unknown = [state async for state in self._all_live() if state.id not in self._live]
        for state in unknown:
            if state.id not in self.unreadable and self._readable(state) is not None:
                await self.get(state.id)  # it may have ended since it was listed

    def _all_live(self) -> AsyncIterator[State]:
        return states_of(self._states, KIND, {"status": _LIVE})

    @property
    def has_changed_of_batches(self) -> bool:
        """Whether `take_changed_of_batches` gives any."""
        return bool(self._changed_of_batches)

    def take_changed_of_batches(self) -> Mapping[str, set[str]]:
        """By batch, its workflows that were written since this was called last. One alone may call it."""
        taken, self._changed_of_batches = self._changed_of_batches, {}
        return taken

    def note_changed(self, batch: str, queue_ids: Iterable[str]) -> None:
        """Let `take_changed_of_batches` give these (again)."""
        self._changed_of_batches.setdefault(batch, set()).update(queue_ids)

    async def of_series(self, symbol: str, type: str) -> AsyncIterator[Workflow]:
        """The workflows of a series, newest first; what cannot be read is left out. Raises RetryableError."""
        async for state in states_of(self._states, KIND, {"symbol": [symbol], "type": [type]}):
            stored = self._live.get(state.id) or self._readable(state)
            if stored is not None:
                yield stored.workflow

    async def create(self, workflow: Workflow) -> Stored:
        """Store a new workflow. Raises ConflictError if its queue_id is taken."""
        return await self._write(workflow, expected=None)

    async def get(self, queue_id: str) -> Stored | None:
        """The workflow, or None. Raises Unreadable."""
        if queue_id in self._live:
            return self._live[queue_id]
        state = await self._states.get(KIND, queue_id)
        if state is None:
            return None
        stored = _stored(state)
        if not stored.workflow.ended:
            return self._live.setdefault(queue_id, stored)
        return stored

    async def readable(self, queue_id: str) -> Workflow | None:
        """The workflow; None: there is none, or none that can be read."""
        try:
            stored = await self.get(queue_id)
        except Unreadable:
            return None
        return None if stored is None else stored.workflow

    async def check_epoch(self, workflow: Workflow) -> None:
        """Raises OutOfDate if the stored document is of another epoch than `workflow`; Unreadable or RetryableError.

        Read from the store: another manager may have written it by now.
        """
        state = await self._states.get(KIND, workflow.queue_id)
        if state is None or _stored(state).workflow.epoch != workflow.epoch:
            raise OutOfDate(f"workflow {workflow.queue_id} is no longer in its epoch {workflow.epoch}")

    async def replace(self, stored: Stored, workflow: Workflow) -> Stored:
        """Store `workflow` in the place of `stored`. Raises ConflictError if that is no longer the latest."""
        if workflow == stored.workflow and not stored.noted:
            return stored
        try:
            return await self._write(workflow, expected=stored.revision)
        except ConflictError:
            before = self._live.get(workflow.queue_id)
            state = await self._states.get(KIND, workflow.queue_id)
            if self._live.get(workflow.queue_id) is not before:
                pass  # written again meanwhile: what was read is older
            elif state is None:
                self._live.pop(workflow.queue_id, None)
            else:
                self._remember(_stored(state))
            raise

    def note(self, stored: Stored, workflow: Workflow) -> None:
        """Keep `workflow` in memory only, until the next `replace`: for progress, which comes often."""
        if workflow is not stored.workflow:
            self._live[workflow.queue_id] = Stored(workflow, stored.revision, noted=True)
            self._note_change(workflow)

    async def change(self, queue_id: str, change: Callable[[Workflow], Workflow]) -> Stored | None:
        """Apply `change` to the latest document, again whenever another change came first. None: there is none."""
        for _ in range(50):
            stored = await self.get(queue_id)
            if stored is None:
                return None
            try:
                return await self.replace(stored, change(stored.workflow))
            except ConflictError:
                continue
        raise ConflictError(f"workflow {queue_id} was changed by others 50 times in a row")

    async def find(
        self, *, after: str | None = None, limit: int = 100, **selected: Unpack[Selected]
    ) -> Sequence[Workflow]:
        """Workflows by `status`, `symbol`, `type`, `topics`, `batch` and by their labels (each behind `NAMED`), newest
        first. begins: what these begin with. prefix: what their names begin with.

        What cannot be read is left out.
        """
        found: list[Workflow] = []
        while len(found) < limit:
            wanted = limit - len(found)
            states = await self._states.find(KIND, after=after, limit=wanted, **selected)
            for state in states:
                stored = self._live.get(state.id) or self._readable(state)
                if stored is not None:
                    found.append(stored.workflow)
            if len(states) < wanted:
                break
            after = states[-1].id
        return found

    async def tally(self, label: str, **selected: Unpack[Selected]) -> Mapping[str, int]:
        """How many workflows have each value of `label`, of all that `find` would look at."""
        return await self._states.tally(KIND, label, **selected)

    async def near(self, queue_id: str) -> str | None:
        """The name, of one of the newest workflows, that differs from `queue_id` by a letter or two, or None."""
        names = [state.id for state in await self._states.find(KIND, limit=_NEWEST)]
        return next(iter(get_close_matches(queue_id, names, n=1, cutoff=_ALIKE)), None)

    async def remove(self, stored: Stored) -> None:
        """Forget the workflow. Raises ConflictError if `stored` is no longer the latest."""
        await self._states.remove(KIND, stored.workflow.queue_id, expected=stored.revision)
        self._live.pop(stored.workflow.queue_id, None)
        self._note_change(stored.workflow)

    async def remove_unreadable(self, queue_id: str) -> None:
        """Forget a workflow whose document cannot be read; it is no error if there is none."""
        state = await self._states.get(KIND, queue_id)
        if state is not None:
            await self._states.remove(KIND, queue_id, expected=state.revision)
        self.unreadable.pop(queue_id, None)
        self._changes.add(WORKFLOW, queue_id)

    def _note_change(self, workflow: Workflow) -> None:
        self._changes.add(WORKFLOW, workflow.queue_id)
        if workflow.batch:
            self._changes.add(BATCH, workflow.batch)

    async def _write(self, workflow: Workflow, *, expected: str | None) -> Stored:
        state = await self._states.put(
            KIND,
            workflow.queue_id,
            encode_workflow(workflow),
            expected=expected,
            labels=_labels(workflow),
            created_ms=workflow.created_ms,
        )
        stored = Stored(workflow, state.revision)
        self._remember(stored)
        return stored

    def _readable(self, state: State) -> Stored | None:
        try:
            return _stored(state)
        except Unreadable as error:
            if state.id not in self.unreadable:
                _log.error("a workflow cannot be read", queue_id=state.id, error=str(error))
            self.unreadable[state.id] = str(error)
            return None

    def _remember(self, stored: Stored) -> None:
        workflow = stored.workflow
        self._note_change(workflow)
        if workflow.batch:
            self.note_changed(workflow.batch, (workflow.queue_id,))
        if workflow.ended:
            self._live.pop(workflow.queue_id, None)
        else:
            self._live[workflow.queue_id] = stored


def _labels(workflow: Workflow) -> dict[str, str]:
    topics = "none" if workflow.dlq_removed else "dlq" if workflow.topic_removed else "data"
    return {
        "status": workflow.status.value,
        "symbol": workflow.symbol,
        "type": workflow.type,
        "topics": topics if workflow.ended else "live",
        **({"batch": workflow.batch} if workflow.batch else {}),
        **{f"{NAMED}{key}": value for key, value in workflow.labels.items()},
    }


def _stored(state: State) -> Stored:
    try:
        workflow = decode_workflow(state.body)
    except ConfigError as error:
        raise ConfigError(f"workflow {state.id}: {error}") from error
    except DECODE_ERRORS as error:
        raise Unreadable(
            f"workflow {state.id} cannot be read, its document is damaged ({error}): restore the store from a copy, "
            "or remove the workflow and start the same request again"
        ) from error
    return Stored(workflow, state.revision)
