"""Expressions: each node of the tree becomes a function from the variables to a value."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from tests.doubles.arangodb.aql.context import Context
from tests.doubles.arangodb.aql.functions import FUNCTIONS, number
from tests.doubles.arangodb.aql.parser import Node
from tests.doubles.arangodb.errors import ArangoError
from tests.doubles.arangodb.values import compare, hashable, truthy

Env = dict[str, Any]
Compute = Callable[[Env], Any]
Subquery = Callable[[list[Node], set[str]], Callable[[Env], list[Any]]]


class Expressions:
    """Builds the functions for one query. subquery: how statements within an expression are built."""

    def __init__(self, context: Context, subquery: Subquery) -> None:
        self._context = context
        self._subquery = subquery
        self._kept: Any = None

    def build(self, node: Node, scope: set[str]) -> Compute:
        """scope: the variables that are there; another name is a collection, or 1203."""
        return _BUILDERS[node[0]](self, node, scope)

    def constant(self, node: Node, scope: set[str]) -> Any:
        """The value of an expression without variables (options, limits)."""
        return self.build(node, set())({})

    def _value(self, node: Node, scope: set[str]) -> Compute:
        value = node[1]
        return lambda env: value

    def _bind(self, node: Node, scope: set[str]) -> Compute:
        name = node[1]
        value = self._context.bind(name)
        if name.startswith("@"):
            return self._all_of(self._context.collection(value).name)
        return lambda env: value

    def _name(self, node: Node, scope: set[str]) -> Compute:
        name = node[1]
        if name in scope:
            return lambda env: env[name]
        return self._all_of(self._context.collection(name).name)

    def _all_of(self, name: str) -> Compute:
        """A collection as a value: all its documents."""
        context = self._context
        collection = context.collection(name)
        return lambda env: list(context.unit.scan(collection, collection.scan()))

    def _member(self, node: Node, scope: set[str]) -> Compute:
        of, name = self.build(node[1], scope), node[2]

        def compute(env: Env) -> Any:
            value = of(env)
            return value.get(name) if type(value) is dict else None

        return compute

    def _index(self, node: Node, scope: set[str]) -> Compute:
        of, at = self.build(node[1], scope), self.build(node[2], scope)

        def compute(env: Env) -> Any:
            value, index = of(env), at(env)
            if type(value) is dict:
                return value.get(index) if type(index) is str else value.get(str(index))
            if type(value) is list and type(index) in (int, float):
                place = int(index)
                return value[place] if -len(value) <= place < len(value) else None
            return None

        return compute

    def _expand(self, node: Node, scope: set[str]) -> Compute:
        _, of_node, stars, condition, limit, value, tail = node
        of = self.build(of_node, scope)
        inner = scope | {"CURRENT"}
        keep = self.build(condition, inner) if condition else None
        made = self.build(value, inner) if value else self.build(tail, inner) if tail else None
        bounds = (self.build(limit[1], scope), self.build(limit[2], scope)) if limit else None

        def compute(env: Env) -> Any:
            items = of(env)
            if type(items) is not list:
                return []
            for _ in range(stars - 1):
                items = [part for item in items for part in (item if type(item) is list else [item])]
            if keep:
                items = [item for item in items if truthy(keep({**env, "CURRENT": item}))]
            if bounds:
                first = int(bounds[0](env))
                items = items[first : first + int(bounds[1](env))]
            return [made({**env, "CURRENT": item}) for item in items] if made else list(items)

        return compute

    def _array(self, node: Node, scope: set[str]) -> Compute:
        parts = [self.build(item, scope) for item in node[1]]
        return lambda env: [part(env) for part in parts]

    def _object(self, node: Node, scope: set[str]) -> Compute:
        pairs = [(self.build(name, scope), self.build(value, scope)) for name, value in node[1]]
        return lambda env: {_text(name(env)): value(env) for name, value in pairs}

    def _nested(self, node: Node, scope: set[str]) -> Compute:
        return self._subquery(node[1], scope)

    def _ternary(self, node: Node, scope: set[str]) -> Compute:
        condition, no = self.build(node[1], scope), self.build(node[3], scope)
        yes = self.build(node[2], scope) if node[2] else None

        def compute(env: Env) -> Any:
            value = condition(env)
            if truthy(value):
                return yes(env) if yes else value
            return no(env)

        return compute

    def _not(self, node: Node, scope: set[str]) -> Compute:
        of = self.build(node[1], scope)
        return lambda env: not truthy(of(env))

    def _minus(self, node: Node, scope: set[str]) -> Compute:
        of = self.build(node[1], scope)
        return lambda env: -number(of(env))

    def _plus(self, node: Node, scope: set[str]) -> Compute:
        of = self.build(node[1], scope)
        return lambda env: number(of(env))

    def _range(self, node: Node, scope: set[str]) -> Compute:
        low, high = self.build(node[2], scope), self.build(node[3], scope)

        def compute(env: Env) -> list[int]:
            a, b = int(number(low(env))), int(number(high(env)))
            return list(range(a, b + 1)) if a <= b else list(range(a, b - 1, -1))

        return compute

    def _call(self, node: Node, scope: set[str]) -> Compute:
        name, given = node[1], node[2]
        function = FUNCTIONS.get(name)
        if function is None:
            raise ArangoError(1540, f"usage of unknown function '{name}()' (while parsing)")
        low, high, run = function
        if not low <= len(given) <= high:
            words = f"invalid number of arguments for function '{name}()', expected number of arguments: minimum: {low}"
            raise ArangoError(1541, f"{words}, maximum: {high} (while parsing)")
        if name == "DOCUMENT" and given[0][0] == "name" and given[0][1] not in scope:
            given = [("value", given[0][1]), *given[1:]]
        if name in ("COUNT", "LENGTH", "COLLECTION_COUNT"):
            counted = self._counted(given[0], scope)
            if counted:
                return counted
        arguments = [self.build(one, scope) for one in given]
        context = self._context
        return lambda env: run(context, *[argument(env) for argument in arguments])

    def _counted(self, node: Node, scope: set[str]) -> Compute | None:
        """LENGTH(collection) without reading it."""
        name = None
        if node[0] == "bind" and node[1].startswith("@"):
            name = self._context.bind(node[1])
        elif node[0] == "name" and node[1] not in scope:
            name = node[1]
        if name is None:
            return None
        collection, unit = self._context.collection(name), self._context.unit
        if unit.pending.get(collection):
            return None
        return lambda env: collection.count()

    def _quantified(self, node: Node, scope: set[str]) -> Compute:
        _, quantifier, operator, left_node, right_node = node
        left, right = self.build(left_node, scope), self.build(right_node, scope)
        test = _TESTS[operator]

        def compute(env: Env) -> bool:
            items, value = left(env), right(env)
            if type(items) is not list:
                return False
            results: Iterable[bool] = (test(item, value) for item in items)
            if quantifier == "ANY":
                return any(results)
            return all(results) if quantifier == "ALL" else not any(results)

        return compute

    def _binary(self, node: Node, scope: set[str]) -> Compute:
        _, operator, left_node, right_node = node
        left, right = self.build(left_node, scope), self.build(right_node, scope)
        if operator == "&&":
            return lambda env: right(env) if truthy(value := left(env)) else value
        if operator == "||":
            return lambda env: value if truthy(value := left(env)) else right(env)
        if operator == "??":
            return lambda env: value if (value := left(env)) is not None else right(env)
        test = _TESTS.get(operator)
        if test is not None:
            if operator == "IN" and right_node[0] in ("bind", "value", "array"):
                return self._in_constant(left, right)
            return lambda env: test(left(env), right(env))
        context = self._context
        compute = _ARITHMETIC[operator]
        return lambda env: compute(context, number(left(env)), number(right(env)))

    def _in_constant(self, left: Compute, right: Compute) -> Compute:
        known: dict[int, frozenset[Any]] = {}

        def compute(env: Env) -> bool:
            items = right(env)
            if type(items) is not list:
                return False
            values = known.get(id(items))
            if values is None:
                values = frozenset(map(hashable, items))
                known.clear()
                known[id(items)] = values
                self._kept = items
            return hashable(left(env)) in values

        return compute


_BUILDERS: dict[str, Callable[[Expressions, Node, set[str]], Compute]] = {
    "value": Expressions._value,
    "bind": Expressions._bind,
    "name": Expressions._name,
    "member": Expressions._member,
    "index": Expressions._index,
    "expand": Expressions._expand,
    "array": Expressions._array,
    "object": Expressions._object,
    "subquery": Expressions._nested,
    "ternary": Expressions._ternary,
    "not": Expressions._not,
    "minus": Expressions._minus,
    "plus": Expressions._plus,
    "range": Expressions._range,
    "call": Expressions._call,
    "quantified": Expressions._quantified,
    "binary": Expressions._binary,
}


def _text(value: Any) -> str:
    return value if type(value) is str else FUNCTIONS["TO_STRING"][2](None, value)


def _in(left: Any, right: Any) -> bool:
    return type(right) is list and any(compare(left, item) == 0 for item in right)


def like(value: Any, pattern: Any, ignore_case: bool = False) -> bool:
    """SQL's LIKE: `_` is one character, `%` any number of them."""
    if type(value) is not str or type(pattern) is not str:
        return False
    parts = re.split(r"(\\.|[%_])", pattern)
    regex = "".join(
        ".*" if p == "%" else "." if p == "_" else re.escape(p[1:] if len(p) == 2 and p[0] == "\\" else p)
        for p in parts
    )
    return re.fullmatch(regex, value, re.DOTALL | (re.IGNORECASE if ignore_case else 0)) is not None


