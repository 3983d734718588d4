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
        raise ArangoError(600, f"VPackError error: {error}") from error


def printed(value: Any) -> Any:
    """`value` as it reads back from a server, which prints whole doubles without a fraction (1.0 as 1).

    Only those with less than eight zeros at their end: the others have an exponent (1e+9).
    """
    if type(value) is float:
        if value.is_integer() and abs(value) < 1e21 and (value % 1e8 != 0 or value == 0):
            return int(value)
        return value if math.isfinite(value) else None
    if type(value) is dict:
        return {name: printed(item) for name, item in value.items()}
    return [printed(item) for item in value] if type(value) is list else value


def truthy(value: Any) -> bool:
    """What AQL takes for true: all but null, false, 0 and the empty string."""
    return bool(value) or type(value) in (list, dict)


_RANKS = {type(None): 0, bool: 1, int: 2, float: 2, str: 3, list: 4, dict: 5}
"""AQL's order of types: null < bool < number < string < array < object."""


_ORDER = "_-,;:!?.'\"()[]{}@*/\\&#%`^+<=>|~$0123456789abcdefghijklmnopqrstuvwxyz"
_WEIGHTS = {ord(c): 33 + i for i, c in enumerate(_ORDER)} | {ord(c.upper()): 33 + i for i, c in enumerate(_ORDER)}


def collated(text: str) -> tuple[str, str]:
    """What orders text as a server does, whose order is that of a language and not that of code points.

    Signs before digits before letters, letters without their case first and then the small one before the capital:
    `_` < `-` < `0` < `a` < `A` < `b`. Right for ASCII (the root collation of ICU); other letters follow it.
    """
    return text.translate(_WEIGHTS), text.swapcase()


def compare(left: Any, right: Any) -> int:
    """Below 0, 0 or above 0: AQL's order of any two values but arrays and objects, which are only equal or not."""
    a, b = _RANKS[type(left)], _RANKS[type(right)]
    if a != b or left == right:
        return a - b
    if a == 3:
        return -1 if collated(left) < collated(right) else 1
    return -1 if left < right else 1


sort_key = cmp_to_key(compare)


def hashable(value: Any) -> Any:
    """Equal for values that AQL takes for equal, and usable as a key."""
    return (_RANKS[type(value)], encode(value) if type(value) in (list, dict) else value)


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
