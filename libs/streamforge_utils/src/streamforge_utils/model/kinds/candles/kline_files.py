"""The archive's files of candles."""

from __future__ import annotations

from operator import lt

import msgspec

from streamforge_utils.model.kinds.archive_files import ArchiveFiles
from streamforge_utils.model.kinds.archive_rows import (
    DECIMAL,
    WHOLE,
    Column,
    RowForm,
    filled,
    integers,
    milliseconds,
    require_ascending,
)
from streamforge_utils.model.kinds.candles.candle import Interval, candle_key_prefix
from streamforge_utils.model.kinds.paging import MalformedPage, Page
from streamforge_utils.model.series import Series

_MONTHS_ALONE = frozenset({Interval.D3, Interval.W1, Interval.MO1})
_NONE = b"0.00000000"
_encode = msgspec.json.Encoder().encode


class KlineFiles(ArchiveFiles):
    """Files of candles, of days and of months; those of the longest intervals, of months alone."""

    folder = "klines"
    row_bytes = 48
    rows = RowForm(
        ("open time", WHOLE),
        ("open", DECIMAL),
        ("high", DECIMAL),
        ("low", DECIMAL),
        ("close", DECIMAL),
        ("volume", DECIMAL),
        ("close time", WHOLE),
        ("quote volume", DECIMAL),
        ("number of trades", WHOLE),
        ("taker's volume", DECIMAL),
        ("taker's quote volume", DECIMAL),
        ("last column", DECIMAL),
    )

    def has_days(self, series: Series) -> bool:
        return Interval(series.interval) not in _MONTHS_ALONE

    def place(self, series: Series) -> str:
        return f"{series.symbol}/{Interval(series.interval).lower}"

    def stem(self, series: Series) -> str:
        return f"{series.symbol}-{Interval(series.interval).lower}"

    def read(self, rows: bytes, series: Series, version: int) -> Page:
        opens, open_, high, low, close, volume, closes, quote, trades, taker, taker_quote, _ = self.rows.read(rows)
        opens, closes = milliseconds(opens), milliseconds(closes)
        positions = integers(opens)
        require_ascending(positions, "open time")
        if not all(map(lt, opens, closes)):  # as texts: all have 13 digits
            found = next(one for one, end in zip(opens, closes, strict=True) if one >= end)
            raise MalformedPage(f"the candle of {found.decode()} ends before it begins")
        if _NONE in volume:
            _refuse_lost_volume(opens, volume, trades)
        prefix = candle_key_prefix(series.symbol, series.interval).encode()
        keys = [prefix + one for one in opens]
        parts = (
            b'{"_key":"',
            b'","_version":%d,"symbol":%b,"interval":%b,"open_time":'
            % (version, _encode(series.symbol), _encode(series.interval)),
            b',"open":"',
            b'","high":"',
            b'","low":"',
            b'","close":"',
            b'","volume":"',
            b'","close_time":',
            b',"quote_asset_volume":"',
            b'","number_of_trades":',
            b',"taker_buy_base_asset_volume":"',
            b'","taker_buy_quote_asset_volume":"',
            b'"}',
        )
        columns = (keys, opens, open_, high, low, close, volume, closes, quote, trades, taker, taker_quote)
        return Page(positions, positions, keys, filled(parts, columns))


def _refuse_lost_volume(opens: Column, volumes: Column, trades: Column) -> None:
    """Raises MalformedPage naming a candle that has trades and no volume."""
    for opened, volume, count in zip(opens, volumes, trades, strict=True):
        if volume == _NONE and count != b"0":
            raise MalformedPage(f"the candle of {opened.decode()} has {count.decode()} trades and no volume")
