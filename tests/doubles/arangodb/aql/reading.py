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
from tests.doubles.arangodb.values import Doc, rank, truthy

_FLIPPED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "=="}
_TEXT = 3


class Plan:
    """How one FOR reads a collection.

    Conditions on `_key` and a SORT by `_key` use the primary index, whose order is that of code points (AQL's own is
    that of a language); they are not looked at again. Everything else looks at every document. used: the parts of the
    filters that the index has answered. sorts: whether it gives the order too.
    """

    def __init__(self, context: Context, expressions: Expressions, collection: Collection, name: str) -> None:
        self.used: list[Node] = []
        self.sorts: Node | None = None
        self._context = context
        self._expressions = expressions
        self._collection = collection
        self._name = name
        self._conditions: list[tuple[str, Compute]] = []
        self._descending: bool | None = None

    def look(self, after: list[Node], scope: set[str], *, first: bool) -> None:
        """Take what the index can answer of the statements behind the FOR; the order only of the first FOR."""
        for node in after:
            if node[0] == "filter":
                for part in parts_of(node[1]):
                    condition = _on_key(part, self._name)
                    if condition and not _names(condition[1]) - scope:
                        self._conditions.append((condition[0], self._expressions.build(condition[1], scope)))
                        self.used.append(part)
            elif node[0] == "sort":
                (by, way), *more = node[1]
                if by == ("member", ("name", self._name), "_key") and way[0] == "value" and first and not more:
                    self._descending = way[1] == "DESC"
                    self.sorts = node
                return
            else:
                return

    def documents(self, env: Env) -> Iterator[Doc]:
        """The documents for one row of what is outside the FOR."""
        bounds = _Bounds()
        for operator, value in self._conditions:
            bounds.take(operator, value(env))
        if bounds.empty:
            return
        context, unit, collection = self._context, self._context.unit, self._collection
        pending = unit.pending.get(collection)
        rows: Iterator[Doc]
        if bounds.exact is not None:
            keys = sorted(bounds.exact, reverse=self._descending is True) if self.sorts else list(bounds.exact)
            if len(keys) > 1:
                unit.prefetch(collection, [key for key in keys if not pending or key not in pending])
            rows = (document for key in keys if (document := unit.get(collection, key)) is not None)
        elif bounds.bounded or self.sorts:
            way = self._descending is True
            stored = collection.storage.scan_keys(collection.table, *bounds.low, *bounds.high, way)
            rows = (document for document in unit.scan(collection, stored) if bounds.within(document["_key"]))
            if pending and self.sorts:
                rows = iter(sorted(rows, key=lambda document: document["_key"], reverse=way))
        else:
            for document in unit.scan(collection, collection.scan()):
                context.scanned += 1
                yield document
            return
        for document in rows:
            context.scanned_index += 1
            yield document


class _Bounds:
    """What conditions on a key leave: some keys, or those between two ends."""

    def __init__(self) -> None:
        self.empty = False
        self.exact: dict[str, None] | None = None
        self.low: tuple[str | None, bool] = (None, False)
        self.high: tuple[str | None, bool] = (None, False)

    @property
    def bounded(self) -> bool:
        return self.low[0] is not None or self.high[0] is not None

    def take(self, operator: str, bound: Any) -> None:
        if operator in ("IN", "=="):
            listed = bound if operator == "IN" else [bound]
            keys = {key: None for key in listed if type(key) is str} if type(listed) is list else {}
            self.exact = {k: None for k in keys if (self.exact is None or k in self.exact) and self.within(k)}
        elif type(bound) is not str:
            # Values of other types come before or after all text.
            greater = rank(bound) < _TEXT
            self.empty = self.empty or greater != operator.startswith(">")
        elif operator.startswith(">"):
            low = self.low[0]
            if low is None or bound >= low:
                self.low = (bound, operator == ">" or (bound == low and self.low[1]))
        else:
            high = self.high[0]
            if high is None or bound <= high:
                self.high = (bound, operator == "<" or (bound == high and self.high[1]))
        if self.exact is not None:
            self.exact = {key: None for key in self.exact if self.within(key)}

    def within(self, key: str) -> bool:
        (low, beyond_low), (high, beyond_high) = self.low, self.high
        if low is not None and (key < low or (beyond_low and key == low)):
            return False
        return high is None or key < high or (key == high and not beyond_high)


def parts_of(node: Node) -> Iterator[Node]:
    """The conditions that are joined by AND."""
    if node[0] == "binary" and node[1] == "&&":
        yield from parts_of(node[2])
        yield from parts_of(node[3])
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
