"""The state of one double: what it pretends to be, its databases with their collections, cursors and passwords."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.doubles.arangodb.collections import Collection, new_facts
from tests.doubles.arangodb.documents import Revisions, Unit
from tests.doubles.arangodb.errors import ArangoError
from tests.doubles.arangodb.misbehaviour import Misbehaviour
from tests.doubles.arangodb.storage import Storage
from tests.doubles.arangodb.values import encode
from tests.doubles.arangodb.wire import Request, Response

SYSTEM = "_system"
_OWN = (
    "_users", "_graphs", "_analyzers", "_queues", "_jobs", "_apps", "_appbundles", "_aqlfunctions", "_frontend",
    "_statistics", "_statistics15", "_statisticsRaw",
)  # fmt: skip
_ONLY_IN_SYSTEM = ("_users", "_statistics", "_statistics15", "_statisticsRaw")


@dataclass(slots=True)
class Settings:
    """What the double pretends to be.

    version: whole; 3.11 and before behave as 3.11, others as 3.12. cluster: a coordinator instead of a single server.
    edition: as it calls itself. password: of root, when the data are new. path: the file that keeps the data, None for
    memory. limit_bytes: the licence's dataset limit.
    """

    version: str = "3.12.10"
    cluster: bool = False
    edition: str = "enterprise"
    password: str = ""
    path: Path | None = None
    limit_bytes: int = 100 << 30


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


class ArangoServer:
    """All the state; what is asked of it comes in through `dispatch.py`."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.version = settings.version
        self.cluster = settings.cluster
        self.is_311 = settings.version.startswith(("3.10.", "3.11."))
        self.storage = Storage(settings.path)
        self.revisions = Revisions()
        self.misbehaviour = Misbehaviour()
        self.cursors: dict[str, Any] = {}
        self.databases: dict[str, Database] = {}
        self.passwords: dict[str, str] = {}
        self._load()

    def _load(self) -> None:
        storage = self.storage
        for facts in storage.facts("server"):
            self.unique: str = facts["unique"]
        if not storage.facts("server"):
            self.unique = "h" + os.urandom(6).hex().upper()
            storage.keep("server", "server", {"unique": self.unique})
        for facts in storage.facts("database"):
            self.databases[facts["name"]] = Database(self, facts)
        for facts in storage.facts("collection"):
            database = self.databases[facts["database"]]
            database.adopt(Collection(database, facts))
        for facts in storage.facts("user"):
            self.passwords[facts["name"]] = facts["password"]
        if SYSTEM not in self.databases:
            self.create_database({"name": SYSTEM}, system=True)
        if "root" not in self.passwords:
            self.passwords["root"] = self.settings.password
            storage.keep("user", "root", {"name": "root", "password": self.settings.password})

    @contextmanager
    def unit(self) -> Iterator[Unit]:
        """A unit that is stored at the end of the block, or abandoned where that raises."""
        unit = Unit(self.storage, self.revisions)
        try:
            yield unit
        except BaseException:
            unit.abandon()
            raise
        unit.store()

    def database(self, name: str) -> Database:
        found = self.databases.get(name)
        if found is None:
            raise ArangoError(1228)
        return found

    def create_database(self, body: Any, *, system: bool = False) -> Database:
        name = body.get("name") if type(body) is dict else None
        if type(name) is not str or not (system or _is_database_name(name)):
            raise ArangoError(1208)
        if name in self.databases:
            raise ArangoError(1207)
        number = "1" if system else str(self.storage.tick())
        facts = {"name": name, "id": number, "options": body.get("options") or {}}
        self.storage.keep("database", name, facts)
        database = self.databases[name] = Database(self, facts)
        database.make_system_collections()
        return database

    def drop_database(self, name: str) -> None:
        database = self.database(name)
        for collection in list(database.collections.values()):
            database.drop(collection)
        self.storage.forget("database", name)
        del self.databases[name]

    def data_bytes(self) -> int:
        """Bytes of all documents."""
        storage = self.storage
        return sum(storage.size(c.table) for database in self.databases.values() for c in database.collections.values())


def databases(server: ArangoServer, request: Request, rest: list[str]) -> Response:
    """Answers /_api/database."""
    method = request.method
    if method == "GET" and rest not in ([], ["user"]):
        raise ArangoError(400)
    if rest != ["user"] and request.database != SYSTEM:
        raise ArangoError(1230)
    if method == "GET":
        return Response(200, {"error": False, "code": 200, "result": list(server.databases)})
    if method == "POST" and not rest:
        server.create_database(request.json())
        return Response(201, {"error": False, "code": 201, "result": True})
    if method == "DELETE" and len(rest) == 1:
        server.drop_database(rest[0])
        return Response(200, {"error": False, "code": 200, "result": True})
    raise ArangoError(405 if method not in ("POST", "DELETE") else 400)


def _is_database_name(name: str) -> bool:
    return bool(name) and name[0].isalpha() and len(name) <= 64 and all(c.isalnum() or c in "_-" for c in name)
