"""Which symbols a batch is of: those that are named, and those that a pattern fits."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

import msgspec

from streamforge.manager.batches.model import MOST_SYMBOLS
from streamforge.manager.catalogue.archived_symbols import ARCHIVED
from streamforge.manager.catalogue.symbols import is_traded, likely_symbols
from streamforge.manager.problem_codes import ProblemCode
from streamforge_utils.model.errors import InvalidInput
from streamforge_utils.model.series import SYMBOL_LIMIT, check_symbol
from streamforge_utils.ports.exchange import SymbolInfo

SHOWN = 20
"""Symbols that a message or an answer names of many."""
MOST_PATTERNS = 100

_WILD = frozenset("*?[")
_ASKED_SHOWN = 5


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """symbols: in the order in which they were asked for, each once. delisted: those that are not traded now.

    duplicates: symbols that were named again, as often as they were. archived: those that only the archive has.
    left_out: symbols that only it has and that are not loaded. silence: why it is not known which it has.
    unknown: symbols that were named, and that nobody has.
    """

    symbols: tuple[str, ...]
    delisted: frozenset[str]
    duplicates: tuple[str, ...]
    archived: frozenset[str] = frozenset()
    left_out: tuple[str, ...] = ()
    silence: str = ""
    unknown: tuple[str, ...] = ()


def is_pattern(word: str) -> bool:
    """Whether `word` stands for all symbols that it fits."""
    return not _WILD.isdisjoint(word)


def select(
    asked: Sequence[str],
    listed: Sequence[SymbolInfo],
    where: str,
    *,
    skip_unknown: bool | None = None,
    traded: bool = False,
) -> Selection:
    """The symbols that are asked for. listed: all that there are; those that are traded no longer fit a pattern too,
    unless only `traded` ones are wanted.

    where: the exchange, as it is called in a sentence. skip_unknown: leave out a symbol that is not known, if another
    one is; None: that cannot be asked for. Raises InvalidInput that names every symbol that is not known.
    """
    check_words(asked)
    known = {one.symbol: one for one in listed}
    chosen: dict[str, None] = {}
    unknown: list[str] = []
    duplicates: list[str] = []
    for word in asked:
        if is_pattern(word):
            fits = [symbol for symbol in sorted(known) if fnmatchcase(symbol.upper(), word.upper())]
            fits = [symbol for symbol in fits if is_traded(known[symbol])] if traded else fits
            if not fits:
                raise InvalidInput("symbols", f"no symbol of {where} fits the pattern {word!r}")
            chosen |= dict.fromkeys(fits)
            continue
        symbol = _spelt(word)
        if symbol not in known:
            unknown.append(symbol)
            if skip_unknown:
                continue
        elif symbol in chosen:
            duplicates.append(symbol)
        chosen[symbol] = None
    unknown = list(dict.fromkeys(unknown))
    if unknown and not (skip_unknown and chosen):
        every = len(chosen.keys() | set(unknown))
        error = _not_known(unknown, every, listed, where)
        hint = "; `skip_unknown` loads the others" if skip_unknown is False and every > len(unknown) else ""
        raise InvalidInput(error.field, f"{error}{hint}", code=error.code)
    if len(chosen) > MOST_SYMBOLS:
        raise InvalidInput(
            "symbols", f"these are {len(chosen):,} symbols, and a batch has {MOST_SYMBOLS:,} at most: make several"
        )
    return Selection(
        symbols=tuple(chosen),
        delisted=frozenset(symbol for symbol in chosen if not is_traded(known[symbol])),
        duplicates=tuple(duplicates),
        archived=frozenset(symbol for symbol in chosen if known[symbol].status == ARCHIVED),
        unknown=tuple(unknown),
    )


def check_words(asked: Sequence[str]) -> None:
    """Raises InvalidInput for what no symbols can be, before the exchange is asked."""
    if not asked:
        raise InvalidInput("symbols", "symbols is empty: name one at least, or a pattern such as *USDT")
    if len(asked) > 2 * MOST_SYMBOLS:
        raise InvalidInput(
            "symbols", f"{len(asked):,} symbols are named, and a batch has {MOST_SYMBOLS:,} at most: make several"
        )
    patterns = [word for word in asked if is_pattern(word)]
    if len(patterns) > MOST_PATTERNS:
        raise InvalidInput("symbols", f"{len(patterns):,} patterns are named: {MOST_PATTERNS} at most")
    for word in patterns:
        if len(word) > SYMBOL_LIMIT or not word.isprintable() or any(character.isspace() for character in word):
            raise InvalidInput(
                "symbols",
                f"pattern {word[:80]!r} is none: write letters and digits with *, ? or [..], {SYMBOL_LIMIT} at most",
            )
    for word in asked:
        if not is_pattern(word):
            _spelt(word)


def shortened(asked: Sequence[str]) -> str:
    """What is asked for, as a short text."""
    more = f" and {len(asked) - _ASKED_SHOWN:,} more" if len(asked) > _ASKED_SHOWN else ""
    return ", ".join(asked[:_ASKED_SHOWN]) + more


def _spelt(word: str) -> str:
    try:
        return check_symbol(word)
    except InvalidInput as error:
        raise InvalidInput("symbols", str(error)) from error


def _not_known(unknown: list[str], all_of_them: int, listed: Sequence[SymbolInfo], where: str) -> InvalidInput:
    shown = []
    for symbol in unknown[:SHOWN]:
        meant = likely_symbols(symbol, listed)
        shown.append(f"{symbol} (did you mean {' or '.join(meant)}?)" if meant else symbol)
    more = f" and {len(unknown) - SHOWN:,} more" if len(unknown) > SHOWN else ""
    are = "is not a symbol" if len(unknown) == 1 else "are not symbols"
    return InvalidInput(
        "symbols",
        f"{len(unknown):,} of {all_of_them:,} {are} of {where}, so nothing was begun: {', '.join(shown)}{more}; "
        "GET /symbols lists what it has",
        code=ProblemCode.SYMBOL_UNKNOWN,
    )
