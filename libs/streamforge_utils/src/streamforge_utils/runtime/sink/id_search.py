"""Looks for entries among many that are sorted by an id, in a bounded number of short answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

T = TypeVar("T")
MOST = 1000
"""Entries in an answer."""
_IDS = 10**12
_BEGIN, _WIDER = 1024, 8


async def last_before(fetch: Callable[[int], Awaitable[Sequence[T]]], end_id: int, count: int) -> Sequence[T]:
    """The last `count` entries before an id, in their order; fewer where there are fewer.

    fetch: gives those from an id on and before `end_id`, the first `MOST`; an id has one entry at most.
    """
    low, high, width = 0, end_id, min(_BEGIN, end_id)
    while True:
        found = await fetch(end_id - width)
        if len(found) >= MOST:
            high, width = width, (low + width) // 2
        elif len(found) >= count or width >= end_id:
            return found[-count:]
        else:
            low, width = width, min(width * _WIDER, (width + high + 1) // 2 if high < end_id else end_id)


async def last_that(fetch: Callable[[int], Awaitable[tuple[int, T] | None]], fits: Callable[[T], bool]) -> T | None:
    """The last entry that fits, where all before it fit and none behind it does; None: none does.

    fetch: gives the first one from an id on, with its id; None: there is none.
    """
    low, high = 0, _IDS
    last: T | None = None
    while low < high:
        middle = (low + high) // 2
        found = await fetch(middle)
        if found is not None and fits(found[1]):
            low, last = found[0] + 1, found[1]
        else:
            high = middle
    return last
