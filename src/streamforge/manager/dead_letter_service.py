"""What is asked about the dead letters of a workflow: to list them, and to let a sink read them again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

from streamforge.manager.dependencies import Dependencies
from streamforge.manager.execution.inbox import Inbox
from streamforge.manager.lifecycle.facts import Replay
from streamforge.manager.service import DeadLetterPage, NotNow
from streamforge.manager.workflow import Workflow


class DeadLetterService:
    """get: gives a workflow, or raises NotFound. going_on: holds what lets an ended one go on again."""

    def __init__(
        self,
        deps: Dependencies,
        inbox: Inbox,
        get: Callable[[str], Awaitable[Workflow]],
        going_on: Callable[[str], AbstractAsyncContextManager[None]],
    ) -> None:
        self._deps = deps
        self._inbox = inbox
        self._get = get
        self._going_on = going_on

    async def read(self, queue_id: str, *, limit: int = 100) -> DeadLetterPage:
        """What of the workflow could not be stored, oldest first, `limit` at most. Raises NotFound."""
        return await self._deps.dead_letters.read(await self._get(queue_id), limit=limit)

    async def replay(self, queue_id: str) -> Workflow:
        """Let a sink attempt read the dead letters again. Raises NotFound, NotNow (still running, or none there)."""
        async with self._going_on(queue_id):
            workflow = await self._get(queue_id)
            if not workflow.ended:
                raise NotNow(f"workflow {queue_id} is {workflow.status.value}: dead letters are replayed after its end")
            if workflow.plan is None or not await self._deps.dead_letters.outstanding(workflow):
                raise NotNow(f"workflow {queue_id} has no dead letters to replay (they are kept for a limited time)")
            return await self._inbox.ask(queue_id, Replay())
