"""How many dead letters each workflow has, and for which reasons."""

from __future__ import annotations

from collections.abc import Mapping

from streamforge.manager.dead_letters.answers import LetterCounts, LetterCountsPage, ReasonCount
from streamforge.manager.dead_letters.model import LetterCode, code_of
from streamforge.manager.dependencies import Dependencies
from streamforge.manager.engine.document import Workflow
from streamforge.manager.engine.persistence.workflow_store import Unreadable
from streamforge_utils.model import names
from streamforge_utils.model.errors import PermanentError

EXAMINED = 500
"""So many topics are looked at for a page at most; then it may hold fewer workflows, or none, and others follow."""
COUNTED = 200
"""So many letters of a workflow are read to count their reasons: the oldest."""
COUNTED_BYTES = 1024 * 1024
_REMEMBERED = 1000
_DLQ = names.dlq_topic(names.data_topic(""))


class DeadLetterCounts:
    """Counts when it is asked; letters are read again only where some came or were replayed."""

    def __init__(self, deps: Dependencies) -> None:
        self._deps = deps
        self._counts: dict[str, tuple[object, int, list[ReasonCount]]] = {}

    async def page(self, *, cursor: str | None = None, limit: int = 50) -> LetterCountsPage:
        """Workflows with dead letters that have not been replayed, by name. cursor: a name.

        Raises RetryableError.
        """
        topics = [name for name in await self._deps.admin.topics() if name.endswith(_DLQ)]
        owners = sorted(filter(names.is_queue_id, (name.removesuffix(_DLQ) for name in topics)))
        behind = [queue_id for queue_id in owners if cursor is None or queue_id > cursor]
        found = list[LetterCounts]()
        examined = 0
        for queue_id in behind[:EXAMINED]:
            examined += 1
            try:
                counts = await self._of(queue_id)
            except (PermanentError, Unreadable):
                continue  # it was removed meanwhile, or nobody can say who has to read it
            if counts is not None:
                found.append(counts)
            if len(found) == limit:
                break
        return LetterCountsPage(workflows=found, cursor=behind[examined - 1] if examined < len(behind) else None)

    async def _of(self, queue_id: str) -> LetterCounts | None:
        offsets = await self._deps.admin.offsets(queue_id + _DLQ)
        if all(first == end for first, end in offsets.values()):
            return None
        stored = await self._deps.workflows.get(queue_id)
        if stored is None:
            return None
        workflow = stored.workflow
        outstanding = await self._deps.dead_letters.outstanding(workflow)
        if not outstanding:
            return None
        counted, reasons = await self._reasons(workflow, outstanding, offsets)
        return LetterCounts(
            queue_id=queue_id,
            symbol=workflow.symbol,
            type=workflow.type,
            status=workflow.status.value,
            outstanding=outstanding,
            counted=counted,
            reasons=reasons,
        )

    async def _reasons(
        self, workflow: Workflow, outstanding: int, offsets: Mapping[int, tuple[int, int]]
    ) -> tuple[int, list[ReasonCount]]:
        """How many were read, and their reasons, the most frequent first."""
        seen = (outstanding, sorted((number, end) for number, (_, end) in offsets.items()))
        before = self._counts.pop(workflow.queue_id, None)
        if before is None or before[0] != seen:
            page = await self._deps.dead_letters.read(workflow, limit=COUNTED, most_bytes=COUNTED_BYTES)
            by_code = dict[LetterCode, list[str]]()
            for letter in page.letters:
                by_code.setdefault(code_of(letter.reason), []).append(letter.reason)
            reasons = [
                ReasonCount(code=code.value, count=len(texts), example=texts[-1]) for code, texts in by_code.items()
            ]
            before = seen, len(page.letters), sorted(reasons, key=lambda one: (-one.count, one.code))
        self._counts[workflow.queue_id] = before
        if len(self._counts) > _REMEMBERED:
            self._counts.pop(next(iter(self._counts)))
        return before[1:]
