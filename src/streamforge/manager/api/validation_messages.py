"""The messages for inputs that the validation refuses, each with the value that was given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_SHOWN = 60

_WORDS = {
    "missing": "it is missing",
    "extra_forbidden": "this field is not permitted",
    "json_invalid": "the body is no JSON: {error}",
    "too_short": "it has {actual_length} items, it must have at least {min_length}",
    "too_long": "it has {actual_length} items, it must have at most {max_length}",
    "string_too_short": "it is {value}, it must have at least {min_length} characters",
    "string_too_long": "it is {value}, it must have at most {max_length} characters",
    "string_pattern_mismatch": "it is {value}, it must match {pattern}",
    "greater_than": "it is {value}, it must be above {gt}",
    "greater_than_equal": "it is {value}, it must be at least {ge}",
    "less_than": "it is {value}, it must be below {lt}",
    "less_than_equal": "it is {value}, it must be at most {le}",
    "literal_error": "it is {value}, it must be {expected}",
    "enum": "it is {value}, it must be {expected}",
    "finite_number": "it is {value}, it must be a finite number",
}
_KINDS = {
    "string": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "list": "a list",
    "dict": "an object",
    "model": "an object",
}


def in_words(item: Mapping[str, Any]) -> str:
    """One finding of the validation; a rule without words of ours keeps the library's."""
    rule, value = str(item["type"]), shown(item.get("input"))
    kind = _KINDS.get(rule.partition("_")[0])
    if rule not in _WORDS and kind is not None:
        return f"it is {value}, it must be {kind}"
    try:
        return _WORDS[rule].format_map({**item.get("ctx", {}), "value": value})
    except KeyError:
        return str(item["msg"])


def shown(value: object) -> str:
    """A value that came as JSON, on one line and not too long."""
    match value:
        case dict():
            return "an object"
        case list() | tuple():
            return "a list"
        case None:
            return "null"
        case bool():
            return str(value).lower()
    text = repr(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
