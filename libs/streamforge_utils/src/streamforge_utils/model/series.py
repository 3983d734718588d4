"""A series of an exchange's data, and the symbols that it may be of."""

from __future__ import annotations

import re

import msgspec

from streamforge_utils.model.errors import InvalidInput

SYMBOL_LIMIT = 60


class Series(msgspec.Struct, frozen=True, order=True):
    """A series of an exchange's data: coverage belongs to it, whichever workflow stored the data.

    kind: its name. interval: of kinds that have one, in its one spelling.
    """

    symbol: str
    kind: str
    interval: str = ""

    @property
    def id(self) -> str:
        """One text for one series."""
        return "/".join(part for part in (self.symbol, self.kind, self.interval) if part)


def check_symbol(symbol: str) -> str:
    """`symbol`, upper-cased where it is plain letters and digits; other scripts are let through.

    Raises InvalidInput if it is empty, too long, or holds white space, control or reserved characters.
    """
    if not symbol or len(symbol) > SYMBOL_LIMIT:
        raise InvalidInput("symbol", f"symbol {symbol[:80]!r} must have 1 to {SYMBOL_LIMIT} characters")
    bad = sorted({c for c in symbol if not (c.isalnum() or c in "-_.")})
    if bad or not symbol.isprintable() or any(0xD800 <= ord(c) <= 0xDFFF for c in symbol):
        plain = re.sub(r"[^0-9A-Za-z]", "", symbol).upper()
        hint = f": did you mean {plain}?" if symbol.isprintable() and len(plain) > 4 else ""
        raise InvalidInput(
            "symbol", f"symbol {symbol[:80]!r} holds characters that no symbol has ({''.join(bad)[:20]!r}){hint}"
        )
    return symbol.upper() if symbol.isascii() else symbol
