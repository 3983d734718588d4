"""Where FOR gets its documents: a whole collection, a range of keys, or the neighbours in a graph."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from tests.doubles.arangodb.aql.context import Context
from tests.doubles.arangodb.aql.expressions import Compute, Env, Expressions
from tests.doubles.arangodb.aql.functions import number
from tests.doubles.arangodb.aql.parser import Node
from tests.doubles.arangodb.collections import Collection
from tests.doubles.arangodb.errors import ArangoError
from tests.doubles.arangodb.graphs import graph as graph_of
from tests.doubles.arangodb.values import Doc, truthy

Documents = Callable[[Env], Iterator[Doc]]
_FLIPPED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "=="}


def plan(
    context: Context, expressions: Expressions, collection: Collection, name: str, after: list[Node], scope: set[str]
) -> Documents:
    """The documents of a collection that the FILTERs after a FOR can let pass; all are filtered again later.

    Conditions on `_key` use the primary index, and so does a SORT by `_key`. Others look at every document.
    """
    conditions: list[tuple[str, Compute]] = []
    descending: bool | None = None
    for node in after:
        if node[0] == "filter":
            for part in _parts(node[1]):
                condition = _on_key(part, name)
                if condition and not _names(condition[1]) - scope:
                    conditions.append((condition[0], expressions.build(condition[1], scope)))
        elif node[0] == "sort":
            (by, way), *_ = node[1]
            if by == ("member", ("name", name), "_key") and way[0] == "value":
                descending = way[1] == "DESC"
            break
        else:
            break
    unit = context.unit
    storage, table = collection.storage, collection.table

    def documents(env: Env) -> Iterator[Doc]:
        low: str | None = None
        high: str | None = None
        open_low = open_high = False
        exact: list[str] | None = None
        for operator, value in conditions:
            bound = value(env)
            if operator == "IN" and type(bound) is list:
                exact = [key for key in bound if type(key) is str and (exact is None or key in exact)]
            elif type(bound) is not str:
                continue
            elif operator == "==":
                exact = [bound] if exact is None or bound in exact else []
            elif operator in (">", ">=") and (low is None or bound >= low):
                low, open_low = bound, operator == ">"
            elif operator in ("<", "<=") and (high is None or bound <= high):
                high, open_high = bound, operator == "<"
        if exact is not None:
            keys = list(dict.fromkeys(exact))
            if len(keys) > 1:
                unit.prefetch(collection, [key for key in keys if key not in unit.pending.get(collection, ())])
            found = (unit.get(collection, key) for key in keys)
            for document in found:
                if document is not None:
                    context.scanned_index += 1
                    yield document
            return
        indexed = low is not None or high is not None or descending is not None
        if indexed:
            rows = storage.scan_keys(table, low, open_low, high, open_high, descending is True)
        else:
            rows = storage.scan(table)
        for document in unit.scan(collection, rows):
            if indexed:
                context.scanned_index += 1
            else:
                context.scanned += 1
            yield document

    return documents


def _parts(node: Node) -> Iterator[Node]:
    if node[0] == "binary" and node[1] == "&&":
        yield from _parts(node[2])
        yield from _parts(node[3])
    else:
        yield node


def _on_key(node: Node, name: str) -> tuple[str, Node] | None:
    """An operator and what `_key` is compared with, if that is what the condition does."""
    if node[0] != "binary":
        return None
    _, operator, left, right = node
    key = ("member", ("name", name), "_key")
    if left == key and (operator in _FLIPPED or operator == "IN"):
        return operator, right
    if right == key and operator in _FLIPPED:
        return _FLIPPED[operator], left
    return None


def _names(node: Any) -> set[str]:
    if type(node) is tuple and len(node) == 2 and node[0] == "name":
        return {node[1]}
    if type(node) in (tuple, list):
        return {name for part in node for name in _names(part)}
    return set()


def traversal(
    context: Context, expressions: Expressions, name_of: Callable[[Node], str], node: Node, scope: set[str]
) -> Callable[[Iterator[Env]], Iterator[Env]]:
    """FOR v, e, p IN min..max direction start GRAPH name or edge collections; depth first, no edge twice on a path."""
    _, names, low_node, high_node, direction, start_node, graph_node, edge_nodes, prune_node, _options = node
    low, high = expressions.build(low_node, scope), expressions.build(high_node, scope)
    start = expressions.build(start_node, scope)
    if graph_node is not None:
        name = graph_node[1] if graph_node[0] == "name" else expressions.constant(graph_node, scope)
        edges = [(direction, one) for one in graph_of(context.database, context.unit, str(name)).edge_collections()]
    else:
        edges = [(way, name_of(one)) for way, one in edge_nodes]
    neighbours = _Neighbours(context, edges)
    prune = expressions.build(prune_node, scope | set(names)) if prune_node else None

    def rows_of(row: Env, vertex: Any, edge: Any, path: dict[str, list[Any]]) -> Env:
        return {**row, **dict(zip(names, (vertex, edge, path), strict=False))}

    def walk(row: Env, handle: str, edge: Any, path: dict[str, list[Any]], depth: int, a: int, b: int) -> Iterator[Env]:
        vertex = _vertex(context, handle)
        here = {"vertices": [*path["vertices"], vertex], "edges": [*path["edges"], edge] if edge else path["edges"]}
        env = rows_of(row, vertex, edge, here)
        if depth >= a:
            yield env
        if depth >= b or (prune and truthy(prune(env))):
            return
        for next_edge, other in neighbours.of(handle):
            if all(next_edge["_id"] != used["_id"] for used in here["edges"]):
                yield from walk(row, other, next_edge, here, depth + 1, a, b)

    def step(rows: Iterator[Env]) -> Iterator[Env]:
        for row in rows:
            first = start(row)
            handle = first.get("_id") if type(first) is dict else first
            if type(handle) is not str or "/" not in handle:
                context.warn(10, "invalid start vertex")
                continue
            a, b = int(number(low(row))), int(number(high(row)))
            yield from walk(row, handle, None, {"vertices": [], "edges": []}, 0, a, b)

    return step


class _Neighbours:
    """The edges at each vertex, read once for a query."""

    def __init__(self, context: Context, edges: list[tuple[str, str]]) -> None:
        self._context = context
        self._edges = []
        for direction, name in edges:
            collection = context.collection(name)
            if not collection.is_edge:
                raise ArangoError(1237, f"collection type invalid for collection '{name}': expecting edge collection")
            self._edges.append((direction, collection))
        self._at: dict[str, list[tuple[Doc, str]]] | None = None

    def of(self, handle: str) -> list[tuple[Doc, str]]:
        if self._at is None:
            self._at = {}
            for direction, collection in self._edges:
                for edge in self._context.unit.scan(collection, collection.scan()):
                    if direction in ("OUTBOUND", "ANY"):
                        self._at.setdefault(edge["_from"], []).append((edge, edge["_to"]))
                    if direction in ("INBOUND", "ANY"):
                        self._at.setdefault(edge["_to"], []).append((edge, edge["_from"]))
        return self._at.get(handle, [])


def _vertex(context: Context, handle: str) -> Doc | None:
    name, _, key = handle.partition("/")
    if context.database.find(name) is None:
        return None
    return context.unit.get(context.collection(name), key)
