"""What every completeness rule answers.

A record has a *position* in its series: its open time on a grid, or its id in a sequence. A rule says which positions
a range must have, which of them are missing, and how to ask the exchange for those again. Times are unix milliseconds.
Pure, except the methods that query their `exchange` argument.
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
    """What a rule asks of the exchange; the port `History` has it."""

    async def page(self, series: Series, question: Question) -> Page:
        """The records that the question asks for."""


class Run(msgspec.Struct, frozen=True):
    """Consecutive positions of a range. collection: where their records are stored; None: they are not.

    first, last: both are included. first_ms, last_ms: when these two records happened; 0 if they are not stored.
    """

    first: int
    last: int
    collection: str | None = None
    first_ms: int = 0
    last_ms: int = 0


class Bounds(msgspec.Struct, frozen=True):
    """When the records that an exchange gives of a series happened, unix milliseconds.

    first_ms: the first one. last_ms: the last one if no more will come. floor: says that there are older records,
    which the exchange does not give; empty: there are none. floor_id: then the id of the first one that it gives, if
    it gives any. since_ms: when the older ones begin, if that is known.
    """

    first_ms: int
    last_ms: int | None = None
    floor: str = ""
    floor_id: int | None = None
    since_ms: int = 0


class Rule(msgspec.Struct, frozen=True):
    """A completeness rule of a series.

    phase_ms, in every method: any position of the series; only a grid that the calendar does not fix needs it.
    """

    def __init_subclass__(cls) -> None:
        """Raises TypeError for a rule that lacks a method: at its definition, not when a series is first asked for."""
        super().__init_subclass__()
        abstract = {name: one for name, one in vars(Rule).items() if getattr(one, "__isabstractmethod__", False)}
        lacking = [name for name, one in abstract.items() if getattr(cls, name) is one]
        if lacking:
            raise TypeError(f"the completeness rule {cls.__name__} lacks {', '.join(lacking)}")

    @property
    def step_ms(self) -> int | None:
        """The time between two records; None where it varies."""
        return None

    @property
    def is_counted(self) -> bool:
        """Whether the keys of what is stored tell what lacks; False: only the loader's own record does."""
        return True

    def is_fixed(self, phase_ms: int | None) -> bool:
        """Whether the positions that records may have are known."""
        return True

    def floor(self, time_ms: int, phase_ms: int | None = None) -> int:
        """The latest time, not after `time_ms`, at which a range may begin or end."""
        return time_ms

    def ceil(self, time_ms: int, phase_ms: int | None = None) -> int:
        """The first time, not before `time_ms`, at which a range may begin or end."""
        return time_ms

    def next(self, time_ms: int) -> int:
        """The end of the shortest range that begins at `time_ms`, which must be a time at which a range may begin."""
        return time_ms + 1

    def over_ms(self, now_ms: int, phase_ms: int | None = None) -> int:
        """The time before which all is over at `now_ms`: no record there will be added or changed."""
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
    async def bounds(self, exchange: Pages, series: Series, now_ms: int, *, trading: bool) -> Bounds | None:
        """When the first record of the series happened, and the last one if no more will come; None: there is none.

        Each is asked for by two requests that are cut differently. Raises RetryableError.
        """

    @abstractmethod
    async def existing(
        self, exchange: Pages, series: Series, span: TimeRange, now_ms: int, phase_ms: int | None
    ) -> Sequence[int]:
        """The positions of the records of `span`, ascending, including records that the exchange no longer gives.

        Asks the exchange where the rule alone does not tell them. Raises RetryableError.
        """

    @abstractmethod
    def survey(self, span: TimeRange, runs: Sequence[Run], phase_ms: int | None) -> list[Segment]:
        """`span` as stored segments and `unknown` holes, without a gap. runs: all of its positions, ascending."""

    @abstractmethod
    def whole(self, segments: Iterable[Segment], phase_ms: int | None) -> list[Segment]:
        """`segments` (sorted, disjoint) in the form in which coverage keeps them."""

    @abstractmethod
    def expected(self, segment: Segment, phase_ms: int | None) -> Sequence[int] | None:
        """The positions that a range must have, ascending; None: the segment alone does not tell them."""

    @abstractmethod
    def counted(self, segments: Iterable[Segment], phase_ms: int | None) -> list[Segment]:
        """`segments` with the number of records of each stored one, as far as it is known (0: it is not)."""

    @abstractmethod
    def questions(
        self, hole: Segment, phase_ms: int | None, most: int
    ) -> Iterator[tuple[Sequence[int], Sequence[Question]]]:
        """How to ask for a hole again: a few positions at a time, each with requests that are cut differently.

        most: records in one answer at most.
        """

    @abstractmethod
    def answered(self, hole: Segment, found: set[int], phase_ms: int | None) -> list[Segment]:
        """The verdicts on `hole`, without a gap, after its questions: `ours` at the positions that were `found`."""

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

    Of a run only the ends are given: it may hold most of a year of seconds.
    """
    if len(expected) == len(stored) and list(expected) == list(stored):
        return
    at = 0
    for position in stored:
        index = bisect_left(expected, position, at)
        if index > at:
            yield expected[at], expected[index - 1]
        at = index + 1 if index < len(expected) and expected[index] == position else index
    if at < len(expected):
        yield expected[at], expected[-1]
