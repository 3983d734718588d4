"""The exchange's decimal text, and floats that are equal and in order exactly where the texts are."""

from __future__ import annotations

import re
from decimal import Decimal

DECIMALS = 8
"""Digits behind the point that the exchange writes."""
ZERO = "0." + "0" * 20
"""The text of every number that is zero, however many digits it has, is not greater; that of every other one is."""

_DIGITS = 15
"""A float holds each number of so many digits."""
_PLAIN = 10 ** (_DIGITS - DECIMALS)
_number = re.compile(r"(?:0|[1-9][0-9]{0,19})(?:\.[0-9]{1,20})?").fullmatch


def is_number(text: str) -> bool:
    """Whether it is a decimal number that is not negative, as the exchange writes them."""
    return _number(text) is not None


def is_exact(text: str) -> bool:
    """Whether a float tells the number from every other one."""
    return len((text.rstrip("0") if "." in text else text).replace(".", "").lstrip("0")) <= _DIGITS


def text_of(number: float) -> str:
    """A price or a quantity as the exchange writes it."""
    return f"{number:.{DECIMALS}f}" if number < _PLAIN else f"{Decimal(repr(number)):.{DECIMALS}f}"
