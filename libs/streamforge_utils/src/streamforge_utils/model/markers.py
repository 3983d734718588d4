"""The end-of-stream marker: a loader's last message on a data topic."""

from __future__ import annotations

from typing import Literal

import msgspec

from streamforge_utils.model.decoding import decoder

EOS_KEY = b"__eos__"


class EndOfStream(msgspec.Struct, frozen=True, kw_only=True):
    """`producer` (telemetry id) wrote `records` records in its `attempt` and writes no more.

    reason: `finished` if it reached its end, `interrupted` if it was stopped.
    """

    producer: str
    attempt: int
    records: int
    reason: Literal["finished", "interrupted"]


class _Marker(msgspec.Struct, frozen=True):
    end_of_stream: EndOfStream


_decode = decoder(_Marker, "an end-of-stream marker")


def encode_marker(marker: EndOfStream) -> bytes:
    """The marker's JSON; its key is `EOS_KEY`."""
    return msgspec.json.encode(_Marker(marker))


def decode_marker(value: bytes) -> EndOfStream:
    """Read a marker. Raises PermanentError naming the field."""
    return _decode(value).end_of_stream
