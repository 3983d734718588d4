"""What kinds read from messages of the exchange's streams: recorded ones, and those that no record can be made of."""

from __future__ import annotations

import gzip
import re
from typing import Any

import msgspec
import pytest

from streamforge_utils.model.kinds.kind import RecordKind
from streamforge_utils.model.kinds.registry import kind_of_type, series_of
from streamforge_utils.model.kinds.streaming import Streaming
from streamforge_utils.model.series import Series
from tests.places import market_data

OBSERVED_MS = 1_800_000_000_000
TRADE = {"e": "trade", "E": 1723161255343, "s": "BTCUSDT", "t": 7, "p": "61837.63", "q": "0.02", "T": 1723161255342}
TRADE |= {"m": True, "M": True}
AGG = {"e": "aggTrade", "E": 1723161255343, "s": "BTCUSDT", "a": 7, "p": "61837.63", "q": "0.02", "f": 8, "l": 9}
AGG |= {"T": 1723161255342, "m": False, "M": True}
BAR = {"t": 1617566580000, "T": 1617566639999, "s": "BTCUSDT", "i": "1m", "f": 1, "L": 2, "o": "1", "x": True}
KLINE = {"e": "kline", "E": 1617566640010, "s": "BTCUSDT", "k": BAR}


def wrapped(stream: str, data: Any) -> bytes:
    return msgspec.json.encode({"stream": stream, "data": data})


def place(type_name: str, symbol: str = "BTCUSDT") -> tuple[RecordKind, Streaming, Series]:
    kind = kind_of_type(type_name)
    assert kind.streaming is not None
    return kind, kind.streaming, series_of(symbol, type_name)


def recorded(name: str) -> list[bytes]:
    return market_data(*name.split("/")).read_bytes().splitlines()


@pytest.mark.parametrize(
    ("written", "normal", "stream"),
    [
        ("ws_trades", "ws_trades", "btcusdt@trade"),
        ("ws_trade", "ws_trades", "btcusdt@trade"),
        ("ws_agg_trades", "ws_agg_trades", "btcusdt@aggTrade"),
        ("ws_candles_1m", "ws_candles_1m", "btcusdt@kline_1m"),
        ("ws_candles_1mo", "ws_candles_1M", "btcusdt@kline_1M"),
    ],
)
def test_a_live_type_is_of_the_series_that_history_has_too(written: str, normal: str, stream: str) -> None:
    kind, streaming, series = place(written)
    assert kind.normal_type(written) == normal
    assert normal in kind.types
    assert kind.is_endless(normal)
    assert streaming.streams(series) == (stream,)
    assert series == series_of("BTCUSDT", normal.replace("ws_", "api_"))


def test_what_was_probably_meant_is_live_as_well() -> None:
    assert kind_of_type("api_candles_1h").meant("ws_candles_60m") == "ws_candles_1h"
    assert kind_of_type("api_trades").interval_of("ws_tradess") is None


@pytest.mark.parametrize("batch", [1, 7, 10_000])
def test_recorded_trades_are_the_records_that_the_archive_has(batch: int) -> None:
    lines = recorded("ws-trade/spot_BTCUSDT_trade_2024-08-08T2354_2024-08-09T0000.jsonl")
    kind, streaming, series = place("ws_trades")
    heard = [streaming.read(lines[n : n + batch], series, OBSERVED_MS) for n in range(0, len(lines), batch)]
    rows = [msgspec.json.decode(line)["data"] for line in lines]
    assert [one for part in heard for one in part.positions] == [*range(3735683259, 3735683259 + len(lines))]
    assert [one for part in heard for one in part.times] == [row["T"] for row in rows]
    assert not any(part.others or part.refused or part.hints for part in heard)
    records = [pair for part in heard for pair in zip(part.keys, part.values, strict=True)]
    for (key, value), row in zip(records, rows, strict=True):
        found, version, body = kind.document(key, value)
        assert (found, version) == (f"BTCUSDT_{row['t']:012}", OBSERVED_MS)
        assert msgspec.json.decode(body) == {
            "symbol": "BTCUSDT",
            "trade_id": row["t"],
            "price": float(row["p"]),
            "quantity": float(row["q"]),
            "timestamp": row["T"],
            "is_buyer_maker": row["m"],
        }


