"""Documents: what a write does to one, and the unit in which the writes of a request are stored."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.doubles.arangodb.errors import ArangoError
from tests.doubles.arangodb.indexes import Undo
from tests.doubles.arangodb.values import Doc, encode, merge, printed

if TYPE_CHECKING:
    from tests.doubles.arangodb.collections import Collection
    from tests.doubles.arangodb.revisions import Revisions
    from tests.doubles.arangodb.storage import Storage

_STALE = "conflict, _rev values do not match"
_MISSING: Any = object()


class Unit:
    """Writes that are stored together: those of one request, or of one stream transaction.

    What is written is seen by the unit at once and by others after `store`. Servers store the elements of an array one
    by one; here they are stored together before the answer, which a client cannot tell apart unless it is killed.
    """

    def __init__(self, storage: Storage, revisions: Revisions, *, lasting: bool = False) -> None:
        self.storage = storage
        self.revisions = revisions
        self.lasting = lasting
        self.pending: dict[Collection, dict[str, Doc | None]] = {}
        self._read: dict[Collection, dict[str, Doc | None]] = {}
        self._undo: Undo = []
        revisions.start()

    def prefetch(self, collection: Collection, keys: Iterable[str]) -> None:
        """Read many documents in one go; later `get`s of these keys find them (or find that they are not there)."""
        known = self._read.setdefault(collection, {})
        wanted = set(keys)
        known.update(dict.fromkeys(wanted, None))
        known.update(self.storage.get_many(collection.table, wanted))

    def get(self, collection: Collection, key: str) -> Doc | None:
        pending = self.pending.get(collection)
        if pending:
            found: Doc | None = pending.get(key, _MISSING)
            if found is not _MISSING:
                return found
        read = self._read.get(collection)
        if read:
            found = read.get(key, _MISSING)
            if found is not _MISSING:
                return found
        return self.storage.get(collection.table, key)

    def put(self, collection: Collection, old: Doc | None, new: Doc | None) -> None:
        """Let `new` take the place of `old` (None: none); 1210 for a value that must be once, 1200 for a lock."""
        key = (new or old or {})["_key"]
        if collection.locked:
            owner = collection.locked.get(key)
            if owner is not None and owner is not self:
                raise ArangoError(
                    1200,
                    "Timeout waiting to lock key - in index primary of type primary over '_key'; "
                    f"conflicting key: {key}",
                    **(_identity(old) if old else {}),
                )
        done = len(self._undo)
        try:
            for index in collection.unique:
                index.swap(old, new, self._undo)
        except ArangoError:
            self._roll_back(done)
            raise
        if self.lasting:
            collection.locked[key] = self
        pending = self.pending.get(collection)
        if pending is None:
            pending = self.pending[collection] = {}
        pending[key] = new

    def scan(self, collection: Collection, documents: Iterator[Doc]) -> Iterator[Doc]:
        """What is stored, with this unit's own writes in its place."""
        pending = self.pending.get(collection)
        if not pending:
            yield from documents
            return
        for document in documents:
            if document["_key"] not in pending:
                yield document
        for written in list(pending.values()):
            if written is not None:
                yield written

    def store(self) -> None:
        """Make all of it durable and seen by everybody."""
        if any(self.pending.values()) or self.pending:
            self.storage.begin()
            for collection, documents in self.pending.items():
                puts = [(key, encode(doc)) for key, doc in documents.items() if doc is not None]
                gone = [(key,) for key, doc in documents.items() if doc is None]
                self.storage.write(collection.table, puts, gone)
            self.storage.commit()
        self._finish()

    def abandon(self) -> None:
        """Forget all of it."""
        self._roll_back(0)
        self._finish()

    def _roll_back(self, done: int) -> None:
        while len(self._undo) > done:
            entries, value, key = self._undo.pop()
            if key is None:
                entries.pop(value, None)
            else:
                entries[value] = key

    def _finish(self) -> None:
        if self.lasting:
            for collection, documents in self.pending.items():
                for key in documents:
                    collection.locked.pop(key, None)
        self.pending = {}
        self._read = {}
        self._undo = []


@dataclass(slots=True)
class WriteOptions:
    """The options of the document calls, named as in their query strings; `expected` is that of If-Match."""

    overwrite_mode: str = "conflict"
    keep_null: bool = True
    merge_objects: bool = True
    ignore_revs: bool = True
    return_new: bool = False
    return_old: bool = False
    version_attribute: str = ""
    expected: str | None = None
    validate: bool = True


def insert(unit: Unit, collection: Collection, body: Any, options: WriteOptions) -> Doc:
    """Store a new document, or do to the one with its key what the overwrite mode says."""
    if type(body) is not dict:
        raise ArangoError(1227)
    key = collection.own_key(body["_key"]) if "_key" in body else collection.new_key()
    if collection.is_edge:
        _check_ends(body)
    old = unit.get(collection, key)
    if old is None:
        new = _shaped(collection, key, body)
        if collection.schema and options.validate:
            collection.schema.check_new(new)
        new["_rev"] = unit.revisions.next()
        unit.put(collection, None, new)
        answer = {"_id": new["_id"], "_key": key, "_rev": new["_rev"]}
        if options.return_new:
            answer["new"] = new
        return answer
    mode = options.overwrite_mode
    if mode == "ignore":
        return _identity(old)
    if mode == "conflict":
        words = f"unique constraint violated - in index primary of type primary over '_key'; conflicting key: {key}"
        raise ArangoError(1210, words, **_identity(old))
    return _write(unit, collection, old, body, options, patch=mode == "update")


