"""The order books of a replay of what is stored: diffs of segments, and books that are rebuilt of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import accumulate
from typing import Protocol, TypeVar

import msgspec

from streamforge.exchange.books import Book, BookState, Level
from streamforge.exchange.recorded_rows import Held
from streamforge.exchange.recorded_streams import RecordedStreams, datas
from streamforge.exchange.stream_source import StreamEvent, StreamName
from streamforge_utils.model.books.book_messages import Texts
from streamforge_utils.model.books.records import Depth
from streamforge_utils.model.books.segments import SegmentManifest
from streamforge_utils.ports.object_store import ObjectStore
from streamforge_utils.ports.store import Store
from streamforge_utils.runtime.sink.past_books import BookSources, NoBook, PastBooks, RebuiltBook
from streamforge_utils.runtime.sink.stored_segments import StoredSegment, StoredSegments

T = TypeVar("T")
_EACH, _BY_SECOND = ("100ms",), ((), ("1000ms",))
"""What follows the word in the names of the streams."""
_SECOND_MS = 1000
_LIMITS = (0, 5, 10, 20, 50, 100, 500, 1000, 5000)
"""Of levels a side, as clients ask for them."""
_read_diff = msgspec.json.Decoder(Depth).decode


class _Event(msgspec.Struct, frozen=True):
    event: str = msgspec.field(name="e")
    time_ms: int = msgspec.field(name="E")
    symbol: str = msgspec.field(name="s")
    first_id: int = msgspec.field(name="U")
    last_id: int = msgspec.field(name="u")
    bids: Texts = msgspec.field(name="b")
    asks: Texts = msgspec.field(name="a")


_read_event = msgspec.json.Decoder(_Event).decode

Segments = Sequence[tuple[str, SegmentManifest]]


class Read(Protocol):
    """As `StoredPlace.read`."""

    def __call__(self, work: Callable[[Store, ObjectStore], Awaitable[T]]) -> T: ...


class StoredDiffs(RecordedStreams):
    """The streams `SYMBOL@depth@100ms`, of segments by their first updates, and `SYMBOL@depth`, of each second in one.

    Updates that two attempts or two connections have received are in one diff alone, as one connection has them. A diff
    that came after a later chain had begun is left out: the book of its time is not known anyway.
    """

    def __init__(self, read: Read, segments: Mapping[str, Segments], held: Held) -> None:
        super().__init__(held)
        self._read, self._segments = read, segments
        # of the segments before each, the last update
        self._before = {
            symbol: [0, *accumulate((one.last_u for _, one in found), max)] for symbol, found in segments.items()
        }

    def has(self, name: StreamName) -> bool:
        return name.symbol in self._segments and name.word == "depth" and name.options in (_EACH, *_BY_SECOND)

    def between(self, name: StreamName, after_ms: int, until_ms: int) -> Sequence[StreamEvent]:
        if name.options == _EACH:
            return self._between(name.symbol, after_ms, until_ms)
        first_ms, end_ms = after_ms // _SECOND_MS * _SECOND_MS, (until_ms // _SECOND_MS + 1) * _SECOND_MS
        events = self._between(name.symbol, first_ms - 1, end_ms - 1)
        return [event for event in _by_second(events) if after_ms < event.time_ms <= until_ms]

    def _between(self, symbol: str, after_ms: int, until_ms: int) -> Sequence[StreamEvent]:
        found: list[StreamEvent] = []
        for (name, manifest), behind_id in zip(self._segments[symbol], self._before[symbol], strict=False):
            if after_ms < manifest.end_ms - 1 and manifest.start_ms <= until_ms:
                events = self._held.get(name, partial(self._of_segment, name, behind_id), datas)
                found += [event for event in events if after_ms < event.time_ms <= until_ms]
        return sorted(found, key=lambda event: event.time_ms)

    def _behind(self, symbol: str, time_ms: int) -> Sequence[StreamEvent]:
        """The first diff after a moment, if there is one."""
        end_ms = min((one.end_ms for _, one in self._segments[symbol] if time_ms < one.end_ms - 1), default=time_ms)
        return self._between(symbol, time_ms, end_ms)[:1]

    def _of_segment(self, name: str, behind_id: int) -> Sequence[StreamEvent]:
        async def read(store: Store, objects: ObjectStore) -> StoredSegment | None:
            return await StoredSegments(objects, "").read(name)

        segment = self._read(read)
        return () if segment is None else _events_of(map(_read_diff, segment.lines()), behind_id)


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
        event = _Event("depthUpdate", one.event_time, one.symbol, first_id, one.last_update_id, one.bids, one.asks)
        found.append(StreamEvent(time_ms, msgspec.json.encode(event), ("E",)))
    return found


def _by_second(events: Iterable[StreamEvent]) -> Iterator[StreamEvent]:
    """Events with the changes of a second each; one ends at a gap, too."""
    group: list[_Event] = []
    second = time_ms = 0
    for event in events:
        diff = _read_event(event.data)
        if group and (event.time_ms // _SECOND_MS != second or diff.first_id != group[-1].last_id + 1):
            yield _merged(group, time_ms)
            group = []
        group.append(diff)
        second, time_ms = event.time_ms // _SECOND_MS, event.time_ms
    if group:
        yield _merged(group, time_ms)


def _merged(diffs: Sequence[_Event], time_ms: int) -> StreamEvent:
    """One diff with the changes of some that follow each other."""
    bids, asks = (
        [*{price: quantity for levels in side for price, quantity in levels}.items()]
        for side in ([one.bids for one in diffs], [one.asks for one in diffs])
    )
    whole = msgspec.structs.replace(diffs[-1], first_id=diffs[0].first_id, bids=bids, asks=asks)
    return StreamEvent(time_ms, msgspec.json.encode(whole), ("E",))


class StoredBook(Book):
    """A book that is rebuilt for each moment that is asked for, as `streamforge book` does.

    Of a side that is not known to its end as many levels are given as a smaller limit has: a client takes that for cut.
    """

    def __init__(self, read: Read, symbol: str, collections: Sequence[tuple[str, int]]) -> None:
        """collections: those with its books, and when each was begun."""
        self._read, self._symbol = read, symbol
        self._collections = sorted(collections, key=lambda one: one[1], reverse=True)
        self._latest: tuple[int, RebuiltBook | str] = (-1, "")

    def update_at(self, time_ms: int) -> int:
        past = self._at(time_ms)
        return 0 if isinstance(past, str) else past.book.last_id

    def state(self, update_id: int, levels: int | None = None) -> BookState | None:
        past = self._latest[1]
        if isinstance(past, str) or past.book.last_id != update_id:
            return None
        bids, asks = past.book.levels()
        cut_bids = _cut(bids, levels, whole=past.book.known_low is None)
        return BookState(update_id, past.time_ms, cut_bids, _cut(asks, levels, whole=past.book.known_high is None))

    def doubt(self, time_ms: int) -> str:
        past = self._at(time_ms)
        if isinstance(past, str):
            return past
        return "" if past.verified else f"{past.trust}: {past.why}"

    def sources(self, begin_ms: int, end_ms: int, last_id: int) -> BookSources:
        """As `PastBooks.sources`."""

        async def found(store: Store, objects: ObjectStore) -> BookSources:
            past = PastBooks(store, objects, self._collections, self._symbol)
            return await past.sources(begin_ms, end_ms, last_id)

        return self._read(found)

    def _at(self, time_ms: int) -> RebuiltBook | str:
        """The book of a moment; where it is not known, why."""
        if self._latest[0] != time_ms:
            self._latest = time_ms, self._read(partial(self._rebuilt, time_ms))
        return self._latest[1]

    async def _rebuilt(self, time_ms: int, store: Store, objects: ObjectStore) -> RebuiltBook | str:
        try:
            past = await PastBooks(store, objects, self._collections, self._symbol).at(time_ms)
        except NoBook as error:
            return str(error)
        return past if past.trust is not None else f"not known: {past.why}"


def _cut(levels: Sequence[Level], wanted: int | None, *, whole: bool) -> Sequence[Level]:
    if whole or (wanted is not None and wanted <= len(levels)):
        return levels[:wanted]
    return levels[: max(one for one in _LIMITS if one <= len(levels))]
