"""Reads messages of the combined form, `{"stream": …, "data": …}`: all of a batch at once, or one by one."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import msgspec

from streamforge_utils.model.kinds.streaming import Heard, Streaming
from streamforge_utils.model.messages import DECODE_ERRORS
from streamforge_utils.model.series import Series

FIRST_MS, END_MS = 1_000_000_000_000, 10_000_000_000_000
"""Times have 13 digits: milliseconds since 2001-09-09."""
_FIRST_ID, _END_ID = 0, 10**12
_WHOLE = r"(?:[1-9][0-9]{0,19}+|0)"
_POSITIVE = re.compile(rf"(?:(?!0(?:\.0++)?+\n){_WHOLE}(?:\.[0-9]{{1,20}}+)?+\n)*+").fullmatch
_SHOWN = 40


class _Envelope(msgspec.Struct, frozen=True, gc=False):
    """stream: empty in an answer to a request."""

    stream: str = ""
    data: msgspec.Raw = msgspec.Raw(b"null")


class _Named(msgspec.Struct, frozen=True, gc=False):
    """e: the event's name; one that is left out is that of the stream."""

    e: str = ""


_decode_envelope = msgspec.json.Decoder(_Envelope).decode
_decode_name = msgspec.json.Decoder(_Named).decode
_encode_lines = msgspec.json.Encoder().encode_lines


class MessageStreaming(Streaming):
    """Streams of one sort of messages. word: of the stream's name. event: its messages' `e`. message: their struct.

    Fields that `message` does not have are ignored.
    """

    word: ClassVar[str]
    event: ClassVar[str]
    message: ClassVar[type[msgspec.Struct]]

    def __init__(self) -> None:
        fields = [("stream", str), ("data", self.message)]
        wrapped: Any = msgspec.defstruct("Message", fields, frozen=True, gc=False)
        self._decode_all: Callable[[bytes], list[Any]] = msgspec.json.Decoder(list[wrapped]).decode
        self._decode = msgspec.json.Decoder(self.message).decode

    def streams(self, series: Series) -> tuple[str, ...]:
        return (f"{series.symbol.lower()}@{self.word_of(series)}",)

    def word_of(self, series: Series) -> str:
        """What follows the symbol in the stream's name."""
        return self.word

    def read(self, payloads: Sequence[bytes], series: Series, observed_ms: int) -> Heard:
        (stream,) = self.streams(series)
        messages = self._at_once(payloads, stream)
        if messages is not None and self.all_right(messages, series):
            return self.heard(messages, series, observed_ms)
        taken, others, refused, broken = list[Any](), list[bytes](), list[tuple[bytes, str]](), 0
        for payload in payloads:
            try:
                found = self._one(payload, stream)
                reason = "" if found is None else self.refusal(found, series)
            except DECODE_ERRORS as error:
                found, reason = None, str(error)
                broken += not isinstance(error, msgspec.ValidationError)
            if reason:
                refused.append((payload, f"{stream}: {reason}"))
            elif found is None:
                others.append(payload)
            else:
                taken.append(found)
        heard = self.heard(taken, series, observed_ms) if taken else Heard()
        return msgspec.structs.replace(heard, others=others, refused=refused, broken=broken)

    def _at_once(self, payloads: Sequence[bytes], stream: str) -> list[Any] | None:
        try:
            found = self._decode_all(b"[%b]" % b",".join(payloads))
        except DECODE_ERRORS:
            return None
        if len(found) != len(payloads) or [one.stream for one in found].count(stream) != len(found):
            return None
        messages = [one.data for one in found]
        return messages if [one.e for one in messages].count(self.event) == len(messages) else None

    def _one(self, payload: bytes, stream: str) -> Any | None:
        """The message; None: it is another one. Raises what a decoder does."""
        envelope = _decode_envelope(payload)
        if envelope.stream != stream or _decode_name(envelope.data).e not in ("", self.event):
            return None
        return self._decode(envelope.data)

    @abstractmethod
    def all_right(self, messages: Sequence[Any], series: Series) -> bool:
        """Whether surely none of them, of which there is one or more, has to be refused."""

    @abstractmethod
    def refusal(self, message: Any, series: Series) -> str:
        """Why it can never be a record; empty: it can."""

    @abstractmethod
    def heard(self, messages: Sequence[Any], series: Series, observed_ms: int) -> Heard:
        """What one or more messages say of which none is refused."""


def times_right(times: Sequence[int]) -> bool:
    """Whether all of one or more times are in milliseconds."""
    return min(times) >= FIRST_MS and max(times) < END_MS


def ids_right(ids: Sequence[int]) -> bool:
    """Whether all of one or more ids fit into a key."""
    return min(ids) >= _FIRST_ID and max(ids) < _END_ID


def amounts_right(texts: Sequence[str]) -> bool:
    """Whether all are decimal numbers above 0, as the exchange writes them."""
    lines = "\n".join((*texts, ""))
    return lines.count("\n") == len(texts) and _POSITIVE(lines) is not None


def refusal_of(symbol: str, series: Series, number: int, time_ms: int, price: str, quantity: str) -> str:
    """Why what a trade, or an aggregated one, says can never be a record; empty: it can."""
    if symbol != series.symbol:
        return f"it is of the symbol {symbol[:_SHOWN]!r}"
    if not ids_right([number]):
        return f"its id {number} does not fit into a key"
    if not times_right([time_ms]):
        return f"{number}: its time {time_ms} is not in milliseconds (13 digits)"
    for what, text in (("price", price), ("quantity", quantity)):
        if not amounts_right([text]):
            return f"{number}: its {what} {text[:_SHOWN]!r} is no decimal number above 0"
    return ""


def heard_of(messages: Sequence[Any], records: Sequence[Any]) -> Heard:
    """What one or more messages with `id` and `time` say: the record of each, in the same order, is encoded as JSON."""
    values = _encode_lines(records).split(b"\n")
    values.pop()  # what is behind the last end of line
    return Heard(
        positions=[m.id for m in messages],
        times=[m.time for m in messages],
        keys=[one.key.encode() for one in records],
        values=values,
    )
