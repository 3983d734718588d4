"""The state of one double: what it pretends to be, its databases, users, cursors, transactions and jobs."""

from __future__ import annotations

import hashlib
import hmac
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.doubles.arangodb.collections import Collection
from tests.doubles.arangodb.databases import SYSTEM, Database
from tests.doubles.arangodb.documents import Unit
from tests.doubles.arangodb.errors import ArangoError
from tests.doubles.arangodb.misbehaviour import Misbehaviour
from tests.doubles.arangodb.revisions import Revisions
from tests.doubles.arangodb.storage import Storage


@dataclass(slots=True)
class Settings:
    """What the double pretends to be.

    version: whole; 3.11 and before behave as 3.11, others as 3.12. cluster: a coordinator instead of a
    single server. password: of root, when the data are new. path: the file that keeps the data, None for memory.
    authentication: off, every caller is root. edition: as it calls itself. limit_bytes: the licence's dataset limit.
    """

    version: str = "3.12.10"
    cluster: bool = False
    edition: str = "enterprise"
    authentication: bool = True
    password: str = ""
    path: Path | None = None
    limit_bytes: int = 100 << 30
    cursor_ttl_s: float = 30.0
    session_s: float = 3600.0


@dataclass(slots=True)
class User:
    """One user. `grants`: by database, or by database/collection, or `*`: none, ro or rw."""

    name: str
    secret: str
    active: bool = True
    extra: dict[str, Any] = field(default_factory=dict)
    grants: dict[str, str] = field(default_factory=dict)

    def knows(self, password: str) -> bool:
        salt, _, want = self.secret.partition("$")
        return hmac.compare_digest(want, _digest(salt, password))

    def level(self, database: str, collection: str | None = None) -> str:
        """What the user may do: none, ro or rw."""
        if collection is not None:
            for name in (f"{database}/{collection}", f"{database}/*", "*/*"):
                if name in self.grants:
                    return self.grants[name]
        return self.grants.get(database, self.grants.get("*", "none"))


def secret_of(password: str) -> str:
    salt = os.urandom(4).hex()
    return f"{salt}${_digest(salt, password)}"


def _digest(salt: str, password: str) -> str:
    return hashlib.sha256(f"{salt}{password}".encode()).hexdigest()


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
        self.jwt_secret = os.urandom(32)
        self.cursors: dict[str, Any] = {}
        self.transactions: dict[str, Any] = {}
        self.jobs: dict[str, Any] = {}
        self.tokens: dict[str, dict[str, dict[str, Any]]] = {}
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
        self.verified: set[str] = set()
        """Authorization headers that were found right; cleared when a user changes."""
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
            self.keep_user(User("root", secret_of(self.settings.password), grants={"*": "rw", "*/*": "rw"}))

    def close(self) -> None:
        self.storage.close()

    def unit(self) -> Unit:
        """A unit for one request."""
        return Unit(self.storage, self.revisions)

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
        for given in body.get("users") or []:
            user_name = given.get("username", given.get("user"))
            user = self.users.get(user_name)
            if user is None:
                secret = secret_of(given.get("passwd", ""))
                user = User(user_name, secret, given.get("active") is not False, given.get("extra") or {})
            user.grants[name] = "rw"
            self.keep_user(user)
        return database

    def drop_database(self, name: str) -> None:
        if name == SYSTEM:
            raise ArangoError(11)
        database = self.database(name)
        for collection in list(database.collections.values()):
            database.drop(collection)
        self.storage.forget("database", name)
        del self.databases[name]

    def keep_user(self, user: User) -> None:
        self.users[user.name] = user
        self.verified.clear()
        facts = {name: getattr(user, name) for name in ("name", "secret", "active", "extra", "grants")}
        self.storage.keep("user", user.name, facts)

    def remove_user(self, name: str) -> None:
        del self.users[name]
        self.verified.clear()
        self.storage.forget("user", name)

    def data_bytes(self) -> int:
        """Bytes of all documents."""
        storage = self.storage
        return sum(storage.size(c.table) for database in self.databases.values() for c in database.collections.values())


def _is_database_name(name: str) -> bool:
    return bool(name) and name[0].isalpha() and len(name) <= 64 and all(c.isalnum() or c in "_-" for c in name)
