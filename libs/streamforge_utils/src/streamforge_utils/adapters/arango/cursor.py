"""Results of queries, batch after batch, through cursors that are closed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Final, Generic, TypeVar
from urllib.parse import quote

import msgspec

from streamforge_utils.adapters.arango.arango_errors import NO_COLLECTION, NO_CURSOR, TooLarge
from streamforge_utils.adapters.arango.arango_transport import AnswerLost, Reply, Transport
from streamforge_utils.adapters.arango.queries import Query
from streamforge_utils.model.errors import StreamForgeError

T = TypeVar("T")

_TTL_S: Final = 30
"""A cursor that nobody asks any more is closed by the server after so long: also one whose first answer got lost or was
not read to its end, as only that names it. Between two batches others may wait as long for a statement's answer."""

_encode = msgspec.json.Encoder().encode


class Page(msgspec.Struct, Generic[T]):
    """One answer of a cursor."""

    result: list[T]
    more: bool = msgspec.field(name="hasMore", default=False)
    id: str = ""


Decode = Callable[[bytes], Page[T]]


async def send(transport: Transport, query: Query, what: str) -> Reply:
    """The first answer to a query; `NO_COLLECTION` is one too."""
    body = _encode({"query": query.text, "bindVars": query.bind, "batchSize": query.batch, "ttl": _TTL_S})
    return await transport.ask("POST", "/_api/cursor", what=what, body=body, answers=(NO_COLLECTION,))


async def everything(transport: Transport, query: Query, decode: Decode[T], what: str) -> list[T]:
    """All results of a query whose statement bounds them, none without the collection.

    They are read from the beginning again where a batch got lost; a batch that is larger than an answer may be is asked
    for in smaller ones.
    """
    patience = transport.patience(what)
    while True:
        try:
            return await _read(transport, query, decode, what)
        except AnswerLost as error:
            await patience.failed(str(error), "cursor")
        except TooLarge:
            if query.batch == 1:
                raise
            query = msgspec.structs.replace(query, batch=max(1, query.batch // 10))


async def _read(transport: Transport, query: Query, decode: Decode[T], what: str) -> list[T]:
    reply = await send(transport, query, what)
    if reply.number:
        return []
    page = reply.read(decode)
    found, path = page.result, f"/_api/cursor/{quote(page.id, safe='')}"
    is_open = page.more
    try:
        while is_open:
            # Sent twice, it would give the batch after the one that got lost.
            reply = await transport.ask("POST", path, what=what, answers=(NO_CURSOR,), once=True)
            if reply.number:
                is_open = False
                raise AnswerLost(f"{transport.place}: {what}: its cursor is gone")
            page = reply.read(decode)
            found += page.result
            is_open = page.more
    finally:
        if is_open:
            with contextlib.suppress(StreamForgeError):  # it may be gone, and the server closes it in the end
                await transport.ask("DELETE", path, what="close a cursor", answers=(NO_CURSOR,))
    return found
