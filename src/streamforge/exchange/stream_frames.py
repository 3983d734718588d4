"""WebSocket frames as bytes: those that aiohttp does not send, because they are wrong or rare."""

from __future__ import annotations

import struct

_TEXT, _PING, _FINAL, _RSV2, _MASKED = 0x1, 0x9, 0x80, 0x20, 0x80
_KEY = b"\x11\x22\x33\x44"

KINDS = ("json", "utf8", "masked", "cut", "fragment", "fragments", "reserved", "length")
"""What may be odd about the frame of a message: the text ends in its middle; a byte is not UTF-8; the frame is masked,
as only a client's may be; its bytes end in their middle, and the connection; it is the first half of a message whose
other half never comes; it has two frames and a ping between them, as is allowed; a reserved bit is set; it says that
2^40 bytes follow."""


def spoilt_frame(kind: str, payload: bytes) -> bytes:
    """The bytes of a frame of one of `KINDS`."""
    half = payload[: len(payload) // 2]
    match kind:
        case "json":
            return _frame(half)
        case "utf8":
            return _frame(half + b"\xff" + payload[len(half) + 1 :])
        case "masked":
            mask = _KEY * (len(payload) // 4 + 1)
            return _frame(payload, mask=_KEY, body=bytes(a ^ b for a, b in zip(payload, mask, strict=False)))
        case "cut":
            whole = _frame(payload)
            return whole[: len(whole) // 2]
        case "fragment":
            return _frame(half, first=_TEXT)
        case "fragments":
            return (
                _frame(half, first=_TEXT)
                + _frame(b"", first=_FINAL | _PING)
                + _frame(payload[len(half) :], first=_FINAL)
            )
        case "reserved":
            return _frame(payload, first=_FINAL | _RSV2 | _TEXT)
        case _:
            return struct.pack("!BBQ", _FINAL | _TEXT, 127, 1 << 40) + payload


def _frame(payload: bytes, *, first: int = _FINAL | _TEXT, mask: bytes = b"", body: bytes | None = None) -> bytes:
    flag = _MASKED if mask else 0
    size = len(payload)
    if size < 126:
        head = struct.pack("!BB", first, flag | size)
    elif size < 1 << 16:
        head = struct.pack("!BBH", first, flag | 126, size)
    else:
        head = struct.pack("!BBQ", first, flag | 127, size)
    return head + mask + (payload if body is None else body)
