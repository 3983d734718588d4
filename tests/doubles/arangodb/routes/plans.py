"""Execution plans: the kinds of nodes that a query needs, without an optimizer behind them."""

from __future__ import annotations

from typing import Any

from tests.doubles.arangodb.aql.parser import Node
from tests.doubles.arangodb.aql.run import Query

_NODES = {
    "filter": ("CalculationNode", "FilterNode"),
    "let": ("CalculationNode",),
    "sort": ("SortNode",),
    "limit": ("LimitNode",),
    "collect": ("CollectNode",),
    "return": ("ReturnNode",),
    "update": ("UpdateNode",),
    "replace": ("ReplaceNode",),
    "remove": ("RemoveNode",),
    "upsert": ("UpsertNode",),
}


def plan_of(query: Query) -> dict[str, Any]:
    """The plan of a query in the shape of a server's; costs count nodes and nothing else."""
    kinds = ["SingletonNode", *(kind for node in query.tree for kind in _kinds(query, node))]
    nodes: list[dict[str, Any]] = []
    for number, kind in enumerate(kinds, 1):
        below = [number - 1] if number > 1 else []
        nodes.append(
            {"type": kind, "dependencies": below, "id": number, "estimatedCost": number, "estimatedNrItems": 1}
        )
    return {
        "nodes": nodes,
        "rules": [],
        **({} if query.context.database.server.is_311 else {"asyncPrefetchNodes": 0}),
        "estimatedCost": len(nodes),
        "estimatedNrItems": 1,
        "collections": [{"name": name, "type": use} for name, use in query.context.used.items()],
        "variables": [],
        "isModificationQuery": query.writes,
    }


def _kinds(query: Query, node: Node) -> tuple[str, ...]:
    if node[0] != "for":
        return _NODES.get(node[0], ())
    source = node[2]
    name = source[1] if source[0] == "name" else query.context.binds.get(source[1]) if source[0] == "bind" else None
    if type(name) is str and name in query.context.used:
        return ("EnumerateCollectionNode",)
    return ("CalculationNode", "EnumerateListNode")
