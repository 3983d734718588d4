"""The order books of a replay: recorded snapshots, and the recorded diffs that join them.

What lay outside a recorded snapshot is not known, except for what diffs have told of it.
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import msgspec

from streamforge.exchange.books import Book, BookState, Level
from streamforge.exchange.recorded_streams import RecordedStreams, lines
from streamforge.exchange.stream_source import StreamName
from streamforge_utils.model.errors import PermanentError

_BEGIN = re.compile(rb'\{\s*"lastUpdateId":')
_SYMBOL = re.compile(rb"[?&]symbol=([^&\s]+)")
_FILE = re.compile(r"(?:spot_)?(?P<symbol>[^-_+a-z]+)_.+")
_DIFFS = ("depth@100ms", "depth", "depth@1000ms")
_PIECE_MS = 600_000


class _Snapshot(msgspec.Struct, frozen=True):
    update_id: int = msgspec.field(name="lastUpdateId")
    bids: list[Level]
    asks: list[Level]


class _Diff(msgspec.Struct, frozen=True, gc=False):
    first: int = msgspec.field(name="U")
    last: int = msgspec.field(name="u")
    bids: list[Level] = msgspec.field(name="b")
    asks: list[Level] = msgspec.field(name="a")


class _Diffs:
    """Of all diffs when they came, and their first and last updates."""

    def __init__(self) -> None:
        self.times_ms, self.first, self.last = array("q"), array("q"), array("q")


class RecordedSnapshots:
    """The answers of `depth` that were recorded, by symbol."""

    def __init__(self) -> None:
        self._found: dict[str, dict[int, _Snapshot]] = {}

    def read(self, path: Path) -> bool:
        """Add the snapshots of a file: one a line, behind the address that was asked, or the whole file is one.

        False: there are none. Raises PermanentError.
        """
        named = _FILE.fullmatch(path.name)
        alone = path.suffix == ".json"
        texts = [b"".join(lines(path)).strip()] if alone else lines(path)
        found = False
        for text in texts:
            begin, asked = _BEGIN.search(text), _SYMBOL.search(text)
            symbol = asked[1].decode() if asked is not None else named["symbol"] if named is not None else None
            if begin is None or symbol is None or (alone and begin.start()):
                continue
            try:
                snapshot = msgspec.json.decode(text[begin.start() :], type=_Snapshot)
            except msgspec.MsgspecError as error:
                raise PermanentError(f"{path}: no snapshot of an order book: {error}") from error
            self._found.setdefault(symbol, {})[snapshot.update_id] = snapshot
            found = True
        return found

    def books(self, streams: RecordedStreams) -> Mapping[str, Book]:
        """The book of each symbol of which diffs and snapshots were recorded."""
        found: dict[str, Book] = {}
        for symbol, snapshots in self._found.items():
            by_word = {name.text.partition("@")[2]: name for name in streams.spans if name.symbol == symbol}
            name = next((by_word[word] for word in _DIFFS if word in by_word), None)
            if name is not None:
                found[symbol] = RecordedBook(streams, name, sorted(snapshots.values(), key=lambda one: one.update_id))
        return found


class _Anchor(msgspec.Struct, frozen=True):
    """A snapshot that diffs join. place: of the first of them. end: where the diff stands that does not follow them."""

    snapshot: _Snapshot
    place: int
    end: int


class RecordedBook(Book):
    """A book that was recorded: known are the moments at which its diffs end, and the snapshots.

    name: the stream of its diffs. Of each its numbers are held; the levels are read again.
    """

    def __init__(self, streams: RecordedStreams, name: StreamName, snapshots: Sequence[_Snapshot]) -> None:
        self._streams, self._name, self._snapshots = streams, name, snapshots
        self._applied: tuple[_Anchor | None, int, dict[str, str], dict[str, str]] = (None, 0, {}, {})

    def update_at(self, time_ms: int) -> int:
        place = bisect_right(self._diffs.times_ms, time_ms)
        return self._diffs.last[place - 1] if place else 0

    def state(self, update_id: int, levels: int | None = None) -> BookState | None:
        for anchor in self._anchors:
            if anchor.snapshot.update_id == update_id:
                return self._as_recorded(anchor, levels)
        end = bisect_right(self._diffs.last, update_id)
        anchor_there = self._anchor(end)
        if anchor_there is None or anchor_there.place >= end or self._diffs.last[end - 1] != update_id:
            return None
        return self._rebuilt(anchor_there, end, levels)

    def snapshot(self, time_ms: int, levels: int | None = None) -> BookState:
        """As a recorded snapshot was, until the first diff that joins it."""
        end = bisect_right(self._diffs.times_ms, time_ms)
        anchor = self._anchor(end)
        if anchor is None:
            return BookState(self.update_at(time_ms), time_ms, (), ())
        return self._as_recorded(anchor, levels) if anchor.place >= end else self._rebuilt(anchor, end, levels)

    def _anchor(self, end: int) -> _Anchor | None:
        """The snapshot from which the first `end` diffs lead to a book: the last one before, else the one after."""
        found = None
        for anchor in self._anchors:
            if found is None or anchor.place <= end:
                found = anchor
        return found if found is not None and end <= found.end else None

    def _as_recorded(self, anchor: _Anchor, levels: int | None) -> BookState:
        time_ms = self._diffs.times_ms[max(anchor.place - 1, 0)]
        snapshot = anchor.snapshot
        return BookState(snapshot.update_id, time_ms, snapshot.bids[:levels], snapshot.asks[:levels])

    def _rebuilt(self, anchor: _Anchor, end: int, levels: int | None) -> BookState:
        """The book after the first `end` diffs."""
        before, place, bids, asks = self._applied
        if before is not anchor or place > end:
            place, bids, asks = anchor.place, dict(anchor.snapshot.bids), dict(anchor.snapshot.asks)
        diffs = self._diffs
        begin_ms = diffs.times_ms[place] - 1 if place < end else diffs.times_ms[end - 1]
        for _, diff in self._read(begin_ms, diffs.times_ms[end - 1]):
            if diffs.first[place] <= diff.first and diff.last <= diffs.last[end - 1]:
                _apply(bids, diff.bids)
                _apply(asks, diff.asks)
        self._applied = anchor, end, bids, asks
        return BookState(
            diffs.last[end - 1],
            diffs.times_ms[end - 1],
            sorted(bids.items(), key=lambda level: -float(level[0]))[:levels],
            sorted(asks.items(), key=lambda level: float(level[0]))[:levels],
        )

    @cached_property
    def _diffs(self) -> _Diffs:
        found, (first_ms, last_ms) = _Diffs(), self._streams.spans[self._name]
        for time_ms, diff in self._read(first_ms - 1, last_ms):
            found.times_ms.append(time_ms)
            found.first.append(diff.first)
            found.last.append(diff.last)
        return found

    def _read(self, after_ms: int, until_ms: int) -> Iterator[tuple[int, _Diff]]:
        """The diffs of a time, each with when it came, in pieces of some minutes."""
        for begin_ms in range(after_ms, until_ms, _PIECE_MS):
            for event in self._streams.between(self._name, begin_ms, min(begin_ms + _PIECE_MS, until_ms)):
                yield event.time_ms, msgspec.json.decode(event.data, type=_Diff)

    @cached_property
    def _anchors(self) -> list[_Anchor]:
        return list(self._joined())

    def _joined(self) -> Iterator[_Anchor]:
        """The snapshots that a diff joins, ascending."""
        diffs = self._diffs
        breaks = [place for place in range(1, len(diffs.last)) if diffs.first[place] != diffs.last[place - 1] + 1]
        for snapshot in self._snapshots:
            place = bisect_right(diffs.last, snapshot.update_id)
            if place < len(diffs.last) and diffs.first[place] <= snapshot.update_id + 1:
                after = bisect_right(breaks, place)
                yield _Anchor(snapshot, place, breaks[after] if after < len(breaks) else len(diffs.last))


def _apply(levels: dict[str, str], changes: Sequence[Level]) -> None:
    for price, quantity in changes:
        if float(quantity):
            levels[price] = quantity
        else:
            levels.pop(price, None)
