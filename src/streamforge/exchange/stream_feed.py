"""What is to be sent on a connection and when: its streams, merged in the order of time."""

from __future__ import annotations

import heapq
import zlib
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from itertools import count

import msgspec

from streamforge.exchange.config import ExchangeConfig, SymbolSpec
from streamforge.exchange.endpoint import RowsEndpoint
from streamforge.exchange.recorded_streams import RecordedSource, RecordedStreams
from streamforge.exchange.stream_source import StreamEvent, StreamName, StreamSource, read_name
from streamforge.exchange.streams import source_classes

_SLICE_MS, _BUSY_SLICE_MS, _BUSY = 10_000, 1_000, 500
"""The slices of a symbol with more trades a minute than `_BUSY` are short: while one is made, nothing else is sent."""
_KEPT_BYTES = 64 * 1024 * 1024
_EVENT_BYTES = 200
"""What an event takes beside its text."""

Slice = tuple[Sequence[StreamEvent], int]
"""Events, and through when they are all there are, unix ms."""


class Outgoing(msgspec.Struct, frozen=True, gc=False):
    """An event that is to be sent. spoilt: how its frame is, see `stream_frames`; empty: as it should be.

    other_unit: its times are not in the unit that the client has asked for.
    """

    name: StreamName
    event: StreamEvent
    spoilt: str = ""
    other_unit: bool = False


class StreamFeed:
    """The events of every stream, in slices of time that the connections share."""

    def __init__(
        self,
        config: ExchangeConfig,
        endpoints: Iterable[RowsEndpoint],
        symbols: Mapping[str, SymbolSpec],
        recorded: RecordedStreams | None,
    ) -> None:
        by_path = {endpoint.paths[0]: endpoint for endpoint in endpoints}
        self._sources = [made(config, by_path) for made in source_classes()]
        if recorded is not None:
            self._sources.insert(0, RecordedSource(config, by_path, recorded))
        self._symbols = symbols
        self._slices: OrderedDict[tuple[str, int], Slice] = OrderedDict()
        self._kept_bytes = 0

    def find(self, text: str) -> Stream | None:
        """The stream of that name; None: there is none that ever says anything."""
        name = read_name(text)
        spec = None if name is None else self._symbols.get(name.symbol)
        if name is None or spec is None or spec.unlisted:
            return None
        silent = spec.status == "BREAK" or (spec.status == "CANCEL_ONLY" and name.word == "kline")
        if silent and spec.delisted_ms is None:
            return None
        source = next((one for one in self._sources if one.known(name)), None)
        return None if source is None else Stream(name, spec, source)

    def slice(self, stream: Stream, after_ms: int, connection: int) -> Slice:
        """The events of a slice that begins at `after_ms` or before it."""
        length_ms = _SLICE_MS if stream.spec.trades_a_minute <= _BUSY else _BUSY_SLICE_MS
        phase = zlib.crc32(stream.name.text.encode()) % length_ms  # they are not all made at one moment
        begin_ms = (after_ms - phase) // length_ms * length_ms + phase
        key = (stream.name.text, begin_ms)
        found = self._slices.get(key) if stream.source.shared else None
        if found is None:
            end_ms = begin_ms + length_ms
            events = stream.source.events(stream.name, stream.spec, begin_ms, end_ms, connection)
            found = (events, end_ms)
            if stream.source.shared:
                self._keep(key, found)
        else:
            self._slices.move_to_end(key)
        return found

    def forget(self) -> None:
        """Make all slices again: symbols have changed."""
        self._slices.clear()
        self._kept_bytes = 0

    def _keep(self, key: tuple[str, int], found: Slice) -> None:
        """Keep a slice for other connections, and let go of the oldest ones."""
        self._slices[key] = found
        self._kept_bytes += _size(found)
        while self._kept_bytes > _KEPT_BYTES and len(self._slices) > 1:
            self._kept_bytes -= _size(self._slices.popitem(last=False)[1])


def _size(found: Slice) -> int:
    return sum(len(event.data) + _EVENT_BYTES for event in found[0]) + _EVENT_BYTES


class Stream(msgspec.Struct, frozen=True):
    """A stream that there is."""

    name: StreamName
    spec: SymbolSpec
    source: StreamSource


