"""/_api/cursor: run a query, read its results in batches."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import islice
from typing import Any

from tests.doubles.arangodb.aql.context import Context
from tests.doubles.arangodb.aql.run import Query
from tests.doubles.arangodb.errors import ArangoError
from tests.doubles.arangodb.routes.transaction import current, may, unit_of
from tests.doubles.arangodb.server import ArangoServer
from tests.doubles.arangodb.values import printed
from tests.doubles.arangodb.wire import Request, Response

_TYPES: dict[str, tuple[type, ...]] = {
    "bindVars": (dict,),
    "options": (dict,),
    "batchSize": (int, float),
    "memoryLimit": (int, float),
    "ttl": (int, float),
    "count": (bool,),
    "cache": (bool,),
}
_DEFAULT_BATCH = 1000
_PHASES = (
    "initializing", "parsing", "optimizing ast", "loading collections", "instantiating plan", "optimizing plan",
    "instantiating executors", "executing", "finalizing",
)  # fmt: skip


class Cursor:
    """Results that are not read yet. `last`: the answer to the newest batch, kept where it may be asked for again."""

    def __init__(self, number: str, database: str, rows: Iterator[Any], batch: int, ttl_s: float) -> None:
        self.number = number
        self.database = database
        self.batch = batch
        self.retry = False
        self.next_batch = 1
        self.last: dict[str, Any] | None = None
        self.common: dict[str, Any] = {}
        self._rows = rows
        self._peeked: list[Any] = []
        self._ttl_s = ttl_s
        self.until = time.monotonic() + ttl_s

    def take(self) -> tuple[list[Any], bool]:
        """The next batch, and whether there is more after it."""
        found = [*self._peeked, *islice(self._rows, self.batch + 1 - len(self._peeked))]
        self._peeked = found[self.batch :]
        self.next_batch += 1
        self.until = time.monotonic() + self._ttl_s
        return found[: self.batch], bool(self._peeked)


def stats_of(
    server: ArangoServer, context: Context | None = None, *, scanned_index: int = 0, seconds: float = 0.0
) -> dict[str, Any]:
    """The counters of a query, with the names that the version has."""
    newer = {} if server.is_311 else {"documentLookups": 0, "seeks": 0}
    return {
        "writesExecuted": context.writes if context else 0,
        "writesIgnored": context.ignored if context else 0,
        **newer,
        "scannedFull": context.scanned if context else 0,
        "scannedIndex": context.scanned_index if context else scanned_index,
        **({} if server.is_311 else {"searchParallelism": 1}),
        "cursorsCreated": 0,
        "cursorsRearmed": 0,
        "cacheHits": 0,
        "cacheMisses": 0,
        "filtered": context.filtered if context else 0,
        "httpRequests": 0,
        **({"fullCount": context.full_count} if context and context.full_count is not None else {}),
        "executionTime": seconds,
        "peakMemoryUsage": context.memory if context else 0,
        "intermediateCommits": 0,
    }


def handle(server: ArangoServer, request: Request, rest: list[str]) -> Response:
    method = request.method
    _expire(server)
    if method == "POST" and not rest:
        return _create(server, request)
    if method in ("POST", "PUT"):
        if not rest or len(rest) > 2 or (method == "PUT" and len(rest) != 1):
            raise ArangoError(400, "expecting POST /_api/cursor/<cursor-id>")
        cursor = _find(server, request, rest[0])
        if len(rest) == 2 and rest[1] != str(cursor.next_batch):
            if cursor.last is not None and rest[1] == str(cursor.next_batch - 1):
                return Response(200, cursor.last)
            raise ArangoError(1600, "batch id not found")
        return Response(200, _answer(server, cursor, 200))
    if method == "DELETE":
        if len(rest) != 1:
            raise ArangoError(400, "expecting DELETE /_api/cursor/<cursor-id>")
        _find(server, request, rest[0])
        del server.cursors[rest[0]]
        return Response(202, {"id": rest[0], "error": False, "code": 202})
    raise ArangoError(405)


def checked_body(request: Request) -> dict[str, Any]:
    """The query and its settings; 1502 for no query, 17 for a setting of another type."""
    body = request.json()
    if type(body) is not dict:
        raise ArangoError(1502)
    for name, types in _TYPES.items():
        if body.get(name) is not None and not isinstance(body[name], types):
            raise ArangoError(17, f"expecting {types[0].__name__} for '{name}'", status=400)
    if type(body.get("query")) is not str or not body["query"]:
        raise ArangoError(1502)
    return body


def _create(server: ArangoServer, request: Request) -> Response:
    body = checked_body(request)
    size = body.get("batchSize", _DEFAULT_BATCH)
    if not size or size < 0:
        raise ArangoError(17, "expecting non-zero value for 'batchSize'", status=400)
    options = body.get("options") or {}
    transaction = current(server, request)
    started = time.perf_counter()
    with unit_of(server, request, None) as unit:
        guard = (lambda collection, write: may(transaction, collection, write)) if transaction else None
        context = Context(server.database(request.database), unit, body.get("bindVars") or {}, options, guard)
        context.memory_limit = int(body.get("memoryLimit") or options.get("memoryLimit") or 0)
        query = Query(context, body["query"])
        rows: Iterator[Any] = map(printed, query.results())
        streams = (body.get("stream") or options.get("stream")) is True and not query.writes
        count: int | None = None
        if not streams:
            found = list(rows)
            count = len(found) if body.get("count") else None
            rows = iter(found)
    seconds = time.perf_counter() - started + context.sleep
    ttl = float(body.get("ttl") or server.settings.cursor_ttl_s)
    cursor = Cursor(str(server.storage.tick()), request.database, rows, int(size), ttl)
    cursor.retry = options.get("allowRetry") is True
    if count is not None:
        cursor.common["count"] = count
    cursor.common["extra"] = _extra(server, context, options, seconds)
    cursor.common["cached"] = False
    server.cursors[cursor.number] = cursor
    return Response(201, _answer(server, cursor, 201), delay=context.sleep)


def _extra(server: ArangoServer, context: Context, options: dict[str, Any], seconds: float) -> dict[str, Any]:
    stats = stats_of(server, context, seconds=seconds)
    extra: dict[str, Any] = {"warnings": context.warnings, "stats": stats}
    profile = options.get("profile")
    if profile in (1, 2, 3, True):
        extra["profile"] = dict.fromkeys(_PHASES, 0.0) | {"executing": seconds}
    if profile in (2, 3) and profile is not True:
        extra["plan"], stats["nodes"] = {}, []
    return extra


def _answer(server: ArangoServer, cursor: Cursor, code: int) -> dict[str, Any]:
    rows, more = cursor.take()
    answer: dict[str, Any] = {"result": rows, "hasMore": more}
    if more or (cursor.retry and cursor.next_batch > 2):
        answer["id"] = cursor.number
    answer |= cursor.common
    if more:
        answer["nextBatchId"] = str(cursor.next_batch)
    answer |= {"error": False, "code": code}
    if cursor.retry:
        cursor.last = answer | {"code": 200}
    if not more and not cursor.retry:
        server.cursors.pop(cursor.number, None)
    return answer


def _find(server: ArangoServer, request: Request, number: str) -> Cursor:
    found = server.cursors.get(number)
    if type(found) is not Cursor or found.database != request.database:
        raise ArangoError(1600)
    return found


def _expire(server: ArangoServer) -> None:
    now = time.monotonic()
    for number in [number for number, cursor in server.cursors.items() if cursor.until < now]:
        del server.cursors[number]
