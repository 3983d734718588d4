"""Symbols that are made up, any number of them: the same number gives the same ones."""

from __future__ import annotations

from collections.abc import Iterator

from streamforge.exchange.config import SymbolSpec

_CONSONANTS, _VOWELS = "BCDFGKLMNPRSTVXZ", "AEIOU"
_QUOTES = ("USDT", "USDT", "BTC", "USDT", "FDUSD", "USDT", "EUR", "USDT", "USDT", "TRY")
_FIRST_MS, _DAY_MS = 1_514_764_800_000, 86_400_000
"""2018-01-01"""
_SPREAD_DAYS = 2_700
"""The listings are spread over seven years."""
_FUTURE_MS = 2_051_222_400_000
"""2035-01-01"""


def made_up_symbols(count: int) -> Iterator[SymbolSpec]:
    """`count` symbols. Of ten, six have the quote USDT, one is delisted; of fifty, one is listed from 2035 on only.

    Of five that are delisted, one is in the archive alone.
    """
    for number in range(count):
        base, quote = _base(number), _QUOTES[number % len(_QUOTES)]
        listed_ms = _FIRST_MS + number * 997 % _SPREAD_DAYS * _DAY_MS + number % 24 * 3_600_000
        delisted_ms = listed_ms + (200 + number * 31 % 900) * _DAY_MS if number % 10 == 7 else None
        yield SymbolSpec(
            symbol=base + quote,
            base=base,
            quote=quote,
            listed_ms=_FUTURE_MS if number % 50 == 49 else listed_ms,
            delisted_ms=delisted_ms,
            status="TRADING" if delisted_ms is None else "BREAK",
            unlisted=number % 50 == 17,
            price=(0.05, 0.7, 3.0, 25.0, 180.0)[number % 5],
            price_decimals=(5, 4, 4, 3, 2)[number % 5],
            quantity_decimals=(1, 1, 2, 3, 4)[number % 5],
        )


def _base(number: int) -> str:
    """Four letters or more, another one for each number: BABA, BABE, …"""
    letters = []
    for alphabet in (_VOWELS, _CONSONANTS, _VOWELS, _CONSONANTS):
        number, place = divmod(number, len(alphabet))
        letters.append(alphabet[place])
    name = "".join(reversed(letters))
    return name if not number else f"{name}{number + 1}"