class _Cursor:
    """Where a connection is in a stream. place: of the next event in the slice. after_ms: what is sent comes later."""

    __slots__ = ("after_ms", "events", "gone", "place", "stream", "until_ms")

    def __init__(self, stream: Stream) -> None:
        self.stream, self.gone = stream, False
        self.events: Sequence[StreamEvent] = ()
        self.place = self.until_ms = self.after_ms = 0

    @property
    def taken(self) -> tuple[int, int]:
        """Everything until then is taken, and so many events behind it, all of one time."""
        last_ms = self.events[self.place - 1].time_ms if self.place else 0
        if last_ms <= self.after_ms:
            return self.after_ms, 0
        return last_ms - 1, self.place - bisect_left(self.events, last_ms, key=lambda event: event.time_ms)

    @property
    def next_ms(self) -> int:
        """When the next event is due, or the slice is over."""
        return self.events[self.place].time_ms if self.place < len(self.events) else self.until_ms


class Agenda:
    """What one connection has to send. connection: its number.

    A stream that does not exist is subscribed to as others are, and says nothing.
    """

    def __init__(self, feed: StreamFeed, connection: int) -> None:
        self._feed, self._connection = feed, connection
        self._cursors: dict[str, _Cursor | None] = {}
        self._due: list[tuple[int, int, _Cursor | Outgoing]] = []
        self._number = count()

    @property
    def names(self) -> list[str]:
        """The streams that are subscribed to, in that order."""
        return list(self._cursors)

    def subscribe(self, names: Iterable[str], after_ms: int) -> None:
        """Send what happens on them after `after_ms`."""
        for text in names:
            if text not in self._cursors:
                self._add(text, after_ms, 0)

    def unsubscribe(self, names: Iterable[str]) -> None:
        """Send no more of them."""
        for text in names:
            cursor = self._cursors.pop(text, None)
            if cursor is not None:
                cursor.gone = True

    def restart(self, after_ms: int, *, changed: bool = False) -> None:
        """Start again at another time; what was added stays.

        changed: the streams may be others now: each that is still there goes on where it is, as what is due may not be
        taken yet.
        """
        before, self._cursors = self._cursors, {}
        self._due = [one for one in self._due if isinstance(one[2], Outgoing)]
        heapq.heapify(self._due)
        for text, cursor in before.items():
            self._add(text, *((after_ms, 0) if cursor is None or not changed else cursor.taken))

    def add(self, time_ms: int, outgoing: Outgoing) -> None:
        """Send this too, at that time."""
        heapq.heappush(self._due, (time_ms, next(self._number), outgoing))

    @property
    def next_ms(self) -> float:
        """When something is to be done next; infinite: never."""
        return self._due[0][0] if self._due else float("inf")

    def pop(self) -> tuple[Outgoing, bool] | None:
        """Do what is to be done next: the event that is sent then, if any, and whether it is one that was added."""
        _, number, item = self._due[0]
        if isinstance(item, Outgoing):
            heapq.heappop(self._due)
            return item, True
        if item.gone:
            heapq.heappop(self._due)
            return None
        found = None
        if item.place < len(item.events):
            found = Outgoing(item.stream.name, item.events[item.place]), False
            item.place += 1
        else:
            self._place(item, item.until_ms)
        heapq.heapreplace(self._due, (item.next_ms, number, item))
        return found

    def _add(self, text: str, after_ms: int, taken: int) -> None:
        """Subscribe to a stream. taken: so many events after that time are not sent again."""
        stream = self._feed.find(text)
        cursor = self._cursors[text] = None if stream is None else _Cursor(stream)
        if cursor is not None:
            self._place(cursor, after_ms)
            cursor.place = min(cursor.place + taken, len(cursor.events))
            heapq.heappush(self._due, (cursor.next_ms, next(self._number), cursor))

    def _place(self, cursor: _Cursor, after_ms: int) -> None:
        cursor.after_ms = after_ms
        cursor.events, cursor.until_ms = self._feed.slice(cursor.stream, after_ms, self._connection)
        cursor.place = bisect_right(cursor.events, after_ms, key=lambda event: event.time_ms)
