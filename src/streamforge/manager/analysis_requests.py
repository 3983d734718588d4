"""What the requests for graphs and for models share. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from streamforge.manager.batches.symbol_selection import check_words
from streamforge_utils.model.errors import InvalidInput

LEAST_COINS, LEAST_RANKED = 2, 3
"""Of a graph; of a model, whose ranks of fewer coins tell nothing."""


def check_inputs(symbols: Sequence[str], batch: str) -> None:
    """Raises InvalidInput unless symbols or a batch are named."""
    if bool(symbols) == bool(batch):
        raise InvalidInput("symbols", "name the symbols, or the batch that loads them: one of the two")
    if symbols:
        check_words(symbols)


def check_symbols(symbols: Sequence[str], least: int) -> None:
    """Raises InvalidInput for fewer of them."""
    if len(symbols) < least:
        does = "a graph joins" if least == LEAST_COINS else "a model ranks"
        known = " and ".join(symbols) or "none"
        raise InvalidInput("symbols", f"{does} {least} coins or more, and {known} is all that is named: name others")
