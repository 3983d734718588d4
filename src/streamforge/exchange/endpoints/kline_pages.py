"""GET /api/v3/klines and uiKlines: candles, recorded or seeded."""

from __future__ import annotations

import math
import re
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

from streamforge.exchange.config import SymbolSpec
from streamforge.exchange.endpoint import RowsEndpoint
from streamforge.exchange.exchange_requests import ApiError, Sent
from streamforge.exchange.prices import AGGREGATED_MS, MINUTE_MS, STEPS_MS, Grid
from streamforge.exchange.seeded_trades import Tape, tape_of
from streamforge.exchange.windows import Numbers, RowSeries, SeededRows
from streamforge_utils.model.decimal_texts import text_of
from streamforge_utils.model.timeranges import TimeRange

_NUMBER = r"[0-9]{1,20}(?:\.[0-9]{1,20})?"
_LINE = re.compile(
    r"(\d{13}|\d{16}),"
    + rf"({_NUMBER})," * 5
    + rf"(\d{{13}}|\d{{16}}),({_NUMBER}),(\d{{1,18}}),({_NUMBER}),({_NUMBER}),({_NUMBER})",
    re.ASCII,
)
_TIMES = re.compile(rb"^([0-9]{13}),((?:[^,]+,){5})([0-9]{13}),", re.MULTILINE)
_PART = 1_000
_OF_MONTHS = frozenset(map(Grid, ("3d", "1w", "1M")))
_ROW = '[%d,"%s","%s","%s","%s","%s",%d,"%s",%s,"%s","%s","%s"]'
_BEGIN = ("open_time", "open", "high", "low", "close", "volume", "close_time", "quote_asset_volume")
_STORED = (*_BEGIN, "number_of_trades", "taker_buy_base_asset_volume", "taker_buy_quote_asset_volume")
_AMOUNTS = frozenset(_STORED) - {"open_time", "close_time", "number_of_trades"}


class Klines(RowsEndpoint):
    """Candles of one interval. A variant is a grid."""

    paths = ("klines", "uiKlines")
    weight = 2
    parameters = ("symbol", "interval", "startTime", "endTime", "limit")
    archive = "klines"
    stream = "kline"
    stored = "candles"
    quantity = 5
    times: ClassVar[Mapping[int, str]] = {0: "000", 6: "999"}
    header = (
        "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,"
        "taker_buy_quote_volume,ignore"
    )

    def variant(self, sent: Sent) -> Grid:
        if not sent.get("interval"):
            raise ApiError(-1102, "interval")
        if sent["interval"] not in STEPS_MS:
            raise ApiError(-1120)
        return Grid(sent["interval"])

    def seeded(self, spec: SymbolSpec, variant: Hashable) -> SeededCandles:
        assert isinstance(variant, Grid)  # noqa: S101 - it comes from `variant`
        return SeededCandles(spec, self.holes(spec.symbol), variant, tape_of(self, spec))

    def archived_variants(self) -> Mapping[str, Hashable]:
        return {"1mo" if interval == "1M" else interval: Grid(interval) for interval in STEPS_MS}

    def has_days(self, variant: Hashable) -> bool:
        return variant not in _OF_MONTHS

    def over_ms(self, variant: Hashable, span: TimeRange) -> int:
        assert isinstance(variant, Grid)  # noqa: S101 - it comes from `archived_variants`
        return variant.open_ms(variant.first_from(span.end_ms))

    def lines(self, series: RowSeries, numbers: Numbers, now_ms: int, *, micro: bool) -> Iterator[bytes]:
        first, end = numbers[0], numbers[1] + 1
        for start in range(first, end, _PART):
            rows = series.rows(start, min(end, start + _PART) - 1, now_ms)
            text = b"\n".join(rows).translate(None, b'[]"') + b"\n"
            yield _TIMES.sub(rb"\g<1>000,\g<2>\g<3>999,", text) if micro else text

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

    def row_of_event(self, event: Mapping[str, Any]) -> tuple[int, int, int, bytes] | None:
        bar = event["k"]
        values = tuple(bar[name] for name in ("t", "o", "h", "l", "c", "v", "T", "q", "n", "V", "Q", "B"))
        return (bar["t"], bar["t"], bar["T"], (_ROW % values).encode()) if bar["x"] else None

    def variant_of_stream(self, options: Sequence[str]) -> Grid:
        return Grid(options[0])

    def row_of_stored(self, record: Mapping[str, Any]) -> tuple[int, int, int, bytes]:
        amounts = {name: text_of(record[name]) for name in _AMOUNTS}
        cells = {**amounts, **{name: str(record[name]) for name in ("open_time", "close_time", "number_of_trades")}}
        return self.recorded_row([*(cells[name] for name in _STORED), "0"])

    def variant_of_stored(self, record: Mapping[str, Any]) -> Grid:
        return Grid(record["interval"])


class SeededCandles(SeededRows):
    """Candles that follow from the seed (see `PricePath`); a row's number is that of its bar in the grid."""

    def __init__(self, spec: SymbolSpec, holes: Sequence[TimeRange], grid: Grid, tape: Tape) -> None:
        super().__init__(spec, holes)
        self._grid, self._tape, self._path = grid, tape, tape.path

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
        grid, path = self._grid, self._path
        by_trades = (grid.step_ms or math.inf) <= AGGREGATED_MS
        if by_trades and grid.step_ms != MINUTE_MS:
            return [self._row(bar, now_ms) for bar in range(first, last + 1)]
        if grid.open_ms(last + 1) <= now_ms:
            return path.rows(grid, first, last)
        before = path.rows(grid, first, last - 1) if first < last else []
        return [*before, *([self._row(last, now_ms)] if by_trades else path.rows(grid, last, last, now_ms))]

    def _row(self, bar: int, now_ms: int) -> bytes:
        """What the trades of a bar add up to, by now."""
        start_ms, end_ms = self._grid.open_ms(bar), self._grid.open_ms(bar + 1)
        until_ms = min(end_ms, now_ms + 1, *([] if self.spec.delisted_ms is None else [self.spec.delisted_ms]))
        return self._path.row(start_ms, end_ms, self._tape.bar(max(start_ms, self.spec.listed_ms), until_ms))
