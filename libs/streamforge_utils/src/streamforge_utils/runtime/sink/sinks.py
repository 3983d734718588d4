"""What every sink does: store the records of its input, batch after batch, and commit the offsets of what is stored.

Records are converted outside the event loop, in a thread.
`worker_input.py` decides which offset a commit names.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from typing import Annotated, Any, Protocol, TypeVar

import msgspec

from streamforge_utils.ports.bus import Received
from streamforge_utils.ports.columns import DocumentColumns, columns_of
from streamforge_utils.ports.store import Answer, Outcome, count_outcomes
from streamforge_utils.runtime.life.context import Context
from streamforge_utils.runtime.sink.conversion import PASSED_OVER, Converted, convert
from streamforge_utils.runtime.sink.day_division import DayDivision

Convert = Callable[[Sequence[Received]], Converted]
"""Converts a batch of messages; takes few microseconds a message, and blocks meanwhile."""

BATCHES_AT_ONCE = 4
"""How many batches are converted, stored or waiting for either; one more may be read, and waits.

One less where the store takes several at a time: those need memory there too.
"""
FULL_BATCH = 1000
"""A smaller batch is stored before another one is read: what comes meanwhile is one batch then, and one transaction."""
COMMIT_EVERY_S = 0.1
"""Each commit costs a disk flush that competes with the store, so several batches share one."""
IDLE_LOOK_S = 1.0
"""While nothing comes: hundreds of sinks on one machine mostly wait."""


class SinkParameters(msgspec.Struct, frozen=True, kw_only=True):
    """What can be chosen for a sink."""

    store_patience_seconds: Annotated[
        float,
        msgspec.Meta(ge=0, description="how long a store that does not answer is asked again before the attempt fails"),
        msgspec.Meta(extra={"unit": "seconds"}),
    ] = 60.0

    @property
    def holds_seconds(self) -> float:
        """How long a record that came may not be where it is proven, where all goes well."""
        return 0.0


SinkP = TypeVar("SinkP", bound=SinkParameters)


async def sink(ctx: Context[SinkParameters]) -> None:
    """Store all of the topic's records, in its order, as the documents that their kind makes of them, and commit them.

    Raises as `store_input`.
    """
    kind = ctx.kind

    def convert_records(records: Sequence[Received]) -> Converted:
        columns = columns_of(records)
        return convert(kind, columns.keys, columns.values)

    await store_input(ctx, convert_records)


class Keeper(Protocol):
    """What more is done with batches that are stored, one after the other in their order, before they are committed."""

    async def keep(self, received: Sequence[Received]) -> None:
        """The batch is stored: tell the input so, now or later."""

    async def look(self) -> None:
        """Called now and then."""

    async def finish(self, *, refused: bool = False) -> None:
        """Nothing is left to be done on return, and the input was told. refused: something was; more may follow."""


class _Direct:
    """Implements `Keeper`: there is nothing more."""

    def __init__(self, ctx: Context[Any]) -> None:
        self._ctx = ctx

    async def keep(self, received: Sequence[Received]) -> None:
        self._ctx.input.kept(received)

    async def look(self) -> None:
        pass

    async def finish(self, *, refused: bool = False) -> None:
        pass


async def store_input(ctx: Context[SinkP], converting: Convert, keeper: Keeper | None = None) -> None:
    """Store all of the input, in its order, as the documents that `converting` makes of it, and commit it.

    What cannot be stored becomes a dead letter. While a batch is stored, a few later ones are read and converted; the
    next is stored at the same time if the store takes several and they have no key in common.
    Raises RetryableError where the store does not answer for `store_patience_seconds`.
    """
    at_once = ctx.store.upserts_at_once
    keeper = keeper or _Direct(ctx)
    most = BATCHES_AT_ONCE - (at_once > 1)
    room, ended, stirred = asyncio.Semaphore(most), asyncio.Event(), asyncio.Event()
    # No `Lane`: the end of a worker waits for no batch.
    thread, loop = ThreadPoolExecutor(1, thread_name_prefix="convert"), asyncio.get_running_loop()
    order, days = _StoreOrder(at_once), DayDivision(ctx.placement, lambda: ctx.kind)

    async def keep(received: Sequence[Received], takes: int) -> None:
        wanted = ctx.choice.wanted(received)
        # One without a wanted record too: no batch overtakes the one before.
        converted = await loop.run_in_executor(thread, converting, wanted)
        async with order.batch(converted.documents.keys) as first:
            refused = await _store(ctx, wanted, converted, days)
            await first.wait()
            await ctx.dead_letters.send(*refused)
            if settled := ctx.choice.settled(received):
                await keeper.keep(settled)
            if refused:  # at once: if they were read again, each would become a dead letter again
                await keeper.finish(refused=True)
                await ctx.input.commit()
        stirred.set()
        for _ in range(takes):
            room.release()

    async def commit() -> None:
        while not ended.is_set():
            stirred.clear()
            await keeper.look()
            await ctx.input.commit()
            for event, most_s in ((ended, COMMIT_EVERY_S), (stirred, IDLE_LOOK_S)):
                with suppress(TimeoutError):
                    async with asyncio.timeout(most_s):
                        await event.wait()

    try:
        async with asyncio.TaskGroup() as always:
            always.create_task(commit(), name="commit")
            async with asyncio.TaskGroup() as tasks:
                async for received in ctx.input:
                    takes = 1 if len(received) >= FULL_BATCH else most
                    for _ in range(takes):
                        await room.acquire()
                    tasks.create_task(keep(received, takes), name="keep")
            ended.set()
            stirred.set()
        await keeper.finish()
    finally:
        thread.shutdown(wait=False)
    await ctx.input.commit()


class _StoreOrder:
    """The batches that are being stored, `at_once` at most: the keys of each, and an event that is set at its end."""

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._free = asyncio.Semaphore(at_once)
        self._batches: list[tuple[frozenset[str], asyncio.Event]] = []

    @asynccontextmanager
    async def batch(self, keys: Sequence[str]) -> AsyncIterator[asyncio.Event]:
        """The block stores a batch; it begins once no earlier batch that is being stored has one of these keys.

        Yields an event, set when all earlier batches are stored: the block must wait for it before it ends.
        """
        async with self._free:
            batch = (frozenset(keys if self._at_once > 1 else ()), asyncio.Event())
            before = [*self._batches]
            self._batches.append(batch)
            for other_keys, other_ended in before:
                if not batch[0].isdisjoint(other_keys):
                    await other_ended.wait()
            first = before[-1][1] if before else asyncio.Event()
            if not before:
                first.set()
            yield first
            # Not in a `finally`: after a batch that failed, no later one may count as stored.
            self._batches.remove(batch)
            batch[1].set()


async def _store(
    ctx: Context[SinkP], received: Sequence[Received], converted: Converted, days: DayDivision
) -> list[tuple[Received, str]]:
    """Store the documents; returns the records that the conversion or the store refused, each with its reason."""
    refused = converted.refused
    documents = converted.documents
    if documents:
        answers = await _upsert(ctx, documents, days)
        if Outcome.REFUSED in count_outcomes(answers):
            refused = refused + [
                (at, answer.reason)
                for at, answer in zip(converted.good(len(received)), answers, strict=True)
                if answer.outcome is Outcome.REFUSED
            ]
    return [(received[at], reason) for at, reason in refused if reason != PASSED_OVER]


async def _upsert(ctx: Context[SinkP], documents: DocumentColumns, days: DayDivision) -> Sequence[Answer]:
    """Store each document in its collection; one answer each, in their order."""
    patience_s, parts = ctx.parameters.store_patience_seconds, days.divide(documents)
    if len(parts) == 1:
        return await ctx.upsert(parts[0][0], documents, patience_s=patience_s)
    answers: dict[int, Answer] = {}
    for collection, places in parts:
        answers.update(
            zip(places, await ctx.upsert(collection, documents.only(places), patience_s=patience_s), strict=True)
        )
    return [answers[at] for at in range(len(documents))]
