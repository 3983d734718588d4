"""When the snapshot of an order book is asked for, and how urgently."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum

import msgspec


class Importance(IntEnum):
    """Why a snapshot is wanted: the greater one goes first. renew: what is known ends soon. walked_out: it has ended.

    missing: there is no book.
    """

    RENEW = 1
    WALKED_OUT = 2
    MISSING = 3


class Wanted(msgspec.Struct, frozen=True):
    """A snapshot to ask for."""

    importance: Importance
    limit: int


class SnapshotRequests:
    """Of one symbol: what is wanted, whether it is on its way, and how long to wait after answers of no use."""

    def __init__(self, retry_ms: int, retry_most_ms: int, chance: Callable[[], float]) -> None:
        self.importance: Importance | None = Importance.MISSING
        """None: no snapshot is wanted."""
        self.under_way = False
        """One was asked for, and has not come yet."""
        self._retry_ms, self._retry_most_ms, self._chance = retry_ms, retry_most_ms, chance
        self._tries = self._since_us = self._retry_at_ms = 0

    def want(self, importance: Importance, now_us: int) -> None:
        """One is wanted, if not more than before."""
        if self.importance is None or importance > self.importance:
            self.importance, self._since_us = importance, now_us

    def rank(self) -> tuple[int, ...]:
        """Of several symbols the least goes first: the most important one, of equals the one that waits longest."""
        return -(self.importance or 0), self._since_us

    def due(self, now_ms: int, limit: int, deep_limit: int) -> Wanted | None:
        """The one to ask for now; None: none is wanted, one is on its way, or it is too early to try again."""
        if self.importance is None or self.under_way or now_ms < self._retry_at_ms:
            return None
        self._since_us = self._since_us or now_ms * 1000  # one that begins waits since it first asked
        deep = self.importance is Importance.WALKED_OUT
        return Wanted(self.importance, deep_limit if deep else limit)

    def asked(self) -> None:
        """It is on its way."""
        self.under_way = True

    def failed(self, now_ms: int) -> None:
        """None came, or one of no use."""
        self.under_way = False
        self._tries += 1
        wait_ms = min(self._retry_ms << min(self._tries - 1, 20), self._retry_most_ms)
        self._retry_at_ms = now_ms + int(wait_ms * (0.5 + self._chance() / 2))

    def met(self) -> None:
        """The book has begun with one: none is wanted, and the next may be asked for at once."""
        self.importance, self._retry_at_ms = None, 0

    def answered(self, now_ms: int, *, later: bool) -> None:
        """One came. later: it is of use once the stream has come so far; if it does not, another one is asked for."""
        self.under_way, self._tries = False, 0
        self._retry_at_ms = now_ms + self._retry_most_ms if later else now_ms
