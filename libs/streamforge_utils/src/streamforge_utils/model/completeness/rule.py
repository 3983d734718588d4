"""What every completeness rule answers.

A record has a *position* in its series: its open time on a grid, or its id in a sequence. A rule says which positions
a range must have, which of them lack, and how to ask the exchange for those again. Times are unix milliseconds. Pure,
but for what asks the exchange that it is given.
"""

from __future__ import annotations

from abc import abstractmethod
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

import msgspec

from streamforge_utils.model.coverage import Segment, Verdict
from streamforge_utils.model.errors import RetryableError
from streamforge_utils.model.kinds.paging import Page, Question
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange

CONFIRMATIONS = 5
"""How often an exchange whose answers contradict each other is asked."""


class Pages(Protocol):
    """The exchange's answers: the port `History`."""

    async def page(self, series: Series, question: Question) -> Page:
        """The records that the question asks for."""


class Run(msgspec.Struct, frozen=True):
    """Positions of a range that follow each other. collection: where their records lie; None: they are not stored.

    first, last: its positions; the last one is included. first_ms, last_ms: when these two happened, of a stored run.
    """

    first: int
    last: int
    collection: str | None = None
    first_ms: int = 0
    last_ms: int = 0


class Rule(msgspec.Struct, frozen=True):
    """A completeness rule of a series.

    phase_ms, in every method: any position of the series; only a grid that the calendar does not fix needs it.
    """

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

    def position_at(self, time_ms: int) -> int | None:
        """The first position that a record of `time_ms` or later may have; None: only the records tell."""
        return None

    def time_at(self, position: int) -> int | None:
        """When the record at `position` happened; None: only the record tells."""
        return None

    def shown(self, position: int) -> str:
        """A position for a person."""
        return f"id {position}"

    @abstractmethod
    async def bounds(
        self, exchange: Pages, series: Series, now_ms: int, *, trading: bool
    ) -> tuple[int, int | None] | None:
        """When the first record of the series happened, and the last one if no more will come; None: there is none.

        Each is asked for by two requests that are cut differently. Raises RetryableError.
        """

    @abstractmethod
    async def existing(
        self, exchange: Pages, series: Series, span: TimeRange, now_ms: int, phase_ms: int | None
    ) -> Sequence[int]:
        """The positions that the records of `span` have, ascending, also where the exchange does not give one any more.

        What the rule alone does not tell is asked for. Raises RetryableError.
        """

    @abstractmethod
    def survey(self, span: TimeRange, runs: Sequence[Run], phase_ms: int | None) -> list[Segment]:
        """`span` by the runs of all its positions, ascending: stored segments and `unknown` holes, without a gap."""

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

    def with_answers(self, found: Iterable[Segment], answers: Sequence[Segment]) -> list[Segment]:
        """`found` with the exchange's answers in its `unknown` holes. answers: sorted, disjoint.

        Times alone do not tell which part of a hole an answer is about: it counts for exactly the hole that it names.
        """
        verdicts = {(one.span, one.first_id, one.last_id): one.verdict for one in answers}
        return [
            msgspec.structs.replace(one, verdict=verdicts.get((one.span, one.first_id, one.last_id), one.verdict))
            if one.verdict is Verdict.UNKNOWN
            else one
            for one in found
        ]


def contradiction(series: Series, about: str) -> RetryableError:
    """The error after `CONFIRMATIONS` rounds of answers that contradict each other."""
    return RetryableError(f"{series.id}: the exchange contradicted itself {CONFIRMATIONS} times about {about}")


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
