"""JSON as ArangoDB reads and prints it, and the order of AQL's values."""

from __future__ import annotations

import math
from functools import cmp_to_key
from typing import Any

import msgspec

from tests.doubles.arangodb.errors import ArangoError

Doc = dict[str, Any]

_decoder = msgspec.json.Decoder()
_encoder = msgspec.json.Encoder()
encode = _encoder.encode


def decode(body: bytes) -> Any:
    """The JSON value of `body`; error 600 where it is none."""
    try:
        return _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ArangoError(600, f"VPackError error: {_parser_words(body)}") from error


def _parser_words(body: bytes) -> str:
    start = body.lstrip()[:1]
    return "Expecting '\"' or '}'" if start == b"{" else "Expecting digit"


def printed(value: Any) -> Any:
    """`value` as it reads back from a server, which prints whole doubles without a fraction (1.0 as 1).

    Only those with less than eight zeros at their end: the others have an exponent (1e+9).
    """
    if type(value) is float:
        if value.is_integer() and abs(value) < 1e21 and (value % 1e8 != 0 or value == 0):
            return int(value)
        return value if math.isfinite(value) else None
    if type(value) is dict:
        for name, item in value.items():
            kind = type(item)
            if kind is float or kind is dict or kind is list:
                value[name] = printed(item)
    elif type(value) is list:
        for place, item in enumerate(value):
            kind = type(item)
            if kind is float or kind is dict or kind is list:
                value[place] = printed(item)
    return value


def truthy(value: Any) -> bool:
    """What AQL takes for true: all but null, false, 0 and the empty string."""
    kind = type(value)
    if kind is bool:
        return bool(value)
    if kind is int or kind is float:
        return bool(value != 0)
    return not (value is None or value == "")


def rank(value: Any) -> int:
    """The place of a value's type in AQL's order: null < bool < number < string < array < object."""
    if value is None:
        return 0
    kind = type(value)
    if kind is bool:
        return 1
    if kind is int or kind is float:
        return 2
    if kind is str:
        return 3
    if kind is list:
        return 4
    return 5


def compare(left: Any, right: Any) -> int:
    """Below 0, 0 or above 0: AQL's order of any two values."""
    a, b = rank(left), rank(right)
    if a != b:
        return a - b
    if a == 0:
        return 0
    if a < 4:
        return int(left > right) - int(left < right)
    if a == 4:
        for i in range(max(len(left), len(right))):
            result = compare(left[i] if i < len(left) else None, right[i] if i < len(right) else None)
            if result:
                return result
        return 0
    for name in sorted(set(left) | set(right)):
        result = compare(left.get(name), right.get(name))
        if result:
            return result
    return 0


sort_key = cmp_to_key(compare)


def hashable(value: Any) -> Any:
    """Equal for values that AQL takes for equal, and usable as a key."""
    kind = type(value)
    if kind is str or value is None:
        return value
    if kind is bool:
        return (bool, value)
    if kind is int or kind is float:
        return (int, value)
    if kind is list:
        return (list, *map(hashable, value))
    return (dict, *((name, hashable(value[name])) for name in sorted(value)))


def at_path(document: Any, path: tuple[str, ...]) -> Any:
    """The value under nested attribute names, None where there is none."""
    for name in path:
        if type(document) is not dict:
            return None
        document = document.get(name)
    return document


def merge(old: Doc, new: Doc, keep_null: bool, merge_objects: bool) -> Doc:
    """`old` patched with `new`, as PATCH does it."""
    result = dict(old)
    for name, value in new.items():
        if value is None and not keep_null:
            result.pop(name, None)
        elif merge_objects and type(value) is dict:
            before = result.get(name)
            result[name] = merge(before if type(before) is dict else {}, value, keep_null, merge_objects)
        else:
            result[name] = value
    return result
