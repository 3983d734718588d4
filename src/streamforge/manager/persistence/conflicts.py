"""Changing a stored document while others change it, too."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

from streamforge_utils.model.errors import ConflictError

MOST_CONFLICTS = 50
"""In a row, of one change."""

T = TypeVar("T")


async def until_stored(what: str, attempt: Callable[[], Awaitable[T]]) -> T:
    """What `attempt` returns, which reads, decides and writes; it is made again whenever another change came first.

    what: the document, for messages. Raises what `attempt` raises, and ConflictError after `MOST_CONFLICTS`.
    """
    for _ in range(MOST_CONFLICTS):
        with suppress(ConflictError):
            return await attempt()
    raise ConflictError(f"{what} was changed by others {MOST_CONFLICTS} times in a row")
