"""The windows of klines, as Binance documents them."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamforge.exchange.config import ExchangeConfig
from streamforge.exchange.grid import STEPS_MS
from streamforge_utils.model.timeranges import TimeRange
from tests.exchange.support import DAY, HOUR, MINUTE, NOW, Row, ms, peer

START = ms("2024-08-01")
OPEN_BAR = NOW - NOW % MINUTE


async def test_neither_bound_gives_the_newest_and_the_open_candle_last() -> None:
    async with peer() as exchange:
        answer = await exchange.klines()
        assert answer.opens == list(range(OPEN_BAR - 499 * MINUTE, OPEN_BAR + 1, MINUTE))
        assert (await exchange.klines(limit=5000)).opens[0] == OPEN_BAR - 999 * MINUTE
        assert (await exchange.klines(limit=1)).opens == [OPEN_BAR]


async def test_a_start_gives_the_oldest_from_it() -> None:
    async with peer() as exchange:
        assert (await exchange.klines(startTime=START, limit=3)).opens == [START, START + MINUTE, START + 2 * MINUTE]
        assert (await exchange.klines(startTime=START + 1, limit=1)).opens == [START + MINUTE]
        assert (await exchange.klines(startTime=OPEN_BAR - MINUTE)).opens == [OPEN_BAR - MINUTE, OPEN_BAR]
        assert (await exchange.klines(startTime=NOW + 1)).opens == []


async def test_an_end_gives_the_newest_up_to_it() -> None:
    async with peer() as exchange:
        assert (await exchange.klines(endTime=START, limit=2)).opens == [START - MINUTE, START]
        assert (await exchange.klines(endTime=START - 1, limit=1)).opens == [START - MINUTE]


async def test_both_bounds_are_included_and_equal_ones_are_legal() -> None:
    async with peer() as exchange:
        both = await exchange.klines(startTime=START, endTime=START + 2 * MINUTE)
        assert both.opens == [START, START + MINUTE, START + 2 * MINUTE]
        assert (await exchange.klines(startTime=START, endTime=START)).opens == [START]
        assert (await exchange.klines(startTime=START + 1, endTime=START)).opens == []
        assert len((await exchange.klines(startTime=START, endTime=NOW, limit=7)).rows) == 7


async def test_times_in_microseconds_are_understood_and_given_on_request() -> None:
    async with peer() as exchange:
        in_ms = (await exchange.klines(startTime=START, limit=2)).rows
        in_us = await exchange.klines(
            {"X-MBX-TIME-UNIT": "MICROSECOND"}, startTime=START * 1000 - 1, endTime=START * 1000
        )
        assert (await exchange.klines(startTime=START * 1000 + 1, limit=1)).opens == [START + MINUTE]
        row = in_us.rows[0]
        assert len(in_us.rows) == 1
        assert row[0] == START * 1000
        assert row[6] == (START + MINUTE) * 1000 - 1
        assert [*row[1:6], *row[7:]] == [*in_ms[0][1:6], *in_ms[0][7:]]
        time = await exchange.get("/api/v3/time", {"x-mbx-time-unit": "microsecond"})
        assert time.json == {"serverTime": NOW * 1000}


async def test_ui_klines_are_the_same() -> None:
    async with peer() as exchange:
        ui = await exchange.get("/api/v3/uiKlines", symbol="BTCUSDT", interval="1h", limit=3)
        assert ui.body == (await exchange.klines(interval="1h", limit=3)).body


async def test_the_first_candle_holds_the_listing() -> None:
    listed = ms("2024-03-15T10:07")
    async with peer() as exchange:
        assert (await exchange.klines(symbol="NEWUSDT", startTime=0, limit=1)).opens == [listed]
        hours = await exchange.klines(symbol="NEWUSDT", interval="1h", startTime=0, limit=2)
        assert hours.opens == [listed - 7 * MINUTE, listed + 53 * MINUTE]
        minutes = await exchange.klines(symbol="NEWUSDT", startTime=0, limit=53)
        assert hours.rows[0][1] == minutes.rows[0][1]
        assert hours.rows[0][4] == minutes.rows[-1][4]


async def test_a_delisted_symbol_keeps_its_history_only() -> None:
    end = ms("2022-06-30")
    async with peer() as exchange:
        assert (await exchange.klines(symbol="OLDUSDT", limit=2)).opens == [end - 2 * MINUTE, end - MINUTE]
        assert (await exchange.klines(symbol="OLDUSDT", startTime=end)).opens == []
        exchange.clock.set(end)
        last_hour = TimeRange(end - HOUR, end + HOUR)
        assert len(await exchange.oracle(last_hour, "OLDUSDT")) == 60


async def test_a_candle_is_over_with_its_last_millisecond() -> None:
    async with peer(ExchangeConfig(open_candle=False), OPEN_BAR + MINUTE - 1) as exchange:
        span = TimeRange(OPEN_BAR, OPEN_BAR + DAY)
        assert await exchange.oracle(span) == []
        assert (await exchange.klines(startTime=OPEN_BAR)).opens == []
        exchange.clock.advance(1)
        assert [row[0] for row in await exchange.oracle(span)] == [OPEN_BAR]
        assert (await exchange.klines(startTime=OPEN_BAR)).opens == [OPEN_BAR]


async def test_a_symbol_outside_ascii_is_served() -> None:
    async with peer() as exchange:
        assert len((await exchange.klines(symbol="这是测试币456", limit=4)).rows) == 4


async def test_the_open_candle_changes_until_it_is_over_and_never_after() -> None:
    async with peer() as exchange:
        first = (await exchange.klines(limit=1)).rows[0]
        exchange.clock.advance(5_000)
        second = (await exchange.klines(limit=1)).rows[0]
        assert first[0] == second[0] == OPEN_BAR
        assert first[1] == second[1]
        assert first[4] != second[4]
        assert float(second[5]) > float(first[5])
        exchange.clock.advance(10_000)
        final, following = (await exchange.klines(limit=2)).rows
        assert final[0] == OPEN_BAR
        assert final[4] != second[4]
        assert following[0] == OPEN_BAR + MINUTE
        exchange.clock.advance(DAY)
        assert (await exchange.klines(startTime=OPEN_BAR, limit=1)).rows == [final]


async def test_the_open_candle_can_be_kept_back() -> None:
    async with peer(ExchangeConfig(open_candle=False)) as exchange:
        assert (await exchange.klines(limit=1)).opens == [OPEN_BAR - MINUTE]


async def test_no_candle_is_returned_for_a_downtime() -> None:
    hole = TimeRange(START + 10 * MINUTE, START + 70 * MINUTE)
    config = ExchangeConfig(holes={"BTCUSDT": (hole,), "*": (TimeRange(START - MINUTE, START),)})
    async with peer(config) as exchange:
        page = await exchange.klines(startTime=START - MINUTE, limit=12)
        assert page.opens == [*range(START, START + 10 * MINUTE, MINUTE), START + 70 * MINUTE, START + 71 * MINUTE]
        newest = await exchange.klines(endTime=START + 70 * MINUTE, limit=3)
        assert newest.opens == [START + 8 * MINUTE, START + 9 * MINUTE, START + 70 * MINUTE]
        # an hour that is partly up has its candle, one that is wholly down has none
        assert (await exchange.klines(interval="1h", startTime=START, limit=2)).opens == [START, START + HOUR]
        assert (await exchange.klines(interval="30m", startTime=START, limit=2)).opens == [START, START + HOUR]
        assert (await exchange.klines(symbol="ETHUSDT", startTime=START - MINUTE, limit=1)).opens == [START]


@pytest.mark.parametrize(
    ("zone", "opened"),
    [("0", "2024-07-31"), ("8", "2024-07-31T16:00"), ("-1:00", "2024-07-31T01:00"), ("05:45", "2024-07-31T18:15")],
)
async def test_a_time_zone_moves_the_days(zone: str, opened: str) -> None:
    async with peer(now_ms=ms("2024-08-01T20:00")) as exchange:
        days = await exchange.klines(interval="1d", startTime=ms("2024-07-31"), timeZone=zone, limit=1)
        assert days.opens == [ms(opened)]
        assert days.rows[0][6] == ms(opened) + DAY - 1


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_any_cut_into_pages_gives_the_same_candles(data: st.DataObject) -> None:
    """For every limit, unit and direction of paging: the oracle's rows."""
    interval = data.draw(st.sampled_from(["1m", "5m", "1h", "1d", "3d", "1M"]))
    start = data.draw(st.integers(ms("2017-08-01"), NOW - 1))
    span = TimeRange(start, start + data.draw(st.integers(1, 900)) * (STEPS_MS[interval] or 30 * DAY))
    hole_at = data.draw(st.integers(span.start_ms, span.end_ms))
    hole = TimeRange(hole_at, hole_at + data.draw(st.integers(1, 40)) * (STEPS_MS[interval] or 30 * DAY))
    newest_first = data.draw(st.booleans())

    async def collect() -> tuple[list[Row], list[Row]]:
        async with peer(ExchangeConfig(holes={"BTCUSDT": (hole,)}, weight_limit=None)) as exchange:
            rows: list[Row] = []
            start_ms, end_ms = span.start_ms, span.end_ms - 1
            while start_ms <= end_ms:
                limit = data.draw(st.integers(60, 1000))
                bounds = {"endTime": end_ms} if newest_first else {"startTime": start_ms, "endTime": end_ms}
                page = (await exchange.klines(interval=interval, limit=limit, **bounds)).rows
                page = [row for row in page if int(row[6]) < NOW and int(row[0]) >= start_ms]
                if not page:
                    break
                rows = page + rows if newest_first else rows + page
                if newest_first:
                    end_ms = int(page[0][0]) - 1
                else:
                    start_ms = int(page[-1][0]) + 1
            return rows, await exchange.oracle(span, interval=interval)

    rows, expected = asyncio.run(collect())
    assert rows == expected


async def test_the_oracle_is_half_open_closed_and_unlimited() -> None:
    hole = TimeRange(START + 10 * MINUTE, START + 20 * MINUTE)
    async with peer(ExchangeConfig(holes={"BTCUSDT": (hole,)})) as exchange:
        window = {"symbol": "BTCUSDT", "interval": "1m", "startTime": START - 2 * DAY, "endTime": NOW + DAY}
        answer = await exchange.get("/oracle/klines", **window)
        expected = [t for t in range(START - 2 * DAY, OPEN_BAR, MINUTE) if t not in hole]
        assert answer.opens == expected
        assert answer.rows == await exchange.oracle(TimeRange(START - 2 * DAY, NOW + DAY))
        assert (await exchange.get("/oracle/klines", **{**window, "endTime": START - 2 * DAY})).rows == []
        one = await exchange.get("/oracle/klines", **{**window, "endTime": START - 2 * DAY + MINUTE})
        assert one.opens == [START - 2 * DAY]
        missing = await exchange.get("/oracle/klines", symbol="BTCUSDT", interval="1m")
        assert missing.status == 400
