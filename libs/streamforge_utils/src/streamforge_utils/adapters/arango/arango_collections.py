"""Collections: made on first use by the client that comes first, listed, dropped."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import quote

import msgspec

from streamforge_utils.adapters.arango.arango_errors import DUPLICATE_NAME, FORBIDDEN, IN_GRAPH, NO_COLLECTION
from streamforge_utils.adapters.arango.arango_transport import Transport
from streamforge_utils.model.errors import ConfigError, RetryableError

DOCUMENTS: Final = 2
EDGES: Final = 3
STATES: Final = "streamforge_states"
"""Where the manager's states lie; no collection of records."""
_ROUNDS = 20


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
    # Users' queries ask for times; what has none costs this index nothing. Of a collection that is full already it is
    # made while others write.
    (
        {
            "type": "persistent",
            "fields": ["open_time"],
            "sparse": True,
            "inBackground": True,
            "name": "by_open_time",
        },
    ),
)
STATE_DOCUMENTS: Final = Kind(
    DOCUMENTS,
    {**_KEYS, "waitForSync": True},
    ({"type": "persistent", "fields": ["kind", "created_ms", "id"], "unique": True, "name": "by_time"},),
)
EDGE_DOCUMENTS: Final = Kind(EDGES, dict(_KEYS))


class _About(msgspec.Struct):
    name: str = ""
    type: int = 0
    isSystem: bool = False


class _List(msgspec.Struct):
    result: list[_About]


_encode = msgspec.json.Encoder().encode
_decode_about = msgspec.json.Decoder(_About).decode
_decode_list = msgspec.json.Decoder(_List).decode


class Catalogue:
    """The collections of the database, and those known to be there."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._known: dict[str, int] = {}

    async def ensure(self, name: str, kind: Kind) -> None:
        """Return once there is a collection of this kind, made by whom ever. Raises ConfigError if it is of another."""
        if self._known.get(name) == kind.type:
            return
        for _ in range(_ROUNDS):
            about = await self._about(name)
            if about is None:
                body = _encode({"name": name, "type": kind.type, **kind.options})
                reply = await self._transport.ask(
                    "POST", "/_api/collection", what=f"make the collection {name}", body=body, answers=(DUPLICATE_NAME,)
                )
                if reply.number:
                    continue  # somebody else was quicker: of which type it is, it tells
            elif about.type != kind.type:
                raise ConfigError(
                    f"the collection {name} is one of {_called(about.type)}, and is needed for {_called(kind.type)}: "
                    "choose another name (COLLECTION_NAME, or `collection_name` of the request), or drop it"
                )
            if await self._indexed(name, kind):
                self._known[name] = kind.type
                return
        raise RetryableError(f"the collection {name} is dropped again and again by another process; try again")

    def forget(self, name: str) -> None:
        """The collection was seen to be missing."""
        self._known.pop(name, None)

    async def names(self) -> list[str]:
        """Collections of records, sorted."""
        reply = await self._transport.ask(
            "GET", "/_api/collection", what="list the collections", query={"excludeSystem": "true"}
        )
        return sorted(
            about.name
            for about in reply.read(_decode_list).result
            if about.type == DOCUMENTS and not about.isSystem and about.name != STATES
        )

    async def drop(self, name: str) -> int:
        """Remove the collection; the error number if that was not done: `IN_GRAPH`, or `NO_COLLECTION`."""
        self.forget(name)
        reply = await self._transport.ask(
            "DELETE", path_of(name), what=f"drop the collection {name}", answers=(NO_COLLECTION, IN_GRAPH)
        )
        return reply.number

    async def _about(self, name: str) -> _About | None:
        reply = await self._transport.ask(
            "GET", path_of(name), what=f"look at the collection {name}", answers=(NO_COLLECTION,)
        )
        return None if reply.number else reply.read(_decode_about)

    async def _indexed(self, name: str, kind: Kind) -> bool:
        """Whether the collection was still there to get its indexes."""
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
        return True


def path_of(name: str) -> str:
    """The path of a collection."""
    return f"/_api/collection/{quote(name, safe='')}"


def _called(type: int) -> str:
    return {DOCUMENTS: "documents", EDGES: "edges"}.get(type, f"type {type}")
