"""The order books of a replay of what is stored: diffs of segments, and books that are rebuilt of them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import accumulate
from typing import Protocol, TypeVar

import msgspec

from streamforge.exchange.books import Book, BookState, Level
from streamforge.exchange.recorded_streams import RecordedStreams
from streamforge.exchange.stream_source import StreamEvent, StreamName
from streamforge_utils.model.books.records import Depth
from streamforge_utils.model.books.segments import SegmentManifest
from streamforge_utils.ports.object_store import ObjectStore
from streamforge_utils.ports.store import Store
from streamforge_utils.runtime.past_books import NoBook, PastBooks, RebuiltBook
from streamforge_utils.runtime.stored_segments import StoredSegment, StoredSegments

T = TypeVar("T")
_OPTIONS = ("100ms",)
_HELD = 4
"""So many segments are held, unpacked."""
_LIMITS = (0, 5, 10, 20, 50, 100, 500, 1000, 5000)
"""Of levels a side, as clients ask for them."""
_read_diff = msgspec.json.Decoder(Depth).decode

Segments = Sequence[tuple[str, SegmentManifest]]


class Read(Protocol):
    """As `StoredPlace.read`."""

    def __call__(self, work: Callable[[Store, ObjectStore], Awaitable[T]]) -> T: ...


class StoredDiffs(RecordedStreams):
    """The streams `SYMBOL@depth@100ms`, of segments by their first updates.

    Updates that two attempts or two connections have received are in one diff alone, as one connection has them. A diff
    that came after a later chain had begun is left out: the book of its time is not known anyway.
    """

    def __init__(self, read: Read, segments: Mapping[str, Segments]) -> None:
        super().__init__()
        self._read, self._segments = read, segments
        # of the segments before each, the last update
        self._before = {
            symbol: [0, *accumulate((one.last_u for _, one in found), max)] for symbol, found in segments.items()
        }
        self._held: OrderedDict[str, Sequence[StreamEvent]] = OrderedDict()

    def has(self, name: StreamName) -> bool:
        return name.symbol in self._segments and (name.word, name.options) == ("depth", _OPTIONS)

    def between(self, name: StreamName, after_ms: int, until_ms: int) -> Sequence[StreamEvent]:
        found: list[StreamEvent] = []
        for (manifest_name, manifest), behind_id in zip(
            self._segments[name.symbol], self._before[name.symbol], strict=False
        ):
            if after_ms < manifest.end_ms - 1 and manifest.start_ms <= until_ms:
                events = self._events(manifest_name, behind_id)
                found += [event for event in events if after_ms < event.time_ms <= until_ms]
        return sorted(found, key=lambda event: event.time_ms)

    def _events(self, name: str, behind_id: int) -> Sequence[StreamEvent]:
        if name in self._held:
            self._held.move_to_end(name)
            return self._held[name]

        async def read(store: Store, objects: ObjectStore) -> StoredSegment | None:
            return await StoredSegments(objects, "").read(name)

        segment = self._read(read)
        found = () if segment is None else _events_of(map(_read_diff, segment.lines()), behind_id)
        self._held[name] = found
        while len(self._held) > _HELD:
            self._held.popitem(last=False)
        return found


def _events_of(diffs: Iterable[Depth], behind_id: int) -> list[StreamEvent]:
    """Events of diffs, of which none goes back behind the one before."""
    found: list[StreamEvent] = []
    time_ms = 0
    for one in sorted(diffs, key=lambda one: (one.last_update_id, one.first_update_id)):
        if one.last_update_id <= behind_id:
            continue
        # Quantities are absolute, so a part of its updates may have been told before.
        first_id, behind_id = max(one.first_update_id, behind_id + 1), one.last_update_id
        time_ms = max(time_ms, one.event_time)
        head = {"e": "depthUpdate", "E": one.event_time, "s": one.symbol, "U": first_id, "u": one.last_update_id}
        data = msgspec.json.encode({**head, "b": one.bids, "a": one.asks})
        found.append(StreamEvent(time_ms, data, ("E",)))
    return found


class StoredBook(Book):
    """A book that is rebuilt for each moment that is asked for, as `streamforge book` does.

    Of a side that is not known to its end as many levels are given as a smaller limit has: a client takes that for cut.
    """

    def __init__(self, read: Read, symbol: str, collections: Sequence[tuple[str, int]]) -> None:
        """collections: those with its books, and when each was begun."""
        self._read, self._symbol = read, symbol
        self._collections = sorted(collections, key=lambda one: one[1], reverse=True)
        self._latest: tuple[int, RebuiltBook | None] = (-1, None)

    def update_at(self, time_ms: int) -> int:
        past = self._at(time_ms)
        return 0 if past is None else past.book.last_id

    def state(self, update_id: int, levels: int | None = None) -> BookState | None:
        past = self._latest[1]
        if past is None or past.book.last_id != update_id:
            return None
        bids, asks = past.book.levels()
        cut_bids = _cut(bids, levels, whole=past.book.known_low is None)
        return BookState(update_id, past.time_ms, cut_bids, _cut(asks, levels, whole=past.book.known_high is None))

    def _at(self, time_ms: int) -> RebuiltBook | None:
        """The book of a moment; None: it is not known."""
        if self._latest[0] != time_ms:
            past = self._read(partial(self._rebuilt, time_ms))
            self._latest = time_ms, past if past is not None and past.trust is not None else None
        return self._latest[1]

    async def _rebuilt(self, time_ms: int, store: Store, objects: ObjectStore) -> RebuiltBook | None:
        try:
            return await PastBooks(store, objects, self._collections, self._symbol).at(time_ms)
        except NoBook:
            return None


def _cut(levels: Sequence[Level], wanted: int | None, *, whole: bool) -> Sequence[Level]:
    if whole or (wanted is not None and wanted <= len(levels)):
        return levels[:wanted]
    return levels[: max(one for one in _LIMITS if one <= len(levels))]
