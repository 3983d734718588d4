"""Candles of the test exchange: windows as Binance documents them, and what seeded ones promise."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from streamforge.exchange.config import DEFAULT_SYMBOLS, ExchangeConfig, SymbolSpec
from streamforge.exchange.prices import STEPS_MS, Grid, PricePath
from streamforge_utils.model.timeranges import TimeRange
from tests.exchange.conftest import DAY, HOUR, MINUTE, NOW, Peer, Row, ms, peer

START = ms("2024-08-01")
OPEN_BAR = NOW - NOW % MINUTE
LISTED, DELISTED = ms("2024-03-15T10:07"), ms("2022-06-30")
OLD = {"symbol": "OLDUSDT"}
BTC = DEFAULT_SYMBOLS[0]
FIRST_OF_SEED_1: Row = [
    1722470400000,
    "26791.92000000",
    "26797.38000000",
    "26778.34000000",
    "26793.91000000",
    "89.61868000",
    1722470459999,
    "2401145.67534890",
    48,
    "22.40466000",
    "600286.15098390",
    "0",
]
WINDOWS: list[tuple[dict[str, object], list[int]]] = [
    # Without a start the newest, the open candle last; with one the oldest.
    ({}, list(range(OPEN_BAR - 499 * MINUTE, OPEN_BAR + 1, MINUTE))),
    ({"limit": 5000}, list(range(OPEN_BAR - 999 * MINUTE, OPEN_BAR + 1, MINUTE))),
    ({"limit": 1}, [OPEN_BAR]),
    ({"startTime": START, "limit": 3}, [START, START + MINUTE, START + 2 * MINUTE]),
    ({"startTime": START + 1, "limit": 1}, [START + MINUTE]),
    ({"startTime": OPEN_BAR - MINUTE}, [OPEN_BAR - MINUTE, OPEN_BAR]),
    ({"startTime": NOW + 1}, []),
    ({"endTime": START, "limit": 2}, [START - MINUTE, START]),
    ({"endTime": START - 1, "limit": 1}, [START - MINUTE]),
    # Both bounds are included, and equal ones are legal.
    ({"startTime": START, "endTime": START + 2 * MINUTE}, [START, START + MINUTE, START + 2 * MINUTE]),
    ({"startTime": START, "endTime": START}, [START]),
    ({"startTime": START + 1, "endTime": START}, []),
    ({"startTime": START, "endTime": NOW, "limit": 2}, [START, START + MINUTE]),
    # The first candle of a symbol holds its listing; a delisted one keeps its history.
    ({"symbol": "NEWUSDT", "startTime": 0, "limit": 1}, [LISTED]),
    (
        {"symbol": "NEWUSDT", "interval": "1h", "startTime": 0, "limit": 2},
        [LISTED - 7 * MINUTE, LISTED + 53 * MINUTE],
    ),
    ({**OLD, "limit": 2}, [DELISTED - 2 * MINUTE, DELISTED - MINUTE]),
    ({**OLD, "startTime": DELISTED}, []),
    ({"symbol": "这是测试币456", "limit": 2}, [OPEN_BAR - MINUTE, OPEN_BAR]),
]


async def test_a_window_gives_the_candles_that_are_documented_for_it(exchange: Peer) -> None:
    for params, opens in WINDOWS:
        assert (await exchange.klines(**params)).opens == opens, params


async def test_the_candle_of_the_listing_is_that_of_its_minutes(exchange: Peer) -> None:
    hour = (await exchange.klines(symbol="NEWUSDT", interval="1h", startTime=0, limit=1)).rows[0]
    minutes = (await exchange.klines(symbol="NEWUSDT", startTime=0, limit=53)).rows
    assert (hour[1], hour[4]) == (minutes[0][1], minutes[-1][4])


async def test_the_oracle_ends_with_the_last_candle_that_is_over(exchange: Peer) -> None:
    exchange.clock.set(OPEN_BAR + MINUTE - 1)
    assert await exchange.oracle(TimeRange(OPEN_BAR, OPEN_BAR + DAY)) == []
    exchange.clock.advance(1)
    assert [row[0] for row in await exchange.oracle(TimeRange(OPEN_BAR, OPEN_BAR + DAY))] == [OPEN_BAR]
    exchange.clock.set(DELISTED)
    assert len(await exchange.oracle(TimeRange(DELISTED - HOUR, DELISTED + HOUR), "OLDUSDT")) == 60


async def test_the_open_candle_changes_until_it_is_over_and_never_after(exchange: Peer) -> None:
    first = (await exchange.klines(limit=1)).rows[0]
    exchange.clock.advance(5_000)
    second = (await exchange.klines(limit=1)).rows[0]
    assert first[:2] == second[:2]
    assert first[0] == OPEN_BAR
    assert first[4] != second[4]
    assert float(second[5]) > float(first[5])
    exchange.clock.advance(10_000)
    final, following = (await exchange.klines(limit=2)).rows
    assert (final[0], following[0]) == (OPEN_BAR, OPEN_BAR + MINUTE)
    assert final[4] != second[4]
    exchange.clock.advance(DAY)
    assert (await exchange.klines(startTime=OPEN_BAR, limit=1)).rows == [final]


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


async def test_the_oracle_is_half_open_and_unlimited() -> None:
    hole = TimeRange(START + 10 * MINUTE, START + 20 * MINUTE)
    async with peer(ExchangeConfig(holes={"BTCUSDT": (hole,)})) as exchange:
        first = START - 2 * DAY
        for end, last in ((NOW + DAY, OPEN_BAR), (first, first), (first + MINUTE, first + MINUTE)):
            expected = [t for t in range(first, last, MINUTE) if t not in hole]
            found = await exchange.get("/oracle/klines", symbol="BTCUSDT", interval="1m", startTime=first, endTime=end)
            assert found.opens == expected
        assert (await exchange.get("/oracle/klines", symbol="BTCUSDT", interval="1m")).status == 400


def candles(interval: str, start_ms: int, count: int, seed: int = 1, spec: SymbolSpec = BTC) -> list[Row]:
    grid = Grid(interval)
    first = grid.index(start_ms)
    rows = PricePath(seed, spec).rows(grid, first, first + count - 1)
    return msgspec.json.decode(b"[" + b",".join(rows) + b"]", type=list[Row])


def test_candles_of_a_seed_never_change() -> None:
    assert candles("1m", START, 1)[0] == FIRST_OF_SEED_1
    assert candles("1m", START, 1, seed=2)[0] != FIRST_OF_SEED_1


def test_open_and_close_agree_between_all_intervals() -> None:
    minutes = {int(row[0]): row for row in candles("1m", START - 40 * DAY, 45 * 1440)}
    for interval in STEPS_MS:
        if interval in ("1s", "1m"):
            continue
        for row in candles(interval, START, 2)[:1]:
            opens, closes = int(row[0]), int(row[6]) + 1
            if opens in minutes and closes - MINUTE in minutes:
                assert row[1] == minutes[opens][1], interval
                assert row[4] == minutes[closes - MINUTE][4], interval
    seconds = candles("1s", START, 60)
    assert seconds[0][1] == minutes[START][1]
    assert seconds[-1][4] == minutes[START][4]


def test_a_close_is_at_most_a_tick_beside_the_next_open() -> None:
    rows = candles("1m", START, 500)
    steps = {round((float(b[1]) - float(a[4])) * 100) for a, b in pairwise(rows)}
    assert steps == {-1, 0, 1}


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(DEFAULT_SYMBOLS),
    st.sampled_from(list(STEPS_MS)),
    st.integers(ms("2016-01-01"), ms("2030-01-01")),
    st.integers(0, 2**70),
)
def test_every_candle_is_plausible(spec: SymbolSpec, interval: str, start_ms: int, seed: int) -> None:
    for row in candles(interval, start_ms, 20, seed, spec):
        opened, high, low, closed, volume, quote, taker, taker_quote = (
            float(row[n]) for n in (1, 2, 3, 4, 5, 7, 9, 10)
        )
        assert high >= max(opened, closed)
        assert min(opened, closed) >= low > 0
        assert 0 < taker <= volume
        assert 0 < taker_quote <= quote
        assert int(row[8]) >= 1
        assert row[11] == "0"
        assert all(len(str(row[n]).partition(".")[2]) == 8 for n in (1, 2, 3, 4, 5, 7, 9, 10))
        assert int(row[6]) == Grid(interval).open_ms(Grid(interval).index(int(row[0])) + 1) - 1


def test_the_grid_of_three_days_is_not_the_one_of_division() -> None:
    assert {Grid("3d").open_ms(n) % (3 * DAY) for n in range(5)} == {DAY}
