"""Which symbols a batch is of, and what is refused before anything is made."""

from __future__ import annotations

import pytest

from streamforge.manager.batches.model import MOST_SYMBOLS
from streamforge.manager.batches.symbol_selection import SHOWN, select, shortened
from streamforge_utils.model.errors import InvalidInput
from streamforge_utils.ports.exchange import SymbolInfo

LISTED = [
    SymbolInfo(symbol=f"{base}{quote}", status=status, base_asset=base, quote_asset=quote)
    for base, quote, status in [
        ("BTC", "USDT", "TRADING"),
        ("BTC", "FDUSD", "TRADING"),
        ("ETH", "USDT", "TRADING"),
        ("LUNA", "USDT", "BREAK"),
        ("SOL", "USDT", "TRADING"),
    ]
]


def test_names_and_patterns_give_each_symbol_once_and_those_that_are_delisted_too() -> None:
    found = select(["SOLUSDT", "btcusdt", "*usdt", "BTCUSDT", "ETHUSDT", "?TCF*"], LISTED, "Binance")
    assert found.symbols == ("SOLUSDT", "BTCUSDT", "ETHUSDT", "LUNAUSDT", "BTCFDUSD")
    assert found.delisted == {"LUNAUSDT"}
    assert found.duplicates == ("BTCUSDT", "ETHUSDT")


def test_all_names_that_are_not_known_are_told_with_what_was_meant() -> None:
    unknown = ["BTCUSTD", "NOSUCH", *(f"QQ{number}" for number in range(SHOWN))]
    with pytest.raises(InvalidInput) as refused:
        select(["BTCUSDT", *unknown, "NOSUCH"], LISTED, "Binance")
    message = str(refused.value)
    assert refused.value.field == "symbols"
    assert message.startswith(
        "22 of 23 are not symbols of Binance, so nothing was begun: BTCUSTD (did you mean BTCUSDT?)"
    )
    assert ", NOSUCH, QQ0, " in message
    assert ", QQ17 and 2 more; GET /symbols" in message


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ([], "symbols is empty"),
        (["*EUR"], "no symbol of Binance fits the pattern '*EUR'"),
        (["BTCUSDT", ""], "symbol '' must have 1 to 60 characters"),
        (["BTC/USDT"], "did you mean BTCUSDT?"),
        (["* USDT"], "pattern '* USDT' is none"),
        (["*" * 61], "is none"),
        (["*USDT"] * 101, "101 patterns are named: 100 at most"),
        (["BTCUSDT"] * (2 * MOST_SYMBOLS + 1), "20,001 symbols are named, and a batch has 10,000 at most"),
    ],
)
def test_what_names_no_symbols_is_refused(asked: list[str], said: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        select(asked, LISTED, "Binance")
    assert refused.value.field == "symbols"
    assert said in str(refused.value)


def test_ten_thousand_symbols_are_a_batch_and_one_more_is_not() -> None:
    listed = [SymbolInfo(symbol=f"S{number}USDT", status="TRADING") for number in range(MOST_SYMBOLS + 1)]
    assert len(select([one.symbol for one in listed[:-1]], listed, "Binance").symbols) == MOST_SYMBOLS
    with pytest.raises(InvalidInput, match="these are 10,001 symbols, and a batch has 10,000 at most"):
        select(["S*"], listed, "Binance")


def test_many_words_are_shortened() -> None:
    assert shortened(["A", "B"]) == "A, B"
    assert shortened([str(number) for number in range(1005)]) == "0, 1, 2, 3, 4 and 1,000 more"
