"""/_api/cursor: run a query, read its results in batches."""

from __future__ import annotations

import time
from typing import Any

from tests.doubles.arangodb.aql.expressions import Context
from tests.doubles.arangodb.aql.run import Query
from tests.doubles.arangodb.errors import ArangoError
from tests.doubles.arangodb.server import ArangoServer
from tests.doubles.arangodb.values import printed
from tests.doubles.arangodb.wire import Request, Response

_DEFAULT_BATCH = 1000
_PHASES = (
    "initializing", "parsing", "optimizing ast", "loading collections", "instantiating plan", "optimizing plan",
    "instantiating executors", "executing", "finalizing",
)  # fmt: skip


class Cursor:
    """Results that are not read yet. `last`: the answer to the newest batch, kept where it may be asked for again."""

    def __init__(self, number: str, database: str, rows: list[Any], batch: int, ttl_s: float) -> None:
        self.number = number
        self.database = database
        self.batch = batch
        self.retry = False
        self.next_batch = 1
        self.last: dict[str, Any] | None = None
        self.common: dict[str, Any] = {}
        self._rows = rows
        self._ttl_s = ttl_s
        self.until = time.monotonic() + ttl_s

    def take(self) -> tuple[list[Any], bool]:
        """The next batch, and whether there is more after it."""
        end = self.next_batch * self.batch
        self.next_batch += 1
        self.until = time.monotonic() + self._ttl_s
        return self._rows[end - self.batch : end], end < len(self._rows)


def _stats(server: ArangoServer, context: Context, seconds: float) -> dict[str, Any]:
    """The counters of a query, with the names that the version has."""
    newer = {} if server.is_311 else {"documentLookups": 0, "seeks": 0}
    return {
        "writesExecuted": context.writes,
        "writesIgnored": context.ignored,
        **newer,
        "scannedFull": context.scanned,
        "scannedIndex": context.scanned_index,
        **({} if server.is_311 else {"searchParallelism": 1}),
        "cursorsCreated": 0,
        "cursorsRearmed": 0,
        "cacheHits": 0,
        "cacheMisses": 0,
        "filtered": context.filtered,
        "httpRequests": 0,
        **({} if context.full_count is None else {"fullCount": context.full_count}),
        "executionTime": seconds,
        "peakMemoryUsage": context.memory,
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
        _find(server, request, rest[0])
        del server.cursors[rest[0]]
        return Response(202, {"id": rest[0], "error": False, "code": 202})
    raise ArangoError(405)


def _create(server: ArangoServer, request: Request) -> Response:
    body: dict[str, Any] = request.json()
    if type(body.get("query")) is not str or not body["query"]:
        raise ArangoError(1502)
    size = body.get("batchSize", _DEFAULT_BATCH)
    options = body.get("options") or {}
    started = time.perf_counter()
    with server.unit() as unit:
        context = Context(server.database(request.database), unit, body.get("bindVars") or {}, options)
        context.memory_limit = int(body.get("memoryLimit") or options.get("memoryLimit") or 0)
        query = Query(context, body["query"])
        found = [printed(row) for row in query.results()]
    seconds = time.perf_counter() - started + context.sleep
    cursor = Cursor(str(server.storage.tick()), request.database, found, int(size), float(body.get("ttl") or 30))
    cursor.retry = options.get("allowRetry") is True
    if body.get("count"):
        cursor.common["count"] = len(found)
    cursor.common["extra"] = _extra(server, context, options, seconds)
    cursor.common["cached"] = False
    server.cursors[cursor.number] = cursor
    return Response(201, _answer(server, cursor, 201), delay=context.sleep)


def _extra(server: ArangoServer, context: Context, options: dict[str, Any], seconds: float) -> dict[str, Any]:
    stats = _stats(server, context, seconds)
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
