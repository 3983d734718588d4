"""/_api/index: list, make and drop indexes."""

from __future__ import annotations

from tests.doubles.arangodb import indexes
from tests.doubles.arangodb.errors import ArangoError
from tests.doubles.arangodb.server import ArangoServer
from tests.doubles.arangodb.wire import Request, Response


def handle(server: ArangoServer, request: Request, rest: list[str]) -> Response:
    method = request.method
    database = server.database(request.database)
    if method in ("GET", "POST") and not rest:
        name = request.query.get("collection", "")
        if not name and method == "GET":
            raise ArangoError(1203)
        if not name:
            raise ArangoError(400, "expecting POST /_api/index?collection=<collection-name>")
        collection = database.collection(name)
        if method == "GET":
            listed = [index.answer() for index in collection.indexes]
            by_id = {index["id"]: index for index in listed}
            return Response(200, {"error": False, "code": 200, "indexes": listed, "identifiers": by_id})
        index, new = indexes.ensure(collection, request.json())
        status = 201 if new else 200
        return Response(status, {**index.answer(), "isNewlyCreated": new, "code": status, "error": False})
    if method not in ("GET", "DELETE"):
        raise ArangoError(405 if method != "POST" else 400)
    if len(rest) == 1 and "/" in rest[0]:
        rest = rest[0].split("/")
    if len(rest) != 2:
        raise ArangoError(400, f"expecting {method} /_api/index/<collection>/<index-identifier>")
    collection = database.collection(rest[0])
    index = collection.index(rest[1])
    if method == "GET":
        return Response(200, {**index.answer(), "code": 200, "error": False})
    indexes.drop(collection, index)
    return Response(200, {"id": index.answer()["id"], "error": False, "code": 200})
