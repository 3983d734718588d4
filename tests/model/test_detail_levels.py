"""Which levels of detail a series has, and which of them is chosen."""

from __future__ import annotations

import pytest

from streamforge_utils.model.detail_levels import Levels, whole_bars
from streamforge_utils.model.errors import InvalidInput
from streamforge_utils.model.kinds.registry import series_of
from streamforge_utils.model.timeranges import TimeRange, parse_time_range

LEVELS = {
    "api_candles_1s": ("1s 1m 5m 15m 1h 4h 1d 1w", "1m 5m 15m 1h 4h 1d"),
    "api_candles_1m": ("1m 5m 15m 1h 4h 1d 1w", "15m 1h 4h 1d"),
    "api_candles_3m": ("3m 15m 1h 4h 1d 1w", "1h 4h 1d"),
    "api_candles_2h": ("2h 4h 1d 1w", "1d"),
    "api_candles_8h": ("8h 1d 1w", ""),
    "api_candles_1d": ("1d 1w", ""),
    "api_candles_3d": ("3d", ""),
    "api_candles_1w": ("1w", ""),
    "api_candles_1M": ("1M", ""),
    "ws_trades": ("1m 5m 15m 1h 4h 1d 1w", "1m 5m 15m 1h 4h 1d"),
}


@pytest.mark.parametrize("type_name", LEVELS)
def test_a_level_holds_whole_bars_of_the_series_and_is_kept_where_these_are_many(type_name: str) -> None:
    every, rolled = LEVELS[type_name]
    found = Levels.of(series_of("BTCUSDT", type_name), 0)
    assert [one.text for one in found.every] == every.split()
    assert [one.text for one in found.rolled] == rolled.split()


def test_where_bars_open_only_the_exchange_tells_there_is_no_level_before_it_has() -> None:
    series = series_of("BTCUSDT", "api_candles_3d")
    assert Levels.of(series, None).every == ()
    (level,) = Levels.of(series, 86_400_000).every
    assert whole_bars(level, TimeRange(0, 1)) == TimeRange(-2 * 86_400_000, 86_400_000)


@pytest.mark.parametrize(
    ("span", "most", "text"),
    [
        ("2024-08-01T00:00Z:2024-08-01T02:00Z", 120, "1m"),
        ("2024-08-01T00:00Z:2024-08-01T02:00Z", 119, "5m"),
        ("2024-08-01T00:00:30Z:2024-08-01T02:00:30Z", 120, "5m"),  # 121 minutes are touched
        ("2017-08-17:2025-01-01", 2693, "1w"),
        ("2017-08-17:2025-01-01", 2694, "1d"),
    ],
)
def test_the_finest_level_is_chosen_that_has_few_enough_bars(span: str, most: int, text: str) -> None:
    levels = Levels.of(series_of("BTCUSDT", "api_candles_1m"), None)
    assert levels.chosen(parse_time_range(span), most).text == text


def test_a_range_of_too_many_weeks_is_refused_with_what_to_do() -> None:
    levels = Levels.of(series_of("BTCUSDT", "api_candles_1m"), None)
    with pytest.raises(InvalidInput, match=r"more than 50 bars of 1w.*shorter range or for more bars") as refused:
        levels.chosen(parse_time_range("2017:2018"), 50)
    assert refused.value.field == "max"


def test_weeks_begin_on_monday() -> None:
    week = Levels.of(series_of("BTCUSDT", "api_candles_1m"), None).every[-1]
    assert str(whole_bars(week, parse_time_range("2024-08-01"))) == "2024-07-29:2024-08-05"
