"""Serving recorded candles as if the exchange were live."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from streamforge.exchange import errors
from streamforge.exchange.config import SymbolSpec
from streamforge.exchange.params import KlinesQuery
from streamforge.exchange.recordings import Row, find_recordings, read_recording
from streamforge_utils.model.errors import PermanentError
from streamforge_utils.model.kinds.candles import Interval
from streamforge_utils.model.timeranges import TimeRange

_PART = 1_000
_QUOTES = ("USDT", "FDUSD", "USDC", "BUSD", "TUSD", "BTC", "ETH", "BNB", "EUR", "TRY", "BRL", "GBP", "AUD", "USD")


class _Series:
    """The rows of one series, ascending by open time."""

    def __init__(self, rows: Iterable[Row]) -> None:
        ordered = sorted(rows)
        self.opens = [row[0] for row in ordered]
        self.closes = [row[1] for row in ordered]
        self.rows = [row[2] for row in ordered]


class ReplaySource:
    """The candles of recorded files: all in memory, about 300 bytes each.

    Several files of one series are merged. Where two of them know the same candle, a file of the archive wins over an
    answer of the REST API (whose last row may not have been over), else the one whose name sorts last. What no file
    has stays a hole; `timeZone` other than 0 is refused, since recorded bars cannot be cut differently.
    ignored: the files that were not taken, each with the reason.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise PermanentError(f"replay {folder}: no such folder")
        recordings, self.ignored = find_recordings(folder)
        if not recordings:
            raise PermanentError(f"replay {folder}: no spot klines in it ({len(self.ignored)} other files)")
        merged: dict[tuple[str, Interval], dict[int, Row]] = {}
        for recording in sorted(recordings, key=lambda found: found.archive):
            series = merged.setdefault((recording.symbol, recording.interval), {})
            series.update((row[0], row) for row in read_recording(recording))
        self._series = {key: _Series(rows.values()) for key, rows in merged.items() if rows}
        self._symbols = {
            symbol: _spec(symbol, min(s.opens[0] for (name, _), s in self._series.items() if name == symbol))
            for symbol, _ in self._series
        }

    @property
    def symbols(self) -> Mapping[str, SymbolSpec]:
        return self._symbols

    def page(self, query: KlinesQuery, now_ms: int, *, open_candle: bool) -> list[bytes]:
        if query.offset_ms:
            raise errors.invalid_value("timeZone")
        series = self._series.get((query.symbol, query.interval))
        if series is None:
            return []
        first = 0 if query.start_ms is None else bisect_left(series.opens, query.start_ms)
        end = _visible(series, now_ms, open_candle=open_candle)
        if query.end_ms is not None:
            end = min(end, bisect_right(series.opens, query.end_ms))
        if query.start_ms is None:
            first = max(end - query.limit, 0)
        return series.rows[first : min(end, first + query.limit)]

    def closed(self, symbol: str, interval: Interval, span: TimeRange, now_ms: int) -> Iterator[list[bytes]]:
        series = self._series.get((symbol, interval))
        if series is None:
            return
        first = bisect_left(series.opens, span.start_ms)
        end = min(bisect_left(series.opens, span.end_ms), _visible(series, now_ms, open_candle=False))
        for start in range(first, end, _PART):
            yield series.rows[start : min(start + _PART, end)]


def _visible(series: _Series, now_ms: int, *, open_candle: bool) -> int:
    """How many rows, from the oldest, the exchange has at `now_ms`."""
    end = bisect_right(series.opens, now_ms)
    while not open_candle and end and series.closes[end - 1] >= now_ms:
        end -= 1
    return end


def _spec(symbol: str, listed_ms: int) -> SymbolSpec:
    quote = next((q for q in _QUOTES if symbol.endswith(q) and symbol != q), symbol[-3:])
    return SymbolSpec(
        symbol=symbol,
        base=symbol.removesuffix(quote),
        quote=quote,
        listed_ms=listed_ms,
        price_decimals=8,
        quantity_decimals=8,
    )
