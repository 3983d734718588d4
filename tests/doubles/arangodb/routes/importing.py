"""/_api/import: documents in bulk, as lines, as an array, or as a row of names and rows of values."""

from __future__ import annotations

from typing import Any

from tests.doubles.arangodb import documents
from tests.doubles.arangodb.collections import Collection
from tests.doubles.arangodb.documents import Unit, WriteOptions
from tests.doubles.arangodb.errors import ArangoError
from tests.doubles.arangodb.server import ArangoServer
from tests.doubles.arangodb.values import decode, encode
from tests.doubles.arangodb.wire import Request, Response

_ON_DUPLICATE = ("error", "update", "replace", "ignore")


class _Import:
    """One import: counts what became of each document."""

    def __init__(self, request: Request, unit: Unit, collection: Collection) -> None:
        self.unit = unit
        self.collection = collection
        mode = request.query.get("onDuplicate", "error")
        self._options = WriteOptions(overwrite_mode="conflict" if mode not in _ON_DUPLICATE[1:] else mode)
        self._ignores = mode == "ignore"
        self._complete = request.flag("complete")
        self.counts = {"created": 0, "errors": 0, "empty": 0, "updated": 0, "ignored": 0}
        self.details: list[str] = []
        self._sound = 0
        """Documents that were fit to be stored: where storing one fails it is named by its place among them, from 0."""

    def take(self, document: Any, position: int) -> None:
        """Store one document, or count why not; with `complete` the first error ends all."""
        if self.collection.is_edge and ("_from" not in document or "_to" not in document):
            self.fail(position, "missing '_from' or '_to' attribute", document)
            return
        place = self._sound
        self._sound += 1
        key = document.get("_key")
        existed = type(key) is str and self.unit.get(self.collection, key) is not None
        try:
            documents.insert(self.unit, self.collection, document, self._options)
        except ArangoError as error:
            words = "unique constraint violated" if error.number == 1210 else error.message
            if self._complete:
                raise ArangoError(error.number, words, status=error.status) from error
            self.fail(place, f"creating document failed with error '{words}'", document)
            return
        what = "created" if not existed else "ignored" if self._ignores else "updated"
        self.counts[what] += 1

    def fail(self, position: int, words: str, document: Any) -> None:
        self.counts["errors"] += 1
        offending = f", offending document: {encode(document).decode()}" if document is not None else ""
        self.details.append(f"at position {position}: {words}{offending}")


def handle(server: ArangoServer, request: Request, rest: list[str]) -> Response:
    name = request.query.get("collection", "")
    if not name:
        raise ArangoError(1204, "'collection' is missing, expecting /_api/import?collection=<identifier>")
    collection = server.database(request.database).collection(name)
    kind = request.query.get("type", "")
    if kind not in ("", "documents", "array", "list", "auto"):
        raise ArangoError(10, "invalid value for 'type'")
    with server.unit() as unit:
        work = _Import(request, unit, collection)
        if kind == "auto":
            kind = "array" if request.body.lstrip()[:1] == b"[" else "documents"
        if kind in ("array", "list"):
            _array(work, request)
        elif kind == "documents":
            _lines(work, request)
        else:
            _table(work, request)
    details = {"details": work.details} if request.flag("details") else {}
    return Response(201, {"error": False, **work.counts, **details})


def _array(work: _Import, request: Request) -> None:
    body = request.json()
    if type(body) is not list:
        raise ArangoError(400, "expecting a JSON array in the request")
    for position, document in enumerate(body, 1):
        work.take(document, position)


def _lines(work: _Import, request: Request) -> None:
    lines = _split(request.body)
    for position, line in enumerate(lines, 1):
        if not line:
            work.counts["empty"] += 1
            continue
        try:
            document = decode(line)
        except ArangoError:
            work.fail(position, "invalid JSON type (expecting object, probably parse error)", None)
            continue
        work.take(document, position)


def _table(work: _Import, request: Request) -> None:
    """The first line names the attributes, each further one holds the values of a document."""
    if b"\n" not in request.body:
        raise ArangoError(400, "no JSON array found in second line")
    lines = _split(request.body)
    names = decode(lines[0])
    for position, line in enumerate(lines[1:], 1):
        if not line:
            work.counts["empty"] += 1
            continue
        work.take({name: value for name, value in zip(names, decode(line), strict=True) if value is not None}, position)


def _split(body: bytes) -> list[bytes]:
    """Lines without the blanks around them; what follows the last end of line counts only if it is something."""
    lines = [line.strip() for line in body.split(b"\n")]
    if lines and not lines[-1]:
        lines.pop()
    return lines
