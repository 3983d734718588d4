"""Every AQL statement that is sent, and its results, batch after batch through cursors that are closed.

Keys are compared and sorted through the primary index, which orders them by code point; AQL's own comparison would
follow the server's language.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any, Final, Generic, TypeVar
from urllib.parse import quote

import msgspec

from streamforge_utils.adapters.arango.arango_errors import NO_COLLECTION, NO_CURSOR, TooLarge
from streamforge_utils.adapters.arango.arango_transport import AnswerLost, Reply, Transport
from streamforge_utils.model.errors import StreamForgeError
from streamforge_utils.ports.store import Selected

T = TypeVar("T")

BATCH: Final = 5000
"""Results of one answer; the rest come through the cursor."""
DOCUMENTS_BATCH: Final = 1000
"""Of whole documents; where these are large, an answer may be too large, and fewer are asked for."""

_DOCUMENT: Final = '[d._key, d._version, UNSET(d, "_key", "_id", "_rev", "_version")]'
_BY_KEY: Final = 'FOR d IN @@collection OPTIONS { indexHint: "primary" }'
_TTL_S: Final = 30
"""A cursor without further requests is closed by the server after this time: also one whose first answer got
lost or was not read to its end, as only that names it. Between two batches others may wait as long for a statement's
answer."""

_encode = msgspec.json.Encoder().encode


class Query(msgspec.Struct, frozen=True):
    """A statement with its bind parameters. batch: results of one answer."""

    text: str
    bind: dict[str, Any]
    batch: int = BATCH


def documents(collection: str, first: str, last: str | None, limit: int) -> Query:
    """Key, version and the document itself, ascending by key."""
    where, bind = _within(first, last)
    return Query(
        f"{_BY_KEY}{where} SORT d._key LIMIT @limit RETURN {_DOCUMENT}",
        {"@collection": collection, "limit": limit, **bind},
        DOCUMENTS_BATCH,
    )


def keys(collection: str, first: str, last: str | None, limit: int) -> Query:
    """Keys alone, ascending."""
    where, bind = _within(first, last)
    return Query(
        f"{_BY_KEY}{where} SORT d._key LIMIT @limit RETURN d._key",
        {"@collection": collection, "limit": limit, **bind},
        20_000,
    )


def count(collection: str, first: str, last: str | None) -> Query:
    """How many documents lie within."""
    where, bind = _within(first, last)
    return Query(f"{_BY_KEY}{where} COLLECT WITH COUNT INTO n RETURN n", {"@collection": collection, **bind})


def present(collection: str, wanted: Sequence[str]) -> Query:
    """Key, version and the document itself, of those keys that are there."""
    return Query(
        f"FOR d IN @@collection FILTER d._key IN @keys RETURN {_DOCUMENT}",
        {"@collection": collection, "keys": list(wanted)},
        DOCUMENTS_BATCH,
    )


def present_keys(collection: str, wanted: Sequence[str]) -> Query:
    """Those of the keys that are there."""
    return Query(
        "FOR d IN @@collection FILTER d._key IN @keys RETURN d._key",
        {"@collection": collection, "keys": list(wanted)},
    )


def guarded_upsert(collection: str, bodies: msgspec.Raw, number: int) -> Query:
    """Store documents, of which an older one replaces nothing; gives what was there before each, or null."""
    return Query(
        "FOR doc IN @documents UPSERT { _key: doc._key } INSERT doc "
        "REPLACE (IS_NUMBER(OLD._version) AND OLD._version > doc._version ? OLD : doc) IN @@collection RETURN OLD",
        {"@collection": collection, "documents": bodies},
        max(number, 1),
    )


def flush(collection: str) -> Query:
    """Write one document as it is and wait for the disk: with it the log before it is on the disk too."""
    return Query(
        "FOR d IN @@collection LIMIT 1 REPLACE d IN @@collection OPTIONS { waitForSync: true }",
        {"@collection": collection},
    )


def states(collection: str, kind: str, selected: Selected, after: tuple[int, str] | None, limit: int) -> Query:
    """States, newest first. after: creation time and id."""
    text, bind = _filtered(collection, kind, selected)
    bind["limit"] = limit
    if after is not None:
        bind |= {"ms": after[0], "id": after[1]}
        text += " FILTER s.created_ms < @ms OR (s.created_ms == @ms AND s.id < @id)"
    text += " SORT s.created_ms DESC, s.id DESC LIMIT @limit RETURN s"
    return Query(text, bind, 100)


def states_named(collection: str, keys: Sequence[str]) -> Query:
    """The states with these keys that are there."""
    text = "FOR s IN @@collection FILTER s._key IN @keys RETURN s"
    return Query(text, {"@collection": collection, "keys": list(keys)}, 100)


def tally(collection: str, kind: str, label: str, selected: Selected) -> Query:
    """Each value of a label, or null, and how many states have it."""
    text, bind = _filtered(collection, kind, selected)
    text += " COLLECT value = s.labels[@label] WITH COUNT INTO n RETURN [value, n]"
    return Query(text, {**bind, "label": label})


def selects_nothing(selected: Selected) -> bool:
    """Whether a label may have no value at all."""
    return not all({**(selected.get("where") or {}), **(selected.get("begins") or {})}.values())


def _filtered(collection: str, kind: str, selected: Selected) -> tuple[str, dict[str, Any]]:
    bind: dict[str, Any] = {"@collection": collection, "kind": kind}
    text = "FOR s IN @@collection FILTER s.kind == @kind"
    for number, (name, values) in enumerate((selected.get("where") or {}).items()):
        bind |= {f"name{number}": name, f"values{number}": sorted(set(values))}
        text += f" FILTER s.labels[@name{number}] IN @values{number}"
    for number, (name, values) in enumerate((selected.get("begins") or {}).items()):
        bind |= {f"begun{number}": name}
        either = []
        for at, beginning in enumerate(sorted(set(values))):
            bind |= {f"begins{number}_{at}": beginning, f"length{number}_{at}": len(beginning)}
            either.append(f"LEFT(s.labels[@begun{number}], @length{number}_{at}) == @begins{number}_{at}")
        text += f" FILTER {' OR '.join(either)}"
    if prefix := selected.get("prefix"):
        bind |= {"prefix": prefix, "length": len(prefix)}
        text += " FILTER LEFT(s.id, @length) == @prefix"
    return text, bind


def edges(collection: str, source: str | Sequence[str] | None, destination: str | None) -> Query:
    """Both ends and the edge itself. source: any of several, where they are."""
    text = "FOR e IN @@collection"
    bind: dict[str, Any] = {"@collection": collection}
    if source is not None:
        one = isinstance(source, str)
        text += " FILTER e._from == @source" if one else " FILTER e._from IN @source"
        bind["source"] = source if one else list(source)
    if destination is not None:
        text, bind["destination"] = text + " FILTER e._to == @destination", destination
    returned = '[e._from, e._to, UNSET(e, "_key", "_id", "_rev", "_from", "_to")]'
    return Query(f"{text} SORT e._from, e._to RETURN {returned}", bind, 1000)


def edge_keys(collection: str, sources: Sequence[str]) -> Query:
    """The keys of the edges that leave any of these documents."""
    return Query(
        "FOR e IN @@collection FILTER e._from IN @sources RETURN e._key",
        {"@collection": collection, "sources": list(sources)},
        20_000,
    )


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


def _within(first: str, last: str | None) -> tuple[str, dict[str, str]]:
    """The filter of first <= key < last. Bounds may be any text, keys are printable ASCII."""
    start, beyond = _bound(first)
    text, bind = f" FILTER d._key {'>' if beyond else '>='} @first", {"first": start}
    if last is not None:
        end, beyond = _bound(last)
        text += f" AND d._key {'<=' if beyond else '<'} @last"
        bind["last"] = end
    return text, bind


def _bound(text: str) -> tuple[str, bool]:
    """A bound that every server can take, and whether it stands right behind the key of that name."""
    for at, character in enumerate(text):
        if character < " ":
            return text[:at], True  # no key begins so and goes on but with something greater
        if character > "~":
            return text[:at] + "~", False  # greater than any key that begins so: none holds `~`
    return text, False
