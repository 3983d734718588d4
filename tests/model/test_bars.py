"""Candles made from other records: compared with a plain computation over every candle of the calendar."""

from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamforge_utils.model.errors import InvalidInput, PermanentError
from streamforge_utils.model.kinds.bars import Bar, BarMaker, Price, bar_interval, check_nested
from streamforge_utils.model.kinds.registry import kind_named, series_of
from streamforge_utils.model.timeranges import TimeRange

START_MS = 1_722_470_400_000  # 2024-08-01
UNIT_MS, BAR_MS, BARS = 250, 1000, 12
TRADES = series_of("BTCUSDT", "api_trades")
MINUTES = series_of("BTCUSDT", "api_candles_1m")
MINUTE_MS = 60_000

amounts = st.integers(1, 10**9).map(lambda number: Decimal(number).scaleb(-4))
units = st.lists(st.sampled_from(["stored", "closed", "unknown"]), min_size=BARS * 4, max_size=BARS * 4)


def spans(verdicts: Sequence[str], verdict: str, unit_ms: int = UNIT_MS) -> list[TimeRange]:
    """Where a verdict holds, each unit a range of its own."""
    return [
        TimeRange(START_MS + number * unit_ms, START_MS + (number + 1) * unit_ms)
        for number, one in enumerate(verdicts)
        if one == verdict
    ]


def lines(rows: Sequence[dict[str, Any]]) -> bytes:
    return b"".join(msgspec.json.encode(row) + b"\n" for row in rows)


def fed(maker: BarMaker, rows: Sequence[dict[str, Any]], piece: int = 3) -> list[Bar]:
    found: list[Bar] = []
    for start in range(0, len(rows), piece):
        found += maker.add(lines(rows[start : start + piece]))
    return [*found, *maker.end()]


def trade(time_ms: int, price: Decimal, quantity: Decimal, *, maker: bool = False) -> dict[str, Any]:
    return {
        "symbol": "BTCUSDT",
        "trade_id": time_ms,
        "price": float(price),
        "quantity": float(quantity),
        "timestamp": time_ms,
        "is_buyer_maker": maker,
    }


