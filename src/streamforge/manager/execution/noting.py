"""What of a workflow is worth a write to the store at once, and what can wait: progress comes often. Pure."""

from __future__ import annotations

import msgspec

from streamforge.manager.workflow import Attempt, Step, Workflow
from streamforge_utils.model.events import Progress

_replace = msgspec.structs.replace


def without_progress(workflow: Workflow) -> Workflow:
    """The workflow without what losing costs nothing but a second look."""
    return _replace(workflow, waiting_for="", steps=tuple(_bare(step) for step in workflow.steps))


def _bare(step: Step) -> Step:
    attempt = step.attempt
    if attempt is None:
        return step
    bare: Attempt = _replace(attempt, seen_ms=None, progressed_ms=None, progress=Progress(), message="")
    return _replace(step, attempts=(*step.attempts[:-1], bare))
