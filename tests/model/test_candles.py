"""Candles and their intervals: records, keys and stored documents."""

from __future__ import annotations

import itertools
import json
import re
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamforge_utils.model.errors import PermanentError
from streamforge_utils.model.kinds.candles import KIND, Candle, Interval, encode_candle
from streamforge_utils.model.kinds.kind import KEY_SAFE
from tests.doubles.candles import candle_key, decode_candle, stored_document
from tests.model.strategies import decimals, intervals, symbols, times

OPEN = 1_672_531_200_000
NUMBERS = ["open", "high", "low", "close", "volume", "quote_asset_volume", "taker_buy_base_asset_volume"]
NUMBERS += ["taker_buy_quote_asset_volume"]


def record(**changes: Any) -> dict[str, Any]:
    """A record as a dictionary; a change to `...` leaves the field out."""
    fields: dict[str, Any] = {
        "_key": f"BTCUSDT_1m_{OPEN}",
        "_version": 5,
        "symbol": "BTCUSDT",
        "interval": "1m",
        "open_time": OPEN,
        "open": "16541.77000000",
        "high": "16544.76000000",
        "low": "16538.45000000",
        "close": "16543.67000000",
        "volume": "83.08143000",
        "close_time": OPEN + 59_999,
        "quote_asset_volume": "1374268.84886180",
        "number_of_trades": 2687,
        "taker_buy_base_asset_volume": "40.18369000",
        "taker_buy_quote_asset_volume": "664706.07218790",
    }
    return {name: value for name, value in (fields | changes).items() if value is not ...}


def stored(**changes: Any) -> tuple[str, int, dict[str, Any]]:
    key, version, body = stored_document(None, msgspec.json.encode(record(**changes)))
    return key, version, msgspec.json.decode(body)


def test_a_record_becomes_a_document_with_numbers() -> None:
    key, version, body = stored()
    assert (key, version) == (f"BTCUSDT_1m_{OPEN}", 5)
    assert tuple(body) == KIND.columns
    assert body["open"] == 16541.77
    assert body["quote_asset_volume"] == 1374268.8488618
    assert body["number_of_trades"] == 2687
    assert "_key" not in body
    assert "_version" not in body


@st.composite
def candles(draw: st.DrawFn) -> Candle:
    symbol, interval = draw(symbols), draw(intervals)
    opened = draw(st.integers(10**12, 4 * 10**12))
    texts = [draw(decimals) for _ in NUMBERS]
    return Candle(
        key=candle_key(symbol, interval.value, opened),
        version=draw(st.integers(0, 2**53)),
        symbol=symbol,
        interval=interval.value,
        open_time=opened,
        close_time=Interval.parse(interval.value).close_time(opened),
        number_of_trades=draw(st.integers(0, 2**53)),
        **dict(zip(NUMBERS, texts, strict=True)),
    )


@given(candles())
def test_a_candle_reads_back_and_is_stored_as_the_nearest_doubles(candle: Candle) -> None:
    value = encode_candle(candle)
    assert decode_candle(value) == candle
    key, version, body = stored_document(candle.key.encode(), value)
    assert (key, version) == (candle.key, candle.version)
    numbers = msgspec.json.decode(body)
    for name in NUMBERS:
        assert numbers[name] == float(getattr(candle, name))


@given(symbols, intervals, st.integers(0, 4 * 10**12))
def test_keys_hold_what_a_store_allows_and_differ(symbol: str, interval: Interval, opened: int) -> None:
    key = candle_key(symbol, interval.value, opened)
    assert re.fullmatch(rf"[A-Za-z0-9_%{re.escape(KEY_SAFE)}]+", key)
    assert key.endswith(f"_{interval.value}_{opened}")
    assert candle_key(symbol + "X", interval.value, opened) != key


NOT_FINITE = ["nan", "NaN", "inf", "-inf", "Infinity", "1e999", "-1e999"]
BAD_TEXTS = ["", " 1", "1 ", "abc", "1,5", "0x1", "1_0", "--1", "-1", "-0.00000001", *NOT_FINITE]


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("text", BAD_TEXTS)
def test_a_text_that_is_no_number_from_zero_up_is_refused(name: str, text: str) -> None:
    with pytest.raises(PermanentError):
        stored(**{name: text})


