"""GET /api/v3/klines and uiKlines: candles."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Hashable, Sequence

from streamforge.exchange import errors
from streamforge.exchange.config import ExchangeConfig, SymbolSpec
from streamforge.exchange.endpoint import RowsEndpoint
from streamforge.exchange.grid import STEPS_MS, Grid
from streamforge.exchange.params import Sent
from streamforge.exchange.prices import PricePath
from streamforge.exchange.windows import Numbers, SeededRows
from streamforge_utils.model.timeranges import TimeRange

_BLOCK = 240
_BLOCKS_KEPT = 128
"""Rows a block and blocks in memory: about 7 MB."""

_ZONE = re.compile(r"(?P<sign>[+-]?)(?P<hours>[0-9]{1,2})(?::(?P<minutes>[0-5][0-9]))?", re.ASCII)
_NUMBER = r"[0-9]{1,20}(?:\.[0-9]{1,20})?"
_LINE = re.compile(
    r"(\d{13}|\d{16}),"
    + rf"({_NUMBER})," * 5
    + rf"(\d{{13}}|\d{{16}}),({_NUMBER}),(\d{{1,18}}),({_NUMBER}),({_NUMBER}),({_NUMBER})",
    re.ASCII,
)
_ROW = '[%d,"%s","%s","%s","%s","%s",%d,"%s",%s,"%s","%s","%s"]'


class Klines(RowsEndpoint):
    """Candles of one interval. A variant is a grid; recorded bars cannot be cut by another time zone."""

    paths = ("klines", "uiKlines")
    weight = 2
    parameters = ("symbol", "interval", "startTime", "endTime", "timeZone", "limit")

    def __init__(self, config: ExchangeConfig) -> None:
        super().__init__(config)
        self._prices: dict[str, PricePath] = {}
        self._blocks: OrderedDict[tuple[str, Grid, int], list[bytes]] = OrderedDict()

    def variant(self, sent: Sent) -> Grid:
        if not sent.get("interval"):
            raise errors.missing("interval")
        if sent["interval"] not in STEPS_MS:
            raise errors.invalid_interval()
        grid = Grid(sent["interval"], _zone_ms(sent.get("timeZone", "0")))
        if grid.offset_ms and self.recordings is not None:
            raise errors.invalid_value("timeZone")
        return grid

    def seeded(self, spec: SymbolSpec, variant: Hashable) -> SeededCandles:
        assert isinstance(variant, Grid)  # noqa: S101 - it comes from `variant`
        path = self._prices.get(spec.symbol)
        if path is None:
            path = self._prices[spec.symbol] = PricePath(self.config.seed, spec)
        return SeededCandles(spec, self.holes(spec.symbol), variant, path, self._blocks)

    def in_microseconds(self, row: bytes) -> bytes:
        """The close is the last microsecond of its millisecond."""
        head, closes, *tail = row.rsplit(b",", 6)
        opens, rest = head.split(b",", 1)
        return b",".join((opens + b"000", rest, closes + b"999", *tail))

    def recorded_variant(self, name: str) -> Grid:
        interval = "1M" if name == "1mo" else name  # as the archive writes a month
        if interval not in STEPS_MS:
            raise ValueError(f"{name} is no interval of spot klines")
        return Grid(interval)

    def recorded_row(self, cells: Sequence[str]) -> tuple[int, int, int, bytes]:
        match = _LINE.fullmatch(",".join(cells))
        if match is None:
            raise ValueError("is no candle")
        opens, o, h, low, c, v, closes, q, n, tb, tq, last = match.groups()
        open_ms, close_ms = (int(t) if len(t) == 13 else int(t) // 1000 for t in (opens, closes))
        if close_ms <= open_ms:
            raise ValueError(f"is no candle: that of {open_ms} closes at {close_ms}")
        row = _ROW % (open_ms, o, h, low, c, v, close_ms, q, n, tb, tq, last)
        return open_ms, open_ms, close_ms, row.encode()


class SeededCandles(SeededRows):
    """Candles that follow from the seed (see `prices`); a row's number is that of its bar in the grid."""

    def __init__(
        self,
        spec: SymbolSpec,
        holes: Sequence[TimeRange],
        grid: Grid,
        path: PricePath,
        blocks: OrderedDict[tuple[str, Grid, int], list[bytes]],
    ) -> None:
        super().__init__(spec, holes)
        self._grid, self._path, self._blocks = grid, path, blocks

    def at(self, time_ms: int) -> int:
        return self._grid.first_from(time_ms)

    def within(self, span: TimeRange) -> Numbers:
        return self._grid.first_from(span.start_ms), self._grid.index(span.end_ms) - 1

    def existing(self, now_ms: int, *, final: bool) -> Numbers:
        grid, spec = self._grid, self.spec
        last = grid.index(now_ms)
        if spec.delisted_ms is not None and spec.delisted_ms <= now_ms:
            last = grid.index(spec.delisted_ms - 1)
        if final and grid.open_ms(last + 1) > now_ms:
            last -= 1
        return grid.index(spec.listed_ms), last

    def rows(self, first: int, last: int, now_ms: int) -> list[bytes]:
        rows: list[bytes] = []
        unfinished = self._grid.open_ms(last + 1) > now_ms
        final = last - 1 if unfinished else last
        for block in range(first // _BLOCK, final // _BLOCK + 1):
            start = block * _BLOCK
            rows.extend(self._block(block)[max(first - start, 0) : final - start + 1])
        if unfinished:
            rows.extend(self._path.rows(self._grid, last, last, now_ms))
        return rows

    def _block(self, block: int) -> list[bytes]:
        key = (self.spec.symbol, self._grid, block)
        rows = self._blocks.get(key)
        if rows is None:
            rows = self._blocks[key] = self._path.rows(self._grid, block * _BLOCK, block * _BLOCK + _BLOCK - 1)
            if len(self._blocks) > _BLOCKS_KEPT:
                self._blocks.popitem(last=False)
        else:
            self._blocks.move_to_end(key)
        return rows


def _zone_ms(text: str) -> int:
    match = _ZONE.fullmatch(text)
    minutes = 10_000 if match is None else int(match["hours"]) * 60 + int(match["minutes"] or 0)
    if match is not None and match["sign"] == "-":
        minutes = -minutes
    if not -12 * 60 <= minutes <= 14 * 60:
        raise errors.invalid_value("timeZone")
    return minutes * 60_000
