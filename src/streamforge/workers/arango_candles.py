"""Stores the candles of a data topic."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated

import msgspec

from streamforge_utils.model.candles import stored_document, stored_documents
from streamforge_utils.model.errors import PermanentError
from streamforge_utils.ports.bus import Received
from streamforge_utils.ports.store import Document, Outcome
from streamforge_utils.runtime.context import Context
from streamforge_utils.runtime.worker import Definition, Role, Use

CONVERTED_AT_ONCE = 500
"""Records between two chances for a ping to be answered: about 3 ms of work."""


class Parameters(msgspec.Struct, frozen=True, kw_only=True):
    """What can be chosen for a sink of candles."""

    store_patience_seconds: Annotated[
        float,
        msgspec.Meta(ge=0, description="how long a store that does not answer is asked again before the attempt fails"),
        msgspec.Meta(extra={"unit": "seconds"}),
    ] = 60.0


class Batch(msgspec.Struct):
    """Records as they were read, the documents made of the good ones, and the bad ones with their reason."""

    received: Sequence[Received]
    good: list[Received]
    documents: list[Document]
    refused: list[tuple[Received, str]]


async def run(ctx: Context[Parameters]) -> None:
    """Store and commit batch after batch in the topic's order.

    Three are under way at most: while one is committed and one is stored, the next is read and converted.
    """
    storing, committing, waiting = asyncio.Lock(), asyncio.Lock(), asyncio.Semaphore(2)

    async def keep(batch: Batch) -> None:
        async with storing:
            refused = await store(ctx, batch)
        async with committing:
            await ctx.dead_letters.send_all(refused)
            await ctx.input.done(batch.received)
        waiting.release()

    async with asyncio.TaskGroup() as tasks:
        async for received in ctx.input:
            batch = await convert(received)
            await waiting.acquire()
            tasks.create_task(keep(batch), name="keep")


async def convert(received: Sequence[Received]) -> Batch:
    """Decode and check every record; lets other tasks run now and then."""
    batch = Batch(received, [], [], [])
    for first in range(0, len(received), CONVERTED_AT_ONCE):
        records = received[first : first + CONVERTED_AT_ONCE]
        columns = stored_documents([record.key for record in records], [record.value for record in records])
        if columns is not None:
            batch.good.extend(records)
            batch.documents.extend(map(Document, *columns))
        else:
            _convert_each(records, batch)
        await asyncio.sleep(0)
    return batch


def _convert_each(records: Sequence[Received], batch: Batch) -> None:
    """As all at once, but it tells which of them are bad, and why."""
    for record in records:
        try:
            key, version, body = stored_document(record.key, record.value)
        except PermanentError as error:
            batch.refused.append((record, str(error)))
        else:
            batch.good.append(record)
            batch.documents.append(Document(key, version, body))


async def store(ctx: Context[Parameters], batch: Batch) -> list[tuple[Received, str]]:
    """Bring the batch to the store; returns what neither it nor the conversion would take, each with its reason."""
    if not batch.documents:
        return batch.refused
    answers = await ctx.retry(
        "store",
        lambda: ctx.store.upsert(ctx.collection, batch.documents),
        patience_s=ctx.parameters.store_patience_seconds,
    )
    return batch.refused + [
        (record, answer.reason)
        for record, answer in zip(batch.good, answers, strict=True)
        if answer.outcome is Outcome.REFUSED
    ]


DEFINITION = Definition(
    target="arango-candles",
    summary="stores the candles of a data topic",
    role=Role.SINK,
    types=("api_candles_",),
    parameters=Parameters,
    uses=frozenset({Use.INPUT, Use.STORE}),
    run=run,
)
