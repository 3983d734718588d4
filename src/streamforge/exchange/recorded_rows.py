"""The rows of a replay, read again as they are asked for: a file at once, or some thousand of what is stored."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from functools import cached_property
from itertools import accumulate
from typing import Any, TypeVar

import msgspec

from streamforge.exchange.windows import Numbers, RowSeries
from streamforge_utils.model.errors import PermanentError

T = TypeVar("T")
MOST_BYTES = 256 * 1024 * 1024
"""What is replayed side by side has room in it, or is read again and again."""
_ROW_BYTES = 200
"""What a row, or an event, takes beside its text."""

Row = tuple[int, int, int, bytes]
"""Id, first instant and last instant (unix ms), and the row as the REST API writes it."""

Versions = Iterable[tuple[int, Row]]
"""Rows, each with its version."""


class Held:
    """Rows and events that were read last. count: how many; bytes: what they take, about.

    most: bytes beyond which the oldest are let go before more is read.
    """

    def __init__(self, most: int | None = None) -> None:
        self.most = MOST_BYTES if most is None else most
        self.count = self.bytes = 0
        self._kept: OrderedDict[Hashable, tuple[Any, int, int]] = OrderedDict()

    def get(self, key: Hashable, read: Callable[[], T], texts: Callable[[T], Sequence[bytes]]) -> T:
        """What was read under that key, else what `read` gives. texts: of it."""
        if key in self._kept:
            self._kept.move_to_end(key)
            kept: T = self._kept[key][0]
            return kept
        while self._kept and self.bytes > self.most:
            _, count, size = self._kept.popitem(last=False)[1]
            self.count, self.bytes = self.count - count, self.bytes - size
        found = read()
        held = texts(found)
        count, size = len(held), sum(map(len, held)) + _ROW_BYTES * len(held)
        self._kept[key] = found, count, size
        self.count, self.bytes = self.count + count, self.bytes + size
        return found


class Part(msgspec.Struct, frozen=True):
    """Rows of a series that are read together. start_ms: when the first begins; end_ms: the last instant of all.

    read: gives them, as long as the replay is served.
    """

    first_id: int
    last_id: int
    count: int
    start_ms: int
    end_ms: int
    read: Callable[[], Versions]


def part_of(rows: Versions, read: Callable[[], Versions]) -> Part | None:
    """The part that `rows` are, which `read` gives again; None: there are none."""
    spans = {row[0]: row[1:3] for _, row in rows}
    if not spans:
        return None
    first_id = min(spans)
    return Part(first_id, max(spans), len(spans), spans[first_id][0], max(end for _, end in spans.values()), read)


class _Block(msgspec.Struct, frozen=True):
    """The rows of some parts with ids from `first_id` to before `end_id`."""

    first_id: int
    end_id: float
    parts: Sequence[Part]

    def read(self) -> list[Row]:
        """Of rows with the same id that of the newest version, of the same version that of the last part."""
        found: dict[int, tuple[int, Row]] = {}
        for part in self.parts:
            for version, row in part.read():
                if self.first_id <= row[0] < self.end_id:
                    known = found.get(row[0])
                    if known is None or known[0] <= version:
                        found[row[0]] = version, row
        return [row for _, (_, row) in sorted(found.items())]


class RecordedRows(RowSeries):
    """The rows of one series, numbered from 0. parts: looked at when they are first needed; later ones win."""

    def __init__(self, parts: Iterable[Part], held: Held) -> None:
        self._parts, self.held = parts, held

    @property
    def start_ms(self) -> int:
        """When the first row begins."""
        return self._index[0][2]

    @property
    def spans(self) -> list[Numbers]:
        """The numbers of the rows that are read together."""
        ends = self._ends
        return [(first, end - 1) for first, end in zip([0, *ends], ends, strict=False)]

    def at(self, time_ms: int) -> int:
        place = bisect_left(self._index, time_ms, key=lambda one: one[2]) - 1
        return 0 if place < 0 else self._first(place) + bisect_left(self._rows(place), time_ms, key=lambda row: row[1])

    def by_id(self, record_id: int) -> int:
        place = bisect_right(self._index, record_id, key=lambda one: one[0].first_id) - 1
        return (
            0 if place < 0 else self._first(place) + bisect_left(self._rows(place), record_id, key=lambda row: row[0])
        )

    def existing(self, now_ms: int, *, final: bool) -> Numbers:
        end = self.at(now_ms + 1)
        while final and end and next(self._between(end - 1, end - 1))[2] >= now_ms:
            end -= 1
        return 0, end - 1

    def rows(self, first: int, last: int, now_ms: int) -> list[bytes]:
        return [row[3] for row in self._between(first, last)]

    def _between(self, first: int, last: int) -> Iterator[Row]:
        place = bisect_right(self._ends, first)
        while first <= last and place < len(self._ends):
            begin = self._first(place)
            yield from self._rows(place)[first - begin : last + 1 - begin]
            first, place = self._ends[place], place + 1

    def _first(self, place: int) -> int:
        """The number of the first row of a block."""
        return self._ends[place - 1] if place else 0

    def _rows(self, place: int) -> list[Row]:
        block, count, _ = self._index[place]
        found = self.held.get((self, place), block.read, lambda rows: [row[3] for row in rows])
        if len(found) != count:
            raise PermanentError(
                f"replay: {count} records were there from id {block.first_id} on, now there are {len(found)}: "
                "end the exchange, and start it again"
            )
        return found

    @cached_property
    def _ends(self) -> list[int]:
        return [*accumulate(count for _, count, _ in self._index)]

    @cached_property
    def _index(self) -> list[tuple[_Block, int, int]]:
        """The blocks, ascending, each with how many rows it has, and when the first begins.

        A block ends where a part begins: so it has rows of one part alone, or of parts that have the same ids.
        """
        parts = [*self._parts]
        begins = sorted({one.first_id for one in parts})
        found: list[tuple[_Block, int, int]] = []
        waiting = sorted(range(len(parts)), key=lambda number: parts[number].first_id, reverse=True)
        current: list[int] = []
        for begin, end in zip(begins, [*begins[1:], float("inf")], strict=True):
            current = [number for number in current if parts[number].last_id >= begin]
            while waiting and parts[waiting[-1]].first_id == begin:
                current.append(waiting.pop())
            block = _Block(begin, end, [parts[number] for number in sorted(current)])
            if len(current) == 1 and parts[current[0]].first_id == begin and parts[current[0]].last_id < end:
                found.append((block, parts[current[0]].count, parts[current[0]].start_ms))
            elif rows := block.read():
                found.append((block, len(rows), rows[0][1]))
        return found
