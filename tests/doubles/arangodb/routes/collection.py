"""/_api/collection: make, look at, change, empty and drop collections."""

from __future__ import annotations

import zlib
from typing import Any

from tests.doubles.arangodb.collections import Collection
from tests.doubles.arangodb.errors import ArangoError
from tests.doubles.arangodb.graphs import graphs_with
from tests.doubles.arangodb.server import ArangoServer
from tests.doubles.arangodb.values import encode
from tests.doubles.arangodb.wire import Request, Response


def handle(server: ArangoServer, request: Request, rest: list[str]) -> Response:
    method = request.method
    database = server.database(request.database)
    if method == "POST":
        return _ok(database.create(request.json()).properties())
    if method == "GET" and not rest:
        hidden = request.flag("excludeSystem")
        found = [c.short() for c in database.collections.values() if not (hidden and c.facts["isSystem"])]
        return _ok({"result": found})
    if method == "GET":
        collection = database.collection(rest[0])
        return _ok(collection.short()) if len(rest) == 1 else _look(server, request, collection, rest[1])
    if method == "PUT":
        if len(rest) != 2:
            raise ArangoError(400, "expected PUT /_api/collection/<collection-name>/<action>")
        return _change(server, request, rest[0], rest[1])
    if method == "DELETE":
        collection = database.collection(rest[0])
        if not server.is_311 and graphs_with(database, collection.name):
            raise ArangoError(1942)
        database.drop(collection)
        return _ok({"id": collection.facts["id"]})
    raise ArangoError(405)


def _ok(body: dict[str, Any], location: str | None = None) -> Response:
    return Response(200, {"error": False, "code": 200, **body}, {"Location": location} if location else {})


def _place(request: Request) -> str:
    return f"/_db/{request.database}/{'/'.join(request.segments)}"


def _look(server: ArangoServer, request: Request, collection: Collection, what: str) -> Response:
    revision = max((document["_rev"] for document in collection.scan()), default="0") if what in _ABOUT_ALL else ""
    if what == "count":
        more: dict[str, Any] = {"count": collection.count()}
    elif what == "figures":
        more = {"count": collection.count(), "figures": _figures(request, collection)}
    elif what == "revision":
        more = {"revision": revision}
    elif what == "checksum":
        checksum = str(zlib.crc32(encode([*collection.scan()])))
        return _ok(collection.short() | {"revision": revision, "checksum": checksum}, _place(request))
    elif what == "shards":
        shards = _shards(collection)
        more = {"shards": {shard: [_LEADER] for shard in shards} if request.flag("details") else shards}
    else:
        raise ArangoError(404, f"expecting one of the resources of a collection, not {what}")
    return _ok(collection.properties() | more, _place(request))


def _change(server: ArangoServer, request: Request, name: str, what: str) -> Response:
    database = server.database(request.database)
    body = request.json()
    body = body if type(body) is dict else {}
    collection = database.collection(name)
    answer: dict[str, Any] = collection.short()
    if what == "truncate":
        database.truncate(collection)
    elif what == "rename":
        database.rename(collection, body.get("name"))
        answer = collection.short()
    elif what == "load":
        answer |= {"count": collection.count()} if body.get("count", True) else {}
    elif what == "loadIndexesIntoMemory":
        answer = {"result": True}
    elif what == "responsibleShard":
        answer = {"shardId": _shards(collection)[0]}
    elif what not in ("unload", "compact"):
        raise ArangoError(404, f"expecting one of the actions on a collection, not {what}")
    return _ok(answer, _place(request))


_ABOUT_ALL = ("revision", "checksum")
_LEADER = "PRMR-00000000-0000-4000-8000-000000000001"


def _shards(collection: Collection) -> list[str]:
    first = int(collection.facts["id"])
    return [f"s{first + n + 1}" for n in range(collection.facts["numberOfShards"])]


def _figures(request: Request, collection: Collection) -> dict[str, Any]:
    count = collection.count()
    figures: dict[str, Any] = {
        "indexes": {"count": len(collection.indexes), "size": 40 * count * len(collection.indexes)},
        "documentsSize": collection.storage.size(collection.table),
        "cacheInUse": False,
        "cacheSize": 0,
        "cacheUsage": 0,
    }
    if request.flag("details"):
        indexes = [{"type": i.facts["type"], "id": int(i.facts["id"]), "count": count} for i in collection.indexes]
        figures["engine"] = {"documents": count, "indexes": indexes}
    return figures
