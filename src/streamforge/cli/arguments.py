"""Checks the arguments SYMBOL TYPE [TIME_RANGE] before a manager is asked."""

from __future__ import annotations

import time
from collections.abc import Sequence

from streamforge.cli.command_errors import UsageProblem
from streamforge_utils.model.errors import InvalidInput
from streamforge_utils.model.kinds.registry import check_series, is_type
from streamforge_utils.model.timeranges import resolve_time_range

_SYMBOL, _TYPE, _RANGE = "SYMBOL", "TYPE", "TIME_RANGE"


def check_words(words: Sequence[str], *, loading: bool = False) -> tuple[str, ...]:
    """Two or three words, SYMBOL TYPE [TIME_RANGE], with symbol and type in their one spelling.

    loading: the range must have begun. Raises UsageProblem for words in another order, or InvalidInput.
    """
    now_ms = time.time_ns() // 1_000_000
    order = (_SYMBOL, _TYPE, _RANGE)[: len(words)]
    meant = {_kind(word, now_ms): word for word in words}
    if set(meant) == set(order) and tuple(meant) != order:
        raise UsageProblem(f"the order is {' '.join(order)}: write {' '.join(meant[name] for name in order)}")
    if len(words) == 2 and set(meant) == {_SYMBOL, _RANGE}:
        example = f"{meant[_SYMBOL]} api_candles_1m {meant[_RANGE]}"
        raise UsageProblem(f"a type is missing: write {_SYMBOL} {_TYPE} {_RANGE}, as in {example}")
    symbol, type_name = check_series(words[0], words[1])
    if len(words) == 3:
        span = resolve_time_range(words[2], now_ms)
        if loading:
            span.clipped(now_ms)
    return (symbol, type_name, *words[2:])


def check_count(words: Sequence[str], wanted: str) -> None:
    """Raises UsageProblem for more words than a series and a range have. wanted: what to write."""
    if len(words) in (1, 2, 3):
        return
    if len(words) == 4 and (split := split_range(words[2], words[3])):
        raise UsageProblem(split)
    raise UsageProblem(f"write {wanted}")


def split_range(start: str, end: str) -> str:
    """What to write where the two words are the start and the end of a range; empty where they are not."""
    now_ms = time.time_ns() // 1_000_000
    if not _kind(start, now_ms) == _kind(end, now_ms) == _RANGE:
        return ""
    return f"a range is one word, START:END: did you mean {start}:{end}?"


def _kind(word: str, now_ms: int) -> str:
    if is_type(word):
        return _TYPE
    try:
        resolve_time_range(word, now_ms)
    except InvalidInput:
        return _SYMBOL
    return _RANGE
