from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamforge_utils.model import names
from streamforge_utils.model.errors import InvalidInput
from streamforge_utils.model.kinds.candles import KIND, Interval
from streamforge_utils.model.kinds.registry import check_series, is_type, normal_type, series_of
from streamforge_utils.model.series import SYMBOL_LIMIT, Series, check_symbol
from tests.model.strategies import codes, intervals, symbols, times

AUGUST = 1_722_470_400_000
LABEL = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")
DNS = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
TOPIC = re.compile(r"[A-Za-z0-9._-]+")
COLLECTION = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
TARGETS = ["loader-api-candles", "arango-orderbook", "dummy-service", "arango-connector"]


def test_the_names_of_the_design() -> None:
    queue = names.queue_id("BTCUSDT", "api_candles_1m", AUGUST, "abc123")
    assert queue == "wf-btcusdt-api_candles_1m-20240801-abc123"
    assert names.data_topic(queue) == f"{queue}-data"
    assert names.dlq_topic(names.data_topic(queue)) == f"{queue}-data-dlq"
    assert names.consumer_group(queue, "arango-candles") == f"{queue}-arango-candles"
    assert names.collection_name("BTCUSDT", "api_candles_1m", AUGUST) == "btcusdt_api_candles_1m_2024_08_01"
    assert names.telemetry_id("arango-candles", queue) == "arango-candles__abc123"
    assert names.job_name("arango-candles", "BTCUSDT", queue, 1) == "job-arango-candles-btcusdt-abc123"
    assert names.job_name("arango-candles", "BTCUSDT", queue, 3) == "job-arango-candles-btcusdt-abc123-3"
    assert names.code_of(queue) == "abc123"


def test_the_month_does_not_become_a_minute() -> None:
    minute, month = (names.collection_name("X", KIND.type_of(i), AUGUST) for i in (Interval.M1, Interval.MO1))
    assert (minute, month) == ("x_api_candles_1m_2024_08_01", "x_api_candles_1mo_2024_08_01")
    assert names.lower_type("api_candles_1M") == "api_candles_1mo"
    assert names.lower_type("1M") == "1mo"
    assert names.lower_type("FOO1M") == "foo1m"


@given(symbols, intervals, times, codes)
def test_every_name_keeps_its_limit_and_its_alphabet(symbol: str, interval: Interval, start: int, code: str) -> None:
    queue = names.queue_id(symbol, KIND.type_of(interval), start, code)
    assert names.is_queue_id(queue)
    assert len(queue) <= 63
    assert LABEL.fullmatch(queue)
    assert names.code_of(queue) == code
    for topic in (names.data_topic(queue), names.dlq_topic(names.data_topic(queue))):
        assert len(topic) <= names.TOPIC_LIMIT
        assert TOPIC.fullmatch(topic)
    collection = names.collection_name(symbol, KIND.type_of(interval), start)
    assert len(collection) <= 256
    assert COLLECTION.fullmatch(collection)
    for target in TARGETS:
        for attempt in (1, 2, 17, 999):
            job = names.job_name(target, symbol, queue, attempt)
            assert len(job) <= 57
            assert DNS.fullmatch(job)
            assert job.count(code) >= 1


@given(st.sets(symbols, min_size=2, max_size=8), times)
def test_different_symbols_never_share_a_collection(found: set[str], start: int) -> None:
    made = {names.collection_name(symbol, "api_candles_1m", start) for symbol in found}
    assert len(made) >= len({names.lower_type(symbol) for symbol in found})


@given(st.text(max_size=100), st.integers(10, 80))
def test_fit_keeps_what_is_legal_and_marks_what_it_changed(text: str, limit: int) -> None:
    fitted = names.fit(text, limit, "a-z0-9-")
    assert len(fitted) <= limit
    assert re.fullmatch("[a-z0-9-]*", fitted)
    if fitted != text:
        assert re.search(r"(^|-)[0-9a-f]{8}$", fitted)
    assert names.fit(text, limit, "a-z0-9-") == fitted


def test_two_texts_that_are_cut_to_the_same_differ() -> None:
    assert names.fit("a" * 70, 20, "a-z") != names.fit("a" * 71, 20, "a-z")
    assert names.fit("a b", 20, "a-z") != names.fit("a_b", 20, "a-z")


@pytest.mark.parametrize(
    "text", ["", "wf-", "wf-x-abc12", "wf-x-ABC123", "xwf-x-abc123", "wf-x-abc123\n", "wf-" + "x" * 60 + "-abc123"]
)
def test_what_is_no_queue_id(text: str) -> None:
    assert not names.is_queue_id(text)


