"""Indexes: their definitions on the wire (/_api/index), and the values that a unique one lets be once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from tests.doubles.arangodb.errors import ArangoError
from tests.doubles.arangodb.values import Doc, at_path, hashable
from tests.doubles.arangodb.wire import Request, Response

if TYPE_CHECKING:
    from tests.doubles.arangodb.collections import Collection
    from tests.doubles.arangodb.server import ArangoServer


_ALIASES = {"hash": "persistent", "skiplist": "persistent"}
_SAME_BY = ("type", "fields", "unique", "sparse", "prefixFields", "geoJson", "minLength", "storedValues")

Undo = list[tuple[dict[Any, str], Any, str | None]]
"""What stood in an index before a write: the entries, the value, and its key (None: none)."""


class Index:
    """One index of a collection; `entries` is filled for unique ones (not the primary): a value's document key."""

    def __init__(self, collection: Collection, facts: dict[str, Any]) -> None:
        self.collection = collection
        self.facts = facts
        self.fields: list[Any] = facts["fields"]
        self.unique: bool = facts["unique"] and facts["type"] != "primary"
        self.sparse: bool = facts["sparse"]
        self.entries: dict[Any, str] = {}
        if self.unique:
            self._paths = [tuple(str(field).replace("[*]", "").split(".")) for field in self.fields]
            self._wide = [str(field).endswith("[*]") for field in self.fields]

    def fill(self, documents: Iterable[Doc]) -> None:
        """Take in what is stored; 1210 with status 400, as servers answer, where a value is there twice."""
        for document in documents:
            for value in self.values(document):
                if self.entries.setdefault(value, document["_key"]) != document["_key"]:
                    raise ArangoError(1210, self._violated(self.entries[value]), status=400)

    def values(self, document: Doc) -> list[Any]:
        """What is entered for a document: one value, several for an array, none for a sparse index."""
        rows: list[tuple[Any, ...]] = [()]
        for path, wide in zip(self._paths, self._wide, strict=True):
            found = at_path(document, path)
            column = found if wide and type(found) is list else [found]
            if self.sparse:
                column = [item for item in column if item is not None]
            rows = [(*row, hashable(item)) for row in rows for item in column]
        return rows

    def swap(self, old: Doc | None, new: Doc | None, undo: Undo) -> None:
        """Let `new` take the place of `old`; 1210 if another document has a value of it. Changes nothing then."""
        gone = self.values(old) if old else []
        come = list(dict.fromkeys(self.values(new))) if new else []
        key = (new or old or {})["_key"]
        for value in come:
            other = self.entries.get(value)
            if other is not None and other != key:
                raise ArangoError(1210, self._violated(other))
        for value in gone:
            undo.append((self.entries, value, self.entries.pop(value, None)))
        for value in come:
            undo.append((self.entries, value, self.entries.get(value)))
            self.entries[value] = key

    def _violated(self, key: str) -> str:
        fields = ", ".join(map(str, self.fields))
        name, kind = self.facts["name"], self.facts["type"]
        return f"unique constraint violated - in index {name} of type {kind} over '{fields}'; conflicting key: {key}"

    def answer(self) -> dict[str, Any]:
        facts = self.facts
        return {**facts, "id": f"{self.collection.name}/{facts['id']}"}


def ensure(collection: Collection, body: Any) -> tuple[Index, bool]:
    """The index that `body` defines, and whether it is new."""
    kind = _ALIASES.get(body["type"], body["type"])
    facts = {"type": kind, "fields": body["fields"], **_shape(kind, body, collection.database.server.is_311)}
    for index in collection.indexes:
        have = index.facts
        if all(have.get(name) == facts.get(name) for name in _SAME_BY):
            return index, False
        if have["name"] == body.get("name"):
            raise ArangoError(1207, f"duplicate value for index name '{have['name']}'")
    tick = collection.storage.tick()
    facts = {"id": str(tick), "name": body.get("name") or f"idx_{1_800_000_000_000_000_000 + tick}", **facts}
    index = Index(collection, facts)
    if index.unique:
        index.fill(collection.scan())
    collection.indexes.append(index)
    collection.keep()
    return index, True


