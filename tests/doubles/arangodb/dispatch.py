"""From a request to its answer: faults, who asks, which database, which family of calls."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable

import msgspec

from tests.doubles.arangodb import graphs, indexes
from tests.doubles.arangodb.errors import ArangoError
from tests.doubles.arangodb.misbehaviour import Fault, refusal
from tests.doubles.arangodb.routes import collection, cursor, document
from tests.doubles.arangodb.server import ArangoServer, databases
from tests.doubles.arangodb.wire import Cut, Request, Response

Handler = Callable[[ArangoServer, Request, list[str]], Response]

_TOO_LARGE = b"<html><head><title>413 Request Entity Too Large</title></head><body></body></html>"
_CHALLENGE = 'Basic, realm="ArangoDB"\nBearer, token_type="JWT", realm="ArangoDB"'
_DETAILS = {
    "architecture": "64bit",
    "build-repository": "none: a double for tests",
    "license": "enterprise",
    "platform": "linux",
}


def _version(server: ArangoServer, request: Request, rest: list[str]) -> Response:
    details = {"details": {**_DETAILS, "server-version": server.version}} if request.flag("details") else {}
    if details and request.method == "GET":
        details["details"] |= {"role": "COORDINATOR" if server.cluster else "SINGLE", "mode": "server"}
    newer = {} if server.is_311 else {"apiVersions": ["v0"], "deprecatedApiVersions": [], "requestedApiVersion": "v0"}
    edition = server.settings.edition
    return Response(200, {"server": "arango", "license": edition, "version": server.version, **newer, **details})


def _licence(server: ArangoServer, request: Request, rest: list[str]) -> Response:
    """3.12: the dataset against the limit of the Community Edition. 3.11: an Enterprise licence without one."""
    if server.is_311:
        features = {"expires": 4102444800}
        return Response(
            200, {"upgrading": False, "features": features, "license": "none", "version": 1, "status": "good"}
        )
    used, limit = server.data_bytes(), server.settings.limit_bytes
    reached = used > limit
    seconds = 172800 if reached else 315569520
    usage = {
        "bytesUsed": used,
        "bytesLimit": limit,
        "limitReached": reached,
        "secondsUntilReadOnly": seconds,
        "secondsUntilShutDown": 2 * seconds if reached else seconds,
        "status": "limit-reached" if reached else "good",
    }
    return Response(200, {"upgrading": False, "diskUsage": usage})


FAMILIES: dict[str, Handler] = {
    "_api/document": document.handle,
    "_api/collection": collection.handle,
    "_api/index": indexes.handle,
    "_api/cursor": cursor.handle,
    "_api/import": document.import_many,
    "_api/gharial": graphs.handle,
    "_api/database": databases,
    "_api/version": _version,
    "_admin/license": _licence,
}
"""What StreamForge, its tests and arangoimport send; recordings of other calls are not replayed."""


class Dispatcher:
    """Answers requests on the state of a server; one at a time, as nothing waits inside."""

    def __init__(self, server: ArangoServer) -> None:
        self._server = server

    async def answer(self, request: Request) -> Response:
        """The answer, or what a fault makes of it. Raises Cut."""
        if request.segments[:1] == ["_double"]:
            return self._control(request)
        segments = request.segments
        if segments[:1] == ["_db"]:
            request.database = segments[1] if len(segments) > 1 else ""
            request.segments = segments[2:]
        misbehaviour = self._server.misbehaviour
        misbehaviour.requests[f"{request.method} {'/'.join(request.segments[:2])}"] += 1
        after: Fault | None = None
        for fault in misbehaviour.of(request.method, request.path, len(request.body)):
            if fault.kind == "slow":
                await asyncio.sleep(fault.seconds)
            elif fault.kind == "cut-before":
                raise Cut
            elif fault.kind == "too-large":
                return Response(413, _TOO_LARGE, kind="text/html")
            elif fault.kind in ("cut-after", "error-after"):
                after = fault
            else:
                return _refused(request, refusal(fault))
        response = await self._executed(request)
        if after is None:
            return response
        if after.kind == "cut-after":
            raise Cut
        return _refused(request, refusal(after))

    async def _executed(self, request: Request) -> Response:
        family = "/".join(request.segments[:2])
        try:
            self._authorize(request)
            self._server.database(request.database)
            if family not in FAMILIES:
                raise ArangoError(404, f"unknown path '{request.path}'")
            response = FAMILIES[family](self._server, request, request.segments[2:])
        except ArangoError as error:
            return _refused(request, error)
        if response.delay:
            await asyncio.sleep(response.delay)
        return response

    def _authorize(self, request: Request) -> None:
        """Only basic authentication lets in; every user may do everything."""
        scheme, _, value = request.headers.get("authorization", "").partition(" ")
        name, _, password = (base64.b64decode(value).decode() if scheme.lower() == "basic" else "").partition(":")
        if self._server.passwords.get(name) != password:
            raise ArangoError(11, "not authorized to execute this request", status=401)

    def _control(self, request: Request) -> Response:
        misbehaviour = self._server.misbehaviour
        if request.method == "POST":
            misbehaviour.add(msgspec.json.decode(request.body, type=Fault))
        elif request.method == "DELETE":
            misbehaviour.clear()
        return Response(200, misbehaviour.report())


def _refused(request: Request, error: ArangoError) -> Response:
    headers = {}
    if error.status == 401 and error.number == 11 and "x-omit-www-authenticate" not in request.headers:
        headers["Www-Authenticate"] = _CHALLENGE
    if "_rev" in error.body:
        headers["Etag"] = f'"{error.body["_rev"]}"'
    return Response(error.status, error.answer(), headers)
