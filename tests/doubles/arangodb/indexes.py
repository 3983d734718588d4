"""Indexes: what their definitions look like on the wire, and the values that a unique one lets be once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from tests.doubles.arangodb.errors import ArangoError
from tests.doubles.arangodb.values import Doc, at_path, hashable

if TYPE_CHECKING:
    from tests.doubles.arangodb.collections import Collection

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
    facts = _definition(collection, body)
    for index in collection.indexes:
        have = index.facts
        if have["type"] == "ttl" == facts["type"] and have["fields"] != facts["fields"]:
            raise ArangoError(10, "there can only be one ttl index per collection")
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
    if index.facts["type"] in ("primary", "edge"):
        raise ArangoError(11, "forbidden")
    collection.indexes.remove(index)
    collection.keep()


def _definition(collection: Collection, body: Any) -> dict[str, Any]:
    if type(body) is not dict:
        raise ArangoError(10, "index details must be an object")
    kind = _ALIASES.get(body.get("type", ""), body.get("type"))
    is_311 = collection.database.server.is_311
    if kind == "zkd" and not is_311:
        raise ArangoError(10, "invalid index type zkd")
    if type(kind) is not str or kind not in _SHAPES or (is_311 and kind.startswith("mdi")):
        raise ArangoError(
            10, "invalid index type" if kind != "primary" and kind != "edge" else "cannot create this index"
        )
    fields = body.get("fields")
    if type(fields) is not list or not (fields or kind == "inverted"):
        raise ArangoError(10, "fields: expecting a non-empty array")
    names = [field.get("name") if type(field) is dict and kind == "inverted" else field for field in fields]
    if any(type(name) is not str or not name for name in names) or len(set(names)) < len(names):
        raise ArangoError(10, "fields: expecting distinct attribute names")
    if any(name == "_id" for name in names):
        raise ArangoError(10, "fields: _id cannot be indexed")
    if "name" in body and (type(body["name"]) is not str or not body["name"] or body["name"].startswith(("idx_", "0"))):
        raise ArangoError(1208)
    return {"type": kind, "fields": fields, **_SHAPES[kind](body, is_311)}


def _persistent(body: dict[str, Any], is_311: bool) -> dict[str, Any]:
    stored = body.get("storedValues")
    return {
        "cacheEnabled": body.get("cacheEnabled") is True,
        "deduplicate": body.get("deduplicate", True) is True,
        "estimates": body.get("estimates", True) is True,
        "sparse": body.get("sparse") is True,
        "unique": body.get("unique") is True,
        **({"selectivityEstimate": 1} if body.get("estimates", True) is True or body.get("unique") is True else {}),
        **({"storedValues": stored} if stored else {}),
    }


def _ttl(body: dict[str, Any], is_311: bool) -> dict[str, Any]:
    after = body.get("expireAfter")
    if not isinstance(after, int | float) or after < 0:
        raise ArangoError(10, "expireAfter attribute must be a number of at least 0")
    if len(body["fields"]) != 1:
        raise ArangoError(10, "a ttl index has one field")
    if body.get("unique"):
        raise ArangoError(10, "a ttl index cannot be unique")
    return {"estimates": False, "expireAfter": after, "sparse": True, "unique": False}


def _geo(body: dict[str, Any], is_311: bool) -> dict[str, Any]:
    if len(body["fields"]) > 2 or body.get("unique"):
        raise ArangoError(10, "a geo index has one or two fields and is not unique")
    return {
        "bestIndexedLevel": 17,
        "geoJson": body.get("geoJson") is True,
        "legacyPolygons": body.get("legacyPolygons") is True,
        "maxNumCoverCells": 8,
        "sparse": True,
        "unique": False,
        "worstIndexedLevel": 4,
    }


def _fulltext(body: dict[str, Any], is_311: bool) -> dict[str, Any]:
    if len(body["fields"]) != 1:
        raise ArangoError(10, "a fulltext index has one field")
    return {"minLength": body.get("minLength", 2), "sparse": True, "unique": False}


def _multi(body: dict[str, Any], is_311: bool) -> dict[str, Any]:
    values = body.get("fieldValueTypes")
    if values != "double" and not is_311:
        raise ArangoError(10, "fieldValueTypes: expecting 'double'")
    prefix = body.get("prefixFields")
    if body["type"] == "mdi-prefixed" and (type(prefix) is not list or not prefix):
        raise ArangoError(10, "prefixFields: expecting a non-empty array")
    unique = body.get("unique") is True
    estimated = prefix is not None or unique
    return {
        **({"estimates": estimated} if body["type"] != "zkd" else {}),
        **({"fieldValueTypes": values} if values else {}),
        **({"prefixFields": prefix} if prefix else {}),
        **({"selectivityEstimate": 1} if estimated and body["type"] != "zkd" else {}),
        "sparse": body.get("sparse") is True,
        "unique": unique,
    }


def _inverted(body: dict[str, Any], is_311: bool) -> dict[str, Any]:
    features = body.get("features", ["frequency", "norm"])
    fields = []
    for field in body["fields"]:
        field = {"name": field} if type(field) is str else dict(field)
        if field.get("analyzer", "identity") != "identity":
            field.setdefault("features", ["frequency", "position", "norm"])
        fields.append(field)
    return {
        "fields": fields,
        "analyzer": body.get("analyzer", "identity"),
        "cleanupIntervalStep": body.get("cleanupIntervalStep", 2),
        "commitIntervalMsec": body.get("commitIntervalMsec", 1000),
        "consolidationIntervalMsec": body.get("consolidationIntervalMsec", 1000 if is_311 else 5000),
        "consolidationPolicy": body.get("consolidationPolicy", dict(_POLICY_311 if is_311 else _POLICY_312)),
        "features": features,
        "includeAllFields": body.get("includeAllFields") is True,
        "optimizeTopK": body.get("optimizeTopK", []),
        "primarySort": body.get("primarySort", {"fields": [], "compression": "lz4"}),
        "searchField": body.get("searchField") is True,
        "sparse": True,
        "storedValues": body.get("storedValues", []),
        "trackListPositions": body.get("trackListPositions") is True,
        "unique": False,
        "version": 1,
        "writebufferActive": body.get("writebufferActive", 0),
        "writebufferIdle": body.get("writebufferIdle", 64),
        "writebufferSizeMax": body.get("writebufferSizeMax", 33554432),
    }


_POLICY_311 = {
    "type": "tier",
    "segmentsBytesFloor": 2097152,
    "segmentsBytesMax": 5368709120,
    "segmentsMax": 10,
    "segmentsMin": 1,
    "minScore": 0,
}
_POLICY_312 = {"type": "tier", "segmentsBytesMax": 8589934592, "maxSkewThreshold": 0.4, "minDeletionRatio": 0.5}

_SHAPES = {
    "persistent": _persistent,
    "ttl": _ttl,
    "geo": _geo,
    "fulltext": _fulltext,
    "inverted": _inverted,
    "mdi": _multi,
    "mdi-prefixed": _multi,
    "zkd": _multi,
}
