"""/_api/collection: make, look at, change, empty and drop collections."""

from __future__ import annotations

import zlib
from typing import Any

from tests.doubles.arangodb.collections import GENERATORS, Collection, change
from tests.doubles.arangodb.errors import ArangoError
from tests.doubles.arangodb.routes.gharial import graphs_with
from tests.doubles.arangodb.routes.transaction import unit_of
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
        if len(rest) > 2:
            raise ArangoError(400, "expect GET /_api/collection/<collection-name>/<method>")
        collection = database.collection(rest[0])
        return _ok(collection.short()) if len(rest) == 1 else _look(server, request, collection, rest[1])
    if method == "PUT":
        if len(rest) != 2:
            raise ArangoError(400, "expected PUT /_api/collection/<collection-name>/<action>")
        return _change(server, request, rest[0], rest[1])
    if method == "DELETE":
        if len(rest) != 1:
            raise ArangoError(400, "expected DELETE /_api/collection/<collection-name>")
        collection = database.collection(rest[0])
        if collection.facts["isSystem"] and not request.flag("isSystem"):
            raise ArangoError(11)
        if not server.is_311 and graphs_with(database, collection.name):
            raise ArangoError(1942)
        database.drop(collection)
        return _ok({"id": collection.facts["id"]})
    raise ArangoError(405)


def key_generators(server: ArangoServer, request: Request, rest: list[str]) -> Response:
    if request.method != "GET":
        raise ArangoError(405)
    return Response(200, {"keyGenerators": list(GENERATORS)})


def _ok(body: dict[str, Any], location: str | None = None) -> Response:
    return Response(200, {"error": False, "code": 200, **body}, {"Location": location} if location else {})


def _place(request: Request) -> str:
    return f"/_db/{request.database}/{'/'.join(request.segments)}"


def _look(server: ArangoServer, request: Request, collection: Collection, what: str) -> Response:
    place = _place(request)
    if what == "properties":
        return _ok(collection.properties(), place)
    if what == "count":
        with unit_of(server, request, collection, write=False) as unit:
            pending = unit.pending.get(collection)
            count = sum(1 for _ in unit.scan(collection, collection.scan())) if pending else collection.count()
        return _ok(collection.properties() | {"count": count}, place)
    if what == "figures":
        return _ok(
            collection.properties() | {"count": collection.count(), "figures": _figures(request, collection)}, place
        )
    if what == "revision":
        return _ok(collection.properties() | {"revision": _last_revision(collection) or "0"}, place)
    if what == "checksum":
        if server.cluster:
            raise ArangoError(9)
        return _ok(collection.short() | _checksum(request, collection), place)
    if what == "shards":
        if not server.cluster:
            raise ArangoError(4)
        shards = _shards(collection)
        listed: Any = {shard: [_LEADER] for shard in shards} if request.flag("details") else shards
        return _ok(collection.properties() | {"shards": listed}, place)
    words = "'checksum', 'count', 'figures', 'properties', 'responsibleShard', 'revision', 'shards'"
    raise ArangoError(404, f"expecting one of the resources {words}")


def _change(server: ArangoServer, request: Request, name: str, what: str) -> Response:
    database = server.database(request.database)
    body = request.json()
    body = body if type(body) is dict else {}
    collection = database.collection(name)
    place = _place(request)
    if what == "properties":
        change(collection, body)
        return _ok(collection.properties(), place)
    if what == "truncate":
        database.truncate(collection)
        return _ok(collection.short(), place)
    if what == "rename":
        if server.cluster:
            raise ArangoError(9)
        database.rename(collection, body.get("name"))
        return _ok(collection.short(), place)
    if what == "load":
        counted = {"count": collection.count()} if body.get("count", True) else {}
        return _ok(collection.short() | counted, place)
    if what in ("unload", "compact"):
        return _ok(collection.short(), place)
    if what == "loadIndexesIntoMemory":
        return _ok({"result": True}, place)
    if what == "recalculateCount":
        return _ok({"result": True, "count": collection.count()}, place)
    if what == "responsibleShard":
        if not server.cluster:
            raise ArangoError(4)
        missing = [key for key in collection.facts["shardKeys"] if key not in body]
        if missing:
            raise ArangoError(400, f"shard key {missing[0]} is missing")
        values = [body[key] for key in collection.facts["shardKeys"]]
        shards = _shards(collection)
        return _ok({"shardId": shards[zlib.crc32(encode(values)) % len(shards)]}, place)
    words = (
        "'load', 'unload', 'truncate', 'properties', 'compact', 'rename', 'loadIndexesIntoMemory', 'recalculateCount'"
    )
    raise ArangoError(404, f"expecting one of the actions {words}")


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


def _last_revision(collection: Collection) -> str:
    return max((document["_rev"] for document in collection.scan()), default="")


def _checksum(request: Request, collection: Collection) -> dict[str, str]:
    total = 0
    for document in collection.scan():
        parts = [document["_key"]]
        if request.flag("withRevisions"):
            parts.append(document["_rev"])
        if request.flag("withData"):
            parts.append({name: value for name, value in document.items() if name != "_rev"})
        total ^= zlib.crc32(encode(parts)) << 32 | zlib.crc32(encode(parts[::-1]))
    return {"revision": _last_revision(collection) or "0", "checksum": str(total)}