def _matches(value: Any, pattern: Any) -> bool:
    try:
        return type(value) is str and re.search(str(pattern), value) is not None
    except re.error as error:
        raise ArangoError(1543, f"AQL: invalid regex value: {error} (while executing)") from error


_TESTS: dict[str, Callable[[Any, Any], bool]] = {
    "==": lambda a, b: a == b if type(a) is type(b) is str else compare(a, b) == 0,
    "!=": lambda a, b: compare(a, b) != 0,
    "<": lambda a, b: compare(a, b) < 0,
    "<=": lambda a, b: compare(a, b) <= 0,
    ">": lambda a, b: compare(a, b) > 0,
    ">=": lambda a, b: compare(a, b) >= 0,
    "IN": _in,
    "NOT IN": lambda a, b: not _in(a, b),
    "LIKE": like,
    "=~": _matches,
    "!~": lambda a, b: not _matches(a, b),
}


def _divided(context: Context, a: Any, b: Any) -> Any:
    if b == 0:
        context.warn(1562, "division by zero")
        return None
    result = a / b
    return int(result) if result.is_integer() and abs(result) < 1 << 53 else result


def _modulo(context: Context, a: Any, b: Any) -> Any:
    if b == 0:
        context.warn(1562, "division by zero")
        return None
    rest = abs(a) % abs(b)
    return -rest if a < 0 else rest


_ARITHMETIC: dict[str, Callable[[Context, Any, Any], Any]] = {
    "+": lambda context, a, b: a + b,
    "-": lambda context, a, b: a - b,
    "*": lambda context, a, b: a * b,
    "/": _divided,
    "%": _modulo,
}
