"""/_api/database: list, make and drop databases."""

from __future__ import annotations

from tests.doubles.arangodb.databases import SYSTEM
from tests.doubles.arangodb.errors import ArangoError
from tests.doubles.arangodb.server import ArangoServer
from tests.doubles.arangodb.wire import Request, Response


def handle(server: ArangoServer, request: Request, rest: list[str]) -> Response:
    method = request.method
    if method == "GET":
        return Response(200, {"error": False, "code": 200, "result": _look(server, request, rest)})
    if method == "POST" and not rest:
        _only_in_system(request)
        server.create_database(request.json())
        return Response(201, {"error": False, "code": 201, "result": True})
    if method == "DELETE" and len(rest) == 1:
        _only_in_system(request)
        server.drop_database(rest[0])
        return Response(200, {"error": False, "code": 200, "result": True})
    raise ArangoError(405 if method not in ("POST", "DELETE") else 400)


def _look(server: ArangoServer, request: Request, rest: list[str]) -> object:
    if not rest:
        _only_in_system(request)
        return list(server.databases)
    if rest == ["user"]:
        user = server.users.get(request.user)
        return [name for name in server.databases if user is None or user.level(name) != "none"]
    if rest == ["current"]:
        found = server.database(request.database)
        facts = {"id": found.facts["id"], "name": found.name, "isSystem": found.name == SYSTEM}
        if server.cluster:
            return facts | {"sharding": "", "replicationFactor": 1, "writeConcern": 1}
        return facts | {"path": "none"}
    raise ArangoError(400)


def _only_in_system(request: Request) -> None:
    if request.database != SYSTEM:
        raise ArangoError(1230)
