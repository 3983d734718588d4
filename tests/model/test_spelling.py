from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamforge_utils.model.spelling import closest, did_you_mean

SYMBOLS = ["BTCUSDT", "ETHUSDT", "BTCUSDC", "ETHBTC", "BTCEUR", "SOLUSDT", "这是测试币456"]


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("BTCUSD", "BTCUSDT"),
        ("btcusd", "BTCUSDT"),
        ("BTC", "BTCUSDT"),
        ("BTC-USDT", "BTCUSDT"),
        ("BTCUSTD", "BTCUSDT"),
        ("ETHUSDC", "ETHUSDT"),
        ("ethbtc", "ETHBTC"),
        ("测试币456", "这是测试币456"),
    ],
)
def test_the_likeliest_word_is_found_and_of_equals_the_first(word: str, meant: str) -> None:
    assert closest(word, SYMBOLS) == [meant]
    assert did_you_mean(word, SYMBOLS) == f": did you mean {meant}?"


@pytest.mark.parametrize("word", ["", "X", "NOSUCH", "DOGEFDUSD", "B"])
def test_what_is_like_none_is_not_guessed(word: str) -> None:
    assert closest(word, SYMBOLS) == []
    assert did_you_mean(word, SYMBOLS) == ""


@given(st.text(max_size=300), st.lists(st.text(max_size=20), max_size=30), st.integers(0, 5))
def test_what_is_found_is_known_and_no_more_than_asked_for(word: str, known: list[str], count: int) -> None:
    found = closest(word, known, count=count)
    assert len(found) <= count
    assert set(found) <= set(known)
