"""Sorts the events of workers by workflow, and keeps them in the history."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import structlog

from streamforge.manager.dependencies import Dependencies
from streamforge.manager.lifecycle.ban import Banned
from streamforge.manager.persistence.bans import Bans
from streamforge.manager.persistence.workflow_store import Unreadable
from streamforge.manager.workflow import Workflow
from streamforge_utils.model import names
from streamforge_utils.model.errors import PermanentError
from streamforge_utils.model.events import TERMINAL_EVENTS, Event, decode_event
from streamforge_utils.ports.bus import Received

_log = structlog.get_logger(__name__)


class EventRouter:
    """Sorts events by workflow. What is no event, or of no workflow, is counted and left out."""

    def __init__(self, deps: Dependencies, bans: Bans) -> None:
        self._deps = deps
        self._bans = bans

    async def take(self, received: Sequence[Received]) -> Mapping[str, Sequence[Event]]:
        """The events by workflow, in their order; on return they are in the history. Raises RetryableError."""
        heard: dict[str, list[Event]] = defaultdict(list)
        kept: list[tuple[str, int, bytes]] = []
        ours: dict[str, Workflow | None] = {}
        repeats = DuplicateEvents()
        now_ms = self._deps.clock.now_ms()
        for one in received:
            try:
                event = decode_event(one.value)
            except PermanentError as error:
                self._deps.observer.count("events_malformed_total")
                _log.debug("event ignored", error=str(error), offset=one.offset)
                continue
            if event.queue_id not in ours:
                ours[event.queue_id] = await self._ours(event.queue_id)
            workflow = ours[event.queue_id]
            if workflow is None:
                self._deps.observer.count("events_foreign_total")
                continue
            self._deps.observer.count("events_heard_total", event=event.event)
            if repeats.is_one(workflow, event):
                self._deps.observer.count("events_repeated_total")
            elif event.event != "pong":
                kept.append((event.queue_id, one.offset, one.value))
            heard[event.queue_id].append(event)
            until_ms = (event.extra or {}).get("banned_until_ms")
            if isinstance(until_ms, int):
                # An event's time is the worker's claim: none counts as later than now, and no time counts as now.
                said_ms = int(min(max(event.timestamp * 1000, 0), now_ms)) or now_ms
                self._bans.hear(Banned(until_ms=until_ms, said_ms=said_ms, reason=event.error_message or ""))
        await self._deps.history.append(kept)
        return heard

    async def _ours(self, queue_id: str) -> Workflow | None:
        try:
            stored = await self._deps.workflows.get(queue_id) if names.is_queue_id(queue_id) else None
        except Unreadable:
            return None
        return None if stored is None else stored.workflow


class DuplicateEvents:
    """Tells repetitions among the events of one look. The workflows are those of before the look.

    A bus delivers at least once, and a worker sends again what was not confirmed: the second copy may come late. What
    was heard is in the workflow's document, so that a manager that was restarted knows it too.
    """

    def __init__(self) -> None:
        self._started: set[tuple[str, str, int]] = set()
        self._ended: set[tuple[str, str, int]] = set()

    def is_one(self, workflow: Workflow, event: Event) -> bool:
        """Whether the event is a second `started` of its attempt, or comes after the attempt's terminal event.

        A pong is an answer, never a repetition.
        """
        if event.event == "pong":
            return False
        who = (event.queue_id, event.target, event.attempt)
        step = workflow.step(event.target)
        attempts = () if step is None or step.telemetry_id != event.producer else step.attempts
        attempt = next((one for one in attempts if one.number == event.attempt), None)
        if who in self._ended or (attempt is not None and attempt.terminal_event is not None):
            return True
        if event.event == "started":
            if who in self._started or (attempt is not None and attempt.started_ms is not None):
                return True
            self._started.add(who)
        elif event.event in TERMINAL_EVENTS:
            self._ended.add(who)
        return False
