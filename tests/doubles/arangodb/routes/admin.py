"""What a server says of itself: version, role, availability, sizes, licence, metrics."""

from __future__ import annotations

import os
import time
from typing import Any

from tests.doubles.arangodb.server import ArangoServer
from tests.doubles.arangodb.wire import Request, Response

_COORDINATOR = "CRDN-00000000-0000-4000-8000-000000000001"
_DETAILS = {
    "architecture": "64bit",
    "build-repository": "none: a double for tests",
    "license": "enterprise",
    "platform": "linux",
}


def version(server: ArangoServer, request: Request, rest: list[str]) -> Response:
    details = {"details": {**_DETAILS, "server-version": server.version}} if request.flag("details") else {}
    if details and request.method == "GET":
        details["details"] |= {"role": "COORDINATOR" if server.cluster else "SINGLE", "mode": "server"}
    newer = {} if server.is_311 else {"apiVersions": ["v0"], "deprecatedApiVersions": [], "requestedApiVersion": "v0"}
    edition = server.settings.edition
    return Response(200, {"server": "arango", "license": edition, "version": server.version, **newer, **details})


def engine(server: ArangoServer, request: Request, rest: list[str]) -> Response:
    kinds = ["primary", "edge", "hash", "skiplist", "ttl", "persistent", "geo", "fulltext"]
    aliases = {"hash": "persistent", "skiplist": "persistent"}
    if server.is_311:
        supports: dict[str, Any] = {
            "dfdb": False,
            "indexes": [*kinds, "zkd", "inverted"],
            "aliases": {"indexes": aliases},
        }
        return Response(200, {"name": "rocksdb", "supports": supports})
    indexes = [*kinds, "mdi", "mdi-prefixed", "inverted"]
    supports = {"indexes": indexes, "aliases": {"indexes": aliases | {"zkd": "mdi"}}}
    return Response(200, {"name": "rocksdb", "supports": supports, "endianness": "little"})


def endpoint(server: ArangoServer, request: Request, rest: list[str]) -> Response:
    return Response(200, [{"endpoint": server.endpoint}])


def server_time(server: ArangoServer, request: Request, rest: list[str]) -> Response:
    return Response(200, {"error": False, "code": 200, "time": time.time()})


def status(server: ArangoServer, request: Request, rest: list[str]) -> Response:
    info: dict[str, Any] = {
        "progress": {"phase": "in wait", "feature": "", "recoveryTick": 0},
        "maintenance": False,
        "role": "COORDINATOR" if server.cluster else "SINGLE",
        "writeOpsEnabled": True,
        "readOnly": False,
    }
    body: dict[str, Any] = {
        "server": "arango",
        "version": server.version,
        "pid": os.getpid(),
        "license": "enterprise",
        "mode": "server",
        "operationMode": "server",
        "foxxApi": True,
        "host": "localhost",
        "hostname": "localhost",
        "serverInfo": info,
    }
    if server.cluster:
        info |= {"persistedId": _COORDINATOR, "rebootId": 1, "address": "tcp://localhost:8529"}
        info |= {"serverId": _COORDINATOR, "state": "SERVING"}
        body["coordinator"] = {"foxxmaster": _COORDINATOR, "isFoxxmaster": True}
        body["agency"] = {"agencyComm": {"endpoints": ["tcp://localhost:8531"]}}
    return Response(200, body)


def availability(server: ArangoServer, request: Request, rest: list[str]) -> Response:
    return Response(200, {"mode": "default", "error": False, "code": 200})


def license_(server: ArangoServer, request: Request, rest: list[str]) -> Response:
    """3.12: the dataset against the limit of the Community Edition. 3.11: an Enterprise licence without one."""
    if server.is_311:
        features = {"expires": 4102444800}
        return Response(
            200, {"upgrading": False, "features": features, "license": "none", "version": 1, "status": "good"}
        )
    used, limit = server.data_bytes(), server.settings.limit_bytes
    reached = used > limit
    seconds = 172800 if reached else 315569520
    usage = {
        "bytesUsed": used,
        "bytesLimit": limit,
        "limitReached": reached,
        "secondsUntilReadOnly": seconds,
        "secondsUntilShutDown": 2 * seconds if reached else seconds,
        "status": "limit-reached" if reached else "good",
    }
    return Response(200, {"upgrading": False, "diskUsage": usage})


def deployment(server: ArangoServer, request: Request, rest: list[str]) -> Response:
    return Response(200, {"id": "6172616e-676f-4000-0000-" + server.unique[1:].lower()})
