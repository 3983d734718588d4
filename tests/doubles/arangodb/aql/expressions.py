"""Expressions: each node of the tree becomes a function from the variables to a value."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.doubles.arangodb.aql.context import Context
from tests.doubles.arangodb.aql.functions import FUNCTIONS, number
from tests.doubles.arangodb.aql.parser import Node
from tests.doubles.arangodb.errors import ArangoError
from tests.doubles.arangodb.values import compare, truthy

Env = dict[str, Any]
Compute = Callable[[Env], Any]


class Expressions:
    """Builds the functions for one query."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def build(self, node: Node, scope: set[str]) -> Compute:
        """scope: the variables that are there; another name is a collection, or 1203."""
        return _BUILDERS[node[0]](self, node, scope)

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
        if name not in scope:
            self._context.collection(name)
            raise ArangoError(9, "this double knows a collection as a source of FOR alone")
        return lambda env: env[name]

    def _member(self, node: Node, scope: set[str]) -> Compute:
        return self._index(("index", node[1], ("value", node[2])), scope)

    def _index(self, node: Node, scope: set[str]) -> Compute:
        of, at = self.build(node[1], scope), self.build(node[2], scope)

        def compute(env: Env) -> Any:
            value = of(env)
            return value.get(at(env)) if type(value) is dict else None

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
        _, name, given = node
        function = FUNCTIONS.get(name)
        if function is None:
            raise ArangoError(1540, f"usage of unknown function '{name}()' (while parsing)")
        low, high, run = function
        if not low <= len(given) <= high:
            words = f"invalid number of arguments for function '{name}()', expected number of arguments: minimum: {low}"
            raise ArangoError(1541, f"{words}, maximum: {high} (while parsing)")
        arguments = [self.build(one, scope) for one in given]
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


_BUILDERS: dict[str, Callable[[Expressions, Node, set[str]], Compute]] = {
    "value": Expressions._value,
    "bind": Expressions._bind,
    "name": Expressions._name,
    "member": Expressions._member,
    "index": Expressions._index,
    "array": Expressions._array,
    "object": Expressions._object,
    "ternary": Expressions._ternary,
    "call": Expressions._call,
    "binary": Expressions._binary,
}


def _in(left: Any, right: Any) -> bool:
    return type(right) is list and any(compare(left, item) == 0 for item in right)


_TESTS: dict[str, Callable[[Any, Any], bool]] = {
    "==": lambda a, b: compare(a, b) == 0,
    "!=": lambda a, b: compare(a, b) != 0,
    "<": lambda a, b: compare(a, b) < 0,
    "<=": lambda a, b: compare(a, b) <= 0,
    ">": lambda a, b: compare(a, b) > 0,
    ">=": lambda a, b: compare(a, b) >= 0,
    "IN": _in,
}


def _divided(context: Context, a: Any, b: Any) -> Any:
    if b == 0:
        context.warn(1562, "division by zero")
        return None
    return a / b


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
    "..": lambda context, a, b: list(range(int(a), int(b) + 1)),
}