@pytest.mark.parametrize(
    "name", [*NUMBERS, "symbol", "interval", "open_time", "close_time", "number_of_trades", "_key"]
)
def test_a_missing_field_or_null_is_refused_and_named(name: str) -> None:
    with pytest.raises(PermanentError, match=f"`{name}`"):
        stored(**{name: ...})
    with pytest.raises(PermanentError, match=rf"\$\.{name}"):
        stored(**{name: None})


@pytest.mark.parametrize(
    "changes",
    [
        {"_key": f"ETHUSDT_1m_{OPEN}"},
        {"_key": f"BTCUSDT_1m_{OPEN + 1}"},
        {"symbol": "ETHUSDT"},
        {"interval": "1h"},
        {"open_time": OPEN + 60_000},
        {"close_time": OPEN},
        {"close_time": OPEN - 1},
        {"number_of_trades": -1},
        {"number_of_trades": 1.5},
        {"open": []},
        {"open": {}},
        {"open_time": "x"},
        {"_key": "BTCUSDT_7m_1672531200000", "interval": "7m"},
        {"_key": f"BTCUSDT_1m_{OPEN}000", "open_time": OPEN * 1000, "close_time": OPEN * 1000 + 59_999_999},
        {"_key": "BTCUSDT_1m_999999999999", "open_time": 999_999_999_999},
    ],
)
def test_contradictions_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(PermanentError):
        stored(**changes)


def test_the_message_s_key_must_be_the_record_s() -> None:
    value = msgspec.json.encode(record())
    assert stored_document(f"BTCUSDT_1m_{OPEN}".encode(), value)[0] == f"BTCUSDT_1m_{OPEN}"
    for key in (b"", b"x", f"BTCUSDT_1m_{OPEN} ".encode(), b"\xff", b"k" * 10_000):
        with pytest.raises(PermanentError, match="the message's key") as caught:
            stored_document(key, value)
        assert len(str(caught.value)) < 500


@given(st.binary(max_size=60))
def test_any_bytes_are_a_permanent_error(value: bytes) -> None:
    with pytest.raises(PermanentError):
        stored_document(None, value)
    with pytest.raises(PermanentError):
        decode_candle(value)


@given(
    st.sampled_from(sorted(record())),
    st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8), st.lists),
)
def test_any_value_in_any_field_is_stored_whole_or_refused(name: str, value: Any) -> None:
    try:
        _, _, body = stored(**{name: value})
    except PermanentError:
        return
    for field in NUMBERS:
        assert isinstance(body[field], int | float)
        assert 0 <= body[field] < float("inf")


def test_unknown_fields_are_kept_out() -> None:
    _, _, body = stored(surprise="x", _rev="1")
    assert tuple(body) == KIND.columns


def test_numbers_may_come_as_numbers() -> None:
    _, _, body = stored(open=1.5, volume=3)
    assert (body["open"], body["volume"]) == (1.5, 3)


def test_a_candle_is_exported_alike_however_a_store_writes_it() -> None:
    body = (
        b'{"symbol":"BTCUSDT","interval":"1m","open_time":1722470400000,"open":42000.0,"high":42001.5,"low":41999.0,'
        b'"close":42000.1,"volume":0.0,"close_time":1722470459999,"quote_asset_volume":1e-7,"number_of_trades":0,'
        b'"taker_buy_base_asset_volume":0.0,"taker_buy_quote_asset_volume":12345678.0}'
    )
    said = json.loads(body)
    whole = {name: int(value) if value == int(value) else value for name, value in said.items() if type(value) is float}
    other = json.dumps(dict(reversed(list((said | whole).items())))).encode()
    assert b'"open": 42000,' in other
    assert KIND.as_exported(other) == KIND.as_exported(body) == body


