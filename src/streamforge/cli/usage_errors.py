"""Words the refusals of the argument parser."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import typer
from typer.core import TyperOption

from streamforge.cli.arguments import split_range

_SHOWN = 80
_EXTRA = re.compile(r"got unexpected extra arguments?(?:\(s\))? \((?P<words>.*)\)", re.IGNORECASE)
_KINDS = {int: "a whole number", float: "a number", bool: "true or false"}


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
