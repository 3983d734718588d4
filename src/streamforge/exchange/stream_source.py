"""What the test exchange sends on its streams: for each name of a stream the events of a time, from the one log."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import msgspec

from streamforge.exchange.config import ExchangeConfig, SymbolSpec


class StreamName(msgspec.Struct, frozen=True):
    """`btcusdt@kline_1m` in its parts: the symbol in capitals, the word, and what follows it (`1m`, `100ms`, `20`)."""

    text: str
    symbol: str
    word: str
    options: tuple[str, ...] = ()


class StreamEvent(msgspec.Struct, frozen=True, gc=False):
    """What is sent. time_ms: when, by the exchange's clock. data: its JSON text, times in milliseconds.

    times: the members of `data` that are times (`E`, `T`), which a client may ask for in microseconds.
    """

    time_ms: int
    data: bytes
    times: tuple[str, ...] = ("E", "T")


class StreamSource(ABC):
    """The events of one sort of stream. words: its names' middle parts (`trade`, `kline`).

    Events are a pure function of configuration, name and time, so that REST, streams and archive agree, and two
    connections get the same, each from when it has subscribed. A source whose events depend on the connection
    (batches of diffs) gets its number.
    """

    words: ClassVar[tuple[str, ...]]

    def __init__(self, config: ExchangeConfig) -> None:
        self.config = config

    @abstractmethod
    def events(
        self, name: StreamName, spec: SymbolSpec, after_ms: int, until_ms: int, connection: int
    ) -> Sequence[StreamEvent]:
        """The events with `after_ms` < time <= `until_ms`, in the order in which they are sent."""

    def known(self, name: StreamName) -> bool:
        """Whether there is such a stream, whatever the symbol: an unknown one is acknowledged, and silent."""
        return name.word in self.words and not name.options
