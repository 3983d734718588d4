"""INSERT, UPDATE, REPLACE, REMOVE and UPSERT."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from tests.doubles.arangodb import documents
from tests.doubles.arangodb.aql.expressions import Compute, Env, Expressions
from tests.doubles.arangodb.aql.parser import Node
from tests.doubles.arangodb.collections import Collection
from tests.doubles.arangodb.documents import WriteOptions
from tests.doubles.arangodb.errors import ArangoError
from tests.doubles.arangodb.values import Doc, compare

if TYPE_CHECKING:
    from tests.doubles.arangodb.aql.run import Query

Step = Callable[[Iterator[Env]], Iterator[Env]]
Write = Callable[[Env], tuple[Any, Any] | None]
"""Does the write for one row; OLD and NEW, or None where nothing was written and the row goes on without them."""


def build(query: Query, expressions: Expressions, node: Node, scope: set[str]) -> Step:
    """The step of a writing statement; all rows are read before the first is written."""
    kind = node[0]
    given = expressions.constant(node[-1], scope) if node[-1] else {}
    collection = query.context.collection(query.name_of(node[-2]), write=True)
    options = _options(query, given if type(given) is dict else {})
    write = _WRITERS[kind](query, expressions, collection, node, options, scope)
    scope |= {"OLD", "NEW"}
    ignore_errors = type(given) is dict and given.get("ignoreErrors") is True
    context = query.context
    key = _key_of_example(expressions, node, scope) if kind == "upsert" else None

    def step(rows: Iterator[Env]) -> Iterator[Env]:
        done: list[Env] = []
        found_rows = list(rows)
        if key is not None and len(found_rows) > 1 and collection not in context.unit.pending:
            context.unit.prefetch(collection, [k for k in map(key, found_rows) if type(k) is str])
        for row in found_rows:
            try:
                found = write(row)
            except ArangoError as error:
                if not ignore_errors:
                    where = "" if context.database.server.is_311 else f" [node #3: {kind.capitalize()}Node]"
                    words = f"AQL: {error.message}{where} (while executing)"
                    raise ArangoError(error.number, words, status=_status(error)) from error
                context.ignored += 1
                continue
            if found is None:
                context.ignored += 1
                continue
            context.writes += 1
            done.append({**row, "OLD": found[0], "NEW": found[1]})
        yield from done

    return step


def _key_of_example(expressions: Expressions, node: Node, scope: set[str]) -> Compute | None:
    """What gives the key of an UPSERT whose example is a key alone: then all can be read at once."""
    example = node[1]
    if example[0] == "object" and len(example[1]) == 1 and example[1][0][0] == ("value", "_key"):
        return expressions.build(example[1][0][1], scope)
    return None


def _status(error: ArangoError) -> int | None:
    """A conflict within a query is a 409, though it is another status elsewhere."""
    return 409 if error.number in (1200, 1210) else error.status


def _options(query: Query, given: dict[str, Any]) -> WriteOptions:
    mode = given.get("overwriteMode", "replace" if given.get("overwrite") is True else "conflict")
    return WriteOptions(
        overwrite_mode=mode if mode in ("ignore", "replace", "update") else "conflict",
        keep_null=given.get("keepNull", True) is not False,
        merge_objects=given.get("mergeObjects", True) is not False,
        ignore_revs=given.get("ignoreRevs", True) is not False,
        return_new=True,
        return_old=True,
        version_attribute="" if query.context.database.server.is_311 else given.get("versionAttribute", ""),
    )


def _insert(
    query: Query, expressions: Expressions, collection: Collection, node: Node, options: WriteOptions, scope: set[str]
) -> Write:
    value = expressions.build(node[1], scope)
    unit = query.context.unit

    def write(env: Env) -> tuple[Any, Any]:
        written = documents.insert(unit, collection, _plain(value(env)), options)
        return written.get("old"), written.get("new")

    return write


def _change(
    query: Query, expressions: Expressions, collection: Collection, node: Node, options: WriteOptions, scope: set[str]
) -> Write:
    kind, first, second = node[0], node[1], node[2]
    which = expressions.build(first, scope)
    value = expressions.build(second, scope) if second else None
    unit = query.context.unit

    def write(env: Env) -> tuple[Any, Any]:
        named = which(env)
        body = _plain(value(env) if value else named)
        if value is not None and type(named) is dict and type(body) is dict and "_rev" in named:
            body = {**body, "_rev": named["_rev"]}
        key = documents.key_of(collection, named)
        written = documents.replace(unit, collection, key, body, options, patch=kind == "update")
        return written["old"], written["new"]

    return write


def _remove(
    query: Query, expressions: Expressions, collection: Collection, node: Node, options: WriteOptions, scope: set[str]
) -> Write:
    which = expressions.build(node[1], scope)
    unit = query.context.unit

    def write(env: Env) -> tuple[Any, Any]:
        named = which(env)
        removed = documents.remove(unit, collection, documents.key_of(collection, named), named, options)
        return removed["old"], None

    return write


def _upsert(
    query: Query, expressions: Expressions, collection: Collection, node: Node, options: WriteOptions, scope: set[str]
) -> Write:
    _, example_node, new_node, kind, changed_node, _, _ = node
    example = expressions.build(example_node, scope)
    new = expressions.build(new_node, scope)
    changed: Compute = expressions.build(changed_node, scope | {"OLD"})
    unit = query.context.unit

    def write(env: Env) -> tuple[Any, Any]:
        wanted = example(env)
        if type(wanted) is not dict:
            raise ArangoError(1227)
        old = _like(query, collection, wanted)
        if old is None:
            written = documents.insert(unit, collection, _plain(new(env)), options)
            return None, written["new"]
        body = _plain(changed({**env, "OLD": old}))
        if type(body) is dict:
            body = {name: item for name, item in body.items() if name not in ("_key", "_id")}
        written = documents.replace(unit, collection, old["_key"], body, options, patch=kind == "update")
        return written["old"], written["new"]

    return write


def _like(query: Query, collection: Collection, wanted: Doc) -> Doc | None:
    """The first document that equals the example in its attributes."""
    unit = query.context.unit
    key = wanted.get("_key")
    if type(key) is str:
        found = unit.get(collection, key)
        return found if found is not None and _equal(found, wanted) else None
    for document in unit.scan(collection, collection.scan()):
        query.context.scanned += 1
        if _equal(document, wanted):
            return document
    return None


def _equal(document: Any, wanted: Doc) -> bool:
    return type(document) is dict and all(
        _equal(document.get(name), value) if type(value) is dict else compare(document.get(name), value) == 0
        for name, value in wanted.items()
    )


def _plain(value: Any) -> Any:
    """A copy: what is written must not change with what it was made of."""
    return dict(value) if type(value) is dict else value


_WRITERS: dict[str, Callable[[Any, Any, Any, Any, Any, Any], Write]] = {
    "insert": _insert,
    "update": _change,
    "replace": _change,
    "remove": _remove,
    "upsert": _upsert,
}
