"""/_api/gharial: named graphs, their definitions, and vertices and edges through them."""

from __future__ import annotations

from typing import Any

from tests.doubles.arangodb import documents, graphs
from tests.doubles.arangodb.collections import Collection
from tests.doubles.arangodb.databases import Database
from tests.doubles.arangodb.documents import Unit, WriteOptions
from tests.doubles.arangodb.errors import ArangoError
from tests.doubles.arangodb.graphs import Graph
from tests.doubles.arangodb.routes.transaction import unit_of
from tests.doubles.arangodb.server import ArangoServer
from tests.doubles.arangodb.values import Doc
from tests.doubles.arangodb.wire import Request, Response


def graphs_with(database: Database, name: str) -> list[Graph]:
    """The graphs that a collection is part of."""
    return [g for g in graphs.graphs(database) if name in g.edge_collections() or name in g.vertex_collections()]


def handle(server: ArangoServer, request: Request, rest: list[str]) -> Response:
    database = server.database(request.database)
    with unit_of(server, request, None) as unit:
        if not rest:
            return _all(request, database, unit)
        graph = graphs.graph(database, unit, rest[0])
        if len(rest) == 1:
            return _one(request, database, unit, graph)
        if rest[1] not in ("vertex", "edge") or len(rest) > 4:
            raise ArangoError(404)
        if len(rest) < 4 and not (request.method == "POST" and len(rest) == 3):
            return _definitions(request, unit, graph, rest[1], rest[2] if len(rest) == 3 else None)
        return _element(request, unit, graph, rest[1], rest[2], rest[3] if len(rest) == 4 else None)


def _ok(status: int, body: dict[str, Any], rev: str | None = None) -> Response:
    return Response(status, {"error": False, "code": status, **body}, {"Etag": rev} if rev else {})


def _status(request: Request, synced: int, collection: Collection | None = None) -> int:
    return synced if request.flag("waitForSync") or (collection is not None and collection.sync) else 202


def _all(request: Request, database: Database, unit: Unit) -> Response:
    if request.method == "GET":
        return _ok(200, {"graphs": [graph.answer() for graph in graphs.graphs(database)]})
    if request.method == "POST":
        graph = graphs.create(database, unit, request.json())
        return _ok(_status(request, 201), {"graph": graph.answer()}, graph.document["_rev"])
    raise ArangoError(405)


def _one(request: Request, database: Database, unit: Unit, graph: Graph) -> Response:
    if request.method == "GET":
        return _ok(200, {"graph": graph.answer()})
    if request.method == "DELETE":
        documents.remove(unit, database.collection("_graphs"), graph.name, None, WriteOptions())
        unit.store()
        if request.flag("dropCollections"):
            for name in {*graph.edge_collections(), *graph.vertex_collections()}:
                found = database.find(name)
                if found is not None and not graphs_with(database, name):
                    database.drop(found)
        return _ok(202, {"removed": True})
    raise ArangoError(405)


def _definitions(request: Request, unit: Unit, graph: Graph, kind: str, name: str | None) -> Response:
    method = request.method
    if method == "GET" and name is None:
        found = graph.vertex_collections() if kind == "vertex" else graph.edge_collections()
        return _ok(200, {"collections": found})
    doomed: list[str] = []
    if name is None and method == "POST":
        body = request.json()
        if kind == "edge":
            graph.add(body)
        else:
            graph.add_orphan(body.get("collection") if type(body) is dict else None)
    elif name is not None and method == "DELETE":
        if kind == "edge":
            graph.remove(name)
        else:
            graph.remove_orphan(name)
        doomed = [name] if request.flag("dropCollections") or request.flag("dropCollection") else []
    elif name is not None and method == "PUT" and kind == "edge":
        graph.replace(name, request.json())
    else:
        raise ArangoError(405)
    graph.keep(unit)
    unit.store()
    for gone in doomed:
        found_one = graph.database.find(gone)
        if found_one is not None and not graphs_with(graph.database, gone):
            graph.database.drop(found_one)
    return _ok(202, {"graph": graph.answer()}, graph.document["_rev"])


