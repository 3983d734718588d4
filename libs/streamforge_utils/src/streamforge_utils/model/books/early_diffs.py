"""The first diffs of a connection that is ahead of the one before it, while both give the same book."""

from __future__ import annotations

from typing import NamedTuple

from streamforge_utils.model.books.book_messages import DepthDiff


class EarlyDiff(NamedTuple):
    """A diff before which updates lack. payload, received_us, connection: as in `Synchroniser.hear`."""

    diff: DepthDiff
    payload: bytes
    received_us: int
    connection: int


class EarlyDiffs:
    """What waits for what lacks before it, in the order in which it came.

    Two connections cut the same updates differently: what a connection begins with is no gap before the other one,
    which gives them in order as well, is behind what lacks. most, most_ms: so many wait, and so long, at most.
    """

    def __init__(self, most: int, most_ms: int) -> None:
        self._most = most
        self._most_us = most_ms * 1000
        self._waiting: list[EarlyDiff] = []

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, one: EarlyDiff) -> bool:
        """Whether there is still hope: no older connection is ahead of what lacks, too, and there is room and time."""
        waiting = self._waiting
        waiting.append(one)
        in_time = one.received_us - waiting[0].received_us < self._most_us
        return in_time and one.connection >= waiting[0].connection and len(waiting) <= self._most

    def take(self, next_id: int) -> list[EarlyDiff]:
        """Those that follow, where `next_id` is the id that the next one must reach."""
        count = 0
        for one in self._waiting:
            if one.diff.first_id > next_id:
                break
            next_id, count = max(next_id, one.diff.last_id + 1), count + 1
        taken, self._waiting = self._waiting[:count], self._waiting[count:]
        return taken

    def take_all(self) -> list[EarlyDiff]:
        """All, by their ids."""
        taken, self._waiting = self._waiting, []
        return sorted(taken, key=lambda one: one.diff.first_id)
