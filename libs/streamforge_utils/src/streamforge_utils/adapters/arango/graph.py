"""Edges, one per pair of documents, and the named graph that they make up with the documents they join."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from operator import itemgetter
from typing import Any, Final
from urllib.parse import quote

import msgspec

from streamforge_utils.adapters.arango import document_bodies, queries
from streamforge_utils.adapters.arango.arango_collections import EDGE_DOCUMENTS, RECORDS, Database, check_collection
from streamforge_utils.adapters.arango.arango_errors import EDGE_COLLECTION_USED, GRAPH_DUPLICATE, GRAPH_MISSING
from streamforge_utils.adapters.arango.document_bodies import Batch
from streamforge_utils.model.documents import check_edge, is_document
from streamforge_utils.model.errors import PermanentError, RetryableError
from streamforge_utils.ports.store import Edge

GRAPH: Final = "streamforge"
"""The named graph of all edges."""
_ROUNDS: Final = 20


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


_Row = tuple[str, str, msgspec.Raw]
_encode = msgspec.json.Encoder().encode
_decode_rows = msgspec.json.Decoder(queries.Page[_Row]).decode
_decode_keys = msgspec.json.Decoder(queries.Page[str]).decode
_decode_about = msgspec.json.Decoder(_About).decode
_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class Edges(Database):
    """The edges of every collection of edges, and the drop of any collection, which a graph may hold."""

    async def link(self, collection: str, edges: Sequence[Edge]) -> None:
        check_collection(collection)
        for edge in edges:
            check_edge(edge.source, edge.destination, edge.body)
        latest = {(edge.source, edge.destination): edge for edge in edges}
        if not latest:
            return
        texts = [(edge, _text(edge)) for edge in latest.values()]
        await self._ensure(collection, EDGE_DOCUMENTS)
        await self._join(collection, [*latest])
        for start, end in document_bodies.chunks([len(text) for _, text in texts]):
            batch = Batch(collection, texts[start:end], itemgetter(1))
            elements = await self._write(batch, EDGE_DOCUMENTS, {"overwriteMode": "replace"})
            for (edge, _), element in zip(batch.items, elements, strict=True):
                if element is not None and element.error:
                    raise PermanentError(f"edge {edge.source} to {edge.destination}: it {element.told}")

    async def links(
        self, collection: str, *, source: str | None = None, destination: str | None = None
    ) -> Sequence[Edge]:
        check_collection(collection)
        if any(end is not None and not is_document(end) for end in (source, destination)):
            return []
        return await self._edges(collection, queries.edges(collection, source, destination))

    async def _edges(self, collection: str, query: queries.Query) -> Sequence[Edge]:
        rows = await queries.everything(self._transport, query, _decode_rows, f"read the edges {collection}")
        return sorted(
            (Edge(origin, target, bytes(body)) for origin, target, body in rows),
            key=lambda edge: (edge.source, edge.destination),
        )

    async def links_from(self, collection: str, sources: Sequence[str]) -> Sequence[Edge]:
        check_collection(collection)
        query = queries.edges(collection, [one for one in sources if is_document(one)], None)
        return await self._edges(collection, query)

    async def unlink(self, collection: str, sources: Sequence[str]) -> None:
        check_collection(collection)
        query = queries.edge_keys(collection, [one for one in sources if is_document(one)])
        keys = await queries.everything(self._transport, query, _decode_keys, f"read the edges {collection}")
        await self.delete_keys(collection, keys)

    async def drop(self, collection: str) -> None:
        check_collection(collection)
        if not await self._dropped(collection):
            await self._take_out(collection)
            if not await self._dropped(collection):
                raise PermanentError(
                    f"the collection {collection} belongs to a graph that StreamForge did not make: "
                    "take it out of that graph, then drop it"
                )

    async def _take_out(self, collection: str) -> None:
        """Let no graph of ours hold the collection any more, so that it can be dropped."""
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

    async def _join(self, collection: str, edges: Sequence[tuple[str, str]]) -> None:
        """Let the named graph know which collections these edges join."""
        origins = {source.partition("/")[0] for source, _ in edges}
        targets = {target.partition("/")[0] for _, target in edges}
        for name in sorted(origins | targets):
            await self._ensure(name, RECORDS)
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
        await self._transport.ask(
            method,
            f"/_api/gharial/{GRAPH}{path}",
            what=f"change the graph {GRAPH}",
            body=body,
            answers=(GRAPH_MISSING, EDGE_COLLECTION_USED, 1930, 1928),  # somebody else was quicker
        )


def _definition(collection: str, origins: Any, targets: Any) -> dict[str, Any]:
    return {"collection": collection, "from": sorted(origins), "to": sorted(targets)}


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
