"""/_api/transaction: stream transactions. JavaScript ones are refused: no JavaScript runs here."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.doubles.arangodb.collections import Collection
from tests.doubles.arangodb.documents import Unit
from tests.doubles.arangodb.errors import ArangoError
from tests.doubles.arangodb.server import ArangoServer
from tests.doubles.arangodb.wire import Request, Response

_IDLE_S = 60.0
_KEPT_S = 120.0


class Transaction:
    """A stream transaction: a unit that lasts over requests, and the collections it may use."""

    def __init__(self, number: str, database: str, unit: Unit, uses: dict[str, str]) -> None:
        self.number = number
        self.database = database
        self.unit = unit
        self.uses = uses
        self.status = "running"
        self.touched = time.monotonic()

    def end(self, status: str) -> None:
        if self.status == "running":
            if status == "committed":
                self.unit.store()
            else:
                self.unit.abandon()
            self.status = status
        self.touched = time.monotonic()

    def answer(self) -> dict[str, str]:
        return {"id": self.number, "status": self.status}


@contextmanager
def unit_of(
    server: ArangoServer, request: Request, collection: Collection | None, *, write: bool = True
) -> Iterator[Unit]:
    """The unit to work in: that of the request's transaction, or one that is stored at the end of the block."""
    number = request.headers.get("x-arango-trx-id")
    if number is None:
        unit = server.unit()
        try:
            yield unit
        except BaseException:
            unit.abandon()
            raise
        unit.store()
        return
    transaction = _find(server, request, number)
    if transaction.status != "running":
        raise ArangoError(1655, f"transaction '{number}' has already been {transaction.status}")
    if collection is not None:
        may(transaction, collection, write)
    transaction.touched = time.monotonic()
    transaction.unit.revisions.start()
    yield transaction.unit


def may(transaction: Transaction, collection: Collection, write: bool) -> None:
    """1652 for a collection that the transaction has not declared, or declared for reading only."""
    level = transaction.uses.get(collection.name)
    if level is None and not write:
        transaction.uses[collection.name] = "read"  # read collections are added as they are used
    elif level is None or (write and level == "read"):
        raise ArangoError(1652, f"unregistered collection used in transaction: {collection.name} [write]")


def current(server: ArangoServer, request: Request) -> Transaction | None:
    number = request.headers.get("x-arango-trx-id")
    return None if number is None else _find(server, request, number)


def handle(server: ArangoServer, request: Request, rest: list[str]) -> Response:
    _expire(server)
    method = request.method
    if method == "POST":
        if rest == ["begin"]:
            return _begin(server, request)
        if not rest:
            return _javascript(server, request)
        raise ArangoError(400, "expecting POST /_api/transaction or POST /_api/transaction/begin")
    if method == "GET" and not rest:
        running = [
            {"id": number, "state": found.status}
            for number, found in server.transactions.items()
            if found.status == "running" and found.database == request.database
        ]
        return Response(200, {"transactions": running})
    if method not in ("GET", "PUT", "DELETE"):
        raise ArangoError(405)
    if len(rest) != 1:
        raise ArangoError(400, f"expecting {method} /_api/transaction/<transaction-ID>")
    if method == "DELETE" and rest == ["write"]:
        for found in server.transactions.values():
            found.end("aborted")
        return Response(200, {"error": False, "code": 200})
    transaction = _find(server, request, rest[0])
    if method != "GET":
        wanted = "committed" if method == "PUT" else "aborted"
        if transaction.status not in ("running", wanted):
            raise ArangoError(1653, f"transaction '{rest[0]}' has already been {transaction.status}")
        transaction.end(wanted)
    return Response(200, {"code": 200, "error": False, "result": transaction.answer()})


def _begin(server: ArangoServer, request: Request) -> Response:
    uses = _declared(server, request)
    number = str(server.storage.tick())
    unit = Unit(server.storage, server.revisions, lasting=True)
    transaction = Transaction(number, request.database, unit, uses)
    server.transactions[number] = transaction
    return Response(201, {"code": 201, "error": False, "result": transaction.answer()})


def _declared(server: ArangoServer, request: Request) -> dict[str, str]:
    body = request.json()
    collections = body.get("collections") if type(body) is dict else None
    if type(collections) is not dict:
        raise ArangoError(10, "missing/invalid collections definition for transaction")
    uses: dict[str, str] = {}
    for level in ("read", "write", "exclusive"):
        names: Any = collections.get(level, [])
        names = [names] if type(names) is str else names
        if type(names) is not list or any(type(name) is not str for name in names):
            raise ArangoError(10, "missing/invalid collections definition for transaction")
        for name in names:
            uses[server.database(request.database).collection(name).name] = level
    for name in ("lockTimeout", "maxTransactionSize"):
        value = body.get(name, 0)
        if type(value) not in (int, float) or value < 0:
            raise ArangoError(10, f"invalid value for '{name}'")
    return uses


def _javascript(server: ArangoServer, request: Request) -> Response:
    body = request.json()
    if type(body) is not dict:
        raise ArangoError(10, "could not parse transaction definition")
    _declared(server, request)
    if type(body.get("action")) is not str:
        raise ArangoError(10, "missing/invalid action definition for transaction")
    raise ArangoError(501, "JavaScript transactions: no JavaScript runs here; use stream transactions")


def _find(server: ArangoServer, request: Request, number: str) -> Transaction:
    found = server.transactions.get(number)
    if type(found) is not Transaction or found.database != request.database:
        raise ArangoError(1655, f"transaction '{number}' not found")
    return found


def _expire(server: ArangoServer) -> None:
    """Abort what was not used for a minute; forget what has ended two minutes ago."""
    now = time.monotonic()
    for number, found in list(server.transactions.items()):
        if found.status == "running" and now - found.touched > _IDLE_S:
            found.end("aborted")
        elif found.status != "running" and now - found.touched > _KEPT_S:
            del server.transactions[number]
