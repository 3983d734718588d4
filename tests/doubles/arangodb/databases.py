"""Databases (/_api/database): their collections by name and number, and where these are made, renamed and dropped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.doubles.arangodb.collections import Collection, new_facts
from tests.doubles.arangodb.errors import ArangoError
from tests.doubles.arangodb.values import encode
from tests.doubles.arangodb.wire import Request, Response

if TYPE_CHECKING:
    from tests.doubles.arangodb.server import ArangoServer


SYSTEM = "_system"
_OWN = (
    "_users", "_graphs", "_analyzers", "_queues", "_jobs", "_apps", "_appbundles", "_aqlfunctions", "_frontend",
    "_statistics", "_statistics15", "_statisticsRaw",
)  # fmt: skip
_ONLY_IN_SYSTEM = ("_users", "_statistics", "_statistics15", "_statisticsRaw")


class Database:
    """One database. Collections are found by name or by number."""

    def __init__(self, server: ArangoServer, facts: dict[str, Any]) -> None:
        self.server = server
        self.facts = facts
        self.name: str = facts["name"]
        self.collections: dict[str, Collection] = {}
        self._by_id: dict[str, Collection] = {}

    def adopt(self, collection: Collection) -> None:
        self.collections[collection.name] = collection
        self._by_id[collection.facts["id"]] = collection

    def make_system_collections(self) -> None:
        for name in _OWN:
            if self.name == SYSTEM or name not in _ONLY_IN_SYSTEM:
                self.create({"name": name, "isSystem": True}, system=True)

    def find(self, name: str) -> Collection | None:
        return self.collections.get(name) or self._by_id.get(name)

    def collection(self, name: str) -> Collection:
        found = self.collections.get(name) or self._by_id.get(name)
        if found is None:
            raise ArangoError(1203, f"collection or view not found: {name}")
        return found

    def create(self, body: Any, *, edge: bool = False, system: bool = False) -> Collection:
        """Make a collection; 1207 where its name is taken."""
        facts = new_facts(self, body, edge=edge, system=system)
        if facts["name"] in self.collections:
            raise ArangoError(1207, f"duplicate name: {facts['name']}")
        storage = self.server.storage
        storage.begin()
        storage.create_table("c" + facts["id"])
        storage.keep("collection", facts["id"], facts)
        storage.commit()
        collection = Collection(self, facts)
        self.adopt(collection)
        return collection

    def ensure(self, name: str, kind: int) -> Collection:
        """The collection, made if it is absent; 1237 if it is of another type."""
        found = self.collections.get(name)
        if found is None:
            return self.create({"name": name, "type": kind})
        return found

    def drop(self, collection: Collection) -> None:
        storage = self.server.storage
        storage.begin()
        storage.drop_table(collection.table)
        storage.forget("collection", collection.facts["id"])
        storage.commit()
        del self.collections[collection.name]
        del self._by_id[collection.facts["id"]]

    def rename(self, collection: Collection, name: Any) -> None:
        del self.collections[collection.name]
        collection.name = collection.facts["name"] = name
        self.collections[name] = collection
        collection.keep()
        documents = list(collection.scan())
        storage = self.server.storage
        storage.begin()
        for doc in documents:
            storage.put(collection.table, doc["_key"], encode({**doc, "_id": f"{name}/{doc['_key']}"}))
        storage.commit()

    def truncate(self, collection: Collection) -> None:
        self.server.storage.clear_table(collection.table)
        for index in collection.indexes:
            index.entries.clear()


def handle(server: ArangoServer, request: Request, rest: list[str]) -> Response:
    method = request.method
    if method == "GET":
        return Response(200, {"error": False, "code": 200, "result": _look(server, request, rest)})
    if method == "POST" and not rest:
        _only_in_system(request)
        server.create_database(request.json())
        return Response(201, {"error": False, "code": 201, "result": True})
    if method == "DELETE" and len(rest) == 1:
        _only_in_system(request)
        server.drop_database(rest[0])
        return Response(200, {"error": False, "code": 200, "result": True})
    raise ArangoError(405 if method not in ("POST", "DELETE") else 400)


def _look(server: ArangoServer, request: Request, rest: list[str]) -> object:
    if not rest:
        _only_in_system(request)
        return list(server.databases)
    if rest == ["user"]:
        user = server.users.get(request.user)
        return [name for name in server.databases if user is None or user.level(name) != "none"]
    raise ArangoError(400)


def _only_in_system(request: Request) -> None:
    if request.database != SYSTEM:
        raise ArangoError(1230)
