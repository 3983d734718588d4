"""/_api/user: users and what they may do; /_api/token: their access tokens."""

from __future__ import annotations

import os
import time
from typing import Any

from tests.doubles.arangodb.errors import ArangoError
from tests.doubles.arangodb.server import ArangoServer, User, secret_of
from tests.doubles.arangodb.wire import Request, Response


def handle(server: ArangoServer, request: Request, rest: list[str]) -> Response:
    rest = [part for part in rest if part]
    method = request.method
    if not rest:
        if method == "GET":
            listed = [_shown(user) for user in server.users.values()]
            return Response(200, {"error": False, "code": 200, "result": listed})
        if method == "POST":
            return _create(server, request)
        raise ArangoError(405)
    name = rest[0]
    if len(rest) == 1:
        if method == "POST":
            return _create(server, request)
        user = _find(server, name)
        if method == "GET":
            return Response(200, {**_shown(user), "code": 200, "error": False})
        if method in ("PUT", "PATCH"):
            return _change(server, request, user)
        if method == "DELETE":
            server.remove_user(name)
            return Response(202, {"error": False, "code": 202})
        raise ArangoError(405)
    if rest[1] != "database" or len(rest) > 4:
        raise ArangoError(404 if method == "GET" else 400)
    return _grants(server, request, _find(server, name), rest[2:])


def _find(server: ArangoServer, name: str) -> User:
    user = server.users.get(name)
    if user is None:
        raise ArangoError(1703)
    return user


def _shown(user: User) -> dict[str, Any]:
    return {"user": user.name, "active": user.active, "extra": user.extra}


def _create(server: ArangoServer, request: Request) -> Response:
    body = request.json()
    if type(body) is not dict or type(body.get("user")) is not str:
        raise ArangoError(400, "bad parameter")
    name = body["user"]
    if not name:
        raise ArangoError(1700)
    if name in server.users:
        raise ArangoError(1702)
    user = User(name, secret_of(body.get("passwd") or ""), body.get("active") is not False, body.get("extra") or {})
    server.keep_user(user)
    return Response(201, {**_shown(user), "code": 201, "error": False})


def _change(server: ArangoServer, request: Request, user: User) -> Response:
    body = request.json()
    if type(body) is not dict:
        raise ArangoError(400, "bad parameter")
    if request.method == "PUT":
        body = {"passwd": "", "active": True, "extra": {}} | body
    if "passwd" in body:
        user.secret = secret_of(body["passwd"] or "")
    if "active" in body:  # only a boolean is heard; clients send null for "as usual"
        user.active = body["active"] is not False
    if "extra" in body:
        user.extra = body["extra"] or {}
    server.keep_user(user)
    return Response(200, {**_shown(user), "code": 200, "error": False})


def _grants(server: ArangoServer, request: Request, user: User, place: list[str]) -> Response:
    method = request.method
    if method == "GET":
        return Response(200, {"error": False, "code": 200, "result": _granted(server, request, user, place)})
    if not place:
        raise ArangoError(400)
    name = "/".join(place)
    if place[0] != "*":
        database = server.database(place[0])
        if len(place) == 2 and place[1] != "*":
            database.collection(place[1])
    if method == "PUT":
        body = request.json()
        level = body.get("grant") if type(body) is dict else None
        if level not in ("none", "ro", "rw"):
            raise ArangoError(400, "expecting 'grant' to be one of 'rw', 'ro', 'none'")
        user.grants[name] = level
        server.keep_user(user)
        return Response(200, {name: level, "code": 200, "error": False})
    if method == "DELETE":
        user.grants.pop(name, None)
        server.keep_user(user)
        return Response(202, {"error": False, "code": 202})
    raise ArangoError(405)


def _granted(server: ArangoServer, request: Request, user: User, place: list[str]) -> Any:
    if len(place) == 2:
        server.database(place[0]).collection(place[1])
        return _level(user, place[0], place[1])
    if len(place) == 1:
        return user.level(place[0])
    if not request.flag("full"):
        return {name: user.level(name) for name in server.databases if user.level(name) != "none"}
    full: dict[str, Any] = {}
    for name, database in server.databases.items():
        if user.level(name) != "none":
            listed = {one: user.grants.get(f"{name}/{one}", "undefined") for one in (*database.collections, "*")}
            full[name] = {"permission": user.level(name), "collections": listed}
    return full | {"*": {"permission": user.grants.get("*", "none")}}


def _level(user: User, database: str, collection: str) -> str:
    """What a user may do with a collection: nothing with `_users`, also if it is granted."""
    if collection == "_users":
        return "none"
    return user.level(database, collection)


def tokens(server: ArangoServer, request: Request, rest: list[str]) -> Response:
    """Access tokens (3.12): made, listed, deleted. They are kept as long as the process lives."""
    if server.is_311:
        raise ArangoError(404)
    if not rest:
        raise ArangoError(404)
    user = _find(server, rest[0])
    kept: dict[str, dict[str, Any]] = server.tokens.setdefault(user.name, {})
    if request.method == "GET" and len(rest) == 1:
        return Response(200, {"tokens": list(kept.values())})
    if request.method == "POST" and len(rest) == 1:
        body = request.json()
        if type(body) is not dict or type(body.get("name")) is not str:
            raise ArangoError(400, "bad parameter")
        if any(one["name"] == body["name"] for one in kept.values()):
            raise ArangoError(1207, "duplicate token name")
        secret = os.urandom(32).hex()
        number = max((one["id"] for one in kept.values()), default=0) + 1
        made = {
            "id": number,
            "name": body["name"],
            "valid_until": body.get("valid_until", int(time.time()) + 86400),
            "created_at": int(time.time()),
            "fingerprint": f"v1...{secret[-6:]}",
            "active": True,
        }
        kept[str(number)] = made
        return Response(200, {**made, "token": f"v1.{secret}"})
    if request.method == "DELETE" and len(rest) == 2:
        if kept.pop(rest[1], None) is None:
            raise ArangoError(404)
        return Response(200, {})
    raise ArangoError(405)
