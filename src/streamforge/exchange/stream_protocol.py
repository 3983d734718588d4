"""The control messages of Binance's streams: what a client asks, and how it is answered."""

from __future__ import annotations

import re
from typing import Any

import msgspec

STREAMS_LIMIT = 1_024
"""Streams of a connection."""
METHODS = ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY")

_ID = re.compile(r"[A-Za-z0-9_-]{1,36}", re.ASCII)
_INT64 = 1 << 63
_LINE_END = b"\n"
_PARAMETERS = {"LIST_SUBSCRIPTIONS": 0, "SET_PROPERTY": 2, "GET_PROPERTY": 1}

Id = int | str | None


class Refusal(Exception):
    """A message that is refused. code: 0 unknown property, 1 wrong type, 2 no request, 3 no JSON."""

    def __init__(self, code: int, text: str, request_id: Id = None) -> None:
        super().__init__(text)
        self.code, self.request_id = code, request_id

    @property
    def body(self) -> bytes:
        """The frame that says so."""
        return msgspec.json.encode({"code": self.code, "msg": str(self), "id": self.request_id})


class ControlMessage(msgspec.Struct, frozen=True):
    """A request of a client. params: names of streams, or a property and its value."""

    method: str
    params: tuple[Any, ...]
    id: Id

    def answer(self, result: object = None) -> bytes:
        """The frame that answers it."""
        return msgspec.json.encode({"result": result, "id": self.id})


def read_message(text: bytes) -> ControlMessage:
    """Read a message of a client. Raises Refusal."""
    try:
        sent = msgspec.json.decode(text)
    except msgspec.MsgspecError as error:
        raise Refusal(3, f"Invalid JSON: expected value at {_place(text, error)}") from error
    except UnicodeDecodeError as error:
        raise Refusal(3, "Invalid JSON: expected value at line 1 column 1") from error
    if not isinstance(sent, dict):
        raise Refusal(2, f"Invalid request: missing field `method` at line 1 column {len(text)}")
    request_id = _id(sent)
    method = sent.get("method")
    if method is None:
        raise Refusal(2, f"Invalid request: missing field `method` at line 1 column {len(text)}", request_id)
    if method not in METHODS:
        column = text.find(str(method).encode()) + len(str(method)) + 1
        names = ", ".join(f"`{one}`" for one in METHODS)
        unknown = f"unknown variant `{str(method)[:40]}`, expected one of {names} at line 1 column {column}"
        raise Refusal(2, f"Invalid request: {unknown}", request_id)
    params = sent.get("params", [])
    if not isinstance(params, list):
        raise Refusal(2, "Invalid request: params is not an array", request_id)
    _check(str(method), params, request_id)
    return ControlMessage(str(method), tuple(params), request_id)


def _check(method: str, params: list[Any], request_id: Id) -> None:
    """Raises Refusal."""
    expected = _PARAMETERS.get(method)
    if expected is None:
        if not params or not all(isinstance(one, str) for one in params):
            raise Refusal(2, "Invalid request: stream names must be strings", request_id)
        return
    if len(params) > expected:
        raise Refusal(2, "Invalid request: too many parameters", request_id)
    if method == "LIST_SUBSCRIPTIONS":
        return
    if not params or not isinstance(params[0], str):
        raise Refusal(2, "Invalid request: property name must be a string", request_id)
    if params[0] != "combined":
        raise Refusal(0, "Unknown property", request_id)
    if method == "SET_PROPERTY" and not isinstance(params[-1], bool):
        raise Refusal(1, "Invalid value type: expected Boolean", request_id)


def _id(sent: dict[str, Any]) -> Id:
    """The id of a request: an int64, up to 36 letters and digits, or null. Raises Refusal."""
    value = sent.get("id", False)
    fits = (
        value is None
        or (isinstance(value, int) and not isinstance(value, bool) and -_INT64 <= value < _INT64)
        or (isinstance(value, str) and _ID.fullmatch(value) is not None)
    )
    if not fits:
        raise Refusal(2, "Invalid request: request ID must be an unsigned integer")
    return value if isinstance(value, int | str) else None


def _place(text: bytes, error: msgspec.MsgspecError) -> str:
    match = re.search(r"byte (\d+)", str(error))
    before = text[: int(match[1]) if match else len(text)]
    return f"line {before.count(_LINE_END) + 1} column {len(before) - before.rfind(_LINE_END)}"
