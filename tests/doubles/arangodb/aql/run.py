"""Statements: each becomes a step from rows of variables to rows of variables."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from tests.doubles.arangodb.aql import writing
from tests.doubles.arangodb.aql.expressions import AGGREGATES, Compute, Context, Env, Expressions
from tests.doubles.arangodb.aql.parser import WRITES, Node, parse
from tests.doubles.arangodb.collections import Collection
from tests.doubles.arangodb.errors import ArangoError
from tests.doubles.arangodb.graphs import find_graph
from tests.doubles.arangodb.values import Doc, hashable, sort_key, truthy

Rows = Iterator[Env]
Step = Callable[[Rows], Rows]


class Query:
    """One parsed query, ready to run once. Errors of parsing, of parameters and of names come from here."""

    def __init__(self, context: Context, text: str) -> None:
        self.context = context
        self.tree = parse(text)
        self._expressions = Expressions(context)
        self._answered: set[int] = set()
        self._result: Compute | None = None
        self._last_limit = max((at for at, node in enumerate(self.tree) if node[0] == "limit"), default=-1)
        scope: set[str] = set()
        self._steps = [self._step(at, node, scope) for at, node in enumerate(self.tree) if node[0] != "return"]
        if self.tree[-1][0] == "return":
            self._result = self._expressions.build(self.tree[-1][1], scope)
        if unused := set(context.binds) - context.used_binds:
            raise ArangoError(1552, f"bind parameter '{min(unused)}' was not declared in the query (while parsing)")

    def results(self) -> Iterator[Any]:
        """What is returned, row by row. A query that writes has done it all before the first."""
        rows: Rows = iter(({},))
        for step in self._steps:
            rows = step(rows)
        if self._result is not None:
            yield from map(self._result, rows)
        else:
            for _ in rows:
                pass

    def name_of(self, node: Node) -> str:
        """The name of a collection, as it stands in the query or in a parameter."""
        if node[0] == "name":
            return str(node[1])
        return str(self.context.bind(node[1]))

    def _step(self, at: int, node: Node, scope: set[str]) -> Step:
        kind = node[0]
        if kind == "for":
            return self._for(node, self.tree[at + 1 :], scope)
        if kind == "limit":
            return self._limit(node, counts=at == self._last_limit and self.context.options.get("fullCount") is True)
        if kind in WRITES:
            return writing.build(self, self._expressions, node, scope)
        step: Step = getattr(self, f"_{kind}")(node, scope)
        return step

    def _for(self, node: Node, after: list[Node], scope: set[str]) -> Step:
        _, name, source, _ = node
        if (source[0] == "bind" and source[1].startswith("@")) or (source[0] == "name" and source[1] not in scope):
            plan = Plan(self.context, self.context.collection(self.name_of(source)), name, after)
            self._answered |= plan.used
            scope.add(name)
            return lambda rows: ({**row, name: document} for row in rows for document in plan.documents())
        items = self._expressions.build(source, scope)
        scope.add(name)
        context = self.context

        def step(rows: Rows) -> Rows:
            for row in rows:
                value = items(row)
                context.keep(len(value))
                for item in value:
                    yield {**row, name: item}

        return step

    def _let(self, node: Node, scope: set[str]) -> Step:
        _, name, of = node
        value = self._expressions.build(of, scope)
        scope.add(name)
        return lambda rows: ({**row, name: value(row)} for row in rows)

    def _filter(self, node: Node, scope: set[str]) -> Step:
        conditions = [
            self._expressions.build(part, scope) for part in parts_of(node[1]) if id(part) not in self._answered
        ]
        context = self.context

        def step(rows: Rows) -> Rows:
            for row in rows:
                if all(truthy(condition(row)) for condition in conditions):
                    yield row
                else:
                    context.filtered += 1

        return step

    def _sort(self, node: Node, scope: set[str]) -> Step:
        if id(node) in self._answered:
            return lambda rows: rows
        keys = [(self._expressions.build(by, scope), descending) for by, descending in node[1]]
        context = self.context

        def step(rows: Rows) -> Rows:
            found = list(rows)
            context.keep(len(found))
            for by, descending in reversed(keys):
                found.sort(key=lambda row: sort_key(by(row)), reverse=descending)
            yield from found

        return step

    def _limit(self, node: Node, *, counts: bool) -> Step:
        """counts: how many rows there would be without it is to be known."""
        first, count = (self._expressions.constant(part) for part in node[1:])
        end = first + count
        context = self.context

        def step(rows: Rows) -> Rows:
            seen = 0
            for row in rows:
                seen += 1
                if first < seen <= end:
                    yield row
                    if seen == end and not counts:
                        return
            if counts:
                context.full_count = seen

        return step

    def _collect(self, node: Node, scope: set[str]) -> Step:
        _, groups, aggregates, counted = node
        by = [self._expressions.build(of, scope) for _, of in groups]
        values = [self._expressions.build(of, scope) for _, _, of in aggregates]
        names = [*(one[0] for one in (*groups, *aggregates)), *([counted] if counted else [])]
        scope.clear()
        scope |= {*names}
        context = self.context

        def step(rows: Rows) -> Rows:
            found: dict[Any, tuple[list[Any], list[list[Any]]]] = {}
            if not by:
                found[None] = [], []
            for row in rows:
                group = [one(row) for one in by]
                members = found.setdefault(hashable(group) if by else None, (group, []))[1]
                members.append([one(row) for one in values])
            context.keep(len(found) if by else 0)
            for group, members in sorted(found.values(), key=lambda pair: [*map(sort_key, pair[0])]):
                columns = zip(*members, strict=True)
                told = [AGGREGATES[one[1]](column) for one, column in zip(aggregates, columns, strict=False)]
                yield dict(zip(names, [*group, *told, *([len(members)] if counted else [])], strict=True))

        return step

    def _traverse(self, node: Node, scope: set[str]) -> Step:
        """Depth first, no edge twice on one path, as a server does by default; vertices may come again."""
        _, names, *parts, direction, start, graph = node
        depths, begins = (self._expressions.build(one, scope) for one in (parts[0], start))
        scope |= {*names}
        context = self.context
        named = find_graph(context.database, context.unit, self._expressions.constant(graph))
        edges = [edge for name in named.edge_collections() for edge in context.collection(name).scan()]
        leaving: dict[str, list[tuple[str, Doc]]] = {}
        for edge in edges:
            if direction != "INBOUND":
                leaving.setdefault(edge["_from"], []).append((edge["_to"], edge))
            if direction != "OUTBOUND":
                leaving.setdefault(edge["_to"], []).append((edge["_from"], edge))

        def walk(at: str, path: list[Doc], depth: list[int]) -> Iterator[tuple[Doc | None, Doc]]:
            for end, edge in leaving.get(at, []):
                if any(edge is one for one in path):
                    continue
                collection, _, key = end.partition("/")
                if len(path) + 1 >= depth[0]:
                    yield context.unit.get(context.collection(collection), key), edge
                if len(path) + 1 < depth[-1]:
                    yield from walk(end, [*path, edge], depth)

        def step(rows: Rows) -> Rows:
            for row in rows:
                depth = depths(row)
                for found in walk(begins(row), [], depth if type(depth) is list else [depth]):
                    yield {**row, **dict(zip(names, found, strict=False))}

        return step


_OPERATORS = ("<", "<=", ">", ">=", "==", "IN")


class Plan:
    """How one FOR reads a collection.

    Conditions on `_key` and a SORT by `_key` use the primary index, whose order is that of code points (AQL's own is
    that of a language); they are not looked at again. Everything else looks at every document. used: the nodes that
    the index has answered, by their `id`.
    """

    def __init__(self, context: Context, collection: Collection, name: str, after: list[Node]) -> None:
        """after: the statements behind the FOR."""
        self.used: set[int] = set()
        self._context = context
        self._collection = collection
        self._sorted = False
        self._keys: list[str] | None = None
        self._low: tuple[str | None, bool] = (None, False)
        self._high: tuple[str | None, bool] = (None, False)
        key = ("member", ("name", name), "_key")
        for node in after:
            if node[0] == "filter":
                for part in parts_of(node[1]):
                    constant = part[-1][0] in ("bind", "value")
                    if part[0] == "binary" and part[1] in _OPERATORS and part[2] == key and constant:
                        self._take(part[1], part[3])
                        self.used.add(id(part))
            elif node == ("sort", [(key, False)]):
                self._sorted = True
                self.used.add(id(node))
                return
            else:
                return

    def _take(self, operator: str, of: Node) -> None:
        """Let the index answer a comparison with `of`, a constant text or list of texts."""
        value: Any = self._context.bind(of[1]) if of[0] == "bind" else of[1]
        if operator == "IN":
            self._keys = [*dict.fromkeys(value)]
        elif operator == "==":
            self._keys = [value]
        elif operator.startswith(">"):
            self._low = (value, operator == ">")
        else:
            self._high = (value, operator == "<")

    def documents(self) -> Iterator[Doc]:
        context, unit, collection = self._context, self._context.unit, self._collection
        rows: Iterator[Doc]
        if self._keys is not None:
            keys = sorted(self._keys) if self._sorted else self._keys
            if len(keys) > 1:
                unit.prefetch(collection, keys)
            rows = (document for key in keys if (document := unit.get(collection, key)) is not None)
        elif self._sorted or self._low[0] is not None or self._high[0] is not None:
            rows = collection.storage.scan_keys(collection.table, *self._low, *self._high)
        else:
            for document in collection.scan():
                context.scanned += 1
                yield document
            return
        for document in rows:
            context.scanned_index += 1
            yield document


def parts_of(node: Node) -> Iterator[Node]:
    """The conditions that are joined by AND."""
    if node[0] == "binary" and node[1] == "&&":
        yield from parts_of(node[2])
        yield from parts_of(node[3])
    else:
        yield node