def _element(request: Request, unit: Unit, graph: Graph, kind: str, name: str, key: str | None) -> Response:
    method = request.method
    database = graph.database
    if key is not None and method == "GET":
        return _read(request, unit, database.collection(name), kind, key)
    if kind == "edge":
        graph.definition(name)
    elif name not in graph.vertex_collections():
        raise ArangoError(1947 if database.find(name) else 1926)
    collection = database.collection(name)
    options = WriteOptions(
        keep_null=request.flag("keepNull", True),
        return_new=request.flag("returnNew"),
        return_old=request.flag("returnOld"),
        expected=_expected(request),
    )
    if method == "DELETE" and key is not None:
        removed = documents.remove(unit, collection, key, None, options)
        if kind == "vertex":
            _remove_edges(unit, database, f"{name}/{key}")
        old = {"old": removed["old"]} if options.return_old else {}
        return _ok(_status(request, 200, collection), {"removed": True, **old})
    body = request.json()
    if type(body) is not dict:
        raise ArangoError(1227)
    if kind == "edge":
        _check_edge(unit, graph, name, body, patch=method == "PATCH")
    if method == "POST" and key is None:
        written = documents.insert(unit, collection, body, options)
        status = _status(request, 201, collection)
    elif method in ("PUT", "PATCH") and key is not None:
        written = documents.replace(unit, collection, key, body, options, patch=method == "PATCH")
        status = _status(request, 200, collection)
    else:
        raise ArangoError(405)
    more: Doc = {part: written.pop(part) for part in ("old", "new") if part in written}
    return _ok(status, {kind: written, **more}, written["_rev"])


def _read(request: Request, unit: Unit, collection: Collection, kind: str, key: str) -> Response:
    found = documents.read(unit, collection, key)
    expected = _expected(request)
    if expected is not None and expected != found["_rev"]:
        identity = {part: found[part] for part in ("_id", "_key", "_rev")}
        raise ArangoError(1200, "conflict, _rev values do not match", status=412, **identity)
    known = request.headers.get("if-none-match")
    if known is not None and known.strip('"') == found["_rev"]:
        return Response(304, None, {"Etag": found["_rev"]})
    return _ok(200, {kind: found}, found["_rev"])


def _expected(request: Request) -> str | None:
    given = request.headers.get("if-match", request.query.get("rev"))
    return given.strip('"') if given else None


def _check_edge(unit: Unit, graph: Graph, name: str, body: Doc, *, patch: bool) -> None:
    """Both vertices must exist, in collections that the graph has and the definition names."""
    if patch and "_from" not in body and "_to" not in body:
        return
    definition = graph.definition(name)
    for end, side in (("_from", "from"), ("_to", "to")):
        handle_ = body.get(end)
        if handle_ is None and patch:
            continue
        if type(handle_) is not str or handle_.count("/") != 1 or not all(handle_.split("/")):
            raise ArangoError(1233)
        vertices, key = handle_.split("/")
        if vertices not in graph.vertex_collections():
            raise ArangoError(1947, f"referenced vertex collection '{vertices}' is not part of the graph")
        if vertices not in definition[side]:
            raise ArangoError(1906, f"invalid edge: {handle_} doesn't conform to the edge definition {name}")
        if unit.get(graph.database.collection(vertices), key) is None:
            raise ArangoError(1202)


def _remove_edges(unit: Unit, database: Database, vertex: str) -> None:
    """With a vertex go its edges in all graphs."""
    names = {name for graph in graphs.graphs(database) for name in graph.edge_collections()}
    for name in names:
        collection = database.collection(name)
        for edge in list(unit.scan(collection, collection.scan())):
            if vertex in (edge["_from"], edge["_to"]):
                unit.put(collection, edge, None)
