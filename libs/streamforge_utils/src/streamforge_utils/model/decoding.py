"""Reading untrusted JSON."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import msgspec

from streamforge_utils.model.errors import PermanentError

T = TypeVar("T")

DECODE_ERRORS = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""The last two for texts that are no UTF-8, and for JSON nested deeper than Python can follow."""


def decoder(kind: type[T], name: str) -> Callable[[bytes], T]:
    """What reads JSON as a `kind`, and raises PermanentError naming the field. name: with its article."""
    decode = msgspec.json.Decoder(kind).decode

    def read(value: bytes) -> T:
        try:
            return decode(value)
        except DECODE_ERRORS as error:
            raise PermanentError(f"not {name}: {error}") from error

    return read
