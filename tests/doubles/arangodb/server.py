"""The state of one double: what it pretends to be, its databases, users, cursors, transactions and jobs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.doubles.arangodb.collections import Collection
from tests.doubles.arangodb.databases import SYSTEM, Database
from tests.doubles.arangodb.documents import Revisions, Unit
from tests.doubles.arangodb.errors import ArangoError
from tests.doubles.arangodb.misbehaviour import Misbehaviour
from tests.doubles.arangodb.storage import Storage


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


@dataclass(slots=True)
class User:
    """One user. `grants`: by database, or by database/collection, or `*`: none, ro or rw; they are kept and shown."""

    name: str
    password: str
    active: bool = True
    extra: dict[str, Any] = field(default_factory=dict)
    grants: dict[str, str] = field(default_factory=dict)

    def level(self, database: str) -> str:
        """What was granted: none, ro or rw."""
        return self.grants.get(database, self.grants.get("*", "none"))


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
        self.transactions: dict[str, str] = {}
        self.jobs: dict[str, Any] = {}
        self.cache_properties: dict[str, Any] = {
            "mode": "demand",
            "maxResults": 128,
            "maxResultsSize": 268435456,
            "maxEntrySize": 16777216,
            "includeSystem": False,
        }
        self.endpoint = ""
        self.databases: dict[str, Database] = {}
        self.users: dict[str, User] = {}
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
            self.users[facts["name"]] = User(**facts)
        if SYSTEM not in self.databases:
            self.create_database({"name": SYSTEM}, system=True)
        if "root" not in self.users:
            self.keep_user(User("root", self.settings.password, grants={"*": "rw", "*/*": "rw"}))

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

    def keep_user(self, user: User) -> None:
        self.users[user.name] = user
        self.storage.keep("user", user.name, asdict(user))

    def remove_user(self, name: str) -> None:
        del self.users[name]
        self.storage.forget("user", name)

    def data_bytes(self) -> int:
        """Bytes of all documents."""
        storage = self.storage
        return sum(storage.size(c.table) for database in self.databases.values() for c in database.collections.values())


def _is_database_name(name: str) -> bool:
    return bool(name) and name[0].isalpha() and len(name) <= 64 and all(c.isalnum() or c in "_-" for c in name)
