"""New workflows."""

from __future__ import annotations

from collections.abc import Callable

from streamforge.manager.persistence.reservations import DRAWS, Reservations
from streamforge.manager.persistence.workflow_store import WorkflowStore
from streamforge.manager.workflow import Workflow
from streamforge_utils.model.errors import ConflictError, RetryableError


async def create(workflows: WorkflowStore, reservations: Reservations, draft: Callable[[str], Workflow]) -> Workflow:
    """Store the workflow that `draft` makes of a code that is free. Raises RetryableError."""
    for _ in range(DRAWS):
        code = await reservations.code(lambda code: draft(code).queue_id)
        try:
            return (await workflows.create(draft(code))).workflow
        except ConflictError:
            continue
    raise RetryableError(f"no free queue_id was found in {DRAWS} draws", retry_after=1)
