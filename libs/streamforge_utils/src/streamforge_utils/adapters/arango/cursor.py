"""Results of queries, batch after batch, through cursors that are closed."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from typing import Generic, TypeVar
from urllib.parse import quote

import msgspec

from streamforge_utils.adapters.arango.arango_errors import NO_CURSOR
from streamforge_utils.adapters.arango.arango_transport import AnswerLost, Reply, TooLarge, Transport
from streamforge_utils.adapters.arango.queries import Query
from streamforge_utils.model.errors import StreamForgeError

T = TypeVar("T")

_TTL_S = 30
"""A cursor that nobody asks any more is closed by the server after so long: also one whose first answer got lost or was
not read to its end, as only that names it. Between two batches others may wait as long for a statement's answer."""

_encode = msgspec.json.Encoder().encode


class _Statistics(msgspec.Struct, frozen=True):
    written: int = msgspec.field(name="writesExecuted", default=0)


class _Extra(msgspec.Struct, frozen=True):
    stats: _Statistics = _Statistics()


class Page(msgspec.Struct, Generic[T]):
    """One answer of a cursor."""

    result: list[T]
    more: bool = msgspec.field(name="hasMore", default=False)
    id: str = ""
    extra: _Extra = _Extra()


async def send(transport: Transport, query: Query, *, what: str, answers: Collection[int] = ()) -> Reply:
    """The first answer to a query."""
    body = _encode({"query": query.text, "bindVars": query.bind, "batchSize": query.batch, "ttl": _TTL_S})
    return await transport.ask("POST", "/_api/cursor", what=what, body=body, answers=answers)


async def pages(
    transport: Transport,
    query: Query,
    decode: Callable[[bytes], Page[T]],
    *,
    what: str,
    answers: Collection[int] = (),
) -> AsyncGenerator[Sequence[T], None]:
    """The results, batch after batch; none if an error of `answers` was the answer."""
    reply = await send(transport, query, what=what, answers=answers)
    if reply.number:
        return
    page = reply.read(decode)
    open_id = page.id if page.more else ""
    try:
        yield page.result
        while open_id:
            # Sent twice, it would give the batch after the one that got lost.
            reply = await transport.ask(
                "POST", f"/_api/cursor/{quote(open_id, safe='')}", what=what, answers=(NO_CURSOR,), once=True
            )
            if reply.number:
                open_id = ""
                raise AnswerLost(f"ArangoDB at {transport.connection.shown}: {what}: its cursor is gone")
            page = reply.read(decode)
            if not page.more:
                open_id = ""
            yield page.result
    finally:
        if open_id:
            with contextlib.suppress(StreamForgeError):  # it may be gone, and the server closes it in the end
                await transport.ask(
                    "DELETE", f"/_api/cursor/{quote(open_id, safe='')}", what="close a cursor", answers=(NO_CURSOR,)
                )


async def everything(
    transport: Transport,
    query: Query,
    decode: Callable[[bytes], Page[T]],
    *,
    what: str,
    answers: Collection[int] = (),
) -> list[T]:
    """All results of a query whose statement bounds them; from the beginning again where a batch got lost.

    A batch that is larger than an answer may be is asked for in smaller ones.
    """
    patience = transport.patience(what)
    while True:
        found: list[T] = []
        try:
            async with contextlib.aclosing(pages(transport, query, decode, what=what, answers=answers)) as batches:
                async for batch in batches:
                    found.extend(batch)
        except AnswerLost as error:
            await patience.failed(str(error), "cursor")
        except TooLarge:
            if query.batch == 1:
                raise
            query = msgspec.structs.replace(query, batch=max(1, query.batch // 10))
        else:
            return found


async def written(transport: Transport, query: Query, *, what: str, answers: Collection[int] = ()) -> int:
    """How many documents a statement wrote or removed."""
    reply = await send(transport, query, what=what, answers=answers)
    return 0 if reply.number else reply.read(msgspec.json.Decoder(Page[msgspec.Raw]).decode).extra.stats.written
