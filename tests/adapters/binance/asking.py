"""What the tests of trouble and of pauses ask a scripted server for."""

from __future__ import annotations

from aiohttp import web

from streamforge_utils.model.kinds.candles import Interval
from streamforge_utils.model.timeranges import TimeRange
from tests.adapters.binance.scripted import SYMBOL, Bench, Handler, always, rows
from tests.doubles.candles import candles_of

NOW = 1_722_513_630_000  # 2024-08-01T12:00:30Z
START = NOW - 30_000 - 60 * 60_000
SPAN = TimeRange(START, START + 3 * 60_000)
OPENS = [START, START + 60_000, START + 120_000]


def listed(made: Bench) -> None:
    made.server.series[SYMBOL, "1m"] = rows(START, 61)


async def opens(made: Bench) -> list[int]:
    return [c.open_time for c in await candles_of(made.client, SYMBOL, Interval.M1, SPAN)]


def html(status: int) -> Handler:
    return always(lambda: web.Response(status=status, text="<html>oops</html>", content_type="text/html"))
