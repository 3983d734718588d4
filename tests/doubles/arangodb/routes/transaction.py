"""/_api/transaction: stream transactions begin and end, and nothing is ever done in one.

JavaScript ones are refused: no JavaScript runs here.
"""

from __future__ import annotations

from tests.doubles.arangodb.errors import ArangoError
from tests.doubles.arangodb.server import ArangoServer
from tests.doubles.arangodb.wire import Request, Response

_ENDS = {"PUT": "committed", "DELETE": "aborted"}


def handle(server: ArangoServer, request: Request, rest: list[str]) -> Response:
    method, states = request.method, server.transactions
    if method == "POST":
        _check_collections(server, request)
        if rest != ["begin"]:
            raise ArangoError(501, "JavaScript transactions: no JavaScript runs here; use stream transactions")
        number = str(server.storage.tick())
        states[number] = "running"
        return _answer(201, number, "running")
    if method == "GET" and not rest:
        running = [{"id": number, "state": state} for number, state in states.items() if state == "running"]
        return Response(200, {"transactions": running})
    if method not in ("GET", *_ENDS):
        raise ArangoError(405)
    if rest[0] not in states:
        raise ArangoError(1655, f"transaction '{rest[0]}' not found")
    states[rest[0]] = _ENDS.get(method, states[rest[0]])
    return _answer(200, rest[0], states[rest[0]])


def _answer(status: int, number: str, state: str) -> Response:
    return Response(status, {"code": status, "error": False, "result": {"id": number, "status": state}})


def _check_collections(server: ArangoServer, request: Request) -> None:
    """1203 for a collection that is not there."""
    for names in request.json()["collections"].values():
        for name in [names] if type(names) is str else names:
            server.database(request.database).collection(name)
