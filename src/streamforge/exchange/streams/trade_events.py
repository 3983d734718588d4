"""The streams `trade` and `aggTrade`: the rows of REST, each sent when it happens."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from streamforge.exchange import windows
from streamforge.exchange.config import SymbolSpec
from streamforge.exchange.stream_source import StreamEvent, StreamName, StreamSource
from streamforge.exchange.windows import Window

_TRADE = re.compile(
    rb'{"id":(\d+),"price":"([^"]+)","qty":"([^"]+)",.*?"time":(\d+),"isBuyerMaker":(\w+),"isBestMatch":(\w+)}'
)
_AGG_TRADE = re.compile(rb'{"a":(\d+),"p":"([^"]+)","q":"([^"]+)","f":(\d+),"l":(\d+),"T":(\d+),"m":(\w+),"M":(\w+)}')


class _Rows(StreamSource):
    """A stream of the rows of an endpoint."""

    endpoint: ClassVar[str]

    def events(
        self, name: StreamName, spec: SymbolSpec, after_ms: int, until_ms: int, connection: int
    ) -> Sequence[StreamEvent]:
        series = self.endpoints[self.endpoint].archived(spec, None)
        if series is None:
            return ()
        window = Window(start_ms=after_ms + 1, end_ms=until_ms, limit=1 << 62)
        rows = windows.read(series, windows.page(series, window, until_ms), until_ms)
        return self.made(b'"s":"%s"' % spec.symbol.encode(), b"\n".join(row for _, row in rows))

    @abstractmethod
    def made(self, symbol: bytes, rows: bytes) -> list[StreamEvent]:
        """The events of rows, one a line. symbol: the member that names it."""


class TradeStream(_Rows):
    """Single trades."""

    words = ("trade",)
    endpoint = "historicalTrades"

    def made(self, symbol: bytes, rows: bytes) -> list[StreamEvent]:
        text = b'{"e":"trade","E":%s,' + symbol + b',"t":%s,"p":"%s","q":"%s","T":%s,"m":%s,"M":%s}'
        return [
            StreamEvent(int(time), text % (time, number, price, quantity, time, maker, best))
            for number, price, quantity, time, maker, best in _TRADE.findall(rows)
        ]


class AggTradeStream(_Rows):
    """Aggregated trades."""

    words = ("aggTrade",)
    endpoint = "aggTrades"

    def made(self, symbol: bytes, rows: bytes) -> list[StreamEvent]:
        text = b'{"e":"aggTrade","E":%s,' + symbol + b',"a":%s,"p":"%s","q":"%s","f":%s,"l":%s,"T":%s,"m":%s,"M":%s}'
        return [StreamEvent(int(row[5]), text % (row[5], *row)) for row in _AGG_TRADE.findall(rows)]
