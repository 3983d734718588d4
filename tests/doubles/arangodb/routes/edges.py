"""/_api/edges: the edges that begin or end at a vertex."""

from __future__ import annotations

from tests.doubles.arangodb.errors import ArangoError
from tests.doubles.arangodb.routes.cursor import stats_of
from tests.doubles.arangodb.routes.transaction import unit_of
from tests.doubles.arangodb.server import ArangoServer
from tests.doubles.arangodb.values import Doc
from tests.doubles.arangodb.wire import Request, Response

_ENDS = {"any": ("_from", "_to"), "in": ("_to",), "out": ("_from",)}


def handle(server: ArangoServer, request: Request, rest: list[str]) -> Response:
    if request.method not in ("GET", "POST"):
        raise ArangoError(405)
    if len(rest) != 1:
        raise ArangoError(400, "expected GET /_api/edges/<collection-identifier>?vertex=<vertex-handle>")
    direction = request.query.get("direction", "any") or "any"
    ends = _ENDS.get(direction.lower())
    if ends is None:
        raise ArangoError(400, "<direction> must by any, in, or out, not: " + direction)
    collection = server.database(request.database).collection(rest[0])
    if not collection.is_edge:
        raise ArangoError(1237)
    vertices = request.json() if request.method == "POST" else [request.query.get("vertex", "")]
    if type(vertices) is not list or (request.method == "GET" and not vertices[0]):
        raise ArangoError(1205 if request.method == "GET" else 400, "illegal document handle")
    with unit_of(server, request, collection, write=False) as unit:
        edges: list[Doc] = [
            edge for edge in unit.scan(collection, collection.scan()) if any(edge[end] in vertices for end in ends)
        ]
    stats = stats_of(server, scanned_index=len(edges))
    return Response(200, {"edges": edges, "error": False, "code": 200, "stats": stats})
