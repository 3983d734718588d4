"""Collections: their properties, keys and indexes; and the rules for their names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import jsonschema_rs

from tests.doubles.arangodb.errors import ArangoError
from tests.doubles.arangodb.indexes import Index
from tests.doubles.arangodb.values import Doc

if TYPE_CHECKING:
    from tests.doubles.arangodb.server import Database

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,255}")
KEY = re.compile(r"[A-Za-z0-9_\-.@()+,=;$!*'%:]{1,254}")
DOCUMENTS, EDGES = 2, 3


class Schema:
    """A schema object, `{"rule", "level", "message"}`: JSON Schema draft 4, strict whatever the level but `none`."""

    def __init__(self, given: Any) -> None:
        self._counts = given.get("level", "strict") != "none"
        self._message = given.get("message") or "schema validation failed"
        self._validator = jsonschema_rs.Draft4Validator(given.get("rule", {}))

    def check(self, document: Doc) -> None:
        """Before a write; 1620 with the schema's own message."""
        own = {name: value for name, value in document.items() if name not in ("_key", "_id", "_rev", "_from", "_to")}
        if self._counts and not self._validator.is_valid(own):
            raise ArangoError(1620, self._message)


class Collection:
    """One collection. `facts` are what is kept of it; documents are in the storage's table `table`."""

    def __init__(self, database: Database, facts: dict[str, Any]) -> None:
        self.database = database
        self.facts = facts
        self.table = "c" + facts["id"]
        self.indexes = [Index(self, index) for index in facts["indexes"]]
        self.schema = Schema(facts["schema"]) if facts["schema"] else None
        self.name: str = facts["name"]
        self.is_edge: bool = facts["type"] == EDGES
        self.sync: bool = facts["waitForSync"]
        self.unique = [index for index in self.indexes if index.unique]
        for index in self.unique:
            index.fill(self.scan())

    @property
    def storage(self) -> Any:
        return self.database.server.storage

    def keep(self) -> None:
        """Write the properties down, after a change."""
        self.facts["indexes"] = [index.facts for index in self.indexes]
        self.unique = [index for index in self.indexes if index.unique]
        self.storage.keep("collection", self.facts["id"], self.facts)

    def scan(self) -> Iterator[Doc]:
        return iter(self.storage.scan(self.table))

    def count(self) -> int:
        return int(self.storage.count(self.table))

    def new_key(self) -> str:
        number = str(self.storage.tick())
        self.facts["keyOptions"]["lastValue"] = int(number)
        return number

    def own_key(self, key: Any) -> str:
        """`key` if it may be used here: 1221 for what is none, 1222 and 1466 where own keys are refused."""
        if type(key) is not str or not KEY.fullmatch(key):
            raise ArangoError(1221)
        if not self.facts["keyOptions"].get("allowUserKeys", True):
            raise ArangoError(1222)
        if self.database.server.cluster and self.facts.get("shardKeys", ["_key"]) != ["_key"]:
            raise ArangoError(1466)
        return key

    def index(self, handle: str) -> Index:
        """By number or name; 1212 where there is none."""
        for index in self.indexes:
            if handle in (index.facts["id"], index.facts["name"]):
                return index
        raise ArangoError(1212)

    def short(self) -> dict[str, Any]:
        facts = self.facts
        return {name: facts[name] for name in ("id", "name", "status", "type", "isSystem", "globallyUniqueId")}

    def properties(self) -> dict[str, Any]:
        return {name: value for name, value in self.facts.items() if name not in ("indexes", "database")}


def new_facts(database: Database, body: Any, *, edge: bool = False, system: bool = False) -> dict[str, Any]:
    """What is kept of the collection that `body` asks for; refuses bad names, types, keys and schemas."""
    body = body if type(body) is dict else {}
    name = body.get("name")
    system = system or body.get("isSystem") is True
    if type(name) is not str or not NAME.fullmatch(name) or (name.startswith("_") and not system):
        raise ArangoError(1208)
    kind = body.get("type", EDGES if edge else DOCUMENTS)
    schema = body.get("schema") or None
    if schema is not None:
        Schema(schema)
    server = database.server
    number = str(server.storage.tick())
    keys = key_options(body.get("keyOptions"))
    facts: dict[str, Any] = {
        "database": database.name,
        "id": number,
        "name": name,
        "type": kind,
        "status": 3,
        "statusString": "loaded",
        "isSystem": system,
        "globallyUniqueId": name if system else f"{server.unique}/{number}",
        "waitForSync": body.get("waitForSync") is True,
        "writeConcern": body.get("writeConcern", body.get("minReplicationFactor", 1)),
        "usesRevisionsAsDocumentIds": True,
        "syncByRevision": True,
        "isSmartChild": False,
        "schema": _whole_schema(schema),
        "cacheEnabled": body.get("cacheEnabled") is True,
        "internalValidatorType": 0,
        "keyOptions": keys,
        "computedValues": None,
        "objectId": str(server.storage.tick()),
        "indexes": [],
    }
    if server.cluster:
        shards = body.get("numberOfShards", 1)
        del facts["objectId"]
        keys.pop("lastValue")
        facts |= {
            "globallyUniqueId": f"c{number}/",
            "numberOfShards": shards,
            "shardKeys": body.get("shardKeys", ["_key"]),
            "shardingStrategy": body.get("shardingStrategy", "hash"),
            "replicationFactor": body.get("replicationFactor", 1),
            "minReplicationFactor": facts["writeConcern"],
            "isSmart": False,
            "isDisjoint": False,
        }
    if not server.is_311:
        facts["supportsRBAC"] = True
    facts["indexes"] = [_primary()] + ([_edge()] if kind == EDGES else [])
    return facts


def key_options(given: Any) -> dict[str, Any]:
    """Complete key options; 1232 for a generator that does not exist."""
    given = given if type(given) is dict else {}
    kind = given.get("type", "traditional")
    options = {"allowUserKeys": given.get("allowUserKeys", True) is True, "type": kind}
    if kind == "autoincrement":
        increment, offset = given.get("increment", 1), given.get("offset", 0)
        options |= {"offset": offset, "increment": increment}
    if kind != "uuid":
        options["lastValue"] = 0
    return options


def _whole_schema(schema: Any) -> Any:
    if schema is None:
        return None
    whole = {"level": "strict", "message": "", **schema}
    whole["type"] = "json"
    return whole


def _primary() -> dict[str, Any]:
    return {
        "fields": ["_key"],
        "id": "0",
        "name": "primary",
        "selectivityEstimate": 1,
        "sparse": False,
        "type": "primary",
        "unique": True,
    }


def _edge() -> dict[str, Any]:
    return {
        "fields": ["_from", "_to"],
        "id": "1",
        "name": "edge",
        "selectivityEstimate": 1,
        "sparse": False,
        "type": "edge",
        "unique": False,
    }
