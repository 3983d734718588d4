"""What every sink does: store the records of its input, batch after batch, and commit what the store has answered.

Which offset a commit names is decided in `input.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Annotated

import msgspec

from streamforge_utils.ports.bus import Received
from streamforge_utils.ports.columns import DocumentColumns
from streamforge_utils.ports.store import Outcome, count_outcomes
from streamforge_utils.runtime.context import Context
from streamforge_utils.runtime.conversion import Converted
from streamforge_utils.runtime.offload import Offloader

BATCHES_AT_ONCE = 4
"""Batches that are converted or stored, or wait for it; one more is read and waits for its place.

One less where the store has several at a time: what it has under way takes memory, too.
"""
COMMIT_EVERY_S = 0.1
"""A commit is flushed to the disk, which the documents want too: one for several batches."""


class SinkParameters(msgspec.Struct, frozen=True, kw_only=True):
    """What can be chosen for a sink."""

    store_patience_seconds: Annotated[
        float,
        msgspec.Meta(ge=0, description="how long a store that does not answer is asked again before the attempt fails"),
        msgspec.Meta(extra={"unit": "seconds"}),
    ] = 60.0


async def sink(ctx: Context[SinkParameters]) -> None:
    """Store all of the topic's records, in its order, as the documents that their kind makes of them, and commit them.

    What cannot be stored becomes a dead letter. While a batch is stored, those behind it are read and converted, a few
    at most; the next is stored beside it if the store gains by that and they have no key in common.
    Raises RetryableError where the store does not answer for `store_patience_seconds`.
    """
    at_once = ctx.store.upserts_at_once
    room, ended = asyncio.Semaphore(BATCHES_AT_ONCE - (at_once > 1)), asyncio.Event()
    offloader = Offloader(ctx.kind, ctx.log)
    order = _StoreOrder(at_once)

    async def keep(received: Sequence[Received]) -> None:
        converted = await offloader.convert(received)
        async with order.batch(converted.keys) as first:
            refused = await _store(ctx, received, converted)
            await first.wait()
            await ctx.dead_letters.send(*refused)
            ctx.input.kept(received)
            if refused:  # at once: who reads them again makes each a dead letter again
                await ctx.input.commit()
        room.release()

    async def commit() -> None:
        while not ended.is_set():
            await ctx.input.commit()
            offloader.end_idle_helper()
            with suppress(TimeoutError):
                async with asyncio.timeout(COMMIT_EVERY_S):
                    await ended.wait()

    try:
        async with asyncio.TaskGroup() as always:
            always.create_task(commit(), name="commit")
            async with asyncio.TaskGroup() as tasks:
                async for received in ctx.input:
                    if room.locked():
                        offloader.start_helper()
                    await room.acquire()
                    tasks.create_task(keep(received), name="keep")
            ended.set()
    finally:
        offloader.close()
    await ctx.input.commit()


class _StoreOrder:
    """The batches that are being stored, `at_once` at most: the keys of each, and what is set at its end."""

    def __init__(self, at_once: int) -> None:
        self._free = asyncio.Semaphore(at_once)
        self._batches: list[tuple[frozenset[str], asyncio.Event]] = []

    @asynccontextmanager
    async def batch(self, keys: Sequence[str]) -> AsyncIterator[asyncio.Event]:
        """The block stores a batch; it begins once no batch before it has one of these keys.

        Yields what is set once no batch before it is left: the block must wait for that before it ends.
        """
        async with self._free:
            batch = (frozenset(keys), asyncio.Event())
            before = [*self._batches]
            self._batches.append(batch)
            for other_keys, other_ended in before:
                if not batch[0].isdisjoint(other_keys):
                    await other_ended.wait()
            first = before[-1][1] if before else asyncio.Event()
            if not before:
                first.set()
            yield first
            # Not in a `finally`: behind a batch that failed none may count as stored.
            self._batches.remove(batch)
            batch[1].set()


async def _store(
    ctx: Context[SinkParameters], received: Sequence[Received], converted: Converted
) -> list[tuple[Received, str]]:
    """Bring the documents to the store; returns what neither it nor the conversion would take, each with its reason."""
    refused = converted.refused
    documents = DocumentColumns(converted.keys, converted.versions, converted.bodies)
    if documents:
        answers = await ctx.upsert(documents, patience_s=ctx.parameters.store_patience_seconds)
        if Outcome.REFUSED in count_outcomes(answers):
            refused = refused + [
                (at, answer.reason)
                for at, answer in zip(converted.good(len(received)), answers, strict=True)
                if answer.outcome is Outcome.REFUSED
            ]
    return [(received[at], reason) for at, reason in refused]
