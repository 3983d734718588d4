"""What is asked about the dead letters of a workflow: to list them, and to let a sink read them again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager

from streamforge.manager.dead_letters.model import code_of
from streamforge.manager.dependencies import Dependencies
from streamforge.manager.engine.document import Workflow
from streamforge.manager.engine.lifecycle.facts import Replay, Request
from streamforge.manager.engine.lifecycle.rounds import read_letters
from streamforge.manager.engine.refusals import NotNow
from streamforge.manager.use_cases import DeadLetter, DeadLetterPage
from streamforge_utils.model.topic_reading import PartitionRange, union
from streamforge_utils.runtime.input.dead_letter_replay import LetterPlace

MOST_CHOSEN = 400
"""Their places go to the sink in one variable, of which Linux takes 128 KiB."""
MOST_RANGES = 2000
"""Of offsets that were replayed; they go to the sink in one variable, too."""
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

    async def read(
        self,
        queue_id: str,
        *,
        limit: int = 100,
        after: str | None = None,
        code: str | None = None,
        reason: str = "",
        since_attempt: int = 0,
    ) -> DeadLetterPage:
        """What of the workflow could not be stored, oldest first, `limit` at most. after: of the page before.

        code, reason: those with this code, and this text in their reason, in any case. since_attempt: those that this
        attempt of a sink has refused, or a later one. A page of chosen ones may hold fewer.
        Raises NotFound, or InvalidInput for an `after` that is none.
        """
        text = reason.casefold()

        def wanted(letter: DeadLetter) -> bool:
            fits = code is None or code_of(letter.reason) == code
            return fits and letter.attempt >= since_attempt and text in letter.reason.casefold()

        chosen = wanted if code is not None or text or since_attempt else None
        return await self._deps.dead_letters.read(await self._get(queue_id), limit=limit, after=after, wanted=chosen)

    async def replay(self, queue_id: str, letters: Collection[LetterPlace] = ()) -> Workflow:
        """Let a sink attempt read the dead letters again, or these `letters`; the others stay.

        Raises NotFound, NotNow (still running, or none of them there).
        """
        async with self._going_on(queue_id):
            workflow = await self._get(queue_id)
            if not workflow.ended:
                raise NotNow(f"workflow {queue_id} is {workflow.status.value}: dead letters are replayed after its end")
            if not workflow.form.is_prepared or not await self._deps.dead_letters.outstanding(workflow):
                raise NotNow(f"workflow {queue_id} has no dead letters to replay (they are kept for a limited time)")
            chosen = await self._outstanding(workflow, frozenset(letters)) if letters else ()
            passed = await self._deps.dead_letters.passed(workflow) if read_letters(workflow) else ()
            if letters and not chosen:
                raise NotNow(
                    f"none of these {len(letters)} is a dead letter of workflow {queue_id} that waits: they were "
                    "replayed already, or never were there; list those that are"
                )
            if letters and len(union((*passed, *chosen), most=None)) > MOST_RANGES:
                raise NotNow(
                    f"the replayed dead letters of workflow {queue_id} are in {len(passed)} ranges, of which at "
                    f"most {MOST_RANGES:,} are remembered: replay all of its dead letters"
                )
            return await self._ask(queue_id, Replay(tuple(map(str, chosen)), passed))

    async def _outstanding(self, workflow: Workflow, places: frozenset[LetterPlace]) -> Sequence[PartitionRange]:
        """The offsets of those of `places` that have not been replayed."""
        found, after = set[LetterPlace](), None
        offsets = list[PartitionRange]()
        while True:
            page = await self._deps.dead_letters.read(
                workflow, limit=_PAGE, after=after, wanted=lambda one: _place(one) in places
            )
            found |= set(map(_place, page.letters))
            places_there = (one.at for one in page.letters)
            offsets += [PartitionRange(number, offset, offset + 1) for number, offset in places_there]
            after = page.after
            if after is None or found == places:
                return union(offsets, most=None)


def _place(letter: DeadLetter) -> LetterPlace:
    return LetterPlace(letter.topic, letter.partition, letter.offset)
