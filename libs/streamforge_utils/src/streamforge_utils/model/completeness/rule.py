"""What every completeness rule answers.

A record has a *position* in its series: its open time on a grid, or its id in a sequence. A rule says which positions
a range must have, which of them lack, and how to ask the exchange for those again. Pure; times are unix milliseconds.
"""

from __future__ import annotations

from abc import abstractmethod
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from typing import ClassVar

import msgspec

from streamforge_utils.model.coverage import Segment
from streamforge_utils.model.kinds.paging import Question


class Rule(msgspec.Struct, frozen=True):
    """A completeness rule of a series.

    by_id: positions are ids, and only the exchange or the store tells when a record happened; else they are times.
    phase_ms, in every method: any position of the series; only a grid that the calendar does not fix needs it.
    """

    by_id: ClassVar[bool] = False

    @property
    def step_ms(self) -> int | None:
        """The time between two records; None where it varies."""
        return None

    def is_fixed(self, phase_ms: int | None) -> bool:
        """Whether it is known where records may lie."""
        return True

    def floor(self, time_ms: int, phase_ms: int | None = None) -> int:
        """The latest time, not after `time_ms`, at which a range may begin or end."""
        return time_ms

    def ceil(self, time_ms: int, phase_ms: int | None = None) -> int:
        """The first time, not before `time_ms`, at which a range may begin or end."""
        return time_ms

    def next(self, time_ms: int) -> int:
        """The end of the shortest range that begins at `time_ms`, at which one may begin."""
        return time_ms + 1

    def over_ms(self, now_ms: int, phase_ms: int | None = None) -> int:
        """What lies before this time is over at `now_ms`: no record will be added to it, nor changed in it."""
        return self.floor(now_ms, phase_ms)

    @abstractmethod
    def whole(self, segments: Iterable[Segment], phase_ms: int | None) -> list[Segment]:
        """`segments` (sorted, disjoint) in the form in which coverage keeps them."""

    @abstractmethod
    def expected(self, segment: Segment, phase_ms: int | None) -> Sequence[int] | None:
        """The positions that a range must have, ascending; None: the segment does not have them."""

    @abstractmethod
    def counted(self, segments: Iterable[Segment], phase_ms: int | None) -> list[Segment]:
        """`segments` with the number of records of each stored one, as far as it is known (0: it is not)."""

    @abstractmethod
    def questions(self, hole: Segment, phase_ms: int | None) -> Iterator[tuple[Sequence[int], Sequence[Question]]]:
        """How to ask for a hole again: some positions at a time, and requests for them that are cut differently."""

    @abstractmethod
    def answered(self, hole: Segment, found: set[int], phase_ms: int | None) -> list[Segment]:
        """The verdicts on `hole`, without a gap, once its questions were put: `ours` where the exchange has records."""


def missing(expected: Sequence[int], stored: Sequence[int]) -> Iterator[tuple[int, int]]:
    """The first and the last position of each run of `expected` that is not in `stored`; both are ascending.

    What lies between two stored positions is never written out: it may be most of a year of seconds.
    """
    if len(expected) == len(stored) and all(map(int.__eq__, expected, stored)):
        return
    at = 0
    for position in stored:
        index = bisect_left(expected, position, at)
        if index > at:
            yield expected[at], expected[index - 1]
        at = index + 1 if index < len(expected) and expected[index] == position else index
    if at < len(expected):
        yield expected[at], expected[-1]