@given(
    verdicts=units,
    trades=st.lists(st.tuples(st.integers(0, BARS * BAR_MS - 1), amounts, amounts, st.booleans()), max_size=30),
    before=st.none() | amounts,
    partial=st.booleans(),
)
def test_candles_of_trades_are_what_is_known_of_each_second(
    verdicts: list[str], trades: list[tuple[int, Decimal, Decimal, bool]], before: Decimal | None, partial: bool
) -> None:
    trades = sorted((one for one in trades if verdicts[one[0] // UNIT_MS] == "stored"), key=lambda one: one[0])
    first_second_ms = START_MS - BAR_MS
    stored = [TimeRange(first_second_ms, START_MS), *spans(verdicts, "stored")]
    maker = BarMaker(
        kind_named("trades"),
        TRADES,
        bar_interval("1s"),
        span=TimeRange(START_MS, START_MS + BARS * BAR_MS),
        stored=stored,
        closed=spans(verdicts, "closed"),
        partial=partial,
        before=None if before is None else Price(first_second_ms, before),
    )
    found = fed(maker, [trade(START_MS + at, price, quantity, maker=m) for at, price, quantity, m in trades])

    expected, unpriced, lacking = list[dict[str, Any]](), 0, 0
    last, unbroken = before, before is not None
    for number in range(BARS):
        mine = verdicts[number * 4 : number * 4 + 4]
        inside = [one for one in trades if one[0] // BAR_MS == number]
        whole = "unknown" not in mine
        lacking += not whole
        row: dict[str, Any] | None = None
        if inside:
            prices = [price for _, price, _, _ in inside]
            taken = [(price * quantity, quantity) for _, price, quantity, m in inside if not m]
            row = {
                "open": float(prices[0]),
                "high": float(max(prices)),
                "low": float(min(prices)),
                "close": float(prices[-1]),
                "volume": float(sum(quantity for _, _, quantity, _ in inside)),
                "quote_asset_volume": float(sum(price * quantity for _, price, quantity, _ in inside)),
                "number_of_trades": len(inside),
                "taker_buy_base_asset_volume": float(sum(quantity for _, quantity in taken)),
                "taker_buy_quote_asset_volume": float(sum(amount for amount, _ in taken)),
            }
            last = prices[-1]
            # From the last trade on, the rest of its second must be known for the next ones to be priced.
            unbroken = "unknown" not in verdicts[inside[-1][0] // UNIT_MS : number * 4 + 4]
        else:
            unbroken = unbroken and whole
            if whole and "stored" in mine:
                if unbroken and last is not None:
                    row = dict.fromkeys(("open", "high", "low", "close"), float(last))
                    row |= dict.fromkeys(("volume", "quote_asset_volume", "number_of_trades"), 0)
                    row |= dict.fromkeys(("taker_buy_base_asset_volume", "taker_buy_quote_asset_volume"), 0)
                else:
                    unpriced += 1
        if row is not None and (whole or partial):
            open_ms = START_MS + number * BAR_MS
            row |= {"symbol": "BTCUSDT", "interval": "1s", "open_time": open_ms, "close_time": open_ms + BAR_MS - 1}
            expected.append(row | ({"complete": whole} if partial else {}))
    assert [msgspec.to_builtins(bar) for bar in found] == expected
    assert (maker.unpriced, maker.late) == (unpriced, 0)
    assert maker.bars_in(maker.left_out()) == lacking


@given(
    holes=st.sets(st.integers(0, 29)),
    figures=st.lists(st.tuples(*[amounts] * 8, st.integers(0, 9)), min_size=30, max_size=30),
)
def test_longer_candles_hold_just_the_shorter_ones_and_leave_out_those_with_a_hole(
    holes: set[int], figures: list[tuple[Any, ...]]
) -> None:
    names = ("open", "high", "low", "close", "volume", "quote_asset_volume")
    takers = ("taker_buy_base_asset_volume", "taker_buy_quote_asset_volume")
    rows = [
        {"symbol": "BTCUSDT", "interval": "1m", "open_time": START_MS + number * MINUTE_MS}
        | {name: float(value) for name, value in zip((*names, *takers), values, strict=False)}
        | {"close_time": START_MS + (number + 1) * MINUTE_MS - 1, "number_of_trades": values[-1]}
        for number, values in enumerate(figures)
        if number not in holes
    ]
    verdicts = ["unknown" if number in holes else "stored" for number in range(30)]
    span = TimeRange(START_MS, START_MS + 30 * MINUTE_MS)
    stored = spans(verdicts, "stored", MINUTE_MS)
    maker = BarMaker(kind_named("candles"), MINUTES, bar_interval("5m"), span=span, stored=stored)
    found = fed(maker, rows)
    whole = [first for first in range(0, 30, 5) if not holes & set(range(first, first + 5))]
    assert [bar.open_time for bar in found] == [START_MS + first * MINUTE_MS for first in whole]
    assert maker.bars_in(maker.left_out()) == 6 - len(whole)
    for bar, first in zip(found, whole, strict=True):
        mine = figures[first : first + 5]
        assert (bar.open, bar.close) == (float(mine[0][0]), float(mine[-1][3]))
        assert (bar.high, bar.low) == (float(max(one[1] for one in mine)), float(min(one[2] for one in mine)))
        sums = [float(sum(one[at] for one in mine)) for at in (4, 5, 6, 7)]
        assert [bar.volume, bar.quote_asset_volume, *(getattr(bar, name) for name in takers)] == sums
        assert bar.number_of_trades == sum(one[8] for one in mine)
        assert (bar.interval, bar.close_time) == ("5m", bar.open_time + 5 * MINUTE_MS - 1)


def test_amounts_are_added_as_decimals() -> None:
    rows = [trade(START_MS + number, Decimal(1), Decimal("0.1")) for number in range(10)]
    assert sum(row["quantity"] for row in rows) != 1.0
    span = TimeRange(START_MS, START_MS + 1000)
    (bar,) = fed(BarMaker(kind_named("trades"), TRADES, bar_interval("1s"), span=span, stored=[span]), rows)
    assert (bar.volume, bar.quote_asset_volume) == (1.0, 1.0)


def test_an_aggregate_counts_as_the_trades_that_it_holds() -> None:
    rows = [trade(START_MS, Decimal(2), Decimal(3)) | {"first_trade_id": 7, "last_trade_id": 9}]
    span = TimeRange(START_MS, START_MS + 1000)
    (bar,) = fed(BarMaker(kind_named("agg_trades"), TRADES, bar_interval("1s"), span=span, stored=[span]), rows)
    assert (bar.number_of_trades, bar.quote_asset_volume, bar.taker_buy_quote_asset_volume) == (3, 6.0, 6.0)


def test_a_trade_out_of_time_is_counted_where_it_stands_and_told() -> None:
    rows = [trade(START_MS + at, Decimal(1), Decimal(1)) for at in (500, 1500, 900, 1600)]
    span = TimeRange(START_MS, START_MS + 2000)
    maker = BarMaker(kind_named("trades"), TRADES, bar_interval("1s"), span=span, stored=[span])
    assert [bar.number_of_trades for bar in fed(maker, rows)] == [1, 3]
    assert maker.late == 1


def test_a_candle_that_the_range_cuts_is_left_out_and_a_time_before_the_listing_lacks_nothing() -> None:
    listed_ms = START_MS + 90_000
    rows = [trade(listed_ms + at, Decimal(1), Decimal(1)) for at in (0, 60_000)]
    span = TimeRange(START_MS, START_MS + 150_000)
    maker = BarMaker(
        kind_named("trades"),
        TRADES,
        bar_interval("1m"),
        span=span,
        stored=[TimeRange(listed_ms, span.end_ms)],
        closed=[TimeRange(START_MS, listed_ms)],
    )
    assert [bar.open_time - START_MS for bar in fed(maker, rows)] == [60_000]
    assert maker.left_out() == [TimeRange(START_MS + 120_000, START_MS + 180_000)]
    assert maker.unpriced == 0


@pytest.mark.parametrize(
    ("text", "spelled", "length_ms"),
    [
        ("5m", "5m", 300_000),
        ("10m", "10m", 600_000),
        ("60m", "1h", 3_600_000),
        ("1440m", "1d", 86_400_000),
        ("1d", "1d", 86_400_000),
        ("1w", "1w", 604_800_000),
        ("1M", "1M", None),
        ("1mo", "1M", None),
    ],
)
def test_an_interval_has_one_spelling(text: str, spelled: str, length_ms: int | None) -> None:
    found = bar_interval(text)
    assert (found.text, found.grid.length_ms) == (spelled, length_ms)
    assert bar_interval("1w").grid.floor(START_MS) == START_MS - 3 * 86_400_000  # a Thursday


@pytest.mark.parametrize("text", ["3d", "7m", "2w", "2M", "0m", "5x", "", "m", "-5m", "5 m", "１m", "99999999m"])
def test_an_interval_that_the_calendar_does_not_fix_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"interval .*: choose 1m, 5m"):
        bar_interval(text)


@pytest.mark.parametrize(
    ("fine", "coarse", "reason"),
    [
        ("1m", "5m", None),
        ("15m", "1h", None),
        ("1d", "1w", None),
        ("1d", "1M", None),
        ("12h", "1M", None),
        ("1m", "1m", "is that of the candles already"),
        ("5m", "1m", "it is not longer than 5m"),
        ("3m", "5m", "do not hold whole bars of 3m"),
        ("1w", "1M", "do not hold whole bars of 1w"),
        ("1M", "1w", "it is not longer than 1M"),
    ],
)
def test_only_whole_candles_make_a_longer_one(fine: str, coarse: str, reason: str | None) -> None:
    if reason is None:
        check_nested(bar_interval(fine), bar_interval(coarse))
        return
    with pytest.raises(InvalidInput, match=reason):
        check_nested(bar_interval(fine), bar_interval(coarse))


def test_what_is_no_record_or_makes_no_candle_is_refused() -> None:
    span = TimeRange(START_MS, START_MS + 1000)
    for kind, series in (("trades", TRADES), ("candles", MINUTES)):
        maker = BarMaker(kind_named(kind), series, bar_interval("5m"), span=span, stored=[span])
        with pytest.raises(PermanentError, match="not an exported"):
            list(maker.add(b'{"symbol":"A"}\n'))


def test_a_made_candle_has_the_fields_of_an_exported_one() -> None:
    assert Bar.__struct_fields__ == (*kind_named("candles").columns, "complete")
    assert json.loads(msgspec.json.encode(kind_named("candles").example)).keys() > set(Bar.__struct_fields__[:-1])
