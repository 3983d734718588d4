"""Puts records with consecutive ids in the order of their ids, each once."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from operator import lt
from typing import Protocol

from streamforge_utils.model.kinds.paging import Page

_Columns = tuple[list[int], list[int], list[bytes], list[bytes]]
RECORD_BYTES = 300
"""What a record takes beside its value, about."""


class Records(Protocol):
    """Records as columns: a page of history, or what was heard."""

    @property
    def positions(self) -> Sequence[int]: ...
    @property
    def times(self) -> Sequence[int]: ...
    @property
    def keys(self) -> Sequence[bytes]: ...
    @property
    def values(self) -> Sequence[bytes]: ...


class IdOrder:
    """Takes records in any order, and gives those that follow each other.

    next_id: of the first record that lacks; None: the first record is not known yet, and nothing is given. bytes: that
    the records held take, about.
    """

    def __init__(self) -> None:
        self.next_id: int | None = None
        self.bytes = 0
        self._begins_with_first = False
        self._ready: _Columns = ([], [], [], [])
        self._ahead: dict[int, tuple[int, bytes, bytes]] = {}

    def begin(self, next_id: int | None) -> None:
        """The id of the first record; None: it is the least one of what was taken, or of what is taken next."""
        if next_id is None and not self._ahead:
            self._begins_with_first = True
            return
        self.next_id = min(self._ahead) if next_id is None else next_id
        self.let_go(self.next_id - 1)
        self._join()

    def let_go(self, last_id: int) -> None:
        """Records up to this id that wait for others are held no longer."""
        for one in [one for one in self._ahead if one <= last_id]:
            self._forget(one)

    @property
    def least(self) -> int | None:
        """The least id of those that wait for others; None: none does."""
        return min(self._ahead, default=None)

    @property
    def holds(self) -> bool:
        """Whether a record is held before which others lack, or may lack."""
        return bool(self._ahead)

    @property
    def gap(self) -> range | None:
        """The ids that lack before the next record that is held; None: there is no such record."""
        return range(self.next_id or 0, min(self._ahead)) if self._ahead and self.next_id is not None else None

    @property
    def ready(self) -> int:
        """How many records follow each other."""
        return len(self._ready[0])

    def take(self, records: Records) -> int:
        """Returns how many of the records were not there yet."""
        positions = records.positions
        if self._begins_with_first and positions:
            self._begins_with_first, self.next_id = False, min(positions)
        if not self._ahead and self._follow(positions):
            self.next_id = positions[-1] + 1
            ids, times, keys, values = self._ready
            ids.extend(positions)
            times.extend(records.times)
            keys.extend(records.keys)
            values.extend(records.values)
            self.bytes += sum(map(len, records.values)) + RECORD_BYTES * len(positions)
            return len(positions)
        before, ahead, least = len(self._ahead), self._ahead, -1 if self.next_id is None else self.next_id
        for position, time_ms, key, value in zip(positions, records.times, records.keys, records.values, strict=True):
            if position >= least and position not in ahead:
                ahead[position] = time_ms, key, value
                self.bytes += len(value) + RECORD_BYTES
        taken = len(ahead) - before
        self._join()
        return taken

    def skip(self, to_id: int) -> None:
        """The records before `to_id` that lack do not exist."""
        if self.next_id is not None and to_id > self.next_id:
            self.next_id = to_id
            self._join()

    def give(self, most: int) -> Page:
        """The next records that follow each other, at most so many; they are held no longer."""
        ids, times, keys, values = self._ready
        given = Page(ids[:most], times[:most], keys[:most], values[:most])
        for column in self._ready:
            del column[:most]  # which moves the others; to copy them takes ten times as long
        self.bytes -= sum(map(len, given.values)) + RECORD_BYTES * len(given)
        return given

    def _follow(self, positions: Sequence[int]) -> bool:
        """Whether these are the next ids, in their order."""
        return (
            len(positions) > 0
            and positions[0] == self.next_id
            and positions[-1] - positions[0] == len(positions) - 1
            and all(map(lt, positions, islice(positions, 1, None)))
        )

    def _join(self) -> None:
        """Move what follows to what is ready."""
        if self.next_id is None:
            return
        ids, times, keys, values = self._ready
        while (record := self._ahead.pop(self.next_id, None)) is not None:
            ids.append(self.next_id)
            times.append(record[0])
            keys.append(record[1])
            values.append(record[2])
            self.next_id += 1

    def _forget(self, position: int) -> None:
        self.bytes -= len(self._ahead.pop(position)[2]) + RECORD_BYTES
