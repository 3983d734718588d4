"""From a request to its answer: faults, who asks, which database, which family of calls."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import time
from collections.abc import Callable
from typing import Any

import msgspec

from tests.doubles.arangodb.errors import ArangoError
from tests.doubles.arangodb.misbehaviour import Fault, refusal
from tests.doubles.arangodb.routes import (
    admin,
    collection,
    cursor,
    database,
    document,
    edges,
    gharial,
    importing,
    index,
    job,
    query,
    transaction,
    user,
)
from tests.doubles.arangodb.server import ArangoServer
from tests.doubles.arangodb.values import decode, encode
from tests.doubles.arangodb.wire import Cut, Request, Response

Handler = Callable[[ArangoServer, Request, list[str]], Response]

FAMILIES: dict[str, Handler] = {
    "_api/document": document.handle,
    "_api/collection": collection.handle,
    "_api/key-generators": collection.key_generators,
    "_api/index": index.handle,
    "_api/cursor": cursor.handle,
    "_api/query": query.parse,
    "_api/explain": query.explain,
    "_api/query-cache": query.results_cache,
    "_api/query-plan-cache": query.plan_cache,
    "_api/import": importing.handle,
    "_api/edges": edges.handle,
    "_api/gharial": gharial.handle,
    "_api/database": database.handle,
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
_WORDS_401 = "not authorized to execute this request"
_TOO_LARGE = b"<html><head><title>413 Request Entity Too Large</title></head><body></body></html>"
_CHALLENGE = 'Basic, realm="ArangoDB"\nBearer, token_type="JWT", realm="ArangoDB"'


class Dispatcher:
    """Answers requests on the state of a server; one at a time, as nothing waits inside."""

    def __init__(self, server: ArangoServer) -> None:
        self._server = server

    async def answer(self, request: Request) -> Response | Cut:
        if request.segments[:1] == ["_double"]:
            return self._control(request)
        misbehaviour = self._server.misbehaviour
        misbehaviour.requests[f"{request.method} {_family(request)}"] += 1
        after: Fault | None = None
        if not misbehaviour.quiet:
            for fault in misbehaviour.of(request.method, request.path, len(request.body)):
                if fault.kind == "slow":
                    await asyncio.sleep(fault.seconds)
                elif fault.kind == "cut-before":
                    return Cut()
                elif fault.kind == "too-large":
                    return Response(413, _TOO_LARGE, kind="text/html")
                elif fault.kind in ("cut-after", "error-after"):
                    after = fault
                else:
                    return self._refused(request, refusal(fault))
        response = await self._executed(request)
        if after is not None:
            return Cut() if after.kind == "cut-after" else self._refused(request, refusal(after))
        return response

    async def _executed(self, request: Request) -> Response:
        try:
            family = self._enter(request)
            stored = request.headers.get("x-arango-async", "")
            if stored in ("store", "true"):
                return job.start(self._server, request, stored == "store", self._now(request, family))
            return await self._now(request, family)
        except ArangoError as error:
            return self._refused(request, error)

    async def _now(self, request: Request, family: str) -> Response:
        try:
            handler = FAMILIES.get(family)
            if handler is None:
                raise ArangoError(404, f"unknown path '{request.path}'")
            response = handler(self._server, request, request.segments[2:])
        except ArangoError as error:
            return self._refused(request, error)
        if response.delay:
            await asyncio.sleep(response.delay)
        return response

    def _enter(self, request: Request) -> str:
        """Find database and family, let in who may; the segments become those after the database."""
        segments = request.segments
        if segments[:1] == ["_db"]:
            request.database = segments[1] if len(segments) > 1 else ""
            segments = segments[2:]
        request.segments = segments
        family = "/".join(segments[:2])
        if family == "_open/auth":
            request.segments = ["_open", "auth"]
            raise _Opened(self._session(request))
        if "/".join(segments[:3]) not in _OPEN:
            self._authorize(request)
        self._server.database(request.database)
        return family

    def _session(self, request: Request) -> Response:
        """POST /_open/auth: a token for a name and a password."""
        server = self._server
        if not server.settings.authentication:
            raise ArangoError(404)
        if request.method != "POST":
            raise ArangoError(405)
        body = request.json()
        if type(body) is not dict or type(body.get("username")) is not str or type(body.get("password")) is not str:
            raise ArangoError(400, "invalid JSON")
        user = server.users.get(body["username"])
        if user is None or not user.active or not user.knows(body["password"]):
            raise ArangoError(401, "Wrong credentials", status=401)
        now = int(time.time())
        claims = {
            "preferred_username": user.name,
            "iss": "arangodb",
            "iat": now,
            "exp": now + int(server.settings.session_s),
        }
        return Response(200, {"jwt": make_token(claims, server.jwt_secret)})

    def _authorize(self, request: Request) -> None:
        server = self._server
        if not server.settings.authentication:
            return
        header = request.headers.get("authorization", "")
        scheme, _, value = header.partition(" ")
        name: str | None = None
        if scheme.lower() == "basic":
            name = self._by_password(header, value)
        elif scheme.lower() == "bearer":
            name = self._by_token(value)
        user = server.users.get(name) if name is not None else None
        if user is None or not user.active:
            raise _Unauthorized
        request.user = user.name
        level = user.level(request.database)
        if request.database not in server.databases and user.level("_system") == "none":
            raise _Unauthorized
        if request.database in server.databases and level == "none" and request.segments[1:2] != ["user"]:
            raise _Unauthorized
        if level == "ro" and request.method in ("POST", "PUT", "PATCH", "DELETE") and _writes(request):
            raise ArangoError(11)

    def _by_password(self, header: str, value: str) -> str | None:
        try:
            name, _, password = base64.b64decode(value).decode().partition(":")
        except ValueError:
            return None
        user = self._server.users.get(name)
        if user is None:
            return None
        if header not in self._server.verified:
            if not user.knows(password):
                return None
            self._server.verified.add(header)
        return name

    def _by_token(self, token: str) -> str | None:
        claims = read_token(token, self._server.jwt_secret)
        if claims is None or claims.get("iss") != "arangodb" or claims.get("exp", 1 << 40) < time.time():
            return None
        name = claims.get("preferred_username", "root" if "server_id" in claims else None)
        return name if type(name) is str else None

    def _refused(self, request: Request, error: ArangoError) -> Response:
        if isinstance(error, _Opened):
            return error.response
        headers = {}
        if error.status == 401 and error.number == 11 and "x-omit-www-authenticate" not in request.headers:
            headers["Www-Authenticate"] = _CHALLENGE
        if "_rev" in error.body:
            headers["Etag"] = f'"{error.body["_rev"]}"'
        return Response(error.status, error.answer(), headers)

    def _control(self, request: Request) -> Response:
        misbehaviour = self._server.misbehaviour
        if request.path != "/_double/faults":
            return Response(404, {"error": "expecting /_double/faults"})
        if request.method == "POST":
            try:
                fault = msgspec.json.decode(request.body, type=Fault)
            except msgspec.MsgspecError as error:
                return Response(400, {"error": str(error)})
            misbehaviour.add(fault)
        elif request.method == "DELETE":
            misbehaviour.clear()
        return Response(200, misbehaviour.report())


class _Opened(ArangoError):
    """An answer given before anybody is asked who he is."""

    def __init__(self, response: Response) -> None:
        super().__init__(0)
        self.response = response


class _Unauthorized(ArangoError):
    def __init__(self) -> None:
        super().__init__(11, _WORDS_401, status=401)


def _family(request: Request) -> str:
    segments = request.segments[2:] if request.segments[:1] == ["_db"] else request.segments
    return "/".join(segments[:2])


def _writes(request: Request) -> bool:
    family = "/".join(request.segments[:2])
    return family not in ("_api/cursor", "_api/query", "_api/explain") and not request.flag("onlyget")


def make_token(claims: dict[str, Any], secret: bytes) -> str:
    """A JWT signed with HS256."""
    head = _part(encode({"alg": "HS256", "typ": "JWT"})) + "." + _part(encode(claims))
    return head + "." + _part(hmac.new(secret, head.encode(), hashlib.sha256).digest())


def read_token(token: str, secret: bytes) -> dict[str, Any] | None:
    """The claims of a JWT that was signed with HS256 and this secret, else None."""
    head, _, signature = token.rpartition(".")
    want = _part(hmac.new(secret, head.encode(), hashlib.sha256).digest())
    if not head or not hmac.compare_digest(want, signature):
        return None
    try:
        first, claims = (decode(base64.urlsafe_b64decode(part + "==")) for part in head.split("."))
    except (ValueError, ArangoError):
        return None
    return claims if first.get("alg") == "HS256" and type(claims) is dict else None


def _part(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
