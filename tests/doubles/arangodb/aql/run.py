"""Statements: each becomes a step from rows of variables to rows of variables."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from tests.doubles.arangodb.aql import reading, writing
from tests.doubles.arangodb.aql.context import Context
from tests.doubles.arangodb.aql.expressions import Compute, Env, Expressions
from tests.doubles.arangodb.aql.functions import FUNCTIONS
from tests.doubles.arangodb.aql.parser import Node, parse
from tests.doubles.arangodb.errors import ArangoError
from tests.doubles.arangodb.values import hashable, sort_key, truthy

Rows = Iterator[Env]
Step = Callable[[Rows], Rows]
_WRITES = ("insert", "update", "replace", "remove", "upsert")


class Query:
    """One parsed query, ready to run once. Errors of parsing, of parameters and of names come from here."""

    def __init__(self, context: Context, text: Any) -> None:
        if type(text) is not str:
            raise ArangoError(1502)
        self.context = context
        self.tree = parse(text)
        self.writes = any(node[0] in _WRITES for node in self.tree)
        self._expressions = Expressions(context, self._nested)
        self._answered: set[int] = set()
        self._run = self._build(self.tree, set(), top=True)
        unused = set(context.binds) - context.used_binds
        if unused:
            words = f"bind parameter '{min(unused)}' was not declared in the query (while parsing)"
            raise ArangoError(1552, words)

    def results(self) -> Iterator[Any]:
        """What is returned, row by row. A query that writes has done it all before the first."""
        return self._run({})

    def fold(self) -> None:
        """Compute what has no variables, as an optimizer does: a warning of it is known before the query runs."""

        def look(node: Any) -> None:
            if type(node) is not tuple and type(node) is not list:
                return
            for part in node:
                look(part)
            if type(node) is tuple and node[:1] == ("binary",) and node[2][0] == node[3][0] == "value":
                self._expressions.constant(node, set())

        look(self.tree)

    def _nested(self, tree: list[Node], scope: set[str]) -> Compute:
        run = self._build(tree, set(scope), top=False)
        return lambda env: list(run(env))

    def _build(self, tree: list[Node], scope: set[str], *, top: bool) -> Callable[[Env], Iterator[Any]]:
        steps: list[Step] = []
        result: Compute | None = None
        distinct = False
        place = 0
        last_limit = max((i for i, node in enumerate(tree) if node[0] == "limit"), default=-1)
        while place < len(tree):
            node = tree[place]
            kind = node[0]
            if kind == "with":
                for name in node[1]:
                    self.context.collection(self.name_of(name))
            elif kind == "return":
                result = self._expressions.build(node[1], scope)
                distinct = node[2]
            elif kind == "for":
                steps.append(self._for(tree, place, scope))
            elif kind == "limit":
                counts = top and place == last_limit and self.context.options.get("fullCount") is True
                steps.append(self._limit(node, counts))
            elif kind in _WRITES:
                steps.append(writing.build(self, self._expressions, node, scope))
            else:
                steps.append(_STEPS[kind](self, node, scope))
            place += 1
        return self._runner(steps, result, distinct)

    def _runner(self, steps: list[Step], result: Compute | None, distinct: bool) -> Callable[[Env], Iterator[Any]]:
        def run(env: Env) -> Iterator[Any]:
            rows: Rows = iter((env,))
            for step in steps:
                rows = step(rows)
            if result is None:
                for _ in rows:
                    pass
                return
            if not distinct:
                yield from map(result, rows)
                return
            seen: set[Any] = set()
            for row in rows:
                value = result(row)
                mark = hashable(value)
                if mark not in seen:
                    seen.add(mark)
                    yield value

        return run

    def name_of(self, node: Node) -> str:
        """The name of a collection, as it stands in the query or in a parameter."""
        if node[0] == "name":
            return str(node[1])
        value = self.context.bind(node[1])
        if type(value) is not str or not node[1].startswith("@"):
            raise ArangoError(1553, f"bind parameter '{node[1]}' has an invalid value or type (while parsing)")
        return value

    def _declare(self, name: str, scope: set[str]) -> None:
        if name in scope:
            raise ArangoError(1511, f"variable '{name}' is assigned multiple times (while parsing)")
        scope.add(name)

    def _for(self, tree: list[Node], place: int, scope: set[str]) -> Step:
        _, name, source, _ = tree[place]
        is_bound = source[0] == "bind" and source[1].startswith("@")
        if is_bound or (source[0] == "name" and source[1] not in scope):
            collection = self.context.collection(self.name_of(source))
            before = set(scope)
            self._declare(name, scope)
            plan = reading.Plan(self.context, self._expressions, collection, name)
            first = not any(node[0] in ("for", "traverse") for node in tree[:place])
            plan.look(tree[place + 1 :], before, first=first)
            self._answered.update(map(id, plan.used))
            self._answered.add(id(plan.sorts))

            def over_collection(rows: Rows) -> Rows:
                for row in rows:
                    for document in plan.documents(row):
                        yield {**row, name: document}

            return over_collection
        items = self._expressions.build(source, scope)
        self._declare(name, scope)
        context = self.context

        def over_list(rows: Rows) -> Rows:
            for row in rows:
                value = items(row)
                if type(value) is not list:
                    context.warn(
                        1563, "collection or array expected as operand to FOR loop; you provided a value of type 'null'"
                    )
                    continue
                context.keep(len(value))
                for item in value:
                    yield {**row, name: item}

        return over_list

    def _traverse(self, node: Node, scope: set[str]) -> Step:
        step = reading.traversal(self.context, self._expressions, self.name_of, node, scope)
        for name in node[1]:
            self._declare(name, scope)
        return step

    def _let(self, node: Node, scope: set[str]) -> Step:
        pairs: list[tuple[str, Compute]] = []
        for name, value in node[1]:
            pairs.append((name, self._expressions.build(value, scope)))
            self._declare(name, scope)

        def step(rows: Rows) -> Rows:
            for row in rows:
                env = dict(row)
                for name, value in pairs:
                    env[name] = value(env)
                yield env

        return step

    def _filter(self, node: Node, scope: set[str]) -> Step:
        left = [part for part in reading.parts_of(node[1]) if id(part) not in self._answered]
        if not left:
            return lambda rows: rows
        remaining = left[0]
        for part in left[1:]:
            remaining = ("binary", "&&", remaining, part)
        condition = self._expressions.build(remaining, scope)
        context = self.context

        def step(rows: Rows) -> Rows:
            for row in rows:
                if truthy(condition(row)):
                    yield row
                else:
                    context.filtered += 1

        return step

    def _sort(self, node: Node, scope: set[str]) -> Step:
        if id(node) in self._answered:
            return lambda rows: rows
        keys: list[tuple[Compute, bool]] = []
        for by, way in node[1]:
            direction = str(self._expressions.constant(way, scope)).upper()
            keys.append((self._expressions.build(by, scope), direction in ("DESC", "FALSE")))
        context = self.context

        def step(rows: Rows) -> Rows:
            found = list(rows)
            context.keep(len(found))
            for by, descending in reversed(keys):
                found.sort(key=lambda row: sort_key(by(row)), reverse=descending)
            yield from found

        return step

    def _limit(self, node: Node, counts: bool) -> Step:
        bounds = []
        for part in (node[1], node[2]):
            value = self._expressions.constant(part, set())
            if value is None and part is node[2]:
                value = 1 << 62  # `LIMIT 0, null`, which a client sends, has no end
            if type(value) not in (int, float) or value < 0:
                raise ArangoError(1504, "number out of range: LIMIT expects numbers of at least 0 (while parsing)")
            bounds.append(int(value))
        first, count = bounds
        context = self.context

        def step(rows: Rows) -> Rows:
            seen = 0
            if not counts and not count:
                return
            for row in rows:
                seen += 1
                if first < seen <= first + count:
                    yield row
                    if seen == first + count and not counts:
                        return
            if counts:
                context.full_count = seen

        return step

    def _collect(self, node: Node, scope: set[str]) -> Step:
        _, groups, aggregates, into, into_value, keep, count, _options = node
        keys = [(name, self._expressions.build(value, scope)) for name, value in groups]
        folds = []
        for name, value in aggregates:
            if value[0] != "call" or value[1] not in FUNCTIONS or len(value[2]) > 1:
                raise ArangoError(1574, "invalid aggregate expression (while parsing)", status=400)
            folds.append((name, value[1], self._expressions.build(value[2][0] if value[2] else ("value", 1), scope)))
        made = self._expressions.build(into_value, scope) if into_value else None
        kept = keep if keep is not None else sorted(name for name in scope if not name.startswith("$"))
        scope.clear()
        for name in [*(n for n, _ in keys), *(n for n, _, _ in folds), *filter(None, (into, count))]:
            self._declare(name, scope)
        context = self.context

        def step(rows: Rows) -> Rows:
            found: dict[Any, tuple[list[Any], list[list[Any]], list[Any], list[int]]] = {}
            for row in rows:
                values = [by(row) for _, by in keys]
                mark = tuple(map(hashable, values))
                group = found.get(mark)
                if group is None:
                    group = found[mark] = (values, [[] for _ in folds], [], [0])
                for place, (_, _, value) in enumerate(folds):
                    group[1][place].append(value(row))
                if into:
                    group[2].append(made(row) if made else {name: row[name] for name in kept if name in row})
                group[3][0] += 1
            if not found and not keys:
                found[()] = ([], [[] for _ in folds], [], [0])
            for values, folded, members, counted in sorted(found.values(), key=lambda group: sort_key(group[0])):
                env: Env = dict(zip((name for name, _ in keys), values, strict=True))
                for (name, function, _), items in zip(folds, folded, strict=True):
                    length = function in ("LENGTH", "COUNT")
                    env[name] = len(items) if length else FUNCTIONS[function][2](context, items)
                if into:
                    env[into] = members
                if count:
                    env[count] = counted[0]
                yield env

        return step


_STEPS: dict[str, Callable[[Query, Node, set[str]], Step]] = {
    "traverse": Query._traverse,
    "let": Query._let,
    "filter": Query._filter,
    "sort": Query._sort,
    "collect": Query._collect,
}