def replace(unit: Unit, collection: Collection, key: str, body: Any, options: WriteOptions, *, patch: bool) -> Doc:
    """Replace (or patch) the document `key`; 1202 where there is none, 1200 for another revision than expected."""
    if type(body) is not dict:
        raise ArangoError(1227)
    old = unit.get(collection, key)
    if old is None:
        raise ArangoError(1202)
    _check_revision(old, body, options)
    if collection.is_edge and not patch:
        _check_ends(body)
    elif collection.is_edge and ("_from" in body or "_to" in body):
        _check_ends({"_from": old["_from"], "_to": old["_to"]} | body)
    return _write(unit, collection, old, body, options, patch=patch)


def remove(unit: Unit, collection: Collection, key: str, body: Any, options: WriteOptions) -> Doc:
    """Remove the document `key`; 1202 where there is none, 1200 for another revision than expected."""
    old = unit.get(collection, key)
    if old is None:
        raise ArangoError(1202)
    _check_revision(old, body, options)
    unit.put(collection, old, None)
    answer = _identity(old)
    if options.return_old:
        answer["old"] = old
    return answer


def read(unit: Unit, collection: Collection, key: str) -> Doc:
    found = unit.get(collection, key)
    if found is None:
        raise ArangoError(1202)
    return found


def key_of(collection: Collection, element: Any) -> str:
    """The key that an element of an array names: a key, an _id, or an object with one of them."""
    if type(element) is dict:
        key = element.get("_key")
        if key is None:
            key = element.get("_id")
        if key is None:
            raise ArangoError(1205)
        if type(key) is not str:
            raise ArangoError(1221)
        element = key
    if type(element) is not str:
        raise ArangoError(1227)
    name, slash, key = element.rpartition("/")
    if slash and name != collection.name:
        raise ArangoError(1202)
    return key


def _write(unit: Unit, collection: Collection, old: Doc, body: Doc, options: WriteOptions, *, patch: bool) -> Doc:
    attribute = options.version_attribute
    if attribute and not _newer(body.get(attribute), old.get(attribute)):
        answer = _identity(old)
        answer["_oldRev"] = old["_rev"]
        if options.return_old:
            answer["old"] = old
        if options.return_new:
            answer["new"] = old
        return answer
    key = old["_key"]
    if patch:
        body = merge(
            {name: value for name, value in old.items() if name not in ("_key", "_id", "_rev")},
            {name: value for name, value in body.items() if name not in ("_key", "_id", "_rev")},
            options.keep_null,
            options.merge_objects,
        )
    new = _shaped(collection, key, body)
    if collection.schema and options.validate:
        collection.schema.check_changed(old, new)
    new["_rev"] = unit.revisions.next()
    unit.put(collection, old, new)
    answer = {"_id": new["_id"], "_key": key, "_rev": new["_rev"], "_oldRev": old["_rev"]}
    if options.return_old:
        answer["old"] = old
    if options.return_new:
        answer["new"] = new
    return answer


def _newer(given: Any, stored: Any) -> bool:
    """Whether a write with this version is carried out: not if both are numbers of at least 0 and it is no higher."""
    if type(given) not in (int, float) or type(stored) not in (int, float) or given < 0 or stored < 0:
        return True
    return int(given) > int(stored)


def _shaped(collection: Collection, key: str, body: Doc) -> Doc:
    """The document as it is stored: its own names first."""
    new: Doc = {"_key": key, "_id": f"{collection.name}/{key}"}
    if collection.is_edge:
        new["_from"] = body["_from"]
        new["_to"] = body["_to"]
    new["_rev"] = ""
    for name, value in body.items():
        kind = type(value)
        if kind is float or kind is dict or kind is list:
            value = printed(value)
        if name[:1] == "_" and name in ("_key", "_id", "_rev"):
            continue
        new[name] = value
    return new


def _identity(document: Doc) -> Doc:
    return {"_id": document["_id"], "_key": document["_key"], "_rev": document["_rev"]}


def _check_revision(old: Doc, body: Any, options: WriteOptions) -> None:
    expected = options.expected
    if expected is None and not options.ignore_revs and type(body) is dict:
        expected = body.get("_rev")
    if expected is not None and expected != old["_rev"]:
        raise ArangoError(1200, _STALE, status=412, **_identity(old))


def _check_ends(body: Doc) -> None:
    for end in (body.get("_from"), body.get("_to")):
        if type(end) is not str:
            raise ArangoError(1233)
        name, _, key = end.partition("/")
        if not name or not key or "/" in key:
            raise ArangoError(1233)
