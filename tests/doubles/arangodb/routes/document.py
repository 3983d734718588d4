"""/_api/document: one document or an array of them; /_api/import: documents in bulk.

Bulk comes as lines, as an array, or as a row of names and rows of values.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from tests.doubles.arangodb import documents
from tests.doubles.arangodb.collections import Collection
from tests.doubles.arangodb.documents import Unit, WriteOptions
from tests.doubles.arangodb.errors import ArangoError
from tests.doubles.arangodb.server import ArangoServer
from tests.doubles.arangodb.values import Doc, decode, encode
from tests.doubles.arangodb.wire import Request, Response

_ON_DUPLICATE = ("error", "update", "replace", "ignore")
_MODES = ("ignore", "replace", "update", "conflict")
Element = Callable[[Unit, Any], Doc]


def handle(server: ArangoServer, request: Request, rest: list[str]) -> Response:
    method = request.method
    if method == "POST":
        return _insert(server, request, rest)
    if method in ("GET", "HEAD"):
        return _read(server, request, rest)
    if method in ("PUT", "PATCH"):
        if method == "PUT" and "onlyget" in request.query and len(rest) <= 1:
            return _read_many(server, request, rest)
        return _modify(server, request, rest, patch=method == "PATCH")
    if method == "DELETE":
        return _remove(server, request, rest)
    raise ArangoError(405)


def options_of(server: ArangoServer, request: Request) -> WriteOptions:
    """The write options of a query string."""
    mode = request.query.get("overwriteMode", "")
    if mode not in _MODES:
        mode = "replace" if request.flag("overwrite") else "conflict"
    flag = request.flag
    return WriteOptions(
        overwrite_mode=mode,
        keep_null=flag("keepNull", True),
        merge_objects=flag("mergeObjects", True),
        ignore_revs=flag("ignoreRevs", True),
        return_new=flag("returnNew"),
        return_old=flag("returnOld"),
        version_attribute="" if server.is_311 else request.query.get("versionAttribute", ""),
        expected=revision(request.headers.get("if-match")),
        validate=not flag("skipDocumentValidation"),
    )


def revision(header: str | None) -> str | None:
    """A revision as an ETag, with its quotes or without them."""
    return header.strip().strip('"') if header is not None else None


def _named(server: ArangoServer, request: Request, rest: list[str], missing: int) -> Collection:
    name = rest[0] if rest else request.query.get("collection", "")
    if not name:
        raise ArangoError(missing, "'collection' is missing, in the path or the query string")
    return server.database(request.database).collection(name)


def _insert(server: ArangoServer, request: Request, rest: list[str]) -> Response:
    collection = _named(server, request, rest, 1204)
    options = options_of(server, request)
    options.return_old = options.return_old and options.overwrite_mode in ("replace", "update")

    def element(unit: Unit, item: Any) -> Doc:
        return documents.insert(unit, collection, item, options)

    body = request.json()
    return _answer(server, request, collection, element, body, 201, many=type(body) is list)


def _modify(server: ArangoServer, request: Request, rest: list[str], *, patch: bool) -> Response:
    collection = _named(server, request, rest, 400)
    body, options, many = request.json(), options_of(server, request), len(rest) < 2
    if many:
        if type(body) is not list:
            raise ArangoError(1227)
        options.expected = None

    def element(unit: Unit, item: Any) -> Doc:
        key = documents.key_of(collection, item) if many else rest[1]
        return documents.replace(unit, collection, key, item, options, patch=patch)

    return _answer(server, request, collection, element, body, 201, many=many)


def _remove(server: ArangoServer, request: Request, rest: list[str]) -> Response:
    collection = _named(server, request, rest, 400)
    options, many = options_of(server, request), len(rest) < 2
    if many:
        options.expected = None

    def element(unit: Unit, item: Any) -> Doc:
        key = documents.key_of(collection, item) if many else rest[1]
        return documents.remove(unit, collection, key, item, options)

    return _answer(server, request, collection, element, request.json(), 200, many=many)


def _read(server: ArangoServer, request: Request, rest: list[str]) -> Response:
    collection = server.database(request.database).collection(rest[0])
    with server.unit() as unit:
        found = documents.read(unit, collection, rest[1])
    etag = {"Etag": f'"{found["_rev"]}"'}
    expected = revision(request.headers.get("if-match"))
    if expected is not None and expected != found["_rev"]:
        identity = {name: found[name] for name in ("_id", "_key", "_rev")}
        raise ArangoError(1200, "conflict, _rev values do not match", status=412, **identity)
    if revision(request.headers.get("if-none-match")) == found["_rev"]:
        return Response(304, None, etag)
    return Response(200, found, etag)


def _read_many(server: ArangoServer, request: Request, rest: list[str]) -> Response:
    collection = _named(server, request, rest, 400)

    def element(unit: Unit, item: Any) -> Doc:
        return documents.read(unit, collection, documents.key_of(collection, item))

    return _answer(server, request, collection, element, request.json(), 200, many=True, accepted=200)


def _answer(
    server: ArangoServer,
    request: Request,
    collection: Collection,
    element: Element,
    body: Any,
    synced: int,
    *,
    many: bool,
    accepted: int = 202,
) -> Response:
    """Do `element` with the body, or with each of an array, whose answers and errors are each at its place."""
    silent, sync = request.flag("silent"), request.flag("waitForSync") or collection.sync
    if not many:
        with server.unit() as unit:
            answer = element(unit, body)
        status = synced if sync else accepted
        location = f"/_db/{quote(request.database)}/_api/document/{collection.name}/{quote(answer['_key'])}"
        headers = {"Etag": f'"{answer["_rev"]}"', "Location": location}
        return Response(status, {}) if silent else Response(status, answer, headers)
    answers: list[Any] = []
    errors: Counter[int] = Counter()
    with server.unit() as unit:
        named = [item.get("_key") if type(item) is dict else item for item in body]
        unit.prefetch(collection, [key for key in named if type(key) is str and "/" not in key])
        for item in body:
            try:
                if error := server.misbehaviour.element(request.method, request.path):
                    raise error
                answer = element(unit, item)
                answers += [] if silent else [answer]
            except ArangoError as error:
                errors[error.number] += 1
                answers.append(error.element())
    headers = {}
    if errors:
        headers["X-Arango-Error-Codes"] = encode({str(number): n for number, n in sorted(errors.items())}).decode()
    # Where every element failed nothing was written that the collection would have synced (recorded for DELETE).
    written = len(body) > errors.total()
    status = synced if request.flag("waitForSync") or (collection.sync and written) else accepted
    return Response(status, {} if silent and not answers else answers, headers)


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


def import_many(server: ArangoServer, request: Request, rest: list[str]) -> Response:
    """Answers /_api/import."""
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
