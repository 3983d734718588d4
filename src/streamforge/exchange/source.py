"""Where the exchange's candles come from: one small port, and the seeded source."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Protocol

from streamforge.exchange.config import ANY_SYMBOL, ExchangeConfig, SymbolSpec
from streamforge.exchange.grid import Bars, Grid, limited, without_holes
from streamforge.exchange.params import KlinesQuery
from streamforge.exchange.prices import PricePath
from streamforge_utils.model.kinds.candles import Interval
from streamforge_utils.model.timeranges import TimeRange

_BLOCK = 240
_BLOCKS_KEPT = 128
"""Rows a block and blocks in memory: about 7 MB."""
_ORACLE_PAGE = 1_000


class Source(Protocol):
    """Candles as the exchange holds them. A row is the JSON text of one candle, times in unix ms."""

    @property
    def symbols(self) -> Mapping[str, SymbolSpec]:
        """Every listed symbol."""

    def page(self, query: KlinesQuery, now_ms: int, *, open_candle: bool) -> list[bytes]:
        """What a request sees at `now_ms`, ascending.

        open_candle: whether a bar that is not over counts. Raises ApiError for a timeZone that cannot be served.
        """

    def closed(self, symbol: str, interval: Interval, span: TimeRange, now_ms: int) -> Iterator[list[bytes]]:
        """Every candle that opens in `span` and is over at `now_ms`, ascending, in parts of any size."""


class SeededSource:
    """Candles that follow from the seed; see `prices`."""

    def __init__(self, config: ExchangeConfig) -> None:
        self._symbols = {spec.symbol: spec for spec in config.symbols}
        self._paths = {spec.symbol: PricePath(config.seed, spec) for spec in config.symbols}
        everywhere = config.holes.get(ANY_SYMBOL, ())
        self._holes = {
            symbol: sorted([*everywhere, *(config.holes.get(symbol, ()) if symbol != ANY_SYMBOL else ())])
            for symbol in self._symbols
        }
        self._blocks: OrderedDict[tuple[str, Interval, int, int], list[bytes]] = OrderedDict()

    @property
    def symbols(self) -> Mapping[str, SymbolSpec]:
        return self._symbols

    def page(self, query: KlinesQuery, now_ms: int, *, open_candle: bool) -> list[bytes]:
        grid = Grid(query.interval, query.offset_ms)
        bars = self._bars(query.symbol, grid, query.start_ms, query.end_ms, now_ms, open_candle=open_candle)
        pieces = without_holes(grid, bars, self._holes[query.symbol])
        rows: list[bytes] = []
        for first, last in limited(pieces, query.limit, newest=query.start_ms is None):
            rows.extend(self._rows(query.symbol, grid, first, last, now_ms))
        return rows

    def closed(self, symbol: str, interval: Interval, span: TimeRange, now_ms: int) -> Iterator[list[bytes]]:
        grid = Grid(interval)
        bars = self._bars(symbol, grid, span.start_ms, span.end_ms - 1, now_ms, open_candle=False)
        for first, last in without_holes(grid, bars, self._holes[symbol]):
            for start in range(first, last + 1, _ORACLE_PAGE):
                yield self._rows(symbol, grid, start, min(last, start + _ORACLE_PAGE - 1), now_ms)

    def _bars(
        self, symbol: str, grid: Grid, start_ms: int | None, end_ms: int | None, now_ms: int, *, open_candle: bool
    ) -> Bars:
        """The bars that exist at `now_ms` and open in [start_ms, end_ms], holes not yet taken out."""
        spec = self._symbols[symbol]
        first = grid.index(spec.listed_ms)
        if start_ms is not None:
            first = max(first, grid.first_from(min(start_ms, now_ms + 1)))
        last = grid.index(now_ms)
        if spec.delisted_ms is not None and spec.delisted_ms <= now_ms:
            last = grid.index(spec.delisted_ms - 1)
        if not open_candle and grid.open_ms(last + 1) > now_ms:
            last -= 1
        if end_ms is not None and end_ms < now_ms:
            last = min(last, grid.index(end_ms))
        return first, last

    def _rows(self, symbol: str, grid: Grid, first: int, last: int, now_ms: int) -> list[bytes]:
        rows: list[bytes] = []
        unfinished = grid.open_ms(last + 1) > now_ms
        final = last - 1 if unfinished else last
        for block in range(first // _BLOCK, final // _BLOCK + 1):
            start = block * _BLOCK
            rows.extend(self._block(symbol, grid, block)[max(first - start, 0) : final - start + 1])
        if unfinished:
            rows.extend(self._paths[symbol].rows(grid.interval, grid.opens(last, last), now_ms))
        return rows

    def _block(self, symbol: str, grid: Grid, block: int) -> list[bytes]:
        key = (symbol, grid.interval, grid.offset_ms, block)
        rows = self._blocks.get(key)
        if rows is None:
            rows = self._paths[symbol].rows(grid.interval, grid.opens(block * _BLOCK, block * _BLOCK + _BLOCK - 1))
            self._blocks[key] = rows
            if len(self._blocks) > _BLOCKS_KEPT:
                self._blocks.popitem(last=False)
        else:
            self._blocks.move_to_end(key)
        return rows


def in_microseconds(row: bytes) -> bytes:
    """`row` with its two times in microseconds: the close is the last microsecond of its millisecond."""
    head, closes, *tail = row.rsplit(b",", 6)
    opens, rest = head.split(b",", 1)
    return b",".join((opens + b"000", rest, closes + b"999", *tail))
