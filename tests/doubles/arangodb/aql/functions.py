"""AQL's functions: by name, the fewest and the most arguments, and what they compute."""

from __future__ import annotations

import hashlib
import math
import random
import re
import statistics
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tests.doubles.arangodb.errors import ArangoError
from tests.doubles.arangodb.values import compare, encode, hashable, merge, rank, sort_key, truthy

if TYPE_CHECKING:
    from tests.doubles.arangodb.aql.context import Context

Function = Callable[..., Any]
_MANY = 1000


def number(value: Any) -> Any:
    """A value as AQL computes with it: null and what is no number is 0."""
    kind = type(value)
    if kind is int or kind is float:
        return value
    if kind is bool:
        return int(value)
    if kind is str:
        try:
            found = float(value.strip() or 0)
        except ValueError:
            return 0
        return int(found) if found.is_integer() else found if math.isfinite(found) else 0
    if kind is list:
        return number(value[0]) if len(value) == 1 else 0
    return 0


def text(value: Any) -> str:
    if type(value) is str:
        return value
    if value is None:
        return ""
    return encode(value).decode()


def _list(value: Any) -> list[Any]:
    if type(value) is list:
        return value
    if value is None:
        return []
    return list(value.values()) if type(value) is dict else [value]


def _length(context: Context, value: Any) -> int:
    if type(value) in (str, list, dict):
        return len(value)
    return 0 if value is None or value is False else 1 if value is True else len(text(value))


def _numbers(value: Any) -> list[Any]:
    return [item for item in value if type(item) in (int, float)] if type(value) is list else []


def _wants_list(name: str, compute: Callable[[list[Any]], Any]) -> Function:
    def run(context: Context, value: Any, *more: Any) -> Any:
        if type(value) is not list:
            context.warn(1542, f"invalid argument type in call to function '{name}()'")
            return None
        return compute(value)

    return run


def _unique(items: list[Any]) -> list[Any]:
    return list({hashable(item): item for item in reversed(items)}.values())[::-1]


def _sum(items: list[Any]) -> Any:
    return sum(_numbers(items))


def _extreme(items: list[Any], best: Callable[..., Any]) -> Any:
    known = [item for item in items if item is not None]
    return best(known, key=sort_key) if known else None


def _average(items: list[Any]) -> Any:
    numbers = _numbers(items)
    return sum(numbers) / len(numbers) if numbers else None


def _without(context: Context, document: Any, *names: Any) -> Any:
    gone = {name for given in names for name in (given if type(given) is list else [given])}
    return {name: value for name, value in document.items() if name not in gone} if type(document) is dict else None


def _keeping(context: Context, document: Any, *names: Any) -> Any:
    kept = {name for given in names for name in (given if type(given) is list else [given])}
    return {name: value for name, value in document.items() if name in kept} if type(document) is dict else None


def _merged(context: Context, *parts: Any) -> Any:
    if len(parts) == 1 and type(parts[0]) is list:
        parts = tuple(parts[0])
    result: dict[str, Any] = {}
    for part in parts:
        if type(part) is not dict:
            context.warn(1542, "invalid argument type in call to function 'MERGE()'")
            return None
        result.update(part)
    return result


def _merged_deep(context: Context, *parts: Any) -> Any:
    result: dict[str, Any] = {}
    for part in parts:
        if type(part) is not dict:
            return None
        result = merge(result, part, True, True)
    return result


def _attributes(context: Context, document: Any, remove_internal: Any = False, sort: Any = False) -> Any:
    if type(document) is not dict:
        return None
    names = [name for name in document if not (truthy(remove_internal) and name.startswith("_"))]
    return sorted(names) if truthy(sort) else names


def _document(context: Context, collection: Any, key: Any = None) -> Any:
    if key is None:
        collection, key = "", collection
    if type(key) is list:
        found = [_document(context, collection or one, one if collection else None) for one in key]
        return [one for one in found if one is not None]
    handle = f"{collection}/{key}" if collection and "/" not in str(key) else str(key)
    name, _, key = handle.partition("/")
    if context.database.find(name) is None:
        return None
    return context.unit.get(context.collection(name), key)


def _substring(context: Context, given: Any, start: Any, length: Any = None) -> str:
    value, start = text(given), int(number(start))
    start = max(len(value) + start, 0) if start < 0 else start
    return value[start:] if length is None else value[start : start + int(number(length))]


def _slice(context: Context, value: Any, start: Any, length: Any = None) -> Any:
    if type(value) is not list:
        return None
    start = int(number(start))
    start = max(len(value) + start, 0) if start < 0 else start
    if length is None:
        return value[start:]
    length = int(number(length))
    return value[start : start + length] if length >= 0 else value[start:length]


