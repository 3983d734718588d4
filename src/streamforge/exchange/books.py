"""The order book of a symbol at any moment, from which REST and the oracle take what they say of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import msgspec

Level = tuple[str, str]
"""A price and the quantity there, as texts."""
NO_LEVEL: Level = ("0.00000000", "0.00000000")
"""What the exchange says of the best level of a side that has none."""


class BookState(msgspec.Struct, frozen=True, gc=False):
    """A book after the update `update_id`, with its best levels first. time_ms: of that update, unix ms."""

    update_id: int
    time_ms: int
    bids: Sequence[Level]
    asks: Sequence[Level]


class Book(ABC):
    """The order book of one symbol. Update ids rise with time."""

    @abstractmethod
    def update_at(self, time_ms: int) -> int:
        """The id of the last update until `time_ms`, included."""

    @abstractmethod
    def state(self, update_id: int, levels: int | None = None) -> BookState | None:
        """The book after that update, `levels` a side at most; None: it is not known."""

    def snapshot(self, time_ms: int, levels: int | None = None) -> BookState:
        """What REST says at `time_ms`; empty where nothing is known."""
        update_id = self.update_at(time_ms)
        return self.state(update_id, levels) or BookState(update_id, time_ms, (), ())

    def doubt(self, time_ms: int) -> str:
        """Why it is not known to be that of the exchange at `time_ms`; empty: it is."""
        return ""


def ticker(symbol: str, update_id: int, bid: Level, ask: Level) -> bytes:
    """The event of `bookTicker` with these best levels."""
    return msgspec.json.encode({"u": update_id, "s": symbol, "b": bid[0], "B": bid[1], "a": ask[0], "A": ask[1]})
