"""Stores what a loader of order books has published: best levels, whole books and the ledger; diffs go to segments."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from itertools import groupby
from typing import Annotated

import msgspec

from streamforge_utils.model.books.records import DIFF, kind_name_of
from streamforge_utils.model.books.segments import CONTENT, MANIFEST, OpenSegment, numbered, segment_prefix
from streamforge_utils.model.errors import PermanentError
from streamforge_utils.model.kinds.registry import kind_named
from streamforge_utils.ports.bus import Received
from streamforge_utils.ports.columns import columns_of
from streamforge_utils.runtime.life.context import Context
from streamforge_utils.runtime.sink.conversion import NOTHING, PASSED_OVER, Converted, convert, joined
from streamforge_utils.runtime.sink.sinks import SinkParameters, store_input
from streamforge_utils.runtime.sink.stored_segments import StoredSegments

PART_RECORDS = 500
"""A segment ends behind so many records, or a multiple of it, of a batch."""
_encode = msgspec.json.Encoder().encode


class BookSinkParameters(SinkParameters, frozen=True, kw_only=True):
    """What can be chosen for it."""

    store_diffs: Annotated[
        bool,
        msgspec.Meta(description="store diffs in the collection, too: about 1 GB a day of a symbol such as BTCUSDT"),
    ] = False
    segment_bytes: Annotated[
        int,
        msgspec.Meta(
            ge=1, description="a segment is closed once its diffs take so much; so much is read again at most"
        ),
        msgspec.Meta(extra={"unit": "bytes"}),
    ] = 64_000_000
    segment_seconds: Annotated[
        float,
        msgspec.Meta(
            gt=0, description="a segment is closed so long after its first diff; no offset is committed before"
        ),
        msgspec.Meta(extra={"unit": "seconds"}),
    ] = 900.0

    @property
    def holds_seconds(self) -> float:
        return 0.0 if self.store_diffs else self.segment_seconds


async def store_books(ctx: Context[BookSinkParameters]) -> None:
    """Store the records of the topic, of all kinds, in the worker's collection, and the diffs in segments.

    Offsets are committed once the segment is put that holds the diffs before them. Dead letters that are replayed are
    all stored in the collection. Raises as `store_input`.
    """
    store_diffs = ctx.replay or ctx.parameters.store_diffs
    converting = partial(convert_books, store_diffs=store_diffs)
    await store_input(ctx, converting, None if ctx.replay else SegmentKeeper(ctx))


def convert_books(records: Sequence[Received], *, store_diffs: bool) -> Converted:
    """The documents of messages, in their order. Blocks, for microseconds a message.

    store_diffs: False passes over diffs, but for those that can be none, which are refused.
    """
    columns = columns_of(records)
    parts, first = list[tuple[int, Converted]](), 0
    for name, run in groupby(kind_name_of(key or b"") for key in columns.keys):
        count = len([*run])
        chosen = slice(first, first + count)
        part = convert(kind_named(name), columns.keys[chosen], columns.values[chosen])
        if name == DIFF and not store_diffs:
            passed = [(at, PASSED_OVER) for at in part.good(count)]
            part = Converted(NOTHING.documents, sorted(part.refused + passed))
        parts.append((first, part))
        first += count
    return parts[0][1] if len(parts) == 1 else joined(parts)


class SegmentKeeper:
    """Implements `Keeper`: puts the diffs of what is stored into segments, one after the other."""

    def __init__(self, ctx: Context[BookSinkParameters]) -> None:
        self._ctx = ctx
        self._segment = OpenSegment(ctx.symbol)
        self._begun_s = 0.0
        self._lock = asyncio.Lock()

    async def keep(self, received: Sequence[Received]) -> None:
        """Take a batch; it is committed with the segment that is closed next."""
        async with self._lock:
            for first in range(0, len(received), PART_RECORDS):
                await self._take(received[first : first + PART_RECORDS])

    async def _take(self, received: Sequence[Received]) -> None:
        if not self._segment.count:
            self._begun_s = self._ctx.clock.monotonic()
        await asyncio.to_thread(self._add, received)
        self._tell()
        self._ctx.input.hold(received)
        if not self._segment.count:
            self._ctx.input.release()
        elif self._segment.bytes >= self._ctx.parameters.segment_bytes:
            await self._put()

    async def look(self) -> None:
        """Close the segment if it is old."""
        age_s = self._ctx.clock.monotonic() - self._begun_s
        if self._segment.count and age_s >= self._ctx.parameters.segment_seconds and not self._lock.locked():
            await self.finish()

    async def finish(self, *, refused: bool = False) -> None:
        """Close the segment, as what follows may not come."""
        async with self._lock:
            if self._segment.count:
                await self._put()

    def _tell(self) -> None:
        if not self._ctx.parameters.store_diffs:
            self._ctx.progress.held = self._segment.count

    def _add(self, received: Sequence[Received]) -> None:
        kind, segment = kind_named(DIFF), self._segment
        for one in received:
            if kind_name_of(one.key or b"") != DIFF:
                continue
            try:
                kind.document(one.key, one.value)  # what was refused is none
                segment.add(one.value)
            except PermanentError:
                continue

    async def _put(self) -> None:
        """Put the segment whole: its manifest comes last, and that of what had its name goes first.

        That was the same one, read again; one of other diffs keeps its name.
        """
        segment, self._segment = self._segment, OpenSegment(self._ctx.symbol)
        name, content, manifest = segment.close()
        patience_s = self._ctx.parameters.store_patience_seconds
        name = await self._ctx.with_objects(partial(self._own_name, name, content), patience_s=patience_s)
        await self._ctx.replace_object(name + CONTENT, content, instead_of=name + MANIFEST, patience_s=patience_s)
        await self._ctx.put_object(name + MANIFEST, _encode(manifest), patience_s=patience_s)
        self._tell()
        self._ctx.input.release()
        await self._ctx.input.commit()  # before another one begins: what is read again has the same beginning
        self._ctx.log.info("a segment is closed", name=name, diffs=manifest.count, bytes=len(content))

    async def _own_name(self, name: str, content: bytes) -> str:
        """The first name of the segment that no other one has. Raises RetryableError."""
        stored = StoredSegments(self._ctx.objects, segment_prefix(self._ctx.symbol))
        names = numbered(name)
        while await stored.holds_other((own := next(names)) + MANIFEST, content):
            pass
        return own
