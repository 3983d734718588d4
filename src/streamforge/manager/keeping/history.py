"""What each workflow's workers said, kept beyond the life of the events' topic.

Heartbeats come every few seconds for as long as a workflow runs. Once a workflow has `MOST_HEARTBEATS`, every second
one is dropped but for the latest `RECENT`; so again whenever there are as many. What is older becomes sparser, what
was said once (`started`, the last words) stays, and a history is bounded.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence

import msgspec
import structlog

from streamforge.manager.service import HistoryEvent
from streamforge_utils.ports.store import Document, Outcome, Store

COLLECTION = "streamforge-history"
"""Not a collection of records: names of records hold `_` before their date and never begin so."""

PAGE = 1000
MOST_HEARTBEATS = 2000
RECENT = 200

_COUNTED = 10_000
"""Workflows whose heartbeats are counted in memory; those of others are counted in the store."""

_log = structlog.get_logger(__name__)


class _Kind(msgspec.Struct):
    event: str = ""


_decode_kind = msgspec.json.Decoder(_Kind).decode


class History:
    """Events by workflow. An event's id is its offset on the events' topic: heard twice, it is kept once."""

    def __init__(self, store: Store, *, most_heartbeats: int = MOST_HEARTBEATS, recent: int = RECENT) -> None:
        self._store = store
        self._most = most_heartbeats
        self._recent = recent
        self._heartbeats: dict[str, int] = {}
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
        for queue_id, number in Counter(id for id, _, body in batch if _is_heartbeat(body)).items():
            await self._bound(queue_id, number)

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
        self._heartbeats.pop(queue_id, None)
        await self._store.delete(COLLECTION, first=_key(queue_id, 0), last=_last(queue_id))

    async def _bound(self, queue_id: str, more: int) -> None:
        known = self._heartbeats.pop(queue_id, None)
        if known is None:  # too many of them are counted (not all are heartbeats) or these twice: it is put right below
            known = await self._store.count(COLLECTION, first=_key(queue_id, 0), last=_last(queue_id))
        self._heartbeats[queue_id] = known + more
        if len(self._heartbeats) > _COUNTED:
            self._heartbeats.pop(next(iter(self._heartbeats)))
        if known + more <= self._most:
            return
        there: list[str] = []
        after = -1
        while page := await self.read(queue_id, after=after, limit=PAGE):
            there += [_key(queue_id, event.id) for event in page if _is_heartbeat(event.body)]
            after = page[-1].id
        dropped = there[: -self._recent][1::2] if len(there) > self._most else []
        for key in dropped:
            await self._store.delete(COLLECTION, first=key, last=f"{key}!")
        self._heartbeats[queue_id] = len(there) - len(dropped)


def _is_heartbeat(body: bytes) -> bool:
    try:
        return _decode_kind(body).event == "loading"
    except msgspec.MsgspecError:
        return False


def _key(queue_id: str, offset: int) -> str:
    return f"{queue_id}:{offset:016d}"


def _last(queue_id: str) -> str:
    return f"{queue_id};"  # the character after ":"