@pytest.mark.parametrize("body", [b"{}", b'{"symbol":"BTCUSDT"}', b"[1]", b'{"x": 1.50}'])
def test_what_is_no_candle_is_exported_as_it_is(body: bytes) -> None:
    assert KIND.as_exported(body) == body


PHASE = 1_502_928_000_000  # 2017-08-17, a known open time for 3d


@given(intervals, times)
def test_floor_is_the_bar_that_holds_the_instant(interval: Interval, time_ms: int) -> None:
    opened = interval.rule.floor(time_ms, PHASE)
    assert opened <= time_ms <= interval.close_time(opened)
    assert interval.rule.floor(opened, PHASE) == opened
    assert interval.rule.floor(interval.close_time(opened), PHASE) == opened
    assert interval.rule.floor(interval.rule.next(opened), PHASE) == interval.close_time(opened) + 1


@given(intervals, times, st.integers(0, 300), st.integers(0, 1000))
def test_the_grid_holds_every_open_time_of_the_range_and_no_other(
    interval: Interval, start: int, bars: int, rest: int
) -> None:
    end = start + bars * (interval.step_ms or 30 * 86_400_000) + rest
    grid = interval.rule.times(start, end, PHASE)
    assert all(start <= opened < end for opened in grid)
    assert all(interval.rule.floor(opened, PHASE) == opened for opened in grid)
    assert all(interval.rule.next(left) == right for left, right in itertools.pairwise(grid))
    before = interval.rule.floor(start, PHASE)
    first = before if before == start else interval.rule.next(before)
    assert list(grid[:1]) == ([first] if first < end else [])
    if grid:
        assert interval.rule.next(grid[-1]) >= end


@given(intervals, times, st.lists(st.integers(0, 10**10), min_size=2, max_size=6))
def test_grids_of_adjacent_ranges_join(interval: Interval, start: int, lengths: list[int]) -> None:
    step = interval.step_ms or 30 * 86_400_000
    cuts = sorted(start + length % (step * 50) for length in lengths)
    whole = list(interval.rule.times(cuts[0], cuts[-1], PHASE))
    parts = [t for left, right in itertools.pairwise(cuts) for t in interval.rule.times(left, right, PHASE)]
    assert parts == whole


@given(times)
def test_weeks_open_on_monday_and_months_on_the_first(time_ms: int) -> None:
    week = datetime.fromtimestamp(Interval.W1.rule.floor(time_ms) // 1000, UTC) if time_ms >= 4 * 86_400_000 else None
    month = datetime.fromtimestamp(Interval.MO1.rule.floor(time_ms) // 1000, UTC)
    now = datetime.fromtimestamp(time_ms // 1000, UTC)
    assert week is None or (week.weekday(), week.hour, week.minute, week.second) == (0, 0, 0, 0)
    assert (month.year, month.month, month.day, month.hour) == (now.year, now.month, 1, 0)


def test_a_year_of_seconds_costs_nothing() -> None:
    grid = Interval.S1.rule.times(0, 10**12)
    assert len(grid) == 10**9
    assert isinstance(grid, range)


def test_an_empty_range_has_an_empty_grid() -> None:
    for interval in Interval:
        assert list(interval.rule.times(PHASE + 1, PHASE + 1, PHASE)) == []
        assert list(interval.rule.times(PHASE + 1, PHASE + 2, PHASE)) == []


def test_three_days_need_a_known_open_time() -> None:
    with pytest.raises(ValueError, match="known position"):
        Interval.D3.rule.times(0, 10**12)
    assert [i for i in Interval if not i.rule.is_fixed(None)] == [Interval.D3]


def test_the_exchange_s_spelling_and_the_archive_s() -> None:
    spelled = ["1s", "1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d", "1w", "1M"]
    assert [i.value for i in Interval] == spelled
    for interval in Interval:
        assert Interval.parse(interval.value) is Interval.parse(interval.lower) is interval
    assert len({i.lower.lower() for i in Interval}) == 16
    for text in ("", "1", "1D", "2m", "1MO", "m1", "1m "):
        with pytest.raises(ValueError, match="1s, 1m, 3m"):
            Interval.parse(text)