def _concat(context: Context, *parts: Any) -> str:
    if len(parts) == 1 and type(parts[0]) is list:
        parts = tuple(parts[0])
    return "".join(text(part) for part in parts)


def _concat_separator(context: Context, separator: Any, *parts: Any) -> str:
    if len(parts) == 1 and type(parts[0]) is list:
        parts = tuple(parts[0])
    return text(separator).join(text(part) for part in parts if part is not None)


def _to_number(context: Context, value: Any) -> Any:
    return number(value)


def _date_ms(context: Context, value: Any) -> Any:
    if type(value) in (int, float):
        return int(value)
    try:
        moment = datetime.fromisoformat(text(value).replace("Z", "+00:00"))
    except ValueError:
        context.warn(1563, "invalid date value")
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return int(moment.timestamp() * 1000)


def _date_iso(context: Context, value: Any) -> Any:
    ms = _date_ms(context, value)
    if ms is None:
        return None
    moment = datetime.fromtimestamp(ms // 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{ms % 1000:03d}Z"


def _sleep(context: Context, seconds: Any) -> None:
    context.sleep += float(number(seconds))


def _fail(context: Context, reason: Any = "") -> Any:
    raise ArangoError(1569, f"AQL: FAIL() called: {text(reason)} (while executing)")


def _first_list(context: Context, *values: Any) -> Any:
    return next((value for value in values if type(value) is list), None)


def _push(context: Context, items: Any, value: Any, unique: Any = False) -> Any:
    items = [] if items is None else items
    if type(items) is not list:
        return None
    if truthy(unique) and any(compare(item, value) == 0 for item in items):
        return list(items)
    return [*items, value]


def _append(context: Context, items: Any, values: Any, unique: Any = False) -> Any:
    for value in values if type(values) is list else [values]:
        items = _push(context, items, value, unique)
    return items


def _position(context: Context, items: Any, value: Any, index: Any = False) -> Any:
    if type(items) is not list:
        return -1 if truthy(index) else False
    place = next((i for i, item in enumerate(items) if compare(item, value) == 0), -1)
    return place if truthy(index) else place >= 0


def _flatten(context: Context, items: Any, depth: Any = 1) -> Any:
    if type(items) is not list:
        return None
    for _ in range(int(number(depth))):
        items = [part for item in items for part in (item if type(item) is list else [item])]
    return items


def _intersection(context: Context, *lists: Any) -> Any:
    common = set.intersection(*({hashable(item) for item in one} for one in lists))
    return [item for item in _unique(lists[0]) if hashable(item) in common]


def _minus(context: Context, *lists: Any) -> Any:
    gone = {hashable(item) for one in lists[1:] for item in one}
    return [item for item in _unique(lists[0]) if hashable(item) not in gone]


def _union(context: Context, *lists: Any) -> Any:
    return [item for one in lists for item in one]


def _percentile(context: Context, items: Any, share: Any, method: Any = "rank") -> Any:
    known = sorted(_numbers(items))
    if not known:
        return None
    return known[max(math.ceil(number(share) / 100 * len(known)) - 1, 0)]


def _parse_identifier(context: Context, value: Any) -> Any:
    handle = value.get("_id") if type(value) is dict else value
    if type(handle) is not str or handle.count("/") != 1:
        return None
    name, key = handle.split("/")
    return {"collection": name, "key": key}


def _round(context: Context, value: Any) -> Any:
    return math.floor(number(value) + 0.5)


def _split(context: Context, value: Any, separator: Any = None, limit: Any = -1) -> Any:
    parts = [text(value)] if separator is None else text(value).split(text(separator))
    return parts[: int(limit)] if number(limit) > 0 else parts


def _like(context: Context, value: Any, pattern: Any, ignore: Any = False) -> bool:
    from tests.doubles.arangodb.aql.expressions import like

    return like(value, pattern, truthy(ignore))


def _regex_test(context: Context, value: Any, pattern: Any, ignore: Any = False) -> bool:
    return re.search(text(pattern), text(value), re.IGNORECASE if truthy(ignore) else 0) is not None


def _is(*ranks: int) -> Function:
    return lambda context, value: rank(value) in ranks


def _of_type(context: Context, value: Any) -> str:
    return ("null", "bool", "number", "string", "array", "object")[rank(value)]


def _to_bool(context: Context, value: Any) -> bool:
    return truthy(value)


def _first_number(compute: Callable[[Any], Any]) -> Function:
    return lambda context, value: compute(number(value))


def _string(compute: Callable[[str], Any]) -> Function:
    return lambda context, value: compute(text(value))


FUNCTIONS: dict[str, tuple[int, int, Function]] = {
    "LENGTH": (1, 1, _length),
    "COUNT": (1, 1, _length),
    "COLLECTION_COUNT": (1, 1, lambda context, name: context.collection(name).count()),
    "COLLECTIONS": (0, 0, lambda c: [{"_id": o.facts["id"], "name": o.name} for o in c.database.collections.values()]),
    "MIN": (1, 1, _wants_list("MIN", lambda items: _extreme(items, min))),
    "MAX": (1, 1, _wants_list("MAX", lambda items: _extreme(items, max))),
    "SUM": (1, 1, _wants_list("SUM", _sum)),
    "PRODUCT": (1, 1, _wants_list("PRODUCT", lambda items: math.prod(_numbers(items)))),
    "AVERAGE": (1, 1, _wants_list("AVERAGE", _average)),
    "AVG": (1, 1, _wants_list("AVG", _average)),
    "MEDIAN": (
        1,
        1,
        _wants_list("MEDIAN", lambda items: statistics.median(_numbers(items)) if _numbers(items) else None),
    ),
    "PERCENTILE": (2, 3, _percentile),
    "STDDEV": (
        1,
        1,
        _wants_list("STDDEV", lambda items: statistics.pstdev(_numbers(items)) if _numbers(items) else None),
    ),
    "VARIANCE": (1, 1, _wants_list("VARIANCE", lambda i: statistics.pvariance(_numbers(i)) if _numbers(i) else None)),
    "UNIQUE": (1, 1, _wants_list("UNIQUE", _unique)),
    "SORTED": (1, 1, _wants_list("SORTED", lambda items: sorted(items, key=sort_key))),
    "SORTED_UNIQUE": (1, 1, _wants_list("SORTED_UNIQUE", lambda items: sorted(_unique(items), key=sort_key))),
    "COUNT_DISTINCT": (1, 1, _wants_list("COUNT_DISTINCT", lambda items: len(_unique(items)))),
    "COUNT_UNIQUE": (1, 1, _wants_list("COUNT_UNIQUE", lambda items: len(_unique(items)))),
    "REVERSE": (1, 1, lambda c, v: v[::-1] if type(v) in (str, list) else None),
    "FIRST": (1, 1, _wants_list("FIRST", lambda items: items[0] if items else None)),
    "LAST": (1, 1, _wants_list("LAST", lambda items: items[-1] if items else None)),
    "NTH": (2, 2, lambda c, items, n: items[int(n)] if type(items) is list and 0 <= number(n) < len(items) else None),
    "PUSH": (2, 3, _push),
    "APPEND": (2, 3, _append),
    "UNSHIFT": (2, 3, lambda c, items, value, unique=False: [value, *(items or [])]),
    "POP": (1, 1, lambda c, items: items[:-1] if type(items) is list else None),
    "SHIFT": (1, 1, lambda c, items: items[1:] if type(items) is list else None),
    "SLICE": (2, 3, _slice),
    "FLATTEN": (1, 2, _flatten),
    "POSITION": (2, 3, _position),
    "CONTAINS_ARRAY": (2, 3, _position),
    "UNION": (2, _MANY, _union),
    "UNION_DISTINCT": (2, _MANY, lambda c, *lists: _unique(_union(c, *lists))),
    "INTERSECTION": (2, _MANY, _intersection),
    "MINUS": (2, _MANY, _minus),
    "REMOVE_VALUE": (2, 3, lambda c, items, value, limit=None: [i for i in items if compare(i, value) != 0]),
    "REMOVE_VALUES": (2, 2, lambda c, items, values: [i for i in items if not _position(c, values, i)]),
    "RANGE": (2, 3, lambda c, a, b, step=1: list(range(int(a), int(b) + (1 if step > 0 else -1), int(step)))),
    "MERGE": (1, _MANY, _merged),
    "MERGE_RECURSIVE": (1, _MANY, _merged_deep),
    "UNSET": (2, _MANY, _without),
    "KEEP": (2, _MANY, _keeping),
    "HAS": (2, 2, lambda c, document, name: type(document) is dict and name in document),
    "ATTRIBUTES": (1, 3, _attributes),
    "KEYS": (1, 3, _attributes),
    "VALUES": (1, 2, lambda c, document, internal=False: _list(document)),
    "ZIP": (2, 2, lambda c, names, values: dict(zip(map(text, names), values, strict=True))),
    "DOCUMENT": (1, 2, _document),
    "PARSE_IDENTIFIER": (1, 1, _parse_identifier),
    "PARSE_KEY": (1, 1, lambda c, v: (_parse_identifier(c, v) or {}).get("key")),
    "PARSE_COLLECTION": (1, 1, lambda c, v: (_parse_identifier(c, v) or {}).get("collection")),
    "IS_SAME_COLLECTION": (2, 2, lambda c, name, v: (_parse_identifier(c, v) or {}).get("collection") == name),
    "NOT_NULL": (1, _MANY, lambda c, *values: next((value for value in values if value is not None), None)),
    "FIRST_LIST": (1, _MANY, _first_list),
    "FIRST_DOCUMENT": (1, _MANY, lambda c, *values: next((v for v in values if type(v) is dict), None)),
    "TO_NUMBER": (1, 1, _to_number),
    "TO_STRING": (1, 1, lambda c, value: text(value)),
    "TO_BOOL": (1, 1, _to_bool),
    "TO_ARRAY": (1, 1, lambda c, value: _list(value)),
    "IS_NULL": (1, 1, _is(0)),
    "IS_BOOL": (1, 1, _is(1)),
    "IS_NUMBER": (1, 1, _is(2)),
    "IS_STRING": (1, 1, _is(3)),
    "IS_ARRAY": (1, 1, _is(4)),
    "IS_LIST": (1, 1, _is(4)),
    "IS_OBJECT": (1, 1, _is(5)),
    "IS_DOCUMENT": (1, 1, _is(5)),
    "TYPENAME": (1, 1, _of_type),
    "CONCAT": (1, _MANY, _concat),
    "CONCAT_SEPARATOR": (2, _MANY, _concat_separator),
    "SUBSTRING": (2, 3, _substring),
    "LEFT": (2, 2, lambda c, value, n: text(value)[: int(n)]),
    "RIGHT": (2, 2, lambda c, value, n: text(value)[-int(n) :] if n else ""),
    "UPPER": (1, 1, _string(str.upper)),
    "LOWER": (1, 1, _string(str.lower)),
    "TRIM": (1, 2, lambda c, value, what=None: text(value).strip(what if type(what) is str else None)),
    "CHAR_LENGTH": (1, 1, _string(len)),
    "STARTS_WITH": (2, 3, lambda c, v, p, n=1: text(v).startswith(tuple(p) if type(p) is list else text(p))),
    "CONTAINS": (2, 3, lambda c, v, s, i=False: text(v).find(text(s)) if truthy(i) else text(s) in text(v)),
    "FIND_FIRST": (2, 4, lambda c, v, s, a=0, b=None: text(v).find(text(s), int(a), None if b is None else int(b) + 1)),
    "FIND_LAST": (2, 4, lambda c, v, s, a=0, b=None: text(v).rfind(text(s), int(a), None if b is None else int(b) + 1)),
    "SUBSTITUTE": (2, 4, lambda c, v, old, new="", n=-1: text(v).replace(text(old), text(new), int(n))),
    "SPLIT": (1, 3, _split),
    "LIKE": (2, 3, _like),
    "REGEX_TEST": (2, 3, _regex_test),
    "REGEX_REPLACE": (3, 4, lambda c, v, p, new, i=False: re.sub(text(p), text(new), text(v))),
    "JSON_STRINGIFY": (1, 1, lambda c, value: encode(value).decode()),
    "MD5": (1, 1, _string(lambda v: hashlib.md5(v.encode()).hexdigest())),
    "SHA1": (1, 1, _string(lambda v: hashlib.sha1(v.encode()).hexdigest())),
    "SHA256": (1, 1, _string(lambda v: hashlib.sha256(v.encode()).hexdigest())),
    "UUID": (0, 0, lambda c: str(uuid.uuid4())),
    "ABS": (1, 1, _first_number(abs)),
    "CEIL": (1, 1, _first_number(math.ceil)),
    "FLOOR": (1, 1, _first_number(math.floor)),
    "ROUND": (1, 1, _round),
    "SQRT": (1, 1, _first_number(lambda v: math.sqrt(v) if v >= 0 else None)),
    "POW": (2, 2, lambda c, a, b: number(a) ** number(b)),
    "LOG": (1, 1, _first_number(lambda v: math.log(v) if v > 0 else None)),
    "EXP": (1, 1, _first_number(math.exp)),
    "RAND": (0, 0, lambda c: random.random()),
    "DATE_NOW": (0, 0, lambda c: time.time_ns() // 1_000_000),
    "DATE_TIMESTAMP": (1, 1, _date_ms),
    "DATE_ISO8601": (1, 1, _date_iso),
    "SLEEP": (1, 1, _sleep),
    "FAIL": (0, 1, _fail),
    "NOOPT": (1, 1, lambda c, value: value),
    "PASSTHRU": (1, 1, lambda c, value: value),
    "V8": (1, 1, lambda c, value: value),
    "NOEVAL": (1, 1, lambda c, value: value),
    "ASSERT": (2, 2, lambda c, ok, words: True if truthy(ok) else _fail(c, words)),
    "WARN": (2, 2, lambda c, ok, words: truthy(ok) or bool(c.warn(1593, text(words)))),
    "CURRENT_USER": (0, 0, lambda c: None),
    "CURRENT_DATABASE": (0, 0, lambda c: c.database.name),
    "VERSION": (0, 0, lambda c: c.database.server.version),
}
