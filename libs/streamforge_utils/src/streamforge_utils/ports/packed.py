"""Messages as they lie in a log: their columns encoded together, which not everybody who hands them on has to read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from streamforge_utils.model.errors import ConfigError

Headers = tuple[tuple[str, bytes], ...]
Columns = tuple[list[bytes | None], list[bytes], list[Headers] | None]
"""The keys, the values and the headers of messages; None if no message has any headers."""

_SMALL_ARRAY, _ARRAY_16, _ARRAY_32 = 0x90, 0xDC, 0xDD  # MessagePack's
_NIL = b"\xc0"

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Columns).decode
_decode_sections = msgspec.msgpack.Decoder(tuple[msgspec.Raw, msgspec.Raw, msgspec.Raw]).decode


class Pack(msgspec.Struct, frozen=True, gc=False):
    """Some of the messages of an encoded batch, none of which has headers.

    body: what `encode_columns` gives. keys_end: where in it the keys end. start, end: which of its messages are meant.
    source: where the body comes from, for errors. advice: what to do if it is broken.
    """

    body: bytes
    keys_end: int
    start: int
    end: int
    source: str
    advice: str

    def __len__(self) -> int:
        return self.end - self.start

    def may_hold(self, key: bytes) -> bool:
        """Whether a message may have this key; cheap, and False is certain."""
        return self.body.find(key, 0, self.keys_end) >= 0

    def columns(self) -> tuple[list[bytes | None], list[bytes]]:
        """Keys and values. Raises ConfigError if the body is broken."""
        try:
            keys, values, _ = decode_columns(self.body)
        except msgspec.MsgspecError as error:
            raise ConfigError(f"{self.source} is broken ({error}); {self.advice}") from error
        return (keys[self.start : self.end], values[self.start : self.end]) if len(self) < len(keys) else (keys, values)


def encode_columns(
    keys: Sequence[bytes | None], values: Sequence[bytes], headers: Sequence[Headers] | None = None
) -> bytes:
    """The body of a batch."""
    return _encode((keys, values, headers))


def decode_columns(body: bytes | memoryview) -> Columns:
    """What `encode_columns` was given. Raises msgspec.MsgspecError."""
    columns: Columns = _decode(body)
    return columns


def pack_of(body: bytes, count: int, source: str, advice: str) -> Pack | None:
    """The pack of a batch of `count` messages; None if they have headers.

    Raises msgspec.MsgspecError or ValueError if the body is broken: cut off, or of another length. Whether each of
    its items is what it has to be is found out by who reads them.
    """
    keys, values, headers = [memoryview(section) for section in _decode_sections(body)]
    require_length(count, _length(keys), _length(values))
    return Pack(body, 1 + len(keys), 0, count, source, advice) if headers == _NIL else None


def require_length(count: int, *lengths: int) -> None:
    """Raise ValueError if a batch of `count` messages has columns of other lengths."""
    if any(length != count for length in lengths):
        raise ValueError("it does not hold as many messages as it says")


def cut(packs: Sequence[Pack], start: int, end: int) -> list[Pack]:
    """The packs of the messages from `start` to before `end`, counted over all of `packs`."""
    found: list[Pack] = []
    first = 0
    for pack in packs:
        low, high = max(start - first, 0), min(end - first, len(pack))
        if low < high:
            found.append(msgspec.structs.replace(pack, start=pack.start + low, end=pack.start + high))
        first += len(pack)
    return found


def _length(array: Any) -> int:
    """How many items an encoded array has; -1 if it is none."""
    kind = array[0]
    if kind & 0xF0 == _SMALL_ARRAY:
        return int(kind & 0x0F)
    if kind in (_ARRAY_16, _ARRAY_32):
        return int.from_bytes(array[1 : 3 if kind == _ARRAY_16 else 5], "big")
    return -1