def test_recorded_aggregates_of_three_symbols_are_told_apart() -> None:
    (name,) = market_data("ws-aggtrade").glob("*.jsonl")
    lines = name.read_bytes().splitlines()
    count = {}
    for symbol in ("BTCUSDT", "ETHUSDT", "DOTUSDT"):
        kind, streaming, series = place("ws_agg_trades", symbol)
        heard = streaming.read(lines, series, OBSERVED_MS)
        rows = [row for row in (msgspec.json.decode(line)["data"] for line in lines) if row["s"] == symbol]
        assert heard.positions == [row["a"] for row in rows]
        assert len(heard.others) == len(lines) - len(rows)
        assert not heard.refused
        read = [msgspec.json.decode(kind.document(*pair)[2]) for pair in zip(heard.keys, heard.values, strict=True)]
        assert [(r["first_trade_id"], r["last_trade_id"]) for r in read] == [(row["f"], row["l"]) for row in rows]
        count[symbol] = len(heard)
    assert count == {"BTCUSDT": 1227, "ETHUSDT": 506, "DOTUSDT": 177}


def test_recorded_klines_hint_at_the_bars_that_are_closed() -> None:
    (name,) = market_data("ws-kline").glob("*.jsonl")
    lines = name.read_bytes().splitlines()
    for symbol in ("BTCUSDT", "ETHUSDT", "DOTUSDT"):
        _, streaming, series = place("ws_candles_1m", symbol)
        heard = streaming.read(lines, series, OBSERVED_MS)
        assert heard.hints == [1617566580000]
        assert not heard.positions
        assert not heard.refused
        own = [line for line in lines if line not in heard.others]
        assert streaming.read(own, series, OBSERVED_MS).hints == [1617566580000]


def test_the_older_form_with_the_orders_ids_is_read() -> None:
    text = market_data("ws-trade", "spot_ETHUSDT_trade_2021-12-12_with-order-ids.json").read_bytes()
    _, streaming, series = place("ws_trades", "ETHUSDT")
    assert streaming.read([text], series, OBSERVED_MS).positions == [705291099]


def test_a_raw_recording_of_several_streams_gives_its_trades_alone() -> None:
    path = market_data("ws-recordings-raw", "spot_BTCUSDT_depth+trade+bookTicker_2024-08-08T2354_2024-08-09T0000.gz")
    lines = [line.split(b" ", 1)[1] for line in gzip.decompress(path.read_bytes()).splitlines()]
    _, streaming, series = place("ws_trades")
    heard = streaming.read(lines, series, OBSERVED_MS)
    assert len(heard) == 9757
    assert len(heard.others) == len(lines) - 9757
    assert not heard.refused


