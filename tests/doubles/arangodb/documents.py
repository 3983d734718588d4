"""Documents: what a write does to one, and the unit in which the writes of a request are stored."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.doubles.arangodb.errors import ArangoError
from tests.doubles.arangodb.indexes import Undo
from tests.doubles.arangodb.values import Doc, encode, merge, printed

if TYPE_CHECKING:
    from tests.doubles.arangodb.collections import Collection
    from tests.doubles.arangodb.storage import Storage

ALPHABET = "-_ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_TWO = [a + b for a in ALPHABET for b in ALPHABET]


def _base64(number: int) -> str:
    digits = ""
    while number:
        digits = ALPHABET[number & 63] + digits
        number >>= 6
    return digits


class Revisions:
    """Makes `_rev` as servers do: milliseconds above a counter of 20 bits, in base 64, most significant first."""

    def __init__(self, now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000) -> None:
        self._now_ms = now_ms
        self._ms = 0
        self._count = 0
        self._prefix = ""

    def start(self) -> None:
        """Read the clock, once for a request; it never goes back."""
        ms = max(self._now_ms(), self._ms)
        if ms > self._ms:
            self._set(ms)

    def next(self) -> str:
        """A revision above every one before."""
        if self._count == 4096:
            self._set(self._ms + 1)
        rev = self._prefix + _TWO[self._count]
        self._count += 1
        return rev

    def _set(self, ms: int) -> None:
        self._ms = ms
        self._count = 0
        # The two last digits count; the upper 8 bits of the counter stay 0.
        self._prefix = _base64((ms << 20) >> 12)


_STALE = "conflict, _rev values do not match"


class Unit:
    """The writes of one request, stored together.

    Servers store the elements of an array one by one; here they are stored together before the answer, which a client
    cannot tell apart unless it is killed.
    """

    def __init__(self, storage: Storage, revisions: Revisions) -> None:
        self.storage = storage
        self.revisions = revisions
        self._known: dict[Collection, dict[str, Doc | None]] = {}
        self._undo: Undo = []
        self._begun = False
        revisions.start()

    def prefetch(self, collection: Collection, keys: Iterable[str]) -> None:
        """Read many documents in one go; later `get`s of these keys find them (or find that they are not there)."""
        known = self._known.setdefault(collection, {})
        wanted = set(keys) - known.keys()
        known |= dict.fromkeys(wanted)
        known |= self.storage.get_many(collection.table, wanted)

    def get(self, collection: Collection, key: str) -> Doc | None:
        known = self._known.setdefault(collection, {})
        if key not in known:
            known[key] = self.storage.get(collection.table, key)
        return known[key]

    def put(self, collection: Collection, old: Doc | None, new: Doc | None) -> None:
        """Let `new` take the place of `old` (None: none); 1210 for a value that must be once."""
        key = (new or old or {})["_key"]
        done = len(self._undo)
        try:
            for index in collection.unique:
                index.swap(old, new, self._undo)
        except ArangoError:
            self._roll_back(done)
            raise
        if not self._begun:
            self.storage.begin()
            self._begun = True
        self.storage.put(collection.table, key, None if new is None else encode(new))
        self._known.setdefault(collection, {})[key] = new

    def store(self) -> None:
        """Make all of it durable."""
        if self._begun:
            self.storage.commit()
        self._undo, self._begun = [], False

    def abandon(self) -> None:
        """Forget all of it."""
        self._roll_back(0)
        if self._begun:
            self.storage.roll_back()

    def _roll_back(self, done: int) -> None:
        while len(self._undo) > done:
            entries, value, key = self._undo.pop()
            if key is None:
                entries.pop(value, None)
            else:
                entries[value] = key


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
        return _stored(unit, collection, key, None, body, options)
    mode = options.overwrite_mode
    if mode == "ignore":
        return _identity(old)
    if mode == "conflict":
        words = f"unique constraint violated - in index primary of type primary over '_key'; conflicting key: {key}"
        raise ArangoError(1210, words)
    return _write(unit, collection, old, body, options, patch=mode == "update")


def replace(unit: Unit, collection: Collection, key: str, body: Any, options: WriteOptions, *, patch: bool) -> Doc:
    """Replace (or patch) the document `key`; 1202 where there is none, 1200 for another revision than expected."""
    old = read(unit, collection, key)
    _check_revision(old, body, options)
    if collection.is_edge and not patch:
        _check_ends(body)
    return _write(unit, collection, old, body, options, patch=patch)


def remove(unit: Unit, collection: Collection, key: str, body: Any, options: WriteOptions) -> Doc:
    """Remove the document `key`; 1202 where there is none, 1200 for another revision than expected."""
    old = read(unit, collection, key)
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
    """The key that an element of an array names: a key, an _id, or an object with a _key."""
    text = str(element["_key"] if type(element) is dict else element)
    name, slash, key = text.rpartition("/")
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
        return answer
    key = old["_key"]
    if patch:
        body = merge(
            {name: value for name, value in old.items() if name not in ("_key", "_id", "_rev")},
            {name: value for name, value in body.items() if name not in ("_key", "_id", "_rev")},
            options.keep_null,
            options.merge_objects,
        )
    return _stored(unit, collection, key, old, body, options)


def _stored(unit: Unit, collection: Collection, key: str, old: Doc | None, body: Doc, options: WriteOptions) -> Doc:
    new = _shaped(collection, key, body)
    if collection.schema and options.validate:
        collection.schema.check(new)
    new["_rev"] = unit.revisions.next()
    unit.put(collection, old, new)
    answer = _identity(new)
    if old is not None:
        answer["_oldRev"] = old["_rev"]
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
    own: Doc = {"_key": key, "_id": f"{collection.name}/{key}"}
    own |= {"_from": body["_from"], "_to": body["_to"]} if collection.is_edge else {}
    own["_rev"] = ""
    return own | {name: printed(value) for name, value in body.items() if name not in own}


def _identity(document: Doc) -> Doc:
    return {"_id": document["_id"], "_key": document["_key"], "_rev": document["_rev"]}


def _check_revision(old: Doc, body: Any, options: WriteOptions) -> None:
    expected = options.expected
    if expected is None and not options.ignore_revs and type(body) is dict:
        expected = body.get("_rev")
    if expected is not None and expected != old["_rev"]:
        raise ArangoError(1200, _STALE, status=412, **_identity(old))


def _check_ends(body: Doc) -> None:
    if any(type(end) is not str or end.count("/") != 1 for end in (body.get("_from"), body.get("_to"))):
        raise ArangoError(1233)
