"""Named graphs (/_api/gharial), kept as documents in `_graphs` as servers keep them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.doubles.arangodb import documents
from tests.doubles.arangodb.collections import DOCUMENTS, EDGES, Collection
from tests.doubles.arangodb.documents import Unit, WriteOptions
from tests.doubles.arangodb.errors import ArangoError
from tests.doubles.arangodb.values import Doc
from tests.doubles.arangodb.wire import Request, Response

if TYPE_CHECKING:
    from tests.doubles.arangodb.server import ArangoServer, Database


_REPLACE = WriteOptions(overwrite_mode="replace", return_new=True)


class Graph:
    """One named graph, read from its document and written back by `keep`."""

    def __init__(self, database: Database, document: Doc) -> None:
        self.database = database
        self.document = document
        self.name: str = document["_key"]
        self.definitions: list[dict[str, Any]] = document["edgeDefinitions"]
        self.orphans: list[str] = document["orphanCollections"]

    def answer(self) -> Doc:
        return {**self.document, "name": self.name}

    def edge_collections(self) -> list[str]:
        return sorted(definition["collection"] for definition in self.definitions)

    def vertex_collections(self) -> list[str]:
        return sorted({*self._ends(), *self.orphans})

    def definition(self, name: str) -> dict[str, Any]:
        """1930 where the graph has no such edge collection."""
        for definition in self.definitions:
            if definition["collection"] == name:
                return definition
        raise ArangoError(1930)

    def add(self, given: Any) -> None:
        """1920 for an edge collection that the graph has."""
        definition = checked(given)
        if definition["collection"] in self.edge_collections():
            raise ArangoError(1920)
        self.definitions.append(definition)
        self._adopt(definition)

    def replace(self, name: str, given: Any) -> None:
        definition = checked({"collection": name} | given)
        place = self.definitions.index(self.definition(definition["collection"]))
        before = set(self._ends())
        self.definitions[place] = definition
        self._adopt(definition)
        self._orphan(before)

    def remove(self, name: str) -> None:
        definition = self.definition(name)
        before = set(self._ends())
        self.definitions.remove(definition)
        self._orphan(before)

    def add_orphan(self, name: Any) -> None:
        self.database.ensure(name, DOCUMENTS)
        self.orphans.append(name)
        self.orphans.sort()

    def remove_orphan(self, name: str) -> None:
        if name not in self.orphans:
            raise ArangoError(1928 if self.database.find(name) else 1926)
        self.orphans.remove(name)

    def keep(self, unit: Unit) -> None:
        written = documents.insert(unit, self.database.collection("_graphs"), self.document, _REPLACE)
        self.document = written["new"]

    def _ends(self) -> list[str]:
        return [name for one in self.definitions for name in (*one["from"], *one["to"])]

    def _adopt(self, definition: dict[str, Any]) -> None:
        """Make the collections that are missing; those used by an edge definition are orphans no longer."""
        self.database.ensure(definition["collection"], EDGES)
        for name in (*definition["from"], *definition["to"]):
            self.database.ensure(name, DOCUMENTS)
            if name in self.orphans:
                self.orphans.remove(name)

    def _orphan(self, before: set[str]) -> None:
        lost = before - set(self._ends()) - set(self.orphans)
        self.orphans.extend(lost)
        self.orphans.sort()


def checked(given: Any) -> dict[str, Any]:
    """An edge definition with sorted ends."""
    return {"collection": given["collection"], "from": sorted(set(given["from"])), "to": sorted(set(given["to"]))}


def graphs(database: Database) -> list[Graph]:
    return [Graph(database, document) for document in database.collection("_graphs").scan()]


def find_graph(database: Database, unit: Unit, name: str) -> Graph:
    found = unit.get(database.collection("_graphs"), name)
    if found is None:
        raise ArangoError(1924, f"graph '{name}' not found")
    return Graph(database, found)


def create(database: Database, unit: Unit, body: Any) -> Graph:
    """1925 where there is one of that name."""
    name = body.get("name")
    if unit.get(database.collection("_graphs"), name) is not None:
        raise ArangoError(1925)
    given = body.get("edgeDefinitions", [])
    orphans = body.get("orphanCollections", [])
    document: Doc = {"_key": name, **_options(database, body), "edgeDefinitions": [], "orphanCollections": []}
    made = Graph(database, document)
    for definition in given:
        made.add(definition)
    for orphan in orphans:
        made.add_orphan(orphan)
    if "isSmart" in document or "isSatellite" in document:
        document["initial"] = made.definitions[0]["from"][0] if made.definitions else None
        if database.server.is_311 and document["initial"]:
            document["initialCid"] = int(database.collection(document["initial"]).facts["id"])
    made.keep(unit)
    return made


def _options(database: Database, body: dict[str, Any]) -> dict[str, Any]:
    options = body.get("options") or {}
    smart = body.get("isSmart") is True
    satellite = options.get("replicationFactor") == "satellite"
    if satellite:
        return {"numberOfShards": 1, "replicationFactor": "satellite", "isSmart": False, "isSatellite": True}
    if not smart and not database.server.cluster:
        return {}
    concern = options.get("writeConcern", options.get("minReplicationFactor", 1))
    found = {
        "numberOfShards": options.get("numberOfShards", 1),
        "replicationFactor": options.get("replicationFactor", 1),
        "minReplicationFactor": concern,
        "writeConcern": concern,
        "isSmart": smart,
        "isSatellite": False,
    }
    if smart:
        found["isDisjoint"] = True in (body.get("isDisjoint"), options.get("isDisjoint"))
        if "smartGraphAttribute" in options:
            found["smartGraphAttribute"] = options["smartGraphAttribute"]
    return found


def graphs_with(database: Database, name: str) -> list[Graph]:
    """The graphs that a collection is part of."""
    return [g for g in graphs(database) if name in g.edge_collections() or name in g.vertex_collections()]


def handle(server: ArangoServer, request: Request, rest: list[str]) -> Response:
    database = server.database(request.database)
    with server.unit() as unit:
        if not rest:
            return _all(request, database, unit)
        graph = find_graph(database, unit, rest[0])
        if len(rest) == 1:
            return _one(request, database, unit, graph)
        if len(rest) < 4 and not (request.method == "POST" and len(rest) == 3):
            return _definitions(request, unit, graph, rest[1], rest[2] if len(rest) == 3 else None)
        return _element(request, unit, graph, rest[1], rest[2], rest[3] if len(rest) == 4 else None)


def _ok(status: int, body: dict[str, Any], rev: str | None = None) -> Response:
    return Response(status, {"error": False, "code": status, **body}, {"Etag": rev} if rev else {})


def _status(request: Request, synced: int, collection: Collection | None = None) -> int:
    return synced if request.flag("waitForSync") or (collection is not None and collection.sync) else 202


def _all(request: Request, database: Database, unit: Unit) -> Response:
    if request.method == "POST":
        graph = create(database, unit, request.json())
        return _ok(_status(request, 201), {"graph": graph.answer()}, graph.document["_rev"])
    raise ArangoError(405)


def _one(request: Request, database: Database, unit: Unit, graph: Graph) -> Response:
    if request.method == "GET":
        return _ok(200, {"graph": graph.answer()})
    if request.method == "DELETE":
        documents.remove(unit, database.collection("_graphs"), graph.name, None, WriteOptions())
        return _ok(202, {"removed": True})
    raise ArangoError(405)


def _definitions(request: Request, unit: Unit, graph: Graph, kind: str, name: str | None) -> Response:
    method = request.method
    if method == "GET" and name is None:
        found = graph.vertex_collections() if kind == "vertex" else graph.edge_collections()
        return _ok(200, {"collections": found})
    is_edge = kind == "edge"
    if name is None:
        if is_edge:
            graph.add(request.json())
        else:
            graph.add_orphan(request.json()["collection"])
    elif method == "PUT" and is_edge:
        graph.replace(name, request.json())
    elif method == "DELETE" and is_edge:
        graph.remove(name)
    elif method == "DELETE":
        graph.remove_orphan(name)
    else:
        raise ArangoError(405)
    graph.keep(unit)
    return _ok(202, {"graph": graph.answer()}, graph.document["_rev"])


def _element(request: Request, unit: Unit, graph: Graph, kind: str, name: str, key: str | None) -> Response:
    method = request.method
    database = graph.database
    if key is not None and method == "GET":
        found = documents.read(unit, database.collection(name), key)
        return _ok(200, {kind: found}, found["_rev"])
    if kind == "edge":
        graph.definition(name)
    collection = database.collection(name)
    options = WriteOptions(
        keep_null=request.flag("keepNull", True),
        return_new=request.flag("returnNew"),
        return_old=request.flag("returnOld"),
        expected=_expected(request),
    )
    if method == "DELETE" and key is not None:
        removed = documents.remove(unit, collection, key, None, options)
        old = {"old": removed["old"]} if options.return_old else {}
        return _ok(_status(request, 200, collection), {"removed": True, **old})
    body = request.json()
    if kind == "edge":
        _check_edge(graph, body)
    if method == "POST" and key is None:
        written = documents.insert(unit, collection, body, options)
        status = _status(request, 201, collection)
    else:
        assert key is not None
        written = documents.replace(unit, collection, key, body, options, patch=method == "PATCH")
        status = _status(request, 200, collection)
    more: Doc = {part: written.pop(part) for part in ("old", "new") if part in written}
    return _ok(status, {kind: written, **more}, written["_rev"])


def _expected(request: Request) -> str | None:
    given = request.headers.get("if-match", request.query.get("rev"))
    return given.strip('"') if given else None


def _check_edge(graph: Graph, body: Doc) -> None:
    """Both ends that are given must lie in collections that the graph has."""
    for end in ("_from", "_to"):
        vertices = body.get(end, "").partition("/")[0]
        if vertices and vertices not in graph.vertex_collections():
            raise ArangoError(1947, f"referenced vertex collection '{vertices}' is not part of the graph")