@pytest.mark.parametrize(
    ("type_name", "stream", "good", "changes", "reason"),
    [
        ("ws_trades", "trade", TRADE, {"T": 1723161255342000}, "not in milliseconds"),
        ("ws_trades", "trade", TRADE, {"T": 1723161255}, "not in milliseconds"),
        ("ws_trades", "trade", TRADE, {"q": "0.00000000"}, "quantity '0.00000000'"),
        ("ws_trades", "trade", TRADE, {"q": "-1"}, "quantity '-1'"),
        ("ws_trades", "trade", TRADE, {"q": "NaN"}, "quantity 'NaN'"),
        ("ws_trades", "trade", TRADE, {"q": "1\n2"}, "quantity"),
        ("ws_trades", "trade", TRADE, {"p": ""}, "price ''"),
        ("ws_trades", "trade", TRADE, {"p": 1.5}, r"Expected `str`.*\$\.p"),
        ("ws_trades", "trade", TRADE, {"t": "7"}, r"Expected `int`.*\$\.t"),
        ("ws_trades", "trade", TRADE, {"t": 10**12}, "does not fit into a key"),
        ("ws_trades", "trade", TRADE, {"t": -1}, "does not fit into a key"),
        ("ws_trades", "trade", TRADE, {"s": "ETHUSDT"}, "symbol 'ETHUSDT'"),
        ("ws_agg_trades", "aggTrade", AGG, {"T": 1723161255342000}, "not in milliseconds"),
        ("ws_agg_trades", "aggTrade", AGG, {"q": "0"}, "quantity '0'"),
        ("ws_agg_trades", "aggTrade", AGG, {"l": 7}, "last trade 7 is before its first one 8"),
        ("ws_agg_trades", "aggTrade", AGG, {"s": "ETHUSDT"}, "symbol 'ETHUSDT'"),
        ("ws_candles_1m", "kline_1m", KLINE, {"k": BAR | {"t": 1617566580000000}}, "not in milliseconds"),
        ("ws_candles_1m", "kline_1m", KLINE, {"k": BAR | {"i": "5m"}}, "interval '5m'"),
        ("ws_candles_1m", "kline_1m", KLINE, {"k": BAR | {"s": "ETHUSDT"}}, "'ETHUSDT'"),
        ("ws_candles_1m", "kline_1m", KLINE, {"k": BAR | {"x": 1}}, r"Expected `bool`.*\$\.k\.x"),
    ],
)
def test_what_can_never_be_a_record_is_refused_alone(
    type_name: str, stream: str, good: dict[str, Any], changes: dict[str, Any], reason: str
) -> None:
    _, streaming, series = place(type_name)
    right, wrong = wrapped(f"btcusdt@{stream}", good), wrapped(f"btcusdt@{stream}", good | changes)
    heard = streaming.read([right, wrong, right], series, OBSERVED_MS)
    assert [payload for payload, _ in heard.refused] == [wrong]
    assert re.search(reason, heard.refused[0][1])
    assert len(heard) + len(heard.hints) == 2
    assert not heard.others


@pytest.mark.parametrize(
    ("payload", "refused", "broken"),
    [
        (b'{"result":null,"id":1}', False, False),
        (b'{"code":2,"msg":"Invalid request"}', False, False),
        (b'{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1723161255343}}', False, False),
        (wrapped("btcusdt@trade", {"e": "tradeFuture", "x": 1}), False, False),
        (wrapped("ethusdt@trade", TRADE | {"s": "ETHUSDT"}), False, False),
        (wrapped("btcusdt@trade", {}), True, False),
        (b'{"stream":"btcusdt@trade"}', True, False),
        (b'{"stream":"btcusdt@trade","data":', True, True),
        (b'{"stream":5}', True, False),
        (b"[]", True, False),
        (b"", True, True),
        (b"\xff", True, True),
        (b'{"stream":"btcusdt@trade","data":' + b"[" * 5000, True, True),
        (b'{"stream":"a","data":{}},{"stream":"b","data":{}}', True, True),
    ],
)
def test_what_is_of_another_sort_is_passed_on_and_what_is_no_message_is_refused(
    payload: bytes, refused: bool, broken: bool
) -> None:
    _, streaming, series = place("ws_trades")
    good = wrapped("btcusdt@trade", TRADE | {"b": 1, "a": 2, "new": {}})
    heard = streaming.read([good, payload], series, OBSERVED_MS)
    assert heard.positions == [7]
    assert [one for one, _ in heard.refused] == ([payload] if refused else [])
    assert list(heard.others) == ([] if refused else [payload])
    assert heard.broken == broken


def test_a_symbol_that_is_not_ascii_has_its_own_key() -> None:
    _, streaming, series = place("ws_trades", "币安USDT")
    assert streaming.streams(series) == ("币安usdt@trade",)
    heard = streaming.read([wrapped("币安usdt@trade", TRADE | {"s": "币安USDT"})], series, OBSERVED_MS)
    assert heard.keys == [b"%E5%B8%81%E5%AE%89USDT_000000000007"]
