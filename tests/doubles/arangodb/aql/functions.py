"""AQL's functions: by name, the fewest and the most arguments, and what they compute."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.doubles.arangodb.aql.context import Context

Function = Callable[..., Any]
_MANY = 1000


def number(value: Any) -> Any:
    """A value as AQL computes with it: null and what is no number is 0."""
    kind = type(value)
    if kind is int or kind is float:
        return value if math.isfinite(value) else 0
    return int(value) if kind is bool else 0


def _push(context: Context, items: Any, value: Any) -> Any:
    return [*(items or ()), value] if items is None or type(items) is list else None


def _sleep(context: Context, seconds: Any) -> None:
    context.sleep += float(number(seconds))


def _unset(context: Context, document: Any, *names: str) -> Any:
    return {name: value for name, value in document.items() if name not in names} if type(document) is dict else None


FUNCTIONS: dict[str, tuple[int, int, Function]] = {
    "IS_NUMBER": (1, 1, lambda context, value: type(value) in (int, float)),
    "PUSH": (2, 2, _push),
    "SLEEP": (1, 1, _sleep),
    "UNSET": (2, _MANY, _unset),
}
