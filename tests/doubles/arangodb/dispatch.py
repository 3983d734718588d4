"""From a request to its answer: faults, who asks, which database, which family of calls."""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import Callable

import msgspec

from tests.doubles.arangodb import databases, graphs, indexes
from tests.doubles.arangodb.errors import ArangoError
from tests.doubles.arangodb.misbehaviour import Fault, refusal
from tests.doubles.arangodb.routes import admin, collection, cursor, document, importing, job, transaction, user
from tests.doubles.arangodb.server import ArangoServer
from tests.doubles.arangodb.wire import Cut, Request, Response

Handler = Callable[[ArangoServer, Request, list[str]], Response]

FAMILIES: dict[str, Handler] = {
    "_api/document": document.handle,
    "_api/collection": collection.handle,
    "_api/key-generators": collection.key_generators,
    "_api/index": indexes.handle,
    "_api/cursor": cursor.handle,
    "_api/query": cursor.parse,
    "_api/explain": cursor.explain,
    "_api/query-cache": cursor.results_cache,
    "_api/import": importing.handle,
    "_api/edges": graphs.edges,
    "_api/gharial": graphs.handle,
    "_api/database": databases.handle,
    "_api/user": user.handle,
    "_api/token": user.tokens,
    "_api/transaction": transaction.handle,
    "_api/job": job.handle,
    "_api/version": admin.version,
    "_api/engine": admin.engine,
    "_api/endpoint": admin.endpoint,
    "_admin/version": admin.version,
    "_admin/time": admin.server_time,
    "_admin/status": admin.status,
    "_admin/server": admin.availability,
    "_admin/license": admin.license_,
    "_admin/deployment": admin.deployment,
}

_OPEN = ("_open/auth", "_admin/server/availability")
_TOO_LARGE = b"<html><head><title>413 Request Entity Too Large</title></head><body></body></html>"
_CHALLENGE = 'Basic, realm="ArangoDB"\nBearer, token_type="JWT", realm="ArangoDB"'


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
        try:
            if "/".join(request.segments[:3]) not in _OPEN:
                self._authorize(request)
            self._server.database(request.database)
            if request.segments == ["_open", "auth"]:
                return self._session(request)
        except ArangoError as error:
            return _refused(request, error)
        if request.headers.get("x-arango-async") == "store":
            return job.start(self._server, self._now(request))
        return await self._now(request)

    async def _now(self, request: Request) -> Response:
        family = "/".join(request.segments[:2])
        try:
            if family not in FAMILIES:
                raise ArangoError(404, f"unknown path '{request.path}'")
            response = FAMILIES[family](self._server, request, request.segments[2:])
        except ArangoError as error:
            return _refused(request, error)
        if response.delay:
            await asyncio.sleep(response.delay)
        return response

    def _session(self, request: Request) -> Response:
        """POST /_open/auth: a token for a name and a password. Nobody uses it here."""
        if request.method != "POST":
            raise ArangoError(405)
        body = request.json()
        if type(body) is not dict or type(body.get("username")) is not str or type(body.get("password")) is not str:
            raise ArangoError(400, "invalid JSON")
        user = self._server.users.get(body["username"])
        if user is None or user.password != body["password"]:
            raise ArangoError(401, "Wrong credentials", status=401)
        return Response(200, {"jwt": os.urandom(32).hex()})

    def _authorize(self, request: Request) -> None:
        """Only basic authentication lets in; every user may do everything."""
        scheme, _, value = request.headers.get("authorization", "").partition(" ")
        name, _, password = (base64.b64decode(value).decode() if scheme.lower() == "basic" else "").partition(":")
        user = self._server.users.get(name)
        if user is None or not user.active or user.password != password:
            raise ArangoError(11, "not authorized to execute this request", status=401)
        request.user = name

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
