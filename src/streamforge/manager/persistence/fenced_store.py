"""A store that takes changes only while its manager may make them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from streamforge_utils.ports.store import Store

READING = frozenset({"connect", "read", "keys", "count", "names", "flush", "get", "find", "links", "usage", "close"})
"""Methods that change nothing in the store."""


def fenced(store: Store, check: Callable[[], None]) -> Store:
    """The store, but that `check` is called before each change, and may raise instead."""
    return cast("Store", _Fence(store, check))


class _Fence:
    def __init__(self, store: Store, check: Callable[[], None]) -> None:
        self._store = store
        self._check = check

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if name in READING or not callable(found):
            return found

        async def change(*args: Any, **named: Any) -> Any:
            self._check()
            return await found(*args, **named)

        return change
