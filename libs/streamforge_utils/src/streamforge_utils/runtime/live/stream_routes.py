"""Which part of a shared connection a message is for, by the name of its stream."""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from typing import Generic, TypeVar

import msgspec

P = TypeVar("P")

_COMBINED = b'{"stream":"'
_BEHIND = len(_COMBINED)


class _Envelope(msgspec.Struct, frozen=True, gc=False):
    stream: str = ""


_decode = msgspec.json.Decoder(_Envelope).decode


class StreamRoutes(Generic[P]):
    """Parts by their streams; a stream may be of several."""

    def __init__(self) -> None:
        self._by_part: dict[P, Sequence[str]] = {}
        self._by_stream: dict[str, tuple[P, ...]] = {}
        self._by_text: dict[bytes, tuple[P, ...]] = {}

    @property
    def parts(self) -> Sequence[P]:
        """All parts."""
        return [*self._by_part]

    @property
    def streams(self) -> Set[str]:
        """All streams that some part has."""
        return self._by_stream.keys()

    def add(self, part: P, streams: Sequence[str]) -> None:
        """The part gets the messages of these streams from now on."""
        self._by_part[part] = streams
        self._sort()

    def remove(self, part: P) -> bool:
        """It gets no more; whether it has got any until now."""
        if self._by_part.pop(part, None) is None:
            return False
        self._sort()
        return True

    def divided(self, payloads: Sequence[bytes]) -> Iterable[tuple[P, list[bytes]]]:
        """What each part gets, in the order in which it came.

        What names no stream, or is no JSON, is for all: who reads it can tell what that means. A stream of nobody was
        left a moment ago.
        """
        found: dict[P, list[bytes]] = {}
        for payload in payloads:
            parts = None
            if payload[:_BEHIND] == _COMBINED:
                parts = self._by_text.get(payload[_BEHIND : payload.find(b'"', _BEHIND)])
            for part in self._of(payload) if parts is None else parts:
                found.setdefault(part, []).append(payload)
        return found.items()

    def _of(self, payload: bytes) -> Iterable[P]:
        try:
            stream = _decode(payload).stream
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            stream = ""
        return self._by_stream.get(stream, ()) if stream else self.parts

    def _sort(self) -> None:
        self._by_stream = {}
        for part, streams in self._by_part.items():
            for stream in streams:
                self._by_stream[stream] = (*self._by_stream.get(stream, ()), part)
        self._by_text = {stream.encode(): parts for stream, parts in self._by_stream.items()}
