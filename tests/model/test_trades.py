"""Trades, single and aggregated: their keys, their conversion, and what of the exchange's answers is taken."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamforge_utils.model.errors import PermanentError
from streamforge_utils.model.kinds.paging import ById, ByTime, MalformedPage, Question, SentRequest
from streamforge_utils.model.kinds.registry import kind_named
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange

TRADES, AGG_TRADES = kind_named("trades"), kind_named("agg_trades")
TRADE = {"id": 7, "price": "0.50", "qty": "2", "time": 1_722_470_400_000, "isBuyerMaker": False, "isBestMatch": True}
AGG_TRADE = {"a": 7, "p": "0.50", "q": "2", "f": 11, "l": 13, "T": 1_722_470_400_000, "m": True, "M": True}
SPAN = TimeRange(1_722_470_400_000, 1_722_474_000_000)
IDS = st.integers(0, 10**12 - 1)


def asked(kind: str, question: Question, limit: int = 1000) -> SentRequest:
    return SentRequest(
        series=Series("BTCUSDT", kind),
        question=question,
        sent=question,
        limit=limit,
        observed_ms=1_722_500_000_000,
        local_ms=1_722_500_000_000,
    )


def body(*rows: dict[str, Any]) -> bytes:
    return json.dumps(rows).encode()


def test_a_trade_travels_as_the_exchange_wrote_it_and_is_stored_as_numbers() -> None:
    assert TRADES.paging is not None
    page = TRADES.paging.read(body(TRADE), asked("trades", ById(7)))
    assert (page.positions, page.times, page.keys) == ([7], [1_722_470_400_000], [b"BTCUSDT_000000000007"])
    assert json.loads(page.values[0]) == {
        "_key": "BTCUSDT_000000000007",
        "_version": 1_722_500_000_000,
        "symbol": "BTCUSDT",
        "trade_id": 7,
        "price": "0.50",
        "quantity": "2",
        "timestamp": 1_722_470_400_000,
        "is_buyer_maker": False,
    }
    key, version, stored = TRADES.document(page.keys[0], page.values[0])
    assert (key, version) == ("BTCUSDT_000000000007", 1_722_500_000_000)
    assert json.loads(stored) == {
        "symbol": "BTCUSDT",
        "trade_id": 7,
        "price": 0.5,
        "quantity": 2.0,
        "timestamp": 1_722_470_400_000,
        "is_buyer_maker": False,
    }


def test_an_aggregated_trade_keeps_the_ids_of_its_trades() -> None:
    assert AGG_TRADES.paging is not None
    page = AGG_TRADES.paging.read(body(AGG_TRADE), asked("agg_trades", ById(7)))
    stored = json.loads(AGG_TRADES.document(page.keys[0], page.values[0])[2])
    assert (stored["trade_id"], stored["first_trade_id"], stored["last_trade_id"]) == (7, 11, 13)
    assert tuple(stored) == AGG_TRADES.columns


@given(IDS, IDS)
def test_keys_sort_as_ids_do(one: int, other: int) -> None:
    series = Series("BTCUSDT", "trades")
    keys = TRADES.key(series, one), TRADES.key(series, other)
    assert (keys[0] < keys[1], keys[0] == keys[1]) == (one < other, one == other)
    assert TRADES.positions(series, keys) == [one, other]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({**TRADE, "price": "NaN"}, r"\$\[0\]\.price"),
        ({**TRADE, "qty": "-1"}, r"\$\[0\]\.qty"),
        ({**TRADE, "id": "7"}, r"\$\[0\]\.id"),
        ({key: value for key, value in TRADE.items() if key != "time"}, "time"),
    ],
)
def test_an_answer_with_a_row_that_is_no_trade_is_no_page(row: dict[str, Any], reason: str) -> None:
    assert TRADES.paging is not None
    with pytest.raises(MalformedPage, match=reason):
        TRADES.paging.read(body(row), asked("trades", ById(7)))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"timestamp": 1_722_470_400_000_000}, "not in milliseconds"),
        ({"timestamp": 1_722_470_400}, "not in milliseconds"),
        ({"quantity": "0.00"}, "is 0"),
        ({"price": "0"}, "is 0"),
        ({"price": "nan"}, "price"),
        ({"trade_id": 8}, "its identity says BTCUSDT_000000000008"),
    ],
)
@pytest.mark.parametrize("kind", [TRADES, AGG_TRADES])
def test_what_can_never_be_stored_is_refused_with_the_reason(kind: Any, change: dict[str, Any], reason: str) -> None:
    record = json.loads(msgspec.json.encode(kind.imitation(Series("BTCUSDT", kind.name), 7)))
    kind.document(b"BTCUSDT_000000000007", json.dumps(record).encode())
    with pytest.raises(PermanentError, match=reason):
        kind.document(b"BTCUSDT_000000000007", json.dumps({**record, **change}).encode())


def test_aggregates_that_follow_each_other_hold_trades_that_do() -> None:
    assert AGG_TRADES.paging is not None
    good = [AGG_TRADE, {**AGG_TRADE, "a": 8, "f": 14, "l": 14}, {**AGG_TRADE, "a": 10, "f": 20, "l": 20}]
    assert AGG_TRADES.paging.read(body(*good), asked("agg_trades", ById(7))).positions == [7, 8, 10]
    with pytest.raises(MalformedPage, match="aggregate 7 ends with trade 13, and 8 begins with 15"):
        AGG_TRADES.paging.read(body(AGG_TRADE, {**AGG_TRADE, "a": 8, "f": 15, "l": 15}), asked("agg_trades", ById(7)))


@pytest.mark.parametrize(
    ("kind", "question", "parameters"),
    [
        (TRADES, ById(7), {"fromId": "7"}),
        (AGG_TRADES, ById(7), {"fromId": "7"}),
        (AGG_TRADES, ByTime(SPAN), {"startTime": "1722470400000", "endTime": "1722473999999"}),
        (AGG_TRADES, ByTime(SPAN, newest=True), {"endTime": "1722473999999"}),
    ],
)
def test_requests_name_an_id_or_a_window(kind: Any, question: Question, parameters: dict[str, str]) -> None:
    sent = kind.paging.parameters(Series("BTCUSDT", kind.name), question, 500)
    assert sent == {"symbol": "BTCUSDT", "limit": "500", **parameters}


def test_trades_find_the_id_of_a_time_by_the_aggregates() -> None:
    assert TRADES.paging is not None
    by_time = TRADES.paging.id_at_time
    assert by_time is not None
    first, last = ByTime(SPAN, limit=1), ByTime(SPAN, limit=1, newest=True)
    assert by_time.parameters(Series("BTCUSDT", "trades"), first)["startTime"] == "1722470400000"
    assert by_time.read(body(AGG_TRADE), first) == (11, AGG_TRADE["T"])
    assert by_time.read(body(AGG_TRADE), last) == (13, AGG_TRADE["T"])
    assert by_time.read(b"[]", first) is None
