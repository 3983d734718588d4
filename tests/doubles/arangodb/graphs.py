"""Named graphs: their definitions, kept as documents in `_graphs` as servers keep them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.doubles.arangodb import documents
from tests.doubles.arangodb.collections import DOCUMENTS, EDGES
from tests.doubles.arangodb.documents import Unit, WriteOptions
from tests.doubles.arangodb.errors import ArangoError
from tests.doubles.arangodb.values import Doc

if TYPE_CHECKING:
    from tests.doubles.arangodb.databases import Database

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
        """1920 for an edge collection that the graph has, 1921 for one that another graph defines otherwise."""
        definition = checked(given)
        if definition["collection"] in self.edge_collections():
            raise ArangoError(1920)
        self._check_elsewhere(definition)
        self.definitions.append(definition)
        self._adopt(definition)

    def replace(self, name: str, given: Any) -> None:
        if type(given) is dict:
            given.setdefault("collection", name)
        definition = checked(given)
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
        if type(name) is not str or not name:
            raise ArangoError(10, "missing collection name")
        if name in self.orphans:
            raise ArangoError(1938)
        if name in self._ends():
            raise ArangoError(1929)
        if self.database.ensure(name, DOCUMENTS).is_edge:
            raise ArangoError(1927)
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
        if not self.database.ensure(definition["collection"], EDGES).is_edge:
            raise ArangoError(1944)
        for name in (*definition["from"], *definition["to"]):
            self.database.ensure(name, DOCUMENTS)
            if name in self.orphans:
                self.orphans.remove(name)

    def _orphan(self, before: set[str]) -> None:
        lost = before - set(self._ends()) - set(self.orphans)
        self.orphans.extend(lost)
        self.orphans.sort()

    def _check_elsewhere(self, definition: dict[str, Any]) -> None:
        for other in graphs(self.database):
            for theirs in other.definitions:
                if theirs["collection"] == definition["collection"] and theirs != definition:
                    raise ArangoError(1921, f"edge collection already used in edge def {definition['collection']}")


def checked(given: Any) -> dict[str, Any]:
    """An edge definition with sorted ends; 1923 where it is none."""
    if type(given) is not dict or type(given.get("collection")) is not str or not given["collection"]:
        raise ArangoError(1923)
    for end in ("from", "to"):
        names = given.get(end)
        if type(names) is not list or not names or any(type(name) is not str for name in names):
            raise ArangoError(1923)
    return {"collection": given["collection"], "from": sorted(set(given["from"])), "to": sorted(set(given["to"]))}


def graphs(database: Database) -> list[Graph]:
    return [Graph(database, document) for document in database.collection("_graphs").scan()]


def graph(database: Database, unit: Unit, name: str) -> Graph:
    found = unit.get(database.collection("_graphs"), name)
    if found is None:
        raise ArangoError(1924, f"graph '{name}' not found")
    return Graph(database, found)


def create(database: Database, unit: Unit, body: Any) -> Graph:
    """1922 without a name, 1925 where there is one of that name."""
    if type(body) is not dict:
        raise ArangoError(400, "expecting an object")
    name = body.get("name")
    if type(name) is not str or not name:
        raise ArangoError(1922)
    if unit.get(database.collection("_graphs"), name) is not None:
        raise ArangoError(1925)
    given = body.get("edgeDefinitions", [])
    orphans = body.get("orphanCollections", [])
    if type(given) is not list:
        raise ArangoError(1923)
    if type(orphans) is not list or any(type(orphan) is not str for orphan in orphans):
        raise ArangoError(1943)
    document: Doc = {"_key": name, **_options(database, body), "edgeDefinitions": [], "orphanCollections": []}
    made = Graph(database, document)
    for definition in given:
        made.add(definition)
    for orphan in orphans:
        made.add_orphan(orphan)
    if "isSmart" in document or "isSatellite" in document:
        document["initial"] = made.definitions[0]["from"][0] if made.definitions else None
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
        found["isDisjoint"] = body.get("isDisjoint") is True
        if "smartGraphAttribute" in options:
            found["smartGraphAttribute"] = options["smartGraphAttribute"]
    return found
