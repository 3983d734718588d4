"""/_api/document: one document or an array of them."""

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
from tests.doubles.arangodb.values import Doc, encode
from tests.doubles.arangodb.wire import Request, Response

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
