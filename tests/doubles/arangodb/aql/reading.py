"""Where FOR gets the documents of a collection: all of them, or those of a range of keys."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.doubles.arangodb.aql.context import Context
from tests.doubles.arangodb.aql.parser import Node
from tests.doubles.arangodb.collections import Collection
from tests.doubles.arangodb.values import Doc

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
                    if part[0] == "binary" and part[1] in _OPERATORS and part[2] == key and self._take(*part[1::2]):
                        self.used.add(id(part))
            elif node == ("sort", [(key, False)]):
                self._sorted = True
                self.used.add(id(node))
                return
            else:
                return

    def _take(self, operator: str, of: Node) -> bool:
        """Whether the index answers a comparison with `of`, a constant text or list of texts."""
        if of[0] not in ("bind", "value"):
            return False
        value: Any = self._context.bind(of[1]) if of[0] == "bind" else of[1]
        if operator == "IN" and type(value) is list:
            self._keys = [key for key in dict.fromkeys(value) if type(key) is str]
        elif type(value) is not str:
            return False
        elif operator == "==":
            self._keys = [value]
        elif operator.startswith(">"):
            self._low = (value, operator == ">")
        else:
            self._high = (value, operator == "<")
        return True

    def documents(self) -> Iterator[Doc]:
        context, unit, collection = self._context, self._context.unit, self._collection
        rows: Iterator[Doc]
        if self._keys is not None:
            keys = sorted(self._keys) if self._sorted else self._keys
            if len(keys) > 1 and collection not in unit.pending:
                unit.prefetch(collection, keys)
            rows = (document for key in keys if (document := unit.get(collection, key)) is not None)
        elif self._sorted or self._low[0] is not None or self._high[0] is not None:
            stored = collection.storage.scan_keys(collection.table, *self._low, *self._high)
            rows = (document for document in unit.scan(collection, stored) if self._within(document["_key"]))
            if unit.pending.get(collection):
                rows = iter(sorted(rows, key=lambda document: document["_key"]))
        else:
            for document in unit.scan(collection, collection.scan()):
                context.scanned += 1
                yield document
            return
        for document in rows:
            context.scanned_index += 1
            yield document

    def _within(self, key: str) -> bool:
        (low, above), (high, below) = self._low, self._high
        if low is not None and (key < low or (above and key == low)):
            return False
        return high is None or key < high or (key == high and not below)


def parts_of(node: Node) -> Iterator[Node]:
    """The conditions that are joined by AND."""
    if node[0] == "binary" and node[1] == "&&":
        yield from parts_of(node[2])
        yield from parts_of(node[3])
    else:
        yield node
