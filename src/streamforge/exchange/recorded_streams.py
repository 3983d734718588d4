"""Recorded messages of streams, which a replay sends again as they came.

A file has a message a line, in the combined form; what stands before it on the line (when it was received) is not read.
Or it has events of trades as lines of CSV: event time, symbol, id, price, quantity, two orders, time, buyer is maker.
"""

from __future__ import annotations

import gzip
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path

import msgspec

from streamforge.exchange.config import ExchangeConfig, SymbolSpec
from streamforge.exchange.endpoint import RowsEndpoint
from streamforge.exchange.recorded_rows import Held, Part, Versions, part_of
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


Messages = dict[StreamName, list[tuple[int, bytes]]]
"""Of each stream, with their times."""
Heard = dict[StreamName, list[StreamEvent]]
Span = tuple[int, int]
"""When the first and the last event of a stream came, unix ms."""


class _File(msgspec.Struct):
    """A file with messages. told: of which time those of each stream are, as they stand there; kept: without those that
    files before it had, in the order in which they are sent. before: these files."""

    path: Path
    told: dict[StreamName, Span]
    before: list[Path]
    kept: dict[StreamName, Span] = {}


class RecordedStreams:
    """The events of each stream, in the order in which they came. Their files are read as they are asked for."""

    def __init__(self, held: Held) -> None:
        self._held = held
        self._files: list[_File] = []
        self._names: dict[str, StreamName | None] = {}

    @property
    def spans(self) -> Mapping[StreamName, Span]:
        """Of which time the events of each stream are."""
        found: dict[StreamName, Span] = {}
        for file in self._files:
            for name, (first_ms, last_ms) in file.kept.items():
                begin_ms, end_ms = found.get(name, (first_ms, last_ms))
                found[name] = min(first_ms, begin_ms), max(last_ms, end_ms)
        return found

    def read(self, path: Path) -> bool:
        """Add the messages of a file, except those that another file had. False: there are none.

        Raises PermanentError.
        """
        messages = self._told(path)
        told = {name: (min(found)[0], max(found)[0]) for name, found in messages.items()}
        file = _File(path, told, [one.path for one in self._files if _meet(one.told, told)])
        if told:
            kept = self._events(file, messages)
            file.kept = {name: (events[0].time_ms, events[-1].time_ms) for name, events in kept.items()}
            self._files.append(file)
        return bool(told)

    def _told(self, path: Path) -> Messages:
        """The messages of a file as they stand there, each with its time."""
        found: Messages = {}
        time_ms = 0
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
            if name is not None and time_ms:
                found.setdefault(name, []).append((time_ms, data))
        return found

    def _events(self, file: _File, messages: Messages | None = None) -> Heard:
        """The events of a file in the order in which they are sent, without those that files before it had."""
        return self._held.get(
            file.path, partial(self._kept, file, messages), lambda found: datas(chain(*found.values()))
        )

    def _kept(self, file: _File, messages: Messages | None) -> Heard:
        known: dict[StreamName, set[bytes]] = {}
        for path in file.before:
            for name, found in self._told(path).items():
                known.setdefault(name, set()).update(data for _, data in found)
        kept: Heard = {}
        for name, found in (messages or self._told(file.path)).items():
            times = _BAR_TIMES if name.word == "kline" else (("E", "T"), ())
            latest_ms = 0
            for time_ms, data in found:
                if data not in known.get(name, ()):
                    latest_ms = max(latest_ms, time_ms)
                    kept.setdefault(name, []).append(StreamEvent(latest_ms, data, *times))
        return kept

    def parts(self, endpoint: RowsEndpoint) -> Iterator[tuple[StreamName, Part]]:
        """The rows of `endpoint` that follow from the events of its stream. Raises PermanentError."""
        for file in self._files:
            for name in file.kept:
                read = partial(self._rows, file, name, endpoint)
                if name.word == endpoint.stream and (part := part_of(read(), read)) is not None:
                    yield name, part

    def _rows(self, file: _File, name: StreamName, endpoint: RowsEndpoint) -> Versions:
        for event in self._events(file)[name]:
            try:
                row = endpoint.row_of_event(msgspec.json.decode(event.data))
            except (KeyError, TypeError, ArithmeticError) as error:
                raise PermanentError(f"replay: this is no event of {name.text}: {event.data[:200]!r}") from error
            if row is not None:
                yield 0, row

    def has(self, name: StreamName) -> bool:
        """Whether there are events of the stream."""
        return any(name in file.kept for file in self._files)

    def between(self, name: StreamName, after_ms: int, until_ms: int) -> Sequence[StreamEvent]:
        """The events of the stream with `after_ms` < time <= `until_ms`."""
        found: list[StreamEvent] = []
        for file in self._files:
            first_ms, last_ms = file.kept.get(name, (0, 0))
            if after_ms < last_ms and first_ms <= until_ms:
                events = self._events(file)[name]
                first, end = (bisect_right(events, time_ms, key=_time_ms) for time_ms in (after_ms, until_ms))
                found += events[first:end]
        return sorted(found, key=_time_ms)

    def starts(self) -> Mapping[str, int]:
        """The minute in which the first event of each symbol came: one can connect before it. Unix ms."""
        found: dict[str, int] = {}
        for name, (first_ms, _) in self.spans.items():
            minute_ms = first_ms // _MINUTE_MS * _MINUTE_MS
            found[name.symbol] = min(minute_ms, found.get(name.symbol, minute_ms))
        return found


def _meet(some: Mapping[StreamName, Span], others: Mapping[StreamName, Span]) -> bool:
    """Whether two files have events of one stream of the same time."""
    return any(
        some[name][0] <= last and first <= some[name][1] for name, (first, last) in others.items() if name in some
    )


def datas(events: Iterable[StreamEvent]) -> list[bytes]:
    """What the events say."""
    return [event.data for event in events]


def _time_ms(event: StreamEvent) -> int:
    return event.time_ms


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
