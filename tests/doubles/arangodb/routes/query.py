"""/_api/query, /_api/explain and the caches: what is said about a query without running it."""

from __future__ import annotations

from typing import Any

from tests.doubles.arangodb.aql.context import Context
from tests.doubles.arangodb.aql.parser import Node
from tests.doubles.arangodb.aql.parser import parse as parse_text
from tests.doubles.arangodb.aql.run import Query
from tests.doubles.arangodb.errors import ArangoError
from tests.doubles.arangodb.routes.cursor import checked_body
from tests.doubles.arangodb.server import ArangoServer
from tests.doubles.arangodb.wire import Request, Response


def parse(server: ArangoServer, request: Request, rest: list[str]) -> Response:
    """POST /_api/query: is it a query?"""
    if request.method == "POST" and not rest:
        body = checked_body(request)
        tree = parse_text(body["query"])
        answer = {
            "parsed": True,
            "collections": sorted(_found(tree, "collections")),
            "bindVars": sorted(_found(tree, "binds")),
            "ast": [],  # of syntax trees the recordings compare the type alone
        }
        if not server.is_311:
            answer["warnings"] = []
        return Response(200, {"error": False, "code": 200, **answer})
    raise ArangoError(404 if request.method == "GET" else 405)


def explain(server: ArangoServer, request: Request, rest: list[str]) -> Response:
    if request.method != "POST":
        raise ArangoError(405)
    body = checked_body(request)
    options = body.get("options") or {}
    context = Context(server.database(request.database), server.unit(), body.get("bindVars") or {}, {})
    query = Query(context, body["query"])
    query.fold()
    plans: dict[str, Any] = {"plan": {}, "cacheable": not (query.writes or context.warnings)}
    if options.get("allPlans") is True:
        plans = {"plans": []}
    stats = {
        "rulesExecuted": 0,
        "rulesSkipped": 0,
        "plansCreated": 1,
        "rules": {},
        "peakMemoryUsage": 0,
        "executionTime": 0.0001,
    }
    if server.is_311:
        del stats["rules"]
    return Response(200, {**plans, "warnings": context.warnings, "stats": stats, "error": False, "code": 200})


def results_cache(server: ArangoServer, request: Request, rest: list[str]) -> Response:
    """No result is ever cached here."""
    method = request.method
    if method == "DELETE" and not rest:
        return Response(200, {"error": False, "code": 200})
    if method == "GET" and rest == ["properties"]:
        return Response(200, server.cache_properties)
    if method == "GET" and rest == ["entries"]:
        return Response(200, [])
    if method == "PUT" and rest == ["properties"]:
        given = request.json()
        if type(given) is not dict:
            raise ArangoError(400, "expecting a JSON-Object body")
        server.cache_properties |= {name: given[name] for name in server.cache_properties if name in given}
        return Response(200, server.cache_properties)
    raise ArangoError(404 if method == "GET" else 405)


def plan_cache(server: ArangoServer, request: Request, rest: list[str]) -> Response:
    """No plan is ever cached here."""
    if server.is_311:
        raise ArangoError(404)
    if request.method == "GET" and not rest:
        return Response(200, [])
    if request.method == "DELETE" and not rest:
        return Response(200, {"error": False, "code": 200})
    raise ArangoError(405)


def _found(tree: list[Node], what: str) -> set[str]:
    """The collections or bind parameters that a query names."""
    names: set[str] = set()

    def look(node: Any, scope: set[str]) -> None:
        if type(node) is list or (type(node) is tuple and (not node or type(node[0]) is not str)):
            for part in node:
                look(part, scope)
        elif type(node) is tuple:
            kind = node[0]
            if (kind == "bind" and what == "binds") or (
                kind == "name" and what == "collections" and node[1] not in scope
            ):
                names.add(node[1])
            if kind == "for" or kind == "let":
                look(node[2], scope)
                scope.add(node[1])
            elif kind == "object":
                for _, value in node[1]:
                    look(value, scope)
            else:
                for part in node[1:]:
                    look(part, scope)

    look(tree, {"OLD", "NEW"})
    return names
