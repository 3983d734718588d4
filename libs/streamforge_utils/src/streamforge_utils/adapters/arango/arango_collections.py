"""The database and its collections: made on first use by the client that comes first, listed, dropped."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any, Final, TypeVar

import msgspec

from streamforge_utils.adapters.arango.arango_errors import (
    DATA,
    DUPLICATE_NAME,
    FORBIDDEN,
    IN_GRAPH,
    NO_COLLECTION,
    NO_DOCUMENT,
    Refusal,
    Refused,
    check_for_all,
)
from streamforge_utils.adapters.arango.arango_server import Server
from streamforge_utils.adapters.arango.arango_transport import Reply, Transport, documents_path, path_of
from streamforge_utils.adapters.arango.document_bodies import Batch
from streamforge_utils.model.documents import check_name
from streamforge_utils.model.errors import ConfigError, PermanentError, RetryableError
from streamforge_utils.model.kinds.kind import RecordKind
from streamforge_utils.ports.store import Usage

DOCUMENTS: Final = 2
EDGES: Final = 3
STATES: Final = "streamforge_states"
"""Where the manager's states lie; no collection of records."""
_ROUNDS = 50
RACES: Final = 4
"""How often a key that somebody else inserts at the same moment is tried again before it counts as taken."""
REMOVED_AT_ONCE: Final = 5_000
T = TypeVar("T")


class Kind(msgspec.Struct, frozen=True):
    """What a collection is made with. type: ArangoDB's number. indexes: those beside its own."""

    type: int
    options: dict[str, Any] = {}
    indexes: tuple[dict[str, Any], ...] = ()


_KEYS: Final = {"keyOptions": {"type": "traditional", "allowUserKeys": True}, "numberOfShards": 1}
# One shard: keys are read in their order, and a batch is written by one server.

RECORDS: Final = Kind(
    DOCUMENTS,
    {
        **_KEYS,
        "schema": {
            "rule": {
                "type": "object",
                "properties": {"_version": {"type": "integer", "minimum": 0}},
                "required": ["_version"],
            },
            "level": "strict",
            "message": "StreamForge keeps in _version when a record was observed (unix milliseconds): set it",
        },
    },
)
"""Documents of no known kind: which fields queries will ask for is unknown."""
STATE_DOCUMENTS: Final = Kind(
    DOCUMENTS,
    {**_KEYS, "waitForSync": True},
    ({"type": "persistent", "fields": ["kind", "created_ms", "id"], "unique": True, "name": "by_time"},),
)
EDGE_DOCUMENTS: Final = Kind(EDGES, dict(_KEYS))


@lru_cache(maxsize=64)
def records_of(kind: RecordKind | None) -> Kind:
    """What a collection is made with that gets records of this kind: its indexes, each named by its fields."""
    if kind is None:
        return RECORDS
    # Users' queries ask for them. What lacks the fields costs such an index nothing, and of a collection that is full
    # already it is made while others write.
    indexes = (
        {
            "type": "persistent",
            "fields": list(fields),
            "sparse": True,
            "inBackground": True,
            "name": f"by_{'_'.join(fields)}",
        }
        for fields in kind.indexes
    )
    return msgspec.structs.replace(RECORDS, indexes=tuple(indexes))


class Element(Refusal, kw_only=True):
    """The answer for one document of an array. old: what was there before."""

    revision: str = msgspec.field(name="_rev", default="")
    before: str = msgspec.field(name="_oldRev", default="")
    old: dict[str, Any] | None = None

    @property
    def skipped(self) -> bool:
        """Whether the server left the document as it was, because it is not older."""
        return bool(self.before) and self.before == self.revision


Elements = list[Element | None]


class _About(msgspec.Struct):
    name: str = ""
    type: int = 0
    isSystem: bool = False


class _List(msgspec.Struct):
    result: list[_About]


_encode = msgspec.json.Encoder().encode
_decode_refusals = msgspec.json.Decoder(list[Refusal]).decode
_decode_about = msgspec.json.Decoder(_About).decode
_decode_elements = msgspec.json.Decoder(list[Element]).decode
_decode_list = msgspec.json.Decoder(_List).decode


