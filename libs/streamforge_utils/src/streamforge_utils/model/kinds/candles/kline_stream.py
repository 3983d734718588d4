"""The exchange's streams of candles: they only hint which bars are closed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from streamforge_utils.model.kinds.stream_messages import MessageStreaming, times_right
from streamforge_utils.model.kinds.streaming import Heard
from streamforge_utils.model.series import Series

_SHOWN = 40


class _Bar(msgspec.Struct, frozen=True, gc=False):
    open_time: int = msgspec.field(name="t")
    symbol: str = msgspec.field(name="s")
    interval: str = msgspec.field(name="i")
    is_closed: bool = msgspec.field(name="x")


class _Message(msgspec.Struct, frozen=True, gc=False):
    e: str
    bar: _Bar = msgspec.field(name="k")


class KlineStream(MessageStreaming):
    """Binance Spot, `<symbol>@kline_<interval>`: a bar is sent again and again until it is closed.

    In a fast market the last message of a bar comes late, or never.
    """

    word = event = "kline"
    message = _Message

    def word_of(self, series: Series) -> str:
        return f"{self.word}_{series.interval}"

    def all_right(self, messages: Sequence[Any], series: Series) -> bool:
        bars = [m.bar for m in messages]
        return (
            [bar.symbol for bar in bars].count(series.symbol) == len(bars)
            and [bar.interval for bar in bars].count(series.interval) == len(bars)
            and times_right([bar.open_time for bar in bars])
        )

    def refusal(self, message: Any, series: Series) -> str:
        bar = message.bar
        if (bar.symbol, bar.interval) != (series.symbol, series.interval):
            return f"it is of {bar.symbol[:_SHOWN]!r}, interval {bar.interval[:_SHOWN]!r}"
        if not times_right([bar.open_time]):
            return f"its open time {bar.open_time} is not in milliseconds (13 digits)"
        return ""

    def heard(self, messages: Sequence[Any], series: Series, observed_ms: int) -> Heard:
        return Heard(hints=[m.bar.open_time for m in messages if m.bar.is_closed])
