"""Checks the arguments SYMBOL TYPE [TIME_RANGE] before a manager is asked, and words the refusals of the parser."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from typing import Any

import typer
from typer.core import TyperOption

from streamforge.cli.command_errors import UsageProblem
from streamforge_utils.model.errors import InvalidInput
from streamforge_utils.model.kinds.registry import check_series, is_type
from streamforge_utils.model.timeranges import resolve_time_range

_SHOWN = 80
_EXTRA = re.compile(r"got unexpected extra arguments?(?:\(s\))? \((?P<words>.*)\)", re.IGNORECASE)
_KINDS = {int: "a whole number", float: "a number", bool: "true or false"}
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


def check_since(symbol: str, type_name: str, since: str, start: str | None) -> None:
    """As `check_words`, of a load from `since` until now. start: of a series of which nothing is known."""
    if start is not None and since != "last":
        raise UsageProblem("--from is for --since last: another --since is a start by itself")
    check_series(symbol, type_name)
    for option, word in (("--since", since), ("--from", start)):
        if word is None or (option, word) == ("--since", "last"):
            continue
        now_ms = time.time_ns() // 1_000_000
        try:
            resolve_time_range(f"{word}:", now_ms).clipped(now_ms)
        except InvalidInput as error:
            also = "`last`, " if option == "--since" else ""
            wanted = f"write {also}an instant such as 2024-08-01, or -30d"
            raise UsageProblem(f"{option} {word[:_SHOWN]!r} is no instant before now: {wanted}") from error


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


def message_of(error: typer.TyperException, given: Sequence[str]) -> str:
    """The message for the user. given: the arguments of the command line."""
    message = error.format_message().strip().rstrip(".")
    parameter: Any = getattr(error, "param", None)
    if parameter is not None and type(error).__name__ == "BadParameter":
        return _refused(parameter, _value_of(parameter, given), message)
    if (extra := _EXTRA.fullmatch(message)) is not None:
        return _too_many(extra["words"], given)
    if type(error).__name__ == "BadOptionUsage" and message.endswith("requires an argument"):
        message = message.replace("requires an argument", "needs a value after it")
    return message[:1].lower() + message[1:]


def _refused(parameter: Any, value: str | None, message: str) -> str:
    name = parameter.opts[0] if isinstance(parameter, TyperOption) else parameter.display_name_raw
    described = parameter.type_descriptor
    wanted = message.rpartition(": ")[2].removeprefix("Value error, ")
    kind = _KINDS.get(_plain_type(described.annotation))
    if described.is_choice:
        wanted = f"must be one of {', '.join(map(str, described.choices))}"
    elif value is not None and kind is not None and not _is_number(value, described.annotation):
        wanted = f"must be {kind}"
    elif parameter.min is not None and parameter.max is not None:
        wanted = f"must be between {parameter.min} and {parameter.max}"
    elif parameter.min is not None:
        wanted = f"must be at least {parameter.min}"
    elif parameter.max is not None:
        wanted = f"must be at most {parameter.max}"
    shown = "" if value is None else f", not {value[:_SHOWN]!r}"
    return f"{name} {wanted}{shown}"


def _plain_type(annotation: Any) -> Any:
    """The type of an option that may be left out, without the None."""
    arguments = [one for one in getattr(annotation, "__args__", ()) if one is not type(None)]
    return arguments[0] if len(arguments) == 1 else annotation


def _is_number(value: str, annotation: Any) -> bool:
    try:
        (int if _plain_type(annotation) is int else float)(value)
    except ValueError:
        return False
    return value.strip().lower() not in ("nan", "-nan", "+nan")


def _too_many(words: str, given: Sequence[str]) -> str:
    """An argument too many; where it is the end of a range, how ranges are written."""
    last = words.split()[-1] if words else ""
    before = given[given.index(last) - 1] if last in given and given.index(last) else ""
    return (before and split_range(before, last)) or f"too many arguments: {words[:_SHOWN]}"


def _value_of(parameter: Any, given: Sequence[str]) -> str | None:
    """The value that was given to an option, which typer does not repeat."""
    for at, argument in enumerate(given):
        option, equals, value = argument.partition("=")
        if option in parameter.opts:
            return value if equals else given[at + 1] if at + 1 < len(given) else None
    return None
