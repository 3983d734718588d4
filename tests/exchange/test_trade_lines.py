"""Lines of trades for the archive's files: what REST has, in the columns of the archive."""

from __future__ import annotations

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from streamforge.exchange.config import DEFAULT_SYMBOLS
from streamforge.exchange.prices import PricePath
from streamforge.exchange.seeded_trades import SeededAggTrades, SeededTrades, Tape
from streamforge.exchange.trade_lines import TradeLines
from streamforge_utils.model.timeranges import TimeRange
from tests.exchange.conftest import MINUTE

BTC = DEFAULT_SYMBOLS[0]
HOLE = TimeRange(BTC.listed_ms + 7 * MINUTE, BTC.listed_ms + 9 * MINUTE)


@given(
    first=st.integers(0, 700),
    count=st.integers(1, 400),
    decimals=st.tuples(st.integers(0, 8), st.integers(0, 8)),
    trades_a_minute=st.sampled_from([16, 32, 300]),
    end_of_time=st.sampled_from(["", "000"]),
)
@settings(max_examples=80, deadline=None)
def test_lines_are_the_rows_of_rest(
    first: int, count: int, decimals: tuple[int, int], trades_a_minute: int, end_of_time: str
) -> None:
    price, quantity = decimals
    spec = msgspec.structs.replace(
        BTC, price_decimals=price, quantity_decimals=quantity, trades_a_minute=trades_a_minute
    )
    tape = Tape(spec, [HOLE], PricePath(1, spec))
    lines, last = TradeLines(tape, end_of_time), first + count - 1
    for series, parts in (
        (SeededTrades(tape), lines.trades(first, last)),
        (SeededAggTrades(tape), lines.aggregates(first, last)),
    ):
        expected = []
        for row in series.rows(first, last, 0):
            values = msgspec.json.decode(row)
            cells = {name: str(value) for name, value in values.items()}
            cells["time" if "time" in cells else "T"] += end_of_time
            expected.append(",".join(cells.values()) + "\n")
        assert b"".join(parts).decode() == "".join(expected)
