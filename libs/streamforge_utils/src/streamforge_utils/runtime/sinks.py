"""What every sink does: store the records of its input, batch after batch, and commit what the store has answered.

Which offset a commit names is decided in `input.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Annotated, TypeVar

import msgspec

from streamforge_utils.ports.bus import Received
from streamforge_utils.ports.columns import DocumentColumns
from streamforge_utils.ports.store import Outcome, count_outcomes
from streamforge_utils.runtime.context import Context
from streamforge_utils.runtime.conversion import Conversion, Converted
from streamforge_utils.runtime.offload import Offloader

BATCHES_AT_ONCE = 4
"""Batches that are converted or stored, or wait for it; one more is read and waits for its place.

One less where the store has several at a time: what it has under way takes memory, too.
"""
COMMIT_EVERY_S = 0.1
"""A commit is flushed to the disk, which the documents want too: one for several batches."""

P = TypeVar("P", bound=msgspec.Struct)


class SinkParameters(msgspec.Struct, frozen=True, kw_only=True):
    """What can be chosen for a sink."""

    store_patience_seconds: Annotated[
        float,
        msgspec.Meta(ge=0, description="how long a store that does not answer is asked again before the attempt fails"),
        msgspec.Meta(extra={"unit": "seconds"}),
    ] = 60.0


async def sink(ctx: Context[SinkParameters]) -> None:
    """Store the topic's records, in its order, as the documents that their kind makes of them."""
    conversion = Conversion(one=ctx.kind.document, many=ctx.kind.documents)
    await store_all(ctx, conversion, store_patience_s=ctx.parameters.store_patience_seconds)


async def store_all(ctx: Context[P], conversion: Conversion, *, store_patience_s: float) -> None:
    """Store all of the input and commit it, in the topic's order; what cannot be stored becomes a dead letter.

    While a batch is stored, those behind it are read and converted, a few at most; the next is stored beside it if the
    store gains by that and they have no key in common.
    store_patience_s: how long a store that does not answer is asked again before RetryableError is raised.
    """
    at_once = ctx.store.upserts_at_once
    room, ended = asyncio.Semaphore(BATCHES_AT_ONCE - (at_once > 1)), asyncio.Event()
    offloader = Offloader(conversion, ctx.log)
    line = _Line(at_once)

    async def keep(received: Sequence[Received]) -> None:
        converted = await offloader.convert(received)
        async with line.place(converted.keys) as place:
            refused = await store(ctx, received, converted, store_patience_s)
            await place.first()
            await ctx.dead_letters.send_all(refused)
            ctx.input.kept(received)
            if refused:  # at once: who reads them again makes each a dead letter again
                await ctx.input.commit()
        room.release()

    async def commit() -> None:
        while not ended.is_set():
            await ctx.input.commit()
            offloader.rest()
            with suppress(TimeoutError):
                async with asyncio.timeout(COMMIT_EVERY_S):
                    await ended.wait()

    try:
        async with asyncio.TaskGroup() as always:
            always.create_task(commit(), name="commit")
            async with asyncio.TaskGroup() as tasks:
                async for received in ctx.input:
                    if room.locked():
                        offloader.hurry()
                    await room.acquire()
                    tasks.create_task(keep(received), name="keep")
            ended.set()
    finally:
        offloader.close()
    await ctx.input.commit()


class _Line:
    """The batches that are being stored, in the order in which they came; `at_once` at most."""

    def __init__(self, at_once: int) -> None:
        self._free = asyncio.Semaphore(at_once)
        self._places: list[_Place] = []

    @asynccontextmanager
    async def place(self, keys: Sequence[str]) -> AsyncIterator[_Place]:
        """A place behind the others, once there is one, and none before it has one of these keys."""
        async with self._free:
            place = _Place(frozenset(keys), self._places[-1] if self._places else None)
            before = self._places[:]
            self._places.append(place)
            for other in before:
                if not place.keys.isdisjoint(other.keys):
                    await other.left.wait()
            yield place
            self._places.remove(place)
            place.before = None
            place.left.set()


class _Place:
    """A batch in the line. keys: of its documents. left: set when it has left the line."""

    def __init__(self, keys: frozenset[str], before: _Place | None) -> None:
        self.keys = keys
        self.before = before
        self.left = asyncio.Event()

    async def first(self) -> None:
        """Return once no batch is before it."""
        if self.before is not None:
            await self.before.left.wait()


async def store(
    ctx: Context[P], received: Sequence[Received], converted: Converted, patience_s: float
) -> list[tuple[Received, str]]:
    """Bring the documents to the store; returns what neither it nor the conversion would take, each with its reason."""
    refused = converted.refused
    documents = DocumentColumns(converted.keys, converted.versions, converted.bodies)
    if documents:
        answers = await ctx.retry("store", lambda: ctx.store.upsert(ctx.collection, documents), patience_s=patience_s)
        if Outcome.REFUSED in count_outcomes(answers):
            refused = refused + [
                (at, answer.reason)
                for at, answer in zip(converted.good(len(received)), answers, strict=True)
                if answer.outcome is Outcome.REFUSED
            ]
    return [(received[at], reason) for at, reason in refused]
