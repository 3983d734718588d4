"""Edges, one per pair of documents, and the named graph that they make up with the documents they join."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import quote

import msgspec

from streamforge_utils.adapters.arango import cursor, document_bodies, queries
from streamforge_utils.adapters.arango.arango_collections import EDGE_DOCUMENTS, RECORDS, Catalogue
from streamforge_utils.adapters.arango.arango_errors import (
    DATA,
    EDGE_COLLECTION_USED,
    GRAPH_DUPLICATE,
    GRAPH_MISSING,
    NO_COLLECTION,
    UNIQUE,
    Refused,
    of_all,
)
from streamforge_utils.adapters.arango.arango_transport import Transport
from streamforge_utils.model.documents import check_edge, is_document
from streamforge_utils.model.errors import PermanentError, RetryableError
from streamforge_utils.ports.store import Edge

GRAPH: Final = "streamforge"
"""The named graph of all edges."""
_ROUNDS: Final = 20
_RACES: Final = 3
"""How often an edge that somebody else inserts at the same moment is tried again before it counts as refused."""


class _Definition(msgspec.Struct):
    collection: str
    origins: list[str] = msgspec.field(name="from")
    targets: list[str] = msgspec.field(name="to")


class _Graph(msgspec.Struct):
    definitions: list[_Definition] = msgspec.field(name="edgeDefinitions", default_factory=list)
    orphans: list[str] = msgspec.field(name="orphanCollections", default_factory=list)
    revision: str = msgspec.field(name="_rev", default="")


class _About(msgspec.Struct):
    graph: _Graph


class _Element(msgspec.Struct):
    error: bool = False
    number: int = msgspec.field(name="errorNum", default=0)
    message: str = msgspec.field(name="errorMessage", default="")


class _Ends(msgspec.Struct):
    source: str = msgspec.field(name="_from")
    destination: str = msgspec.field(name="_to")


_Row = tuple[str, str, msgspec.Raw]
_encode = msgspec.json.Encoder().encode
_decode_rows = msgspec.json.Decoder(cursor.Page[_Row]).decode
_decode_about = msgspec.json.Decoder(_About).decode
_decode_elements = msgspec.json.Decoder(list[_Element]).decode
_decode_ends = msgspec.json.Decoder(_Ends).decode
_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class Edges:
    """The edges of every collection of edges."""

    def __init__(self, transport: Transport, catalogue: Catalogue) -> None:
        self._transport = transport
        self._catalogue = catalogue
        self._joined: set[tuple[str, str, str]] = set()

    async def link(self, collection: str, edges: Sequence[Edge]) -> None:
        """Store the edges, none if one is malformed. Raises PermanentError naming that one."""
        for edge in edges:
            check_edge(edge.source, edge.destination, edge.body)
        latest = {(edge.source, edge.destination): edge for edge in edges}
        texts = [_text(edge) for edge in latest.values()]
        if not texts:
            return
        for _ in range(_ROUNDS):
            await self._catalogue.ensure(collection, EDGE_DOCUMENTS)
            await self._join(collection, latest)
            missing = False
            for start, end in document_bodies.chunks([*map(len, texts)]):
                missing = not await self._store(collection, texts[start:end])
                if missing:
                    break
            if not missing:
                return
            self._catalogue.forget(collection)
            self._joined.clear()
        raise RetryableError(f"the collection {collection} is dropped again and again by another process; try again")

    async def links(self, collection: str, source: str | None, destination: str | None) -> list[Edge]:
        """The edges of `source` and `destination`, where given, sorted."""
        if any(end is not None and not is_document(end) for end in (source, destination)):
            return []
        rows = await cursor.everything(
            self._transport,
            queries.edges(collection, source, destination),
            _decode_rows,
            what=f"read the edges {collection}",
            answers=(NO_COLLECTION,),
        )
        return sorted(
            (Edge(origin, target, bytes(body)) for origin, target, body in rows),
            key=lambda edge: (edge.source, edge.destination),
        )

    async def take_out(self, collection: str) -> None:
        """Let no graph of ours hold the collection any more, so that it can be dropped."""
        self._joined = {known for known in self._joined if collection not in known}
        graph = await self._graph()
        if graph is None:
            return
        for definition in graph.definitions:
            origins = [name for name in definition.origins if name != collection]
            targets = [name for name in definition.targets if name != collection]
            if collection == definition.collection or not origins or not targets:
                await self._change("DELETE", f"/edge/{quote(definition.collection, safe='')}")
            elif (origins, targets) != (definition.origins, definition.targets):
                await self._define("PUT", definition.collection, origins, targets)
        after = await self._graph()
        if after is not None and collection in after.orphans:
            await self._change("DELETE", f"/vertex/{quote(collection, safe='')}")

    async def _store(self, collection: str, texts: Sequence[bytes]) -> bool:
        """Store some edges; False if there is no such collection (any more). Raises PermanentError naming one."""
        races = 0
        what = f"store the edges {collection}"
        patience = self._transport.patience(what)
        while True:
            reply = await self._transport.ask(
                "POST",
                f"/_api/document/{quote(collection, safe='')}",
                what=what,
                query={"overwriteMode": "replace"},
                body=document_bodies.array(texts),
                answers=(NO_COLLECTION,),
            )
            if reply.number:
                return False
            elements = reply.read(_decode_elements)
            if len(elements) != len(texts):
                raise RetryableError(f"ArangoDB answered for {len(elements)} of {len(texts)} edges")
            failed = [(text, element) for text, element in zip(texts, elements, strict=True) if element.error]
            if not failed:
                return True
            for text, element in failed:
                if error := of_all(self._transport.connection, what, element.number, element.message):
                    raise error
                if element.number in DATA and element.number != UNIQUE:
                    raise _refused(text, element)
            taken = [pair for pair in failed if pair[1].number == UNIQUE]
            races += bool(taken)
            if races > _RACES:
                raise _refused(*taken[0])
            # An edge that another process inserts at this moment is replaced the next time.
            await patience.failed(f"error {failed[0][1].number}: {failed[0][1].message[:200]}", "document")
            texts = [text for text, _ in failed]

    async def _join(self, collection: str, edges: dict[tuple[str, str], Edge]) -> None:
        """Let the named graph know which collections these edges join."""
        pairs = {(collection, source.partition("/")[0], target.partition("/")[0]) for source, target in edges}
        if pairs <= self._joined:
            return
        for name in sorted({name for _, source, target in pairs for name in (source, target)}):
            await self._catalogue.ensure(name, RECORDS)
        origins = {source for _, source, _ in pairs}
        targets = {target for _, _, target in pairs}
        for _ in range(_ROUNDS):
            graph = await self._graph()
            if graph is None:
                body = {"name": GRAPH, "edgeDefinitions": [_definition(collection, origins, targets)]}
                await self._transport.ask(
                    "POST", "/_api/gharial", what="make the graph", body=_encode(body), answers=(GRAPH_DUPLICATE,)
                )
                continue
            known = next((one for one in graph.definitions if one.collection == collection), None)
            if known is None:
                await self._define("POST", collection, origins, targets)
                continue
            if origins <= set(known.origins) and targets <= set(known.targets):
                self._joined |= pairs
                return
            await self._define("PUT", collection, origins | set(known.origins), targets | set(known.targets))
        raise RetryableError(f"the graph {GRAPH} is changed again and again by other processes; try again")

    async def _graph(self) -> _Graph | None:
        reply = await self._transport.ask(
            "GET", f"/_api/gharial/{GRAPH}", what="look at the graph", answers=(GRAPH_MISSING,)
        )
        return None if reply.number else reply.read(_decode_about).graph

    async def _define(self, method: str, collection: str, origins: Sequence[str] | set[str], targets: Any) -> None:
        path = "/edge" if method == "POST" else f"/edge/{quote(collection, safe='')}"
        await self._change(method, path, _encode(_definition(collection, origins, targets)))

    async def _change(self, method: str, path: str, body: bytes | None = None) -> None:
        try:
            await self._transport.ask(
                method,
                f"/_api/gharial/{GRAPH}{path}",
                what="change the graph",
                body=body,
                answers=(GRAPH_MISSING, EDGE_COLLECTION_USED, 1930, 1928),  # somebody else was quicker
            )
        except Refused as error:
            raise PermanentError(f"{error}; see the graph {GRAPH}") from error


def _definition(collection: str, origins: Any, targets: Any) -> dict[str, Any]:
    return {"collection": collection, "from": sorted(origins), "to": sorted(targets)}


def _refused(text: bytes, element: _Element) -> PermanentError:
    ends = _decode_ends(text)
    return PermanentError(
        f"edge {ends.source} to {ends.destination}: it is refused by ArangoDB (error {element.number}): "
        f"{element.message[:300]}"
    )


def _text(edge: Edge) -> bytes:
    pair = hashlib.sha256(f"{edge.source} {edge.destination}".encode()).hexdigest()[:32]
    try:
        content = _decode_object(edge.body)
    except (UnicodeDecodeError, msgspec.MsgspecError) as error:
        raise PermanentError(
            f"edge {edge.source} to {edge.destination}: its body is not a JSON object: {error}"
        ) from error
    own = sorted(content.keys() & {"_key", "_id", "_rev", "_from", "_to"})
    if own:
        raise PermanentError(
            f"edge {edge.source} to {edge.destination}: its body holds {', '.join(own)}, which ArangoDB sets itself"
        )
    return _encode({"_key": pair, "_from": edge.source, "_to": edge.destination, **content})
