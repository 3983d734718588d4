"""Recorded messages of streams, which a replay sends again as they came.

A file has a message a line, in the combined form; what stands before it on the line (when it was received) is not read.
Or it has events of trades as lines of CSV: event time, symbol, id, price, quantity, two orders, time, buyer is maker.
"""

from __future__ import annotations

import gzip
import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from streamforge.exchange.config import ExchangeConfig, SymbolSpec
from streamforge.exchange.endpoint import RowsEndpoint
from streamforge.exchange.stream_source import StreamEvent, StreamName, StreamSource, read_name
from streamforge_utils.model.errors import PermanentError

SUFFIXES = (".jsonl", ".txt", ".gz")
_BEGIN = b'{"stream":'
_CSV = re.compile(
    rb"(?:^|;)trade[,;](\d{13})[,;]([A-Z0-9]+)[,;](\d+)[,;]([\d.]+)[,;]([\d.]+)[,;]\d+[,;]\d+[,;](\d{13})[,;]([tf])"
)
_TRADE = b'{"stream":"%s@trade","data":{"e":"trade","E":%s,"s":"%s","t":%s,"p":"%s","q":"%s","T":%s,"m":%s,"M":true}}'
_BAR_TIMES = ("E", "t"), ("T",)
_MINUTE_MS = 60_000


class _Message(msgspec.Struct):
    stream: str
    data: msgspec.Raw


class _Time(msgspec.Struct):
    E: int = 0


class RecordedStreams:
    """The events of each stream, in the order in which they came."""

    def __init__(self) -> None:
        self.events: dict[StreamName, list[StreamEvent]] = {}
        self._names: dict[str, StreamName | None] = {}

    def read(self, path: Path) -> bool:
        """Add the messages of a file, except those that another file had. False: there are none.

        Raises PermanentError.
        """
        known = {name: {event.data for event in events} for name, events in self.events.items()}
        latest_ms: dict[StreamName, int] = {}
        found, time_ms = False, 0
        for number, line in enumerate(lines(path), 1):
            text = _message_of(line)
            if not text:
                continue
            try:
                message = msgspec.json.decode(text, type=_Message)
                data = bytes(message.data)
                # a message without a time of its own came with the one before it
                time_ms = msgspec.json.decode(data, type=_Time).E or time_ms
            except msgspec.MsgspecError as error:
                raise PermanentError(f"{path}: line {number} is no message of a stream: {error}") from error
            name = self._names.setdefault(message.stream, read_name(message.stream))
            if name is None or not time_ms:
                continue
            found = True
            if data in known.get(name, ()):
                continue
            latest_ms[name] = max(latest_ms.get(name, 0), time_ms)
            times = _BAR_TIMES if name.word == "kline" else (("E", "T"), ())
            self.events.setdefault(name, []).append(StreamEvent(latest_ms[name], data, *times))
        for name in latest_ms:
            self.events[name].sort(key=lambda event: event.time_ms)
        return found

    def rows(self, endpoint: RowsEndpoint) -> Iterator[tuple[StreamName, tuple[int, int, int, bytes]]]:
        """The rows of `endpoint` that follow from the events of its stream. Raises PermanentError."""
        for name, events in self.events.items():
            if name.word == endpoint.stream:
                for event in events:
                    try:
                        row = endpoint.row_of_event(msgspec.json.decode(event.data))
                    except (KeyError, TypeError, ArithmeticError) as error:
                        raise PermanentError(
                            f"replay: this is no event of {name.text}: {event.data[:200]!r}"
                        ) from error
                    if row is not None:
                        yield name, row

    def has(self, name: StreamName) -> bool:
        """Whether there are events of the stream."""
        return name in self.events

    def between(self, name: StreamName, after_ms: int, until_ms: int) -> Sequence[StreamEvent]:
        """The events of the stream with `after_ms` < time <= `until_ms`."""
        events = self.events[name]
        first, end = (
            bisect_right(events, time_ms, key=lambda event: event.time_ms) for time_ms in (after_ms, until_ms)
        )
        return events[first:end]

    def starts(self) -> Mapping[str, int]:
        """The minute in which the first event of each symbol came: one can connect before it. Unix ms."""
        found: dict[str, int] = {}
        for name, events in self.events.items():
            minute_ms = events[0].time_ms // _MINUTE_MS * _MINUTE_MS
            found[name.symbol] = min(minute_ms, found.get(name.symbol, minute_ms))
        return found


class RecordedSource(StreamSource):
    """The streams that were recorded, whatever their sort."""

    words = ()

    def __init__(
        self, config: ExchangeConfig, endpoints: Mapping[str, RowsEndpoint], recorded: RecordedStreams
    ) -> None:
        super().__init__(config, endpoints)
        self._recorded = recorded

    def known(self, name: StreamName) -> bool:
        return self._recorded.has(name)

    def events(
        self, name: StreamName, spec: SymbolSpec, after_ms: int, until_ms: int, connection: int
    ) -> Sequence[StreamEvent]:
        return self._recorded.between(name, after_ms, until_ms)


def _message_of(line: bytes) -> bytes:
    """The message of a line; empty: it has none."""
    begin = line.find(_BEGIN)
    if begin >= 0:
        return line[begin:]
    match = _CSV.search(line)
    if match is None:
        return b""
    event_ms, symbol, number, price, quantity, time_ms, maker = match.groups()
    word = b"true" if maker == b"t" else b"false"
    return _TRADE % (symbol.lower(), event_ms, symbol, number, price, quantity, time_ms, word)


def lines(path: Path) -> Iterator[bytes]:
    """The lines of a file, which may be compressed. Raises PermanentError."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            yield from file
    except (OSError, EOFError) as error:
        raise PermanentError(f"{path}: cannot be read: {error}") from error
