"""What each workflow's workers said, kept beyond the life of the events' topic."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence

import structlog

from streamforge.manager.service import HistoryEvent
from streamforge_utils.ports.store import Document, Outcome, Store

COLLECTION = "streamforge-history"
"""Not a collection of records: names of records hold `_` before their date and never begin so."""

PAGE = 1000

_log = structlog.get_logger(__name__)


class History:
    """Events by workflow. An event's id is its offset on the events' topic: heard twice, it is kept once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._news: dict[str, set[asyncio.Event]] = defaultdict(set)

    async def append(self, events: Iterable[tuple[str, int, bytes]]) -> None:
        """Keep events, given as (queue_id, offset, JSON); what the store refuses is left out. Raises RetryableError."""
        batch = list(events)
        if not batch:
            return
        answers = await self._store.upsert(
            COLLECTION, [Document(_key(queue_id, offset), offset, body) for queue_id, offset, body in batch]
        )
        refused = [answer.reason for answer in answers if answer.outcome is Outcome.REFUSED]
        if refused:
            _log.error("events could not be kept in the history", events=len(refused), first_reason=refused[0])
        for queue_id in {queue_id for queue_id, _, _ in batch}:
            self.wake(queue_id)

    def wake(self, queue_id: str) -> None:
        """Let those who follow the workflow look again."""
        for news in self._news.get(queue_id, ()):
            news.set()

    async def read(self, queue_id: str, *, after: int, limit: int) -> Sequence[HistoryEvent]:
        """The events after id `after`, oldest first."""
        documents = await self._store.read(
            COLLECTION, first=_key(queue_id, after + 1), last=_last(queue_id), limit=limit
        )
        return [HistoryEvent(int(document.key.rpartition(":")[2]), document.body) for document in documents]

    async def follow(self, queue_id: str, *, after: int, patience_s: float) -> AsyncIterator[HistoryEvent | None]:
        """The events after `after` and then what comes, for ever; None each time `patience_s` passed without any."""
        news = asyncio.Event()
        self._news[queue_id].add(news)
        try:
            while True:
                news.clear()
                events = await self.read(queue_id, after=after, limit=PAGE)
                for event in events:
                    yield event
                    after = event.id
                if len(events) == PAGE:
                    continue
                if not events:
                    yield None
                try:
                    await asyncio.wait_for(news.wait(), patience_s)
                except TimeoutError:
                    continue
        finally:
            self._news[queue_id].discard(news)
            if not self._news[queue_id]:
                del self._news[queue_id]

    async def remove(self, queue_id: str) -> None:
        """Forget the workflow's events."""
        await self._store.delete(COLLECTION, first=_key(queue_id, 0), last=_last(queue_id))


def _key(queue_id: str, offset: int) -> str:
    return f"{queue_id}:{offset:016d}"


def _last(queue_id: str) -> str:
    return f"{queue_id};"  # the character after ":"