def test_types_and_series() -> None:
    for interval in Interval:
        assert KIND.interval_of(KIND.type_of(interval)) == interval
        assert series_of("BTCUSDT", KIND.type_of(interval)) == Series("BTCUSDT", "candles", interval.value)
    assert normal_type("api_candles_1mo") == "api_candles_1M"
    assert series_of("BTCUSDT", "api_candles_1mo") == series_of("BTCUSDT", "api_candles_1M")
    assert Series("BTCUSDT", "candles", "1m").id == "BTCUSDT/candles/1m"
    assert Series("BTCUSDT", "trades").id == "BTCUSDT/trades"


@given(st.text(max_size=40))
def test_any_type_is_known_or_invalid_input(text: str) -> None:
    refused: InvalidInput | None = None
    try:
        normal = normal_type(text)
        assert is_type(normal)
        assert normal_type(normal) == normal
    except InvalidInput as error:
        refused = error
    assert refused is None or (refused.field == "type" and "api_" in str(refused))


@pytest.mark.parametrize(
    "text", ["api_candles_", "api_candles_7m", "API_CANDLES_1m", "api_candles_1m ", "api_candles_١m", "1m"]
)
def test_what_is_no_type(text: str) -> None:
    with pytest.raises(InvalidInput):
        normal_type(text)


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("1m", "did you mean api_candles_1m?"),
        ("1M", "did you mean api_candles_1M?"),
        ("klines_1h", "did you mean api_candles_1h?"),
        ("api-candles-1m", "did you mean api_candles_1m?"),
        ("API_CANDLES_5m", "did you mean api_candles_5m?"),
        ("5 min", "did you mean api_candles_5m?"),
        ("api_candles_60m", "did you mean api_candles_1h?"),
        ("api_candles_24h", "did you mean api_candles_1d?"),
        ("1month", "did you mean api_candles_1M?"),
        ("api_candles_7m", "choose one of api_candles_1s, api_candles_1m,"),
        ("candles", "choose one of api_candles_1s,"),
        ("agg_trades", "did you mean api_agg_trades?"),
        ("trades", "did you mean api_trades?"),
        ("orderbook", "did you mean ws_orderbook?"),
        ("api_orderbook", "did you mean ws_orderbook?"),
        ("api_trade", "did you mean api_trades?"),
        ("", "choose one of api_agg_trades, api_candles_1s,"),
    ],
)
def test_the_type_that_was_probably_meant_is_named(text: str, advice: str) -> None:
    with pytest.raises(InvalidInput, match=re.escape(f"type {text!r} is not known: {advice}")):
        normal_type(text)


def test_types_that_nobody_loads_are_no_choice() -> None:
    with pytest.raises(InvalidInput, match=r"choose one of .*ws_orderbook") as caught:
        normal_type("nothing")
    assert "ws_depth_top" not in str(caught.value)


def test_a_symbol_and_a_type_that_are_swapped_are_told_so() -> None:
    assert check_series("btcusdt", "api_candles_1mo") == ("BTCUSDT", "api_candles_1M")
    with pytest.raises(InvalidInput, match=r"symbol comes first, then the type \(BTCUSDT api_candles_1m\)") as caught:
        check_series("api_candles_1m", "BTCUSDT")
    assert caught.value.field == "type"


def test_what_is_left_of_a_symbol_without_strange_characters_is_named() -> None:
    with pytest.raises(InvalidInput, match=r"characters that no symbol has \('/'\): did you mean BTCUSDT\?"):
        check_symbol("btc/usdt")


@given(st.text(max_size=80))
def test_any_symbol_is_usable_or_invalid_input(text: str) -> None:
    try:
        symbol = check_symbol(text)
    except InvalidInput:
        return
    assert 1 <= len(symbol) <= SYMBOL_LIMIT
    assert check_symbol(symbol) == symbol
    assert not re.search(r"[\s/\\&?#%\"'<>{}\x00-\x1f]", symbol)
    symbol.encode()


def test_symbols() -> None:
    assert check_symbol("btcUSDT") == "BTCUSDT"
    assert check_symbol("这是测试币456") == "这是测试币456"
    for text in ("", "A" * 61, "BTC USDT", "BTC/USDT", "BTC\u202eX", "\ud800", "A\x00", "A\n", "%41", "../etc"):
        with pytest.raises(InvalidInput):
            check_symbol(text)
