"""Statements: each becomes a step from rows of variables to rows of variables."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from tests.doubles.arangodb.aql import writing
from tests.doubles.arangodb.aql.context import Context
from tests.doubles.arangodb.aql.expressions import Compute, Env, Expressions
from tests.doubles.arangodb.aql.parser import WRITES, Node, parse
from tests.doubles.arangodb.aql.reading import Plan, parts_of
from tests.doubles.arangodb.errors import ArangoError
from tests.doubles.arangodb.values import sort_key, truthy

Rows = Iterator[Env]
Step = Callable[[Rows], Rows]
_NO_END = 1 << 62


class Query:
    """One parsed query, ready to run once. Errors of parsing, of parameters and of names come from here."""

    def __init__(self, context: Context, text: str) -> None:
        self.context = context
        self.tree = parse(text)
        self.writes = any(node[0] in WRITES for node in self.tree)
        self._expressions = Expressions(context)
        self._answered: set[int] = set()
        self._result: Compute | None = None
        self._last_limit = max((at for at, node in enumerate(self.tree) if node[0] == "limit"), default=-1)
        scope: set[str] = set()
        self._steps = [self._step(at, node, scope) for at, node in enumerate(self.tree) if node[0] != "return"]
        if self.tree[-1][0] == "return":
            self._result = self._expressions.build(self.tree[-1][1], scope)
        unused = set(context.binds) - context.used_binds
        if unused:
            words = f"bind parameter '{min(unused)}' was not declared in the query (while parsing)"
            raise ArangoError(1552, words)

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

    def fold(self) -> None:
        """Compute what has no variables, as an optimizer does: a warning of it is known before the query runs."""

        def look(node: Any) -> None:
            if type(node) is not tuple and type(node) is not list:
                return
            for part in node:
                look(part)
            if type(node) is tuple and node[:1] == ("binary",) and node[2][0] == node[3][0] == "value":
                self._expressions.constant(node)

        look(self.tree)

    def name_of(self, node: Node) -> str:
        """The name of a collection, as it stands in the query or in a parameter."""
        if node[0] == "name":
            return str(node[1])
        value = self.context.bind(node[1])
        if type(value) is not str or not node[1].startswith("@"):
            raise ArangoError(1553, f"bind parameter '{node[1]}' has an invalid value or type (while parsing)")
        return value

    def _step(self, at: int, node: Node, scope: set[str]) -> Step:
        kind = node[0]
        if kind == "for":
            return self._for(node, self.tree[at + 1 :], scope)
        if kind == "limit":
            return self._limit(node, counts=at == self._last_limit and self.context.options.get("fullCount") is True)
        if kind in WRITES:
            return writing.build(self, self._expressions, node, scope)
        return _STEPS[kind](self, node, scope)

    def _declare(self, name: str, scope: set[str]) -> None:
        if name in scope:
            raise ArangoError(1511, f"variable '{name}' is assigned multiple times (while parsing)")
        scope.add(name)

    def _for(self, node: Node, after: list[Node], scope: set[str]) -> Step:
        _, name, source, _ = node
        if (source[0] == "bind" and source[1].startswith("@")) or (source[0] == "name" and source[1] not in scope):
            plan = Plan(self.context, self.context.collection(self.name_of(source)), name, after)
            self._answered |= plan.used
            self._declare(name, scope)
            return lambda rows: ({**row, name: document} for row in rows for document in plan.documents())
        items = self._expressions.build(source, scope)
        self._declare(name, scope)
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
        self._declare(name, scope)
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
        if count is None:
            count = _NO_END  # `LIMIT 0, null`, which a client sends
        if any(type(bound) not in (int, float) or bound < 0 for bound in (first, count)):
            raise ArangoError(1504, "number out of range: LIMIT expects numbers of at least 0 (while parsing)")
        end = first + count
        context = self.context

        def step(rows: Rows) -> Rows:
            seen = 0
            if not counts and not count:
                return
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
        name = node[1]
        scope.clear()
        self._declare(name, scope)
        return lambda rows: iter(({name: sum(1 for _ in rows)},))


_STEPS: dict[str, Callable[[Query, Node, set[str]], Step]] = {
    "let": Query._let,
    "filter": Query._filter,
    "sort": Query._sort,
    "collect": Query._collect,
}
