"""Seeded candles: reproducible, plausible, and consistent where they promise it."""

from __future__ import annotations

from itertools import pairwise

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from streamforge.exchange.candle_grid import STEPS_MS, Grid
from streamforge.exchange.config import DEFAULT_SYMBOLS, SymbolSpec
from streamforge.exchange.prices import PricePath
from tests.exchange.support import DAY, MINUTE, Row, ms

BTC = DEFAULT_SYMBOLS[0]
AUGUST = ms("2024-08-01")


def candles(interval: str, start_ms: int, count: int, seed: int = 1, spec: SymbolSpec = BTC) -> list[Row]:
    grid = Grid(interval)
    first = grid.index(start_ms)
    rows = PricePath(seed, spec).rows(grid, first, first + count - 1)
    return msgspec.json.decode(b"[" + b",".join(rows) + b"]", type=list[Row])


def test_candles_of_a_seed_never_change() -> None:
    assert candles("1m", AUGUST, 1)[0] == GOLDEN
    assert candles("1m", AUGUST, 1, seed=2)[0] != GOLDEN


def test_open_and_close_agree_between_all_intervals() -> None:
    minutes = {int(row[0]): row for row in candles("1m", AUGUST - 40 * DAY, 45 * 1440)}
    for interval in STEPS_MS:
        if interval in ("1s", "1m"):
            continue
        for row in candles(interval, AUGUST, 2)[:1]:
            opens, closes = int(row[0]), int(row[6]) + 1
            if opens in minutes and closes - MINUTE in minutes:
                assert row[1] == minutes[opens][1], interval
                assert row[4] == minutes[closes - MINUTE][4], interval
    seconds = candles("1s", AUGUST, 60)
    assert seconds[0][1] == minutes[AUGUST][1]
    assert seconds[-1][4] == minutes[AUGUST][4]


def test_a_close_is_at_most_a_tick_beside_the_next_open() -> None:
    rows = candles("1m", AUGUST, 500)
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


GOLDEN: Row = [
    1722470400000,
    "26791.92000000",
    "26797.38000000",
    "26778.34000000",
    "26793.91000000",
    "89.61792000",
    1722470459999,
    "2401125.31303680",
    35208,
    "68.43868000",
    "1833671.73595220",
    "0",
]