def drop(collection: Collection, index: Index) -> None:
    collection.indexes.remove(index)
    collection.keep()


_DEFAULTS: dict[str, dict[str, Any]] = {
    "persistent": {"cacheEnabled": False, "deduplicate": True, "estimates": True, "sparse": False, "unique": False},
    "ttl": {"estimates": False, "expireAfter": 0, "sparse": True, "unique": False},
    "geo": {
        "bestIndexedLevel": 17,
        "geoJson": False,
        "legacyPolygons": False,
        "maxNumCoverCells": 8,
        "sparse": True,
        "unique": False,
        "worstIndexedLevel": 4,
    },
    "fulltext": {"minLength": 2, "sparse": True, "unique": False},
    "mdi": {"sparse": False, "unique": False},
    "inverted": {
        "analyzer": "identity",
        "cleanupIntervalStep": 2,
        "commitIntervalMsec": 1000,
        "features": ["frequency", "norm"],
        "includeAllFields": False,
        "searchField": False,
        "sparse": True,
        "primarySort": {"fields": [], "compression": "lz4"},
        "storedValues": [],
        "trackListPositions": False,
        "unique": False,
        "version": 1,
        "writebufferActive": 0,
        "writebufferIdle": 64,
        "writebufferSizeMax": 33554432,
    },
}
_POLICY_311 = {"segmentsBytesFloor": 2097152, "segmentsBytesMax": 5368709120, "segmentsMax": 10, "segmentsMin": 1}
_POLICY_312 = {"segmentsBytesMax": 8589934592, "maxSkewThreshold": 0.4, "minDeletionRatio": 0.5}


def _shape(kind: str, body: dict[str, Any], is_311: bool) -> dict[str, Any]:
    """What an index of the kind has beside its fields."""
    of = "mdi" if kind in ("zkd", "mdi-prefixed") else kind
    shape = {name: body.get(name, default) for name, default in _DEFAULTS[of].items()}
    shape |= {name: body[name] for name in ("storedValues", "fieldValueTypes", "prefixFields") if body.get(name)}
    if of == "mdi" and kind != "zkd":
        shape["estimates"] = shape["unique"] or "prefixFields" in shape
    if of in ("persistent", "mdi") and (shape.get("estimates") or (of == "persistent" and shape["unique"])):
        shape["selectivityEstimate"] = 1
    if kind == "inverted":
        policy = {"type": "tier", **({"minScore": 0} | _POLICY_311 if is_311 else _POLICY_312)}
        shape |= {"consolidationPolicy": policy, "consolidationIntervalMsec": 1000 if is_311 else 5000}
        shape |= {} if is_311 else {"optimizeTopK": body.get("optimizeTopK", [])}
        shape["fields"] = [{"name": field} if type(field) is str else dict(field) for field in body["fields"]]
        for field in shape["fields"]:
            if "analyzer" in field:
                field.setdefault("features", ["frequency", "position", "norm"])
    return shape


def handle(server: ArangoServer, request: Request, rest: list[str]) -> Response:
    method = request.method
    database = server.database(request.database)
    if method in ("GET", "POST") and not rest:
        name = request.query.get("collection", "")
        collection = database.collection(name)
        if method == "GET":
            listed = [index.answer() for index in collection.indexes]
            by_id = {index["id"]: index for index in listed}
            return Response(200, {"error": False, "code": 200, "indexes": listed, "identifiers": by_id})
        index, new = ensure(collection, request.json())
        status = 201 if new else 200
        return Response(status, {**index.answer(), "isNewlyCreated": new, "code": status, "error": False})
    collection = database.collection(rest[0])
    index = collection.index(rest[1])
    if method == "GET":
        return Response(200, {**index.answer(), "code": 200, "error": False})
    drop(collection, index)
    return Response(200, {"id": index.answer()["id"], "error": False, "code": 200})
