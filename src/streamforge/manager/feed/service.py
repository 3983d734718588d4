"""One feed of what changes: workflows (live series among them), batches and schedules, as a list shows them.

Once every `EVERY_S` the documents that have changed meanwhile are made into events, once for all readers. Of each
document the latest event alone is kept, and of all of them `MOST_EVENTS`, so that a reader has no queue of its own,
only its place. One that falls behind what is kept, or comes back to a manager that has started again, is told to read
all.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import AsyncIterator, Sequence

import msgspec
import structlog

from streamforge.manager import presentation
from streamforge.manager.api.sse import frame
from streamforge.manager.batches import presentation as batch_presentation
from streamforge.manager.feed import answers as feed_answers
from streamforge.manager.persistence.change_notes import BATCH, SCHEDULE, WORKFLOW, Changed
from streamforge.manager.schedules import presentation as schedule_presentation
from streamforge.manager.workflow_service import WorkflowService
from streamforge_utils.model.errors import RetryableError, StreamForgeError
from streamforge_utils.ports.clock import Clock

EVERY_S = 1.0
MOST_EVENTS = 5000
MOST_BYTES = 16 * 1024 * 1024
CHUNK_BYTES = 64 * 1024
"""A reader gets about so much at once, and then the next one is served."""

_PART = 25
"""Documents that are made into events at once; in between others have their turn."""
_STATUSES_KEPT = 8
_EVENT_ID = re.compile(r"([0-9a-f]{8})-([0-9]{1,15})", re.ASCII)
_log = structlog.get_logger(__name__)


class Event(msgspec.Struct, frozen=True):
    """The latest of a document. statuses: since which number it has had which, of late; of a workflow alone.

    text: for who wants it. left: for who does not want its status any more.
    """

    number: int
    changed: Changed
    statuses: tuple[tuple[int, str], ...]
    text: bytes
    left: bytes


class FeedReader:
    """A client. position: the number of the last event that it has got. queue_ids, statuses: what it wants; none: all.

    ended: why its stream is to end.
    """

    def __init__(self, position: int, queue_ids: Sequence[str] = (), statuses: Sequence[str] = ()) -> None:
        self.position = position
        self.queue_ids = frozenset(queue_ids)
        self.statuses = frozenset(statuses)
        self.news = asyncio.Event()
        self.ended: feed_answers.FeedEnd | None = None

    def take(self, event: Event) -> bytes:
        """What it gets of the event, and its new position."""
        before, self.position = self.position, event.number
        if self.queue_ids and event.changed.id not in self.queue_ids:
            return b""
        if not self.statuses or not event.statuses or event.statuses[-1][1] in self.statuses:
            return event.text
        had = next((status for number, status in reversed(event.statuses) if number <= before), None)
        return event.left if had is None or had in self.statuses else b""

    def end(self, reason: str, detail: str) -> None:
        """Let its stream end."""
        self.ended = self.ended or feed_answers.FeedEnd(reason=reason, detail=detail)
        self.news.set()


class Feed:
    """The events and their readers. run: of event ids, another one after each start. stall_s: a reader may take so long
    for one part."""

    def __init__(
        self, service: WorkflowService, clock: Clock, *, every_s: float = EVERY_S, stall_s: float = 30.0, run: str = ""
    ) -> None:
        self._service = service
        self._clock = clock
        self._every_s = every_s
        self.stall_s = stall_s
        self._run = run or secrets.token_hex(4)
        self._events: dict[Changed, Event] = {}
        self._bytes = 0
        self._number = self._floor = 0
        self._readers: set[FeedReader] = set()
        self._named: dict[tuple[str, str], FeedReader] = {}
        self._pump: asyncio.Task[None] | None = None

    def position(self, event_id: str | None) -> tuple[int, bool] | None:
        """Where a reader begins that has got this event last, and whether it goes on there; None: that is no id."""
        if event_id is None:
            return self._number, False
        found = _EVENT_ID.fullmatch(event_id)
        if found is None:
            return None
        known = found[1] == self._run and int(found[2]) <= self._number
        return (int(found[2]), True) if known else (-1, False)

    def enter(self, reader: FeedReader, name: tuple[str, str] | None = None) -> None:
        """The reader is there until it leaves. name: of its client, of which only the latest reader stays."""
        if name is not None:
            if (other := self._named.get(name)) is not None:
                other.end("replaced", "another stream of the same client was opened")
            self._named[name] = reader
        self._readers.add(reader)
        if self._pump is None:
            self._pump = asyncio.create_task(self._run_pump(), name="feed")

    def leave(self, reader: FeedReader) -> None:
        """It is gone. With the last one nothing is made any more, but what changes is noted."""
        self._readers.discard(reader)
        self._named = {name: one for name, one in self._named.items() if one is not reader}
        if not self._readers and self._pump is not None:
            self._pump.cancel()
            self._pump = None

    async def stream(
        self, reader: FeedReader, *, resumed: bool, keep_alive_s: float, closing: asyncio.Event
    ) -> AsyncIterator[bytes]:
        """The text of its event stream."""
        opened = feed_answers.FeedOpened(resumed=resumed)
        # Without an id where `reset` follows: a client that comes back in between is told to read all still.
        start = None if reader.position < 0 else reader.position
        yield b"retry: 2000\n\n" + self._frame("open", start, opened)
        closed = asyncio.ensure_future(closing.wait())
        try:
            while True:
                if closed.done():
                    reader.end("closing", "the server ends: come back, and go on behind the last event")
                if reader.ended is not None:
                    yield self._frame("end", None, reader.ended)
                    return
                reader.news.clear()
                if text := self._next(reader):
                    began = self._clock.monotonic()
                    yield text
                    if self._clock.monotonic() - began > self.stall_s:
                        reader.end("slow", f"the client took more than {self.stall_s:g} s for a part: read all again")
                    continue
                news = asyncio.ensure_future(reader.news.wait())
                try:
                    await asyncio.wait({news, closed}, timeout=keep_alive_s, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    news.cancel()
                if not reader.news.is_set() and not closed.done():
                    yield b": still here\n\n"
        finally:
            closed.cancel()

    def _next(self, reader: FeedReader) -> bytes:
        if reader.position < self._floor:
            reader.position = self._number
            reset = feed_answers.FeedReset(reason="what changed in between is not kept any more: read all again")
            return self._frame("reset", self._number, reset)
        waiting: list[Event] = []
        for event in reversed(self._events.values()):
            if event.number <= reader.position:
                break
            waiting.append(event)
        parts, size = list[bytes](), 0
        while waiting and size < CHUNK_BYTES:
            parts.append(reader.take(waiting.pop()))
            size += len(parts[-1])
        return b"".join(parts)

    async def _run_pump(self) -> None:
        while True:
            try:
                await self.make()
            except Exception as error:
                unexpected = not isinstance(error, StreamForgeError)
                _log.warning("the feed could not be made, trying again", error=str(error), exc_info=unexpected)
            await self._clock.sleep(self._every_s)

    async def make(self) -> None:
        """Make events of what has changed since the last call. Raises RetryableError; the rest is made next time."""
        changed, lost = self._service.feed.changes.take()
        if lost:
            self._number += 1
            self._floor = self._number
        rest = changed
        try:
            for start in range(0, len(changed), _PART):
                rest = changed[start:]
                await self._make_each(changed[start : start + _PART])
                await asyncio.sleep(0)
        except BaseException:
            self._service.feed.changes.give_back(rest)
            raise
        finally:
            if changed or lost:
                for reader in self._readers:
                    reader.news.set()

    async def _make_each(self, part: Sequence[Changed]) -> None:
        """As `_make`; what cannot be shown is told to be gone, or nothing behind it would ever come."""
        try:
            await self._make(part)
        except RetryableError:
            raise
        except Exception as error:
            if len(part) > 1:
                for one in part:
                    await self._make_each([one])
                return
            _log.warning("a document cannot be shown in the feed", id=part[0].id, error=str(error), exc_info=True)
            self._put(part[0], None, "", reason="unreadable")

    async def _make(self, part: Sequence[Changed]) -> None:
        source, at_ms = self._service.feed, self._clock.now_ms()
        alone = await self._service.no_driver_reason()
        found = {one: await source.workflow(one.id) for one in part if one.kind == WORKFLOW}
        now = await source.reports([workflow for workflow in found.values() if workflow is not None])
        for one in part:
            document: msgspec.Struct | None
            if one.kind == BATCH:
                view = await source.batch(one.id)
                document, status = None if view is None else batch_presentation.batch_summary(view, alone), ""
            elif one.kind == SCHEDULE:
                listed = await source.schedule(one.id)
                document, status = None if listed is None else schedule_presentation.schedule_answer(listed), ""
            elif (workflow := found[one]) is None:
                document, status = None, "removed"
            else:
                document = presentation.workflow_summary(workflow, alone, now.get(one.id), at_ms=at_ms)
                status = workflow.status.value
            self._put(one, document, status)

    def _put(self, changed: Changed, document: msgspec.Struct | None, status: str, *, reason: str = "deleted") -> None:
        self._number += 1
        before = self._events.pop(changed, None)
        statuses = () if before is None else before.statuses
        if status and (not statuses or statuses[-1][1] != status):
            statuses = (*statuses, (self._number, status))[-_STATUSES_KEPT:]
        reason = reason if document is None else "filtered"
        removed = feed_answers.FeedRemoved(kind=changed.kind, id=changed.id, reason=reason)
        left = self._frame("removed", self._number, removed)
        text = left if document is None else self._frame(changed.kind, self._number, document)
        event = self._events[changed] = Event(self._number, changed, statuses, text, left)
        self._bytes += len(event.text) - (0 if before is None else len(before.text))
        while len(self._events) > MOST_EVENTS or self._bytes > MOST_BYTES:
            oldest = self._events.pop(next(iter(self._events)))
            self._bytes -= len(oldest.text)
            self._floor = oldest.number

    def _frame(self, name: str, number: int | None, data: msgspec.Struct) -> bytes:
        event_id = None if number is None else f"{self._run}-{number}"
        return frame(msgspec.json.encode(data), event_id, name=name)
