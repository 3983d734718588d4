"""What the test exchange sends on its streams: for each name of a stream the events of a time, from the one log."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

import msgspec

from streamforge.exchange.config import ExchangeConfig, SymbolSpec
from streamforge.exchange.endpoint import RowsEndpoint

_NAME = re.compile(r"(?P<symbol>[^@/]+)@(?P<word>[A-Za-z]+)(?P<rest>.*)")


class StreamName(msgspec.Struct, frozen=True):
    """`btcusdt@kline_1m` in its parts: the symbol in capitals, the word, and what follows it (`1m`, `100ms`, `20`)."""

    text: str
    symbol: str
    word: str
    options: tuple[str, ...] = ()


def read_name(text: str) -> StreamName | None:
    """A stream's name in its parts; None: it is none, or its symbol is not in small letters."""
    match = _NAME.fullmatch(text)
    if match is None or match["symbol"] != match["symbol"].lower():
        return None
    options = tuple(filter(None, re.split("[_@]", match["rest"])))
    return StreamName(text, match["symbol"].upper(), match["word"], options)


class StreamEvent(msgspec.Struct, frozen=True, gc=False):
    """What is sent. time_ms: when, by the exchange's clock. data: its JSON text, times in milliseconds.

    times: the members of `data` that are times (`E`, `T`), which a client may ask for in microseconds. ends: those that
    are the last millisecond of something, and become its last microsecond.
    """

    time_ms: int
    data: bytes
    times: tuple[str, ...] = ("E", "T")
    ends: tuple[str, ...] = ()

    def micro(self) -> bytes:
        """`data` with its times in microseconds."""
        return _digits(self.ends, b"999", _digits(self.times, b"000", self.data))


def _digits(members: Sequence[str], digits: bytes, data: bytes) -> bytes:
    if not members:
        return data
    return re.sub(rb'("(?:%s)":\d{13})(?=[,}])' % "|".join(members).encode(), rb"\g<1>" + digits, data)


class StreamSource(ABC):
    """The events of one sort of stream. words: its names' middle parts (`trade`, `kline`).

    Events are a pure function of configuration, name and time, so that REST, streams and archive agree, and two
    connections get the same, each from when it has subscribed. A source whose events depend on the connection
    (batches of diffs) gets its number, and says with `shared` that no two get the same ones. endpoints: those with
    rows, seeded or recorded, by their first path.
    """

    words: ClassVar[tuple[str, ...]]
    shared: ClassVar[bool] = True

    def __init__(self, config: ExchangeConfig, endpoints: Mapping[str, RowsEndpoint]) -> None:
        self.config, self.endpoints = config, endpoints

    @abstractmethod
    def events(
        self, name: StreamName, spec: SymbolSpec, after_ms: int, until_ms: int, connection: int
    ) -> Sequence[StreamEvent]:
        """The events with `after_ms` < time <= `until_ms`, in the order in which they are sent."""

    def known(self, name: StreamName) -> bool:
        """Whether there is such a stream, whatever the symbol: an unknown one is acknowledged, and silent."""
        return name.word in self.words and not name.options
