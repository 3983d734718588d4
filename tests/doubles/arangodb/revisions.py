"""Revisions and generated keys: text that grows, never twice the same, also after a restart."""

from __future__ import annotations

import time
from collections.abc import Callable

ALPHABET = "-_ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_TWO = [a + b for a in ALPHABET for b in ALPHABET]


def _base64(number: int) -> str:
    digits = ""
    while number:
        digits = ALPHABET[number & 63] + digits
        number >>= 6
    return digits


class Revisions:
    """Makes `_rev` as servers do: milliseconds above a counter of 20 bits, in base 64, most significant first."""

    def __init__(self, now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000) -> None:
        self._now_ms = now_ms
        self._ms = 0
        self._count = 0
        self._prefix = ""

    def start(self) -> None:
        """Read the clock, once for a request; it never goes back."""
        ms = max(self._now_ms(), self._ms)
        if ms > self._ms:
            self._set(ms)

    def next(self) -> str:
        """A revision above every one before."""
        if self._count == 4096:
            self._set(self._ms + 1)
        rev = self._prefix + _TWO[self._count]
        self._count += 1
        return rev

    def _set(self, ms: int) -> None:
        self._ms = ms
        self._count = 0
        # The two last digits count; the upper 8 bits of the counter stay 0.
        self._prefix = _base64((ms << 20) >> 12)
