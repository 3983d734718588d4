"""Expressions: each node of the tree becomes a function from the variables to a value."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tests.doubles.arangodb.aql.parser import Node
from tests.doubles.arangodb.collections import Collection
from tests.doubles.arangodb.errors import ArangoError
from tests.doubles.arangodb.values import compare, sort_key, truthy

if TYPE_CHECKING:
    from tests.doubles.arangodb.documents import Unit
    from tests.doubles.arangodb.server import Database

Env = dict[str, Any]
Compute = Callable[[Env], Any]


class Context:
    """One query. `sleep`: seconds that SLEEP was asked for; the answer is delayed by them."""

    def __init__(self, database: Database, unit: Unit, binds: dict[str, Any], options: dict[str, Any]) -> None:
        self.database = database
        self.unit = unit
        self.binds = binds
        self.options = options
        self.used_binds: set[str] = set()
        self.warnings: list[dict[str, Any]] = []
        self.sleep = 0.0
        self.writes = self.ignored = self.scanned = self.scanned_index = self.filtered = 0
        self.full_count: int | None = None
        self.memory = 0
        self.memory_limit = 0

    def collection(self, name: Any) -> Collection:
        """The collection of a name; 1203 where there is none."""
        found = self.database.find(name)
        if found is None:
            words = f"collection or view not found: {name}"
            raise ArangoError(1203, f"AQL: {words} (while parsing)" if self.database.server.is_311 else words)
        return found

    def bind(self, name: str) -> Any:
        self.used_binds.add(name)
        if name not in self.binds:
            raise ArangoError(1551, f"no value specified for declared bind parameter '{name}' (while parsing)")
        return self.binds[name]

    def warn(self, number: int, message: str) -> None:
        """A warning, or an error where the query is to fail on warnings."""
        if self.options.get("failOnWarning"):
            raise ArangoError(number, f"AQL: {message} (while executing)")
        if len(self.warnings) < self.options.get("maxWarningCount", 10):
            self.warnings.append({"code": number, "message": message})

    def keep(self, rows: int) -> None:
        """Count rows that are held in memory (some 48 bytes each); error 32 above the query's limit."""
        self.memory += rows * 48
        if self.memory_limit and self.memory > self.memory_limit:
            raise ArangoError(32, "AQL: query would use more memory than allowed (while executing)")


def number(value: Any) -> Any:
    """A value as AQL computes with it: what is no number is 0."""
    return value if type(value) in (int, float) else 0


def _sleep(context: Context, seconds: Any) -> None:
    context.sleep += float(seconds)


def _split(context: Context, text: str, separators: list[str]) -> list[str]:
    return re.split("|".join(map(re.escape, separators)), text)


def _date_format(context: Context, time_ms: int, form: str) -> str:
    assert form == "%yyyy-%mm", f"the double knows no such form of a date: {form}"
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m")


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "DATE_FORMAT": _date_format,
    "SPLIT": _split,
    "LEFT": lambda context, text, length: "" if text is None else str(text)[:length],
    "IS_NUMBER": lambda context, value: type(value) in (int, float),
    "PUSH": lambda context, items, value: [*items, value],
    "SLEEP": _sleep,
    "UNSET": lambda context, document, *names: {n: value for n, value in document.items() if n not in names},
}


def _known(values: Sequence[Any]) -> list[Any]:
    return [one for one in values if one is not None]


AGGREGATES: dict[str, Callable[[Sequence[Any]], Any]] = {
    "AVG": lambda values: sum(_known(values)) / len(_known(values)) if _known(values) else None,
    "MAX": lambda values: max(_known(values), key=sort_key, default=None),
    "MIN": lambda values: min(_known(values), key=sort_key, default=None),
    "SUM": lambda values: sum(_known(values)),
}


class Expressions:
    """Builds the functions for one query."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def build(self, node: Node, scope: set[str]) -> Compute:
        """scope: the variables that are there."""
        compute: Compute = getattr(self, f"_{node[0]}")(node, scope)
        return compute

    def constant(self, node: Node) -> Any:
        """The value of an expression without variables (options, limits)."""
        return self.build(node, set())({})

    def _value(self, node: Node, scope: set[str]) -> Compute:
        return lambda env: node[1]

    def _bind(self, node: Node, scope: set[str]) -> Compute:
        value = self._context.bind(node[1])
        return lambda env: value

    def _name(self, node: Node, scope: set[str]) -> Compute:
        name = node[1]
        return lambda env: env[name]

    def _member(self, node: Node, scope: set[str]) -> Compute:
        return self._index(("index", node[1], ("value", node[2])), scope)

    def _index(self, node: Node, scope: set[str]) -> Compute:
        of, at = self.build(node[1], scope), self.build(node[2], scope)

        def compute(env: Env) -> Any:
            value, place = of(env), at(env)
            if type(value) is list and type(place) is int:
                return value[place] if -len(value) <= place < len(value) else None
            return value.get(place) if type(value) is dict else None

        return compute

    def _array(self, node: Node, scope: set[str]) -> Compute:
        parts = [self.build(item, scope) for item in node[1]]
        return lambda env: [part(env) for part in parts]

    def _object(self, node: Node, scope: set[str]) -> Compute:
        pairs = [(name, self.build(value, scope)) for name, value in node[1]]
        return lambda env: {name: value(env) for name, value in pairs}

    def _ternary(self, node: Node, scope: set[str]) -> Compute:
        condition, yes, no = (self.build(part, scope) for part in node[1:])
        return lambda env: yes(env) if truthy(condition(env)) else no(env)

    def _call(self, node: Node, scope: set[str]) -> Compute:
        run = FUNCTIONS[node[1]]
        arguments = [self.build(one, scope) for one in node[2]]
        context = self._context
        return lambda env: run(context, *[argument(env) for argument in arguments])

    def _binary(self, node: Node, scope: set[str]) -> Compute:
        _, operator, left_node, right_node = node
        left, right = self.build(left_node, scope), self.build(right_node, scope)
        if operator == "&&":
            return lambda env: right(env) if truthy(value := left(env)) else value
        if operator == "||":
            return lambda env: value if truthy(value := left(env)) else right(env)
        test = _TESTS.get(operator)
        if test is not None:
            return lambda env: test(left(env), right(env))
        context = self._context
        compute = _ARITHMETIC[operator]
        return lambda env: compute(context, number(left(env)), number(right(env)))


def _in(left: Any, right: Any) -> bool:
    return type(right) is list and any(compare(left, item) == 0 for item in right)


_TESTS: dict[str, Callable[[Any, Any], bool]] = {
    "==": lambda a, b: compare(a, b) == 0,
    "<": lambda a, b: compare(a, b) < 0,
    "<=": lambda a, b: compare(a, b) <= 0,
    ">": lambda a, b: compare(a, b) > 0,
    ">=": lambda a, b: compare(a, b) >= 0,
    "IN": _in,
}


def _divided(context: Context, a: Any, b: Any) -> Any:
    return a / b if b else context.warn(1562, "division by zero")


_ARITHMETIC: dict[str, Callable[[Context, Any, Any], Any]] = {
    "+": lambda context, a, b: a + b,
    "/": _divided,
    "..": lambda context, a, b: list(range(int(a), int(b) + 1)),
}
