"""What was said once is heard once, though a bus delivers at least once.

A worker whose event was not confirmed sends it again; both may arrive, the second one after a restart of the bus or of
its network even late. The workflow's document knows what was heard, so a manager that was restarted knows it too.
"""

from __future__ import annotations

from streamforge.manager.workflow import Workflow
from streamforge_utils.model.events import TERMINAL_EVENTS, Event


class DuplicateEvents:
    """Tells repetitions among the events of one look. The workflows are those of before the look."""

    def __init__(self) -> None:
        self._started: set[tuple[str, str, int]] = set()
        self._ended: set[tuple[str, str, int]] = set()

    def is_one(self, workflow: Workflow, event: Event) -> bool:
        """Whether an attempt that has started says `started`, or one that has said its last word says anything more.

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
