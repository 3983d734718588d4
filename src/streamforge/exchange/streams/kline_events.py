"""The streams `kline_<interval>`: the bar as it is every two seconds (of `1s`: every second), and when it is over."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from streamforge.exchange import windows
from streamforge.exchange.config import SymbolSpec
from streamforge.exchange.prices import STEPS_MS, Grid
from streamforge.exchange.seeded_trades import SeededTrades
from streamforge.exchange.stream_source import StreamEvent, StreamName, StreamSource
from streamforge.exchange.windows import RowSeries, Window

_CADENCE_MS, _SECOND_MS = 2_000, 1_000
_EVENT = (
    '{"e":"kline","E":%d,"s":"%s","k":{"t":%d,"T":%d,"s":"%s","i":"%s","f":%d,"L":%d,"o":"%s","c":"%s","h":"%s",'
    '"l":"%s","v":"%s","n":%s,"x":%s,"q":"%s","V":"%s","Q":"%s","B":"0"}}'
)


class KlineStream(StreamSource):
    """Candles. One that is over has the row of REST, and is sent with `x` as soon as it is over."""

    words = ("kline",)

    def known(self, name: StreamName) -> bool:
        return name.word in self.words and len(name.options) == 1 and name.options[0] in STEPS_MS

    def events(
        self, name: StreamName, spec: SymbolSpec, after_ms: int, until_ms: int, connection: int
    ) -> Sequence[StreamEvent]:
        grid = Grid(name.options[0])
        series = self.endpoints["klines"].archived(spec, grid)
        if series is None:
            return ()
        trades = self.endpoints["historicalTrades"].archived(spec, None)
        return list(self._events(grid, spec, series, trades, after_ms, until_ms))

    def _events(
        self,
        grid: Grid,
        spec: SymbolSpec,
        series: RowSeries,
        trades: RowSeries | None,
        after_ms: int,
        until_ms: int,
    ) -> Iterator[StreamEvent]:
        cadence_ms = _SECOND_MS if grid.step_ms == _SECOND_MS else _CADENCE_MS
        for now_ms in range((after_ms // cadence_ms + 1) * cadence_ms, until_ms + 1, cadence_ms):
            last_ms = now_ms - 1
            bar = grid.index(last_ms)
            over = grid.open_ms(bar + 1) <= now_ms
            if self.config.replay is not None and not over:
                continue  # what a recorded bar was like before it was over is not known
            window = Window(start_ms=grid.open_ms(bar), end_ms=grid.open_ms(bar), limit=1)
            as_of_ms = now_ms if over else last_ms
            for _, text in windows.read(series, windows.page(series, window, as_of_ms), as_of_ms):
                row = msgspec.json.decode(text, type=list[Any])
                first, last = _ids(trades, row[0], last_ms)
                opens, o, h, low, c, v, closes, q, n, taker, taker_quote, _ = row
                data = _EVENT % (
                    *(now_ms, spec.symbol, opens, closes, spec.symbol, grid.interval, first, last, o, c, h, low, v, n),
                    *("true" if over else "false", q, taker, taker_quote),
                )
                yield StreamEvent(now_ms, data.encode(), ("E", "t"), ("T",))


def _ids(trades: RowSeries | None, first_ms: int, last_ms: int) -> tuple[int, int]:
    """The ids of the first and the last trade of a span, both instants included; -1: there is none."""
    if trades is None:
        return -1, -1
    there = trades.existing(last_ms, final=False)
    numbers = max(trades.at(first_ms), there[0]), min(trades.at(last_ms + 1) - 1, there[1])
    if numbers[0] > numbers[1]:
        return -1, -1
    if isinstance(trades, SeededTrades):
        return numbers
    first, last = (msgspec.json.decode(trades.rows(one, one, last_ms)[0], type=_Id).id for one in numbers)
    return first, last


class _Id(msgspec.Struct):
    id: int
