"""What is asked about the dead letters of a workflow: to list them, and to let a sink read them again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from contextlib import AbstractAsyncContextManager

from streamforge.manager.dependencies import Dependencies
from streamforge.manager.lifecycle.facts import Replay, Request
from streamforge.manager.service import DeadLetterPage, NotNow
from streamforge.manager.workflow import Workflow
from streamforge_utils.runtime.dead_letter_replay import LetterPlace

MOST_CHOSEN = 400
"""Their places go to the sink in one variable, of which Linux takes 128 KiB."""
_PAGE = 1000


class DeadLetterService:
    """ask: puts a request to a workflow. get: gives a workflow, or raises NotFound.

    going_on: holds what lets an ended one go on again.
    """

    def __init__(
        self,
        deps: Dependencies,
        ask: Callable[[str, Request], Awaitable[Workflow]],
        get: Callable[[str], Awaitable[Workflow]],
        going_on: Callable[[str], AbstractAsyncContextManager[None]],
    ) -> None:
        self._deps = deps
        self._ask = ask
        self._get = get
        self._going_on = going_on

    async def read(self, queue_id: str, *, limit: int = 100, after: str | None = None) -> DeadLetterPage:
        """What of the workflow could not be stored, oldest first, `limit` at most. after: of the page before.

        Raises NotFound, or InvalidInput for an `after` that is none.
        """
        return await self._deps.dead_letters.read(await self._get(queue_id), limit=limit, after=after)

    async def replay(self, queue_id: str, letters: Collection[LetterPlace] = ()) -> Workflow:
        """Let a sink attempt read the dead letters again, or these `letters`; the others stay.

        Raises NotFound, NotNow (still running, or none of them there).
        """
        async with self._going_on(queue_id):
            workflow = await self._get(queue_id)
            if not workflow.ended:
                raise NotNow(f"workflow {queue_id} is {workflow.status.value}: dead letters are replayed after its end")
            if workflow.plan is None or not await self._deps.dead_letters.outstanding(workflow):
                raise NotNow(f"workflow {queue_id} has no dead letters to replay (they are kept for a limited time)")
            chosen = await self._outstanding(workflow, frozenset(letters)) if letters else ()
            if letters and not chosen:
                raise NotNow(
                    f"none of these {len(letters)} is a dead letter of workflow {queue_id} that waits: they were "
                    "replayed already, or never were there; list those that are"
                )
            return await self._ask(queue_id, Replay(tuple(map(str, sorted(chosen)))))

    async def _outstanding(self, workflow: Workflow, wanted: frozenset[LetterPlace]) -> Collection[LetterPlace]:
        """Those of `wanted` that nobody has replayed."""
        found, after = set[LetterPlace](), None
        while True:
            page = await self._deps.dead_letters.read(workflow, limit=_PAGE, after=after)
            found |= wanted & {LetterPlace(one.topic, one.partition, one.offset) for one in page.letters}
            after = page.after
            if after is None or found == wanted:
                return found
