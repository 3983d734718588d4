"""The life of a loader without an exchange: candles that are made up, for every open time of the range."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TypeVar

import msgspec

from streamforge.workers.playing.pace import Pace
from streamforge_utils.model.kinds.candles import Candle, Interval, candle_key, encode_candle
from streamforge_utils.ports.bus import Message
from streamforge_utils.runtime.context import Context

P = TypeVar("P", bound=msgspec.Struct)

_PRICE, _QUANTITY, _AMOUNT = "100.00000000", "1.00000000", "100.00000000"


async def play_loader(ctx: Context[P], *, rate: float, record_size: int, records: int) -> None:
    """Write the candles, oldest first; the runtime closes the stream afterwards.

    records: at most so many; 0: as many as the range has. record_size: bytes to which each is padded.
    """
    interval = Interval(ctx.series.interval)
    opens = [interval.rule.times(span.start_ms, span.end_ms) for span in ctx.ranges]
    total = sum(len(grid) for grid in opens)
    total = min(total, records) if records else total
    pace = Pace(ctx.clock, rate)
    wanted = islice((time for grid in opens for time in grid), total)
    written = 0
    while batch := list(islice(wanted, pace.step)):
        await pace.let(len(batch))
        await ctx.output.write(list(_records(ctx.symbol, interval, batch, record_size)))
        written += len(batch)
        ctx.progress.position = batch[-1]
        ctx.progress.share = written / total
    ctx.progress.share = 1.0


def _records(symbol: str, interval: Interval, opens: list[int], size: int) -> Iterator[Message]:
    for time in opens:
        candle = _candle(symbol, interval, time)
        yield Message(candle.key.encode(), padded(encode_candle(candle), size))


def _candle(symbol: str, interval: Interval, open_time: int) -> Candle:
    # Without a version: what was observed is newer, and is never overwritten by it.
    return Candle(
        key=candle_key(symbol, interval.value, open_time),
        symbol=symbol,
        interval=interval.value,
        open_time=open_time,
        open=_PRICE,
        high=_PRICE,
        low=_PRICE,
        close=_PRICE,
        volume=_QUANTITY,
        close_time=interval.close_time(open_time),
        quote_asset_volume=_AMOUNT,
        number_of_trades=1,
        taker_buy_base_asset_volume=_QUANTITY,
        taker_buy_quote_asset_volume=_AMOUNT,
    )


def padded(record: bytes, size: int) -> bytes:
    """The JSON object `record` with a field `padding`, `size` bytes long; itself if it is that long already."""
    frame = b',"padding":""}'
    room = size - len(record) + 1 - len(frame)
    return record if room < 0 else record[:-1] + frame[:-2] + b"x" * room + frame[-2:]
