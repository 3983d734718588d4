"""/_api/document: one document or an array of them."""

from __future__ import annotations

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
Element = Callable[[Unit, Collection, Any], Doc]


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


def _named(server: ArangoServer, request: Request, rest: list[str], missing: ArangoError) -> Collection:
    name = rest[0] if rest else request.query.get("collection", "")
    if not name:
        raise missing
    return server.database(request.database).collection(name)


def _insert(server: ArangoServer, request: Request, rest: list[str]) -> Response:
    words = "'collection' is missing, expecting POST /_api/document/<collection> or query parameter 'collection'"
    body = request.json() if rest or "collection" in request.query else None
    collection = _named(server, request, rest, ArangoError(1204, words))
    options = options_of(server, request)
    options.return_old = options.return_old and options.overwrite_mode in ("replace", "update")
    with server.unit() as unit:
        if type(body) is list:
            keys = [item["_key"] for item in body if type(item) is dict and type(item.get("_key")) is str]
            unit.prefetch(collection, keys)
            insert = documents.insert
            return _array(
                server,
                request,
                unit,
                collection,
                body,
                lambda unit, of, item: insert(unit, of, item, options),
                201,
                202,
            )
        answer = documents.insert(unit, collection, body, options)
    return _single(request, collection, answer, 201, 202)


def _modify(server: ArangoServer, request: Request, rest: list[str], *, patch: bool) -> Response:
    words = "collection must be given in URL path or query parameter 'collection' must be specified"
    collection = _named(server, request, rest, ArangoError(400, words))
    body = request.json()
    options = options_of(server, request)
    if len(rest) < 2:
        if type(body) is not list:
            raise ArangoError(1227)
        options.expected = None

        def element(unit: Unit, of: Collection, item: Any) -> Doc:
            key = documents.key_of(of, item)
            return documents.replace(unit, of, key, item, options, patch=patch)

        with server.unit() as unit:
            return _array(server, request, unit, collection, body, element, 201, 202)
    with server.unit() as unit:
        answer = documents.replace(unit, collection, rest[1], body, options, patch=patch)
    return _single(request, collection, answer, 201, 202)


def _remove(server: ArangoServer, request: Request, rest: list[str]) -> Response:
    collection = server.database(request.database).collection(rest[0])
    options = options_of(server, request)
    if len(rest) == 1:
        body = request.json()
        options.expected = None

        def element(unit: Unit, of: Collection, item: Any) -> Doc:
            return documents.remove(unit, of, documents.key_of(of, item), item, options)

        with server.unit() as unit:
            return _array(server, request, unit, collection, body, element, 200, 202)
    with server.unit() as unit:
        answer = documents.remove(unit, collection, rest[1], request.json(), options)
    return _single(request, collection, answer, 200, 202)


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
    collection = _named(server, request, rest, ArangoError(400))
    body = request.json()

    def element(unit: Unit, of: Collection, item: Any) -> Doc:
        return documents.read(unit, of, documents.key_of(of, item))

    with server.unit() as unit:
        keys = [item if type(item) is str else item.get("_key", "") for item in body if type(item) in (str, dict)]
        unit.prefetch(collection, [key for key in keys if type(key) is str and "/" not in key])
        return _array(server, request, unit, collection, body, element, 200, 200)


def _array(
    server: ArangoServer,
    request: Request,
    unit: Unit,
    collection: Collection,
    items: list[Any],
    element: Element,
    synced: int,
    accepted: int,
) -> Response:
    """Every element by itself; its answer or its error at its place, and the errors counted in a header."""
    answers: list[Any] = []
    errors: dict[int, int] = {}
    silent = request.flag("silent")
    faulty = not server.misbehaviour.quiet
    for item in items:
        try:
            if faulty:
                error = server.misbehaviour.element(request.method, request.path)
                if error is not None:
                    raise error
            answer = element(unit, collection, item)
            if not silent:
                answers.append(answer)
        except ArangoError as error:
            errors[error.number] = errors.get(error.number, 0) + 1
            answers.append(error.element())
    headers = {}
    if errors:
        headers["X-Arango-Error-Codes"] = encode({str(number): n for number, n in sorted(errors.items())}).decode()
    # Where every element failed nothing was written that the collection would have synced (recorded for DELETE).
    written = len(items) - sum(errors.values())
    status = synced if request.flag("waitForSync") or (collection.sync and written) else accepted
    return Response(status, {} if silent and not answers else answers, headers)


def _synced(request: Request, collection: Collection) -> bool:
    return request.flag("waitForSync") or collection.sync


def _single(request: Request, collection: Collection, answer: Doc, synced: int, accepted: int) -> Response:
    status = synced if _synced(request, collection) else accepted
    if request.flag("silent"):
        return Response(status, {})
    location = f"/_db/{quote(request.database)}/_api/document/{collection.name}/{quote(answer['_key'])}"
    return Response(status, answer, {"Etag": f'"{answer["_rev"]}"', "Location": location})
