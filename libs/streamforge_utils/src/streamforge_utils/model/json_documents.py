"""Turns any message that is a JSON object into a document.

Its key is its own `_key`, else a hash of what it holds, so that the same message gives the same document however often
and from whichever topic it comes. What cannot be stored without a loss is refused with the reason.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Protocol, cast

import msgspec

from streamforge_utils.model.documents import VERSION_LIMIT, is_key
from streamforge_utils.model.errors import InvalidInput, PermanentError
from streamforge_utils.model.messages import DECODE_ERRORS, EOS_KEY, decode_marker

SCHEMA_LIMIT = 64 * 1024
"""Bytes of a JSON Schema: it travels in the environment of a process, which takes twice that in one variable."""

NESTED_AT_MOST = 100
"""ArangoDB refuses what is nested twice as deep, and with it all that is sent together."""

_TOO_DEEP = f"it is nested deeper than {NESTED_AT_MOST} levels"

HASH_DIGITS = 32
"""Hexadecimal digits of a key that is a hash: 128 bits, so that two of 10^15 messages never share one."""

_REMOVED = ("_id", "_rev")
_EDGE = ("_from", "_to")
_SHOWN = 80
_LONG_NUMBER = re.compile(rb"[0-9]{19}")
_LARGEST_INTEGER, _LEAST_INTEGER = 2**64 - 1, -(2**63)

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode
_encode_sorted = msgspec.json.Encoder(order="sorted").encode


class Validator(Protocol):
    """A compiled JSON Schema."""

    def iter_errors(self, instance: Any) -> Any:
        """What of the instance does not fit."""


class JsonDocuments:
    """Makes documents of messages. schema: the text of a JSON Schema that each must fit; empty: none.

    Raises InvalidInput for a schema that is none.
    """

    def __init__(self, schema: str = "") -> None:
        self._validator = compiled(schema) if schema else None

    def document(self, value: bytes, version: int) -> tuple[str, int, bytes]:
        """Key, version and body of the document that the message holds.

        version: when the message was sent, unix milliseconds; its own `_version` goes before it.
        Raises PermanentError with the reason why it can never be stored.
        """
        found = _object(value)
        if self._validator is not None:
            _check_schema(self._validator, found)
        for name in _EDGE:
            if name in found:
                raise PermanentError(f"it has {name}, which only an edge may have: rename it")
        for name in _REMOVED:
            found.pop(name, None)
        if "_version" in found:
            version = _version(found.pop("_version"))
        if "_key" in found:
            return _key(found.pop("_key")), version, _encode(found)
        return hash_key(found), version, _encode(found)


def hash_key(content: Mapping[str, Any]) -> str:
    """The key of a message without one: from its JSON without spaces, the names of each object sorted."""
    return hashlib.sha256(_encode_sorted(content)).hexdigest()[:HASH_DIGITS]


def with_key(key: str, body: bytes) -> bytes:
    """The JSON of a stored document with its key, as another store would take it."""
    rest = body.strip()[1:].lstrip()
    return b'{"_key":%b%b%b' % (_encode(key), b"" if rest == b"}" else b",", rest)


def is_marker(key: bytes | None, value: bytes) -> bool:
    """Whether a message is an end-of-stream marker, of whichever producer."""
    if key != EOS_KEY:
        return False
    try:
        decode_marker(value)
    except PermanentError:
        return False
    return True


@lru_cache(maxsize=8)
def compiled(schema: str) -> Validator:
    """The JSON Schema, ready to be used. Raises InvalidInput: it is none, is too long or names others.

    Its regular expressions run in a time that is linear in the text, and nothing is fetched.
    """
    import jsonschema_rs  # a process without a schema starts without it

    if len(schema.encode(errors="replace")) > SCHEMA_LIMIT:
        raise InvalidInput("json_schema", f"the JSON Schema is longer than {SCHEMA_LIMIT:,} bytes")
    try:
        content = _decode(schema.encode())
    except (*DECODE_ERRORS, UnicodeEncodeError) as error:
        raise InvalidInput("json_schema", f"the JSON Schema is no JSON: {error}") from error
    if not isinstance(content, dict | bool):
        raise InvalidInput("json_schema", f"the JSON Schema is {_kind(content)}, not an object")

    def refuse(uri: str) -> Any:
        raise ValueError(f"{uri[:_SHOWN]} lies elsewhere, and nothing is fetched: write it into `$defs`")

    try:
        made = jsonschema_rs.validator_for(
            content, retriever=refuse, pattern_options=jsonschema_rs.RegexOptions(), validate_formats=True
        )
    except (ValueError, RecursionError) as error:
        raise InvalidInput("json_schema", f"the JSON Schema is not acceptable: {str(error)[:500]}") from error
    return cast("Validator", made)


def _object(value: bytes) -> dict[str, Any]:
    """The JSON object that `value` is. Raises PermanentError."""
    if not value:
        raise PermanentError("it is empty: a message without a value (a tombstone) holds nothing to store")
    try:
        if not value.isascii():
            value.decode()
        found = _decode(value)
    except DECODE_ERRORS as error:
        deep = isinstance(error, RecursionError)
        raise PermanentError(_TOO_DEEP if deep else f"it is no JSON: {str(error)[:200]}") from error
    if not isinstance(found, dict):
        raise PermanentError(f"it is {_kind(found)}, not a JSON object")
    if value.count(b"{") + value.count(b"[") > NESTED_AT_MOST:
        _check_depth(found)
    # Of a name that is there twice one is gone when it is written again.
    if _encode(found) != value or _LONG_NUMBER.search(value) is not None:
        _check_closely(value)
    return cast("dict[str, Any]", found)


def _check_depth(found: Any) -> None:
    level = [found]
    for _ in range(NESTED_AT_MOST):
        level = [
            inner
            for one in level
            for inner in (one.values() if isinstance(one, dict) else one)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return
    raise PermanentError(_TOO_DEEP)


def _check_closely(value: bytes) -> None:
    def once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise PermanentError(f"it has the name {twice[:_SHOWN]!r} twice in one object")
        return found

    try:
        json.loads(value, object_pairs_hook=once, parse_int=_integer)
    except (ValueError, RecursionError) as error:
        raise PermanentError(f"it is no JSON: {error}") from error


def _integer(text: str) -> int:
    # The length first: Python takes long for very long ones, and refuses the longest.
    if len(text) > 20 or not _LEAST_INTEGER <= int(text) <= _LARGEST_INTEGER:
        raise PermanentError(f"it has the integer {text[:_SHOWN]}, which has more than 64 bits: write it as text")
    return int(text)


def _key(found: object) -> str:
    if not isinstance(found, str):
        raise PermanentError(f"its _key is {_kind(found)}, not a text")
    if not is_key(found):
        raise PermanentError(
            f"its _key {found[:_SHOWN]!r} is not legal: 1 to 254 letters, digits and _-.@()+,=;$!*'%:, and no others"
        )
    return found


def _version(found: object) -> int:
    if isinstance(found, bool) or not isinstance(found, int) or not 0 <= found < VERSION_LIMIT:
        raise PermanentError(
            "its _version is no time in unix milliseconds, by which the newer of two contents is known: rename it"
        )
    return found


def _check_schema(validator: Validator, found: Mapping[str, Any]) -> None:
    error = next(iter(validator.iter_errors(found)), None)
    if error is not None:
        place = "".join(f"/{part}" for part in error.instance_path)
        raise PermanentError(f"it does not fit the JSON Schema: {place[:200] or '(the whole)'}: {error.message[:400]}")


_KINDS: Sequence[tuple[type, Callable[[Any], str]]] = (
    (type(None), lambda _: "null"),
    (bool, lambda found: "true" if found else "false"),
    (int, lambda _: "a number"),
    (float, lambda _: "a number"),
    (str, lambda _: "a text"),
    (list, lambda _: "an array"),
    (dict, lambda _: "an object"),
)


def _kind(found: object) -> str:
    return next(name(found) for kind, name in _KINDS if isinstance(found, kind))
