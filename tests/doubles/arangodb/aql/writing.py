"""UPDATE, REPLACE, REMOVE and UPSERT."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from tests.doubles.arangodb import documents
from tests.doubles.arangodb.aql.expressions import Env, Expressions
from tests.doubles.arangodb.aql.parser import Node
from tests.doubles.arangodb.collections import Collection
from tests.doubles.arangodb.documents import WriteOptions
from tests.doubles.arangodb.errors import ArangoError

if TYPE_CHECKING:
    from tests.doubles.arangodb.aql.run import Query

Step = Callable[[Iterator[Env]], Iterator[Env]]
Write = Callable[[Env], tuple[Any, Any]]
"""Does the write for one row; OLD and NEW."""

_OPTIONS = WriteOptions(return_new=True, return_old=True)


def build(query: Query, expressions: Expressions, node: Node, scope: set[str]) -> Step:
    """The step of a writing statement; all rows are read before the first is written."""
    kind, *parts, into, options = node
    context = query.context
    collection = context.collection(query.name_of(into))
    ignore_errors = options is not None and expressions.constant(options).get("ignoreErrors") is True
    write = _WRITERS[kind](query, expressions, collection, node, scope)
    key = expressions.build(_key_of(parts[0]), scope) if kind == "upsert" else None
    scope |= {"OLD", "NEW"}

    def step(rows: Iterator[Env]) -> Iterator[Env]:
        done: list[Env] = []
        found_rows = list(rows)
        if key is not None and len(found_rows) > 1:
            context.unit.prefetch(collection, map(key, found_rows))
        for row in found_rows:
            try:
                old, new = write(row)
            except ArangoError as error:
                if not ignore_errors:
                    # A conflict within a query is a 409, though it is another status elsewhere.
                    status = 409 if error.number in (1200, 1210) else error.status
                    raise ArangoError(error.number, f"AQL: {error.message}", status=status) from error
                context.ignored += 1
                continue
            context.writes += 1
            done.append({**row, "OLD": old, "NEW": new})
        yield from done

    return step


def _key_of(example: Node) -> Node:
    """What gives the key of an UPSERT's example, which is a key alone."""
    value: Node = example[1][0][1]
    return value


def _change(query: Query, expressions: Expressions, collection: Collection, node: Node, scope: set[str]) -> Write:
    kind, first, second = node[:3]
    which = expressions.build(first, scope)
    value = expressions.build(second, scope) if second else which
    unit = query.context.unit

    def write(env: Env) -> tuple[Any, Any]:
        key = documents.key_of(collection, which(env))
        written = documents.replace(unit, collection, key, _copied(value(env)), _OPTIONS, patch=kind == "update")
        return written["old"], written["new"]

    return write


def _remove(query: Query, expressions: Expressions, collection: Collection, node: Node, scope: set[str]) -> Write:
    which = expressions.build(node[1], scope)
    unit = query.context.unit

    def write(env: Env) -> tuple[Any, Any]:
        named = which(env)
        removed = documents.remove(unit, collection, documents.key_of(collection, named), named, _OPTIONS)
        return removed["old"], None

    return write


def _upsert(query: Query, expressions: Expressions, collection: Collection, node: Node, scope: set[str]) -> Write:
    key = expressions.build(_key_of(node[1]), scope)
    new = expressions.build(node[2], scope)
    changed = expressions.build(node[3], scope | {"OLD"})
    unit = query.context.unit

    def write(env: Env) -> tuple[Any, Any]:
        old = unit.get(collection, key(env))
        if old is None:
            return None, documents.insert(unit, collection, _copied(new(env)), _OPTIONS)["new"]
        body = _copied(changed({**env, "OLD": old}))
        written = documents.replace(unit, collection, old["_key"], body, _OPTIONS, patch=False)
        return written["old"], written["new"]

    return write


def _copied(value: Any) -> Any:
    """What is written must not change with what it was made of."""
    return dict(value) if type(value) is dict else value


_WRITERS: dict[str, Callable[[Any, Any, Any, Any, Any], Write]] = {
    "update": _change,
    "replace": _change,
    "remove": _remove,
    "upsert": _upsert,
}
