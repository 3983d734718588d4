"""What each workflow's workers said, kept beyond the life of the events' topic.

Heartbeats come every few seconds for as long as a workflow runs. Once a workflow has `MOST_HEARTBEATS`, every second
one is dropped but for the latest `RECENT`; so again whenever there are as many. What is older becomes sparser, what
was said once (`started`, the terminal events) stays, and a history is bounded.

An event's id is its offset on the events' topic. The history outlives that topic: on the embedded bus of another
folder, or on a topic that was made again, offsets begin again. What then would come before, or in the place of, what is
kept is taken for another log's: its ids begin above all that is kept, by the next multiple of `LOG`. So ids ascend in
the order of hearing, and no event ever replaces another one.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence

import msgspec
import structlog

from streamforge_utils.model.messages import DECODE_ERRORS
from streamforge_utils.ports.store import Document, Outcome, Store

COLLECTION = "streamforge-history"
"""Not a collection of records: names of records hold `_` before their date and never begin so."""

LOG = 10**12
"""More events than a topic ever holds; ids stay below what a double holds exactly for 9000 logs of one workflow."""

PAGE = 1000
MOST_HEARTBEATS = 2000
RECENT = 200

_MOST_KEYS = 100_000
_KNOWN = 10_000
"""Workflows of whose history the end is known in memory; that of others is looked up in the store."""

_log = structlog.get_logger(__name__)


class HistoryEvent(msgspec.Struct, frozen=True):
    """An event of a workflow's history. id: ascending; a later one was heard later. body: the event's JSON."""

    id: int
    body: bytes


class _Kind(msgspec.Struct):
    event: str = ""


_decode_kind = msgspec.json.Decoder(_Kind).decode


class _End(msgspec.Struct, frozen=True):
    """Where a history ends. last: the id of its last event. heartbeats: at least how many it holds."""

    last: int = -1
    heartbeats: int = 0


class EventHistory:
    """Events by workflow: heard twice, an event is kept once. One manager at a time may `append`."""

    def __init__(self, store: Store, *, most_heartbeats: int = MOST_HEARTBEATS, recent: int = RECENT) -> None:
        self._store = store
        self._most = most_heartbeats
        self._recent = recent
        self._ends: dict[str, _End] = {}
        self._news: dict[str, set[asyncio.Event]] = defaultdict(set)

    async def append(self, events: Iterable[tuple[str, int, bytes]]) -> None:
        """Keep events, given as (queue_id, offset, JSON), in the order in which they were heard.

        What the store refuses is left out. Raises RetryableError.
        """
        for part in _of_one_log(events):
            await self._append(part)

    async def _append(self, heard: Mapping[str, Sequence[tuple[int, bytes]]]) -> None:
        numbered = {queue_id: await self._numbered(queue_id, events) for queue_id, events in heard.items()}
        answers = await self._store.upsert(
            COLLECTION,
            [Document(_key(queue_id, id), id, body) for queue_id, events in numbered.items() for id, body in events],
        )
        refused = [answer.reason for answer in answers if answer.outcome is Outcome.REFUSED]
        if refused:
            _log.error("events could not be kept in the history", events=len(refused), first_reason=refused[0])
        for queue_id, events in numbered.items():
            self.wake(queue_id)
            await self._bound(queue_id, events)

    def wake(self, queue_id: str) -> None:
        """Let those who follow the workflow look again."""
        for news in self._news.get(queue_id, ()):
            news.set()

    async def read(self, queue_id: str, *, after: int, limit: int) -> Sequence[HistoryEvent]:
        """The events after id `after`, oldest first."""
        documents = await self._store.read(
            COLLECTION, first=_key(queue_id, after + 1), last=_last(queue_id), limit=limit
        )
        return [HistoryEvent(_id(document.key), document.body) for document in documents]

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
        self._ends.pop(queue_id, None)
        await self._store.delete(COLLECTION, first=_key(queue_id, 0), last=_last(queue_id))

    async def _end(self, queue_id: str) -> _End:
        known = self._ends.get(queue_id)
        if known is None:
            # Not all of the keys are heartbeats': it is put right once there seem to be too many.
            keys = await self._store.keys(COLLECTION, first=_key(queue_id, 0), last=_last(queue_id), limit=_MOST_KEYS)
            known = self._ends[queue_id] = _End(_id(keys[-1]), len(keys)) if keys else _End()
            if len(self._ends) > _KNOWN:
                self._ends.pop(next(iter(self._ends)))
        return known

    async def _numbered(self, queue_id: str, events: Sequence[tuple[int, bytes]]) -> Sequence[tuple[int, bytes]]:
        """The events with their ids in place of their offsets."""
        last = (await self._end(queue_id)).last
        base = max(last, 0) // LOG * LOG
        found = [(base + offset, body) for offset, body in events]
        first = min(id for id, _ in found)
        if first > last:
            return found
        kept = await self._store.read(
            COLLECTION,
            first=_key(queue_id, first),
            last=_key(queue_id, max(id for id, _ in found) + 1),
            limit=_MOST_KEYS,
        )
        there = {_id(document.key): document.body for document in kept}
        again = [_same(there[id], body) for id, body in found if id in there]
        if again and all(again):
            return found  # heard before, and perhaps not all of them kept
        return [(id + LOG, body) for id, body in found]

    async def _bound(self, queue_id: str, events: Sequence[tuple[int, bytes]]) -> None:
        end = await self._end(queue_id)
        heartbeats = end.heartbeats + sum(_is_heartbeat(body) for _, body in events)
        if heartbeats > end.heartbeats and heartbeats > self._most:
            heartbeats = await self._thin_out(queue_id)
        self._ends[queue_id] = _End(max(end.last, *(id for id, _ in events)), heartbeats)

    async def _thin_out(self, queue_id: str) -> int:
        there: list[str] = []
        after = -1
        while page := await self.read(queue_id, after=after, limit=PAGE):
            there += [_key(queue_id, event.id) for event in page if _is_heartbeat(event.body)]
            after = page[-1].id
        dropped = there[: -self._recent][1::2] if len(there) > self._most else []
        if dropped:
            await self._store.delete_keys(COLLECTION, dropped)
        return len(there) - len(dropped)


def _is_heartbeat(body: bytes) -> bool:
    try:
        return _decode_kind(body).event == "loading"
    except DECODE_ERRORS:
        return False


def _of_one_log(
    events: Iterable[tuple[str, int, bytes]],
) -> Iterator[Mapping[str, Sequence[tuple[int, bytes]]]]:
    """The events by workflow, in parts in which no offset goes back: there another log begins, or the same again."""
    part: dict[str, list[tuple[int, bytes]]] = {}
    for queue_id, offset, body in events:
        before = part.get(queue_id)
        if before is not None and before[-1][0] >= offset:
            yield part
            part = {}
        part.setdefault(queue_id, []).append((offset, body))
    if part:
        yield part


def _same(kept: bytes, heard: bytes) -> bool:
    """Whether they say the same; a store may write it otherwise."""
    try:
        return kept == heard or bool(msgspec.json.decode(kept) == msgspec.json.decode(heard))
    except DECODE_ERRORS:
        return False


def _key(queue_id: str, id: int) -> str:
    return f"{queue_id}:{id:016d}"


def _id(key: str) -> int:
    return int(key.rpartition(":")[2])


def _last(queue_id: str) -> str:
    return f"{queue_id};"  # the character after ":"
