"""What every exchange adapter promises. A subclass says how to make one whose candles are known."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager

import msgspec
import pytest
import pytest_asyncio

from streamforge_utils.model.errors import InvalidInput
from streamforge_utils.model.kinds.candles import Candle, Interval, encode_candle
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.ports.exchange import Exchange
from tests.doubles.candles import candles_of, stored_document

MINUTE = 60_000


class SeriesCoverage(msgspec.Struct, kw_only=True):
    """An exchange and what it has. opens: the open times of every closed 1m candle of `symbol` in `span`, ascending.

    span: ends after now, so that the open candle lies in it. now_ms: about now, at the exchange.
    hole: a part of `span` in which the exchange has no candle. other_symbol: one with characters beyond ASCII.
    """

    exchange: Exchange
    symbol: str
    span: TimeRange
    opens: Sequence[int]
    hole: TimeRange
    now_ms: int
    other_symbol: str


class ExchangeContract:
    """The promises of `ports.exchange.Exchange`."""

    def known_exchange(self) -> AbstractAsyncContextManager[SeriesCoverage]:
        """An exchange with at least 2500 closed candles in `span` and its closing."""
        raise NotImplementedError

    @pytest_asyncio.fixture
    async def known(self) -> AsyncIterator[SeriesCoverage]:
        async with self.known_exchange() as known:
            yield known
            await known.exchange.close()

    async def test_paging_forward_yields_every_closed_candle_once(self, known: SeriesCoverage) -> None:
        candles = await page_forward(known, 1000)
        assert [candle.open_time for candle in candles] == list(known.opens)

    async def test_any_page_size_gives_the_same_candles(self, known: SeriesCoverage) -> None:
        part = TimeRange(known.hole.start_ms - 50 * MINUTE, known.hole.end_ms + 50 * MINUTE)
        known.span, expected = part, [t for t in known.opens if t in part]
        for limit in (7, 100, 1000):
            assert [candle.open_time for candle in await page_forward(known, limit)] == expected

    async def test_a_page_holds_the_oldest_or_the_newest_of_a_half_open_span(self, known: SeriesCoverage) -> None:
        opens, whole = list(known.opens), known.span
        for span, limit, newest, expected in (
            (whole, 10, False, opens[:10]),
            (whole, 10, True, opens[-10:]),
            (TimeRange(opens[5], opens[8]), 10, True, opens[5:8]),
            (TimeRange(opens[3], opens[6]), 1000, False, opens[3:6]),
            (TimeRange(opens[3], opens[6] + 1), 1000, False, opens[3:7]),
            (TimeRange(opens[3] + 1, opens[6]), 1000, False, opens[4:6]),
        ):
            candles = await candles_of(known.exchange, known.symbol, Interval.M1, span, limit=limit, newest=newest)
            assert [candle.open_time for candle in candles] == expected

    async def test_a_hole_of_the_exchange_is_an_empty_page(self, known: SeriesCoverage) -> None:
        assert list(await candles_of(known.exchange, known.symbol, Interval.M1, known.hole)) == []

    async def test_an_open_candle_is_left_out(self, known: SeriesCoverage) -> None:
        span = TimeRange(known.now_ms - 10 * MINUTE, known.now_ms + 10 * MINUTE)
        candles = await candles_of(known.exchange, known.symbol, Interval.M1, span)
        now = await known.exchange.server_time()
        assert abs(now - known.now_ms) < 5 * MINUTE
        assert candles
        assert all(candle.close_time < now for candle in candles)
        assert max(candle.close_time for candle in candles) >= known.now_ms - 2 * MINUTE

    async def test_longer_intervals_are_closed_by_their_own_length(self, known: SeriesCoverage) -> None:
        span = TimeRange(known.span.start_ms, known.now_ms)
        candles = await candles_of(known.exchange, known.symbol, Interval.H1, span)
        assert candles
        assert [candle.open_time for candle in candles] == sorted({candle.open_time for candle in candles})
        assert all(Interval.H1.close_time(candle.open_time) < known.now_ms + MINUTE for candle in candles)

    async def test_candles_are_records_that_can_be_stored(self, known: SeriesCoverage) -> None:
        candle = (await candles_of(known.exchange, known.symbol, Interval.M1, known.span, limit=1))[0]
        key, version, _ = stored_document(candle.key.encode(), encode_candle(candle))
        assert key == f"{known.symbol}_1m_{known.opens[0]}"
        assert abs(version - known.now_ms) < 5 * MINUTE
        assert (candle.symbol, candle.interval) == (known.symbol, "1m")
        assert candle.close_time == candle.open_time + MINUTE - 1

    async def test_a_symbol_beyond_ascii(self, known: SeriesCoverage) -> None:
        symbol = known.other_symbol
        candles = await candles_of(known.exchange, symbol, Interval.M1, known.span, limit=2)
        assert [candle.symbol for candle in candles] == [symbol, symbol]
        assert candles[0].key.isascii()
        assert (await known.exchange.symbol_info(symbol)).symbol == symbol

    async def test_an_unknown_symbol_is_permanent_and_named(self, known: SeriesCoverage) -> None:
        with pytest.raises(InvalidInput, match="NOSUCHUSDT"):
            await candles_of(known.exchange, "NOSUCHUSDT", Interval.M1, known.span)
        with pytest.raises(InvalidInput, match="NOSUCHUSDT"):
            await known.exchange.symbol_info("NOSUCHUSDT")

    async def test_symbols_are_listed_in_order_with_status_and_assets(self, known: SeriesCoverage) -> None:
        info = await known.exchange.symbol_info(known.symbol)
        assert (info.symbol, info.status) == (known.symbol, "TRADING")
        assert info.base_asset + info.quote_asset == known.symbol
        listed = await known.exchange.symbols()
        names = [info.symbol for info in listed]
        assert names == sorted(set(names))
        assert {known.symbol, known.other_symbol} <= set(names)
        assert info in listed
        assert "NOSUCHUSDT" not in names

    async def test_a_limit_that_no_page_has_is_refused(self, known: SeriesCoverage) -> None:
        for limit in (0, 1001):
            with pytest.raises(ValueError, match=str(limit)):
                await candles_of(known.exchange, known.symbol, Interval.M1, known.span, limit=limit)


async def page_forward(known: SeriesCoverage, limit: int) -> list[Candle]:
    """All of the span, as a loader pages: on from the last candle, until a page is empty."""
    found: list[Candle] = []
    span = known.span
    while True:
        page = await candles_of(known.exchange, known.symbol, Interval.M1, span, limit=limit)
        if not page:
            return found
        found.extend(page)
        span = TimeRange(page[-1].open_time + 1, span.end_ms)