class Database:
    """One database through connections of its own, and the collections known to be there, with what they were given."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._server = Server(transport)
        self._known: dict[str, list[Kind]] = {}

    async def connect(self) -> None:
        await self._server.check()

    async def version(self) -> str:
        """The server's. Raises ConfigError or RetryableError."""
        return (await self._server.check()).version

    async def names(self) -> Sequence[str]:
        await self._server.check()
        reply = await self._transport.ask(
            "GET", "/_api/collection", what="list the collections", query={"excludeSystem": "true"}
        )
        return sorted(
            about.name
            for about in reply.read(_decode_list).result
            if about.type == DOCUMENTS and not about.isSystem and about.name != STATES
        )

    async def usage(self) -> Usage:
        return await self._server.usage()

    async def close(self) -> None:
        """Close the connections. A second call does nothing."""
        await self._transport.close()

    async def _on(self, name: str, kind: Kind, ask: Callable[[], Awaitable[Reply]]) -> Reply:
        """What `ask` gives once there is a collection of this kind. Raises what `_ensure` does."""
        for _ in range(_ROUNDS):
            await self._ensure(name, kind)
            reply = await ask()
            if reply.number != NO_COLLECTION:
                return reply
            self._known.pop(name, None)
        raise _unstable(name)

    async def _ensure(self, name: str, kind: Kind) -> None:
        """Return once there is a collection of this kind, made by any client.

        Raises ConfigError if it is of another kind, RetryableError if it is dropped again and again.
        """
        for _ in range(_ROUNDS):
            if kind in self._known.get(name, ()) or await self._made(name, kind):
                return
        raise _unstable(name)

    async def _made(self, name: str, kind: Kind) -> bool:
        """Whether there is the collection with its indexes; False if another process made or dropped it meanwhile."""
        reply = await self._transport.ask(
            "GET", path_of(name), what=f"look at the collection {name}", answers=(NO_COLLECTION,)
        )
        if reply.number:
            body = _encode({"name": name, "type": kind.type, **kind.options})
            reply = await self._transport.ask(
                "POST", "/_api/collection", what=f"make the collection {name}", body=body, answers=(DUPLICATE_NAME,)
            )
            if reply.number:
                return False  # of which type it is, the next look tells
        elif (found := reply.read(_decode_about).type) != kind.type:
            raise ConfigError(
                f"the collection {name} is one of {_called(found)}, and is needed for {_called(kind.type)}: "
                "choose another name (COLLECTION_NAME, or `collection_name` of the request), or drop it"
            )
        for index in kind.indexes:
            reply = await self._transport.ask(
                "POST",
                "/_api/index",
                what=f"make an index of the collection {name}",
                query={"collection": name},
                body=_encode(index),
                # Without it, or with another of that name, queries are slower, and right.
                answers=(NO_COLLECTION, FORBIDDEN, DUPLICATE_NAME),
            )
            if reply.number == NO_COLLECTION:
                return False
        self._known.setdefault(name, []).append(kind)
        return True

    async def _write(self, batch: Batch[T], kind: Kind, query: Mapping[str, str]) -> Elements:
        """Store a batch by one call, which replaces: the answer to each, None for what is new.

        What is in the way of another is sent again alone; what is refused for good is an element with `error`. What
        holds for all of them is raised.
        """
        what = f"store in the collection {batch.collection}"
        found: Elements = [None] * len(batch)
        left = [*range(len(batch))]
        races = 0
        patience = self._transport.patience(what)
        while left:
            some = batch.only(left)
            try:
                reply = await self._on(batch.collection, kind, partial(self._post, some, query, what))
            except Refused as error:
                parts = await halves(some, lambda half: self._write(half, kind, query), error)
                for position, one in zip(left, parts, strict=True):
                    found[position] = one
                return found
            body = reply.body
            if b'"error":true' not in body and b'"_oldRev"' not in body and body.count(b'"_key":') == len(left):
                return found
            sent, left, taken, said = left, [], False, ""
            for position, one in zip(sent, reply.read_each(_decode_elements, len(sent)), strict=True):
                is_race = one.is_race and races < RACES
                if one.error and not is_race:
                    check_for_all(self._transport.connection, what, one)
                if one.error and (is_race or one.number not in DATA):
                    left.append(position)
                    taken, said = taken or is_race, str(one)
                else:
                    found[position] = one
            races += taken
            if left:
                await patience.failed(f"{len(left)} documents, error {said}", "document")
        return found

    async def _post(self, batch: Batch[T], query: Mapping[str, str], what: str) -> Reply:
        path, body = documents_path(batch.collection), batch.array()
        return await self._transport.ask("POST", path, what=what, query=query, body=body, answers=(NO_COLLECTION,))

    async def delete_keys(self, collection: str, keys: Sequence[str]) -> None:
        check_collection(collection)
        for at in range(0, len(keys), REMOVED_AT_ONCE):
            await self._remove(collection, keys[at : at + REMOVED_AT_ONCE])

    async def _remove(self, collection: str, keys: Sequence[str]) -> None:
        what = f"remove from the collection {collection}"
        patience = self._transport.patience(what)
        while True:
            reply = await self._transport.ask(
                "DELETE",
                documents_path(collection),
                what=what,
                query={"silent": "true"},
                body=_encode(keys),
                answers=(NO_COLLECTION,),
            )
            # Only errors are listed; what is gone already is none.
            listed = reply.read(_decode_refusals) if not reply.number and reply.body.startswith(b"[") else []
            failed = [one for one in listed if one.number != NO_DOCUMENT]
            if not failed:
                return
            check_for_all(self._transport.connection, what, failed[0])
            await patience.failed(f"{len(failed)} documents, error {failed[0]}", "document")

    async def _dropped(self, name: str) -> bool:
        """Remove the collection, if it is there; False if a graph holds it."""
        self._known.pop(name, None)
        reply = await self._transport.ask(
            "DELETE", path_of(name), what=f"drop the collection {name}", answers=(NO_COLLECTION, IN_GRAPH)
        )
        return reply.number != IN_GRAPH


async def halves(batch: Batch[T], store: Callable[[Batch[T]], Awaitable[Elements]], error: Refused) -> Elements:
    """Store a refused batch in two parts, where one document of it may be at fault; raises `error` otherwise."""
    if not error.of_data:
        raise error
    if len(batch) == 1:
        return [Element(error=True, number=error.refusal.number, message=str(error))]
    middle = len(batch) // 2
    return await store(batch.only(range(middle))) + await store(batch.only(range(middle, len(batch))))


def check_collection(name: str) -> None:
    """Raises PermanentError for a name that no collection of records may have."""
    if check_name(name) == STATES:
        raise PermanentError(f"collection name {STATES!r} is StreamForge's own: choose another")


def _unstable(name: str) -> RetryableError:
    return RetryableError(f"the collection {name} is dropped again and again by another process; try again")


def _called(type: int) -> str:
    return {DOCUMENTS: "documents", EDGES: "edges"}.get(type, f"type {type}")
