"""Stores the candles of a data topic."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated

import msgspec

from streamforge_utils.model.candles import stored_document
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
    """Store batch after batch in the topic's order; while one is stored the next is read and converted."""
    async with asyncio.TaskGroup() as tasks:
        storing: asyncio.Task[None] | None = None
        async for received in ctx.input:
            batch = await convert(received)
            if storing is not None:
                await storing
            storing = tasks.create_task(store(ctx, batch), name="store")


async def convert(received: Sequence[Received]) -> Batch:
    """Decode and check every record; lets other tasks run now and then."""
    batch = Batch(received, [], [], [])
    for first in range(0, len(received), CONVERTED_AT_ONCE):
        for record in received[first : first + CONVERTED_AT_ONCE]:
            try:
                key, version, body = stored_document(record.key, record.value)
            except PermanentError as error:
                batch.refused.append((record, str(error)))
            else:
                batch.good.append(record)
                batch.documents.append(Document(key, version, body))
        await asyncio.sleep(0)
    return batch


async def store(ctx: Context[Parameters], batch: Batch) -> None:
    """Bring the batch to the store and to the dead-letter topic; only then is its offset committed."""
    refused = batch.refused
    if batch.documents:
        answers = await ctx.retry(
            "store",
            lambda: ctx.store.upsert(ctx.collection, batch.documents),
            patience_s=ctx.parameters.store_patience_seconds,
        )
        refused = refused + [
            (record, answer.reason)
            for record, answer in zip(batch.good, answers, strict=True)
            if answer.outcome is Outcome.REFUSED
        ]
    await ctx.dead_letters.send_all(refused)
    await ctx.input.done(batch.received)


DEFINITION = Definition(
    target="arango-candles",
    summary="stores the candles of a data topic",
    role=Role.SINK,
    types=("api_candles_",),
    parameters=Parameters,
    uses=frozenset({Use.INPUT, Use.STORE}),
    run=run,
)
