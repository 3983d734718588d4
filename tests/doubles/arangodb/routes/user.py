"""/_api/user: users and what they may do; /_api/token: their access tokens."""

from __future__ import annotations

import os
import time
from typing import Any

from tests.doubles.arangodb.errors import ArangoError
from tests.doubles.arangodb.server import ArangoServer, User
from tests.doubles.arangodb.wire import Request, Response


def handle(server: ArangoServer, request: Request, rest: list[str]) -> Response:
    method, place = request.method, [part for part in rest if part]
    if not place and method == "GET":
        listed = [_shown(user) for user in server.users.values()]
        return Response(200, {"error": False, "code": 200, "result": listed})
    if not place and method == "POST":
        body = request.json()
        return _changed(server, User(body["user"], ""), body, 201)
    user = _find(server, place[0])
    if len(place) > 1:
        return _grants(server, request, user, place[2:])
    if method == "GET":
        return Response(200, {**_shown(user), "code": 200, "error": False})
    if method in ("PUT", "PATCH"):
        usual = {"passwd": "", "active": True, "extra": {}} if method == "PUT" else {}
        return _changed(server, user, usual | request.json(), 200)
    if method == "DELETE":
        server.remove_user(user.name)
        return Response(202, {"error": False, "code": 202})
    raise ArangoError(405)


def _find(server: ArangoServer, name: str) -> User:
    user = server.users.get(name)
    if user is None:
        raise ArangoError(1703)
    return user


def _shown(user: User) -> dict[str, Any]:
    return {"user": user.name, "active": user.active, "extra": user.extra}


def _changed(server: ArangoServer, user: User, body: dict[str, Any], status: int) -> Response:
    user.password = body.get("passwd", user.password) or ""
    user.active = body.get("active", user.active) is not False
    user.extra = body.get("extra", user.extra) or {}
    server.keep_user(user)
    return Response(status, {**_shown(user), "code": status, "error": False})


def _grants(server: ArangoServer, request: Request, user: User, place: list[str]) -> Response:
    method = request.method
    if method == "GET":
        return Response(200, {"error": False, "code": 200, "result": _granted(server, request, user, place)})
    name = "/".join(place)
    if place[0] != "*":
        database = server.database(place[0])
        if len(place) == 2 and place[1] != "*":
            database.collection(place[1])
    if method == "PUT":
        level = user.grants[name] = request.json()["grant"]
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
        return user.grants.get("/".join(place), "none")
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


def tokens(server: ArangoServer, request: Request, rest: list[str]) -> Response:
    """Access tokens (3.12) are made, and let nobody in."""
    if request.method != "POST":
        raise ArangoError(405)
    _find(server, rest[0])
    body, secret, now = request.json(), os.urandom(32).hex(), int(time.time())
    made = {
        "id": 1,
        "name": body["name"],
        "valid_until": body.get("valid_until", now + 86400),
        "created_at": now,
        "fingerprint": f"v1...{secret[-6:]}",
        "active": True,
    }
    return Response(200, {**made, "token": f"v1.{secret}"})
