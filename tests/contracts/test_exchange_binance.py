from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import msgspec
import pytest

from streamforge_utils.adapters.binance import BinanceExchange, Transport
from streamforge_utils.model.kinds.candles import Interval
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.ports.instrumentation import NullObserver
from tests.adapters.binance.scripted import bench, rows
from tests.contracts.exchange import MINUTE, ExchangeContract, SeriesCoverage
from tests.doubles.candles import candles_of
from tests.doubles.clock import FakeClock

NOW = 1_722_513_630_500  # 2024-08-01T12:00:30.500Z
SPAN = TimeRange(NOW - NOW % MINUTE - 3000 * MINUTE, NOW + 60 * MINUTE)
HOLE = TimeRange(SPAN.start_ms + 1200 * MINUTE, SPAN.start_ms + 1210 * MINUTE)
OPENS = [t for t in range(SPAN.start_ms, NOW - MINUTE, MINUTE) if t not in HOLE]
OTHER = "这是测试币456"


class TestBinanceOnScriptedServer(ExchangeContract):
    def known_exchange(self) -> AbstractAsyncContextManager[SeriesCoverage]:
        return _scripted()


class TestBinanceOnTestExchange(ExchangeContract):
    def known_exchange(self) -> AbstractAsyncContextManager[SeriesCoverage]:
        return _test_exchange()


FAULTS = [
    *("429:count=2", "500:count=2", "timeout:count=3", "garbage:count=2", "truncated:count=2", "cut:count=1"),
    *("duplicate:rows=5", "disordered", "open-candle", "skew:seconds=-1", "skew:seconds=1", "skew:seconds=3600"),
    *(f"bad-number:kind={kind},count=2" for kind in ("nan", "infinite", "text", "null", "negative", "columns")),
]


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_of_the_test_exchange_changes_no_candle(fault: str) -> None:
    async with _test_exchange() as plain, _test_exchange(fault) as known:
        span = TimeRange(NOW - 500 * MINUTE, NOW + 10 * MINUTE)
        expected = await candles_of(plain.exchange, "BTCUSDT", Interval.M1, span)
        found = await candles_of(known.exchange, "BTCUSDT", Interval.M1, span)
        await plain.exchange.close()
        await known.exchange.close()
        assert expected[-1].close_time < NOW
        for left, right in zip(expected, found, strict=True):
            assert msgspec.structs.replace(left, version=0) == msgspec.structs.replace(right, version=0)


@asynccontextmanager
async def _scripted() -> AsyncIterator[SeriesCoverage]:
    async with bench(NOW) as made:
        minutes = [row for row in rows(SPAN.start_ms, 3001) if int(row[0]) not in HOLE]
        hour = SPAN.start_ms - SPAN.start_ms % (60 * MINUTE)
        made.server.series = {
            ("BTCUSDT", "1m"): minutes,
            ("BTCUSDT", "1h"): rows(hour, 60, Interval.H1),
            (OTHER, "1m"): minutes,
        }
        yield _known(made.client)


@asynccontextmanager
async def _test_exchange(*faults: str) -> AsyncIterator[SeriesCoverage]:
    from streamforge.exchange.config import ExchangeConfig
    from streamforge.exchange.exchange_server import serve
    from streamforge.exchange.state import ExchangeClock

    config = ExchangeConfig(now_ms=NOW, holes={"BTCUSDT": (HOLE,)}, faults=faults)
    async with await serve(config, ExchangeClock(NOW, frozen=True)) as running:
        transport = Transport([running.url], weight_limit=3000, clock=FakeClock(NOW), observer=NullObserver())
        yield _known(BinanceExchange(transport))


def _known(exchange: BinanceExchange) -> SeriesCoverage:
    return SeriesCoverage(
        exchange=exchange, symbol="BTCUSDT", span=SPAN, opens=OPENS, hole=HOLE, now_ms=NOW, other_symbol=OTHER
    )
