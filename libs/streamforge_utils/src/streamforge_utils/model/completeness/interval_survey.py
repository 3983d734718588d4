"""What a loader has reported of a series, interval by interval, compared with the stored records. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import msgspec

from streamforge_utils.model.completeness.continuity import Unbroken
from streamforge_utils.model.coverage import Segment, Verdict, joined
from streamforge_utils.model.daily_collections import DAY_MS, Placement

ENDED = "loader ended"
"""Why what lies between two attempts is lost, where the earlier one has not told why it ended."""
NOT_STORED = "its loader had it, the store has not"
UNTOLD = "its loader tells nothing of it"
_SKEW_MS = 5_000
"""By so much an attempt may seem to begin too early or too late: its time is of another clock."""


class Link(NamedTuple):
    """A stored record: the ids of its first and its last update, and when it happened, unix milliseconds."""

    first_id: int
    last_id: int
    time_ms: int


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """What holds for a whole survey.

    placement: where the records are. old_ms: holes that end later may still be filled: the survey ends before them.
    seen_id: the links have all that is stored up to this id; None: all. begun_ms: when attempts of the loader began.
    ended: nothing more comes.
    """

    placement: Placement
    old_ms: int
    seen_id: int | None = None
    begun_ms: Sequence[int] = ()
    ended: bool = False

    def explains(self, before: Unbroken, one: Unbroken) -> bool:
        """Whether a loader was killed between two intervals: another one began, or tells so."""
        first_ms, last_ms = before.end_ms - _SKEW_MS, one.start_ms + _SKEW_MS
        return one.cause == ENDED or any(first_ms <= at_ms <= last_ms for at_ms in self.begun_ms)


def survey(
    told: Iterable[Unbroken], links: Sequence[Link], at_ms: int, next_id: int | None, terms: Terms
) -> list[Segment]:
    """What is known from `at_ms` on, without a gap: `stored`, `lost` or `unknown`, as far as anything can be said yet.

    told: all intervals from `at_ms` on, and the one before, in any order. links: sorted by last id. next_id: behind the
    last record before `at_ms`; None: there is none.

    A part of an interval is `stored` as far as each of its ids lies in a stored record; its doubt is the cause. What
    lies between two intervals is `lost` with the cause of the earlier one. It is `unknown` where that one names none,
    or where records are stored that no interval tells of; and so is what was told and is not stored, though records
    behind it are.
    """
    by_time = sorted(told, key=lambda one: (one.start_ms, one.first_id))
    walk = _Walk(by_time, links, at_ms, next_id, terms)
    for one in by_time:
        if walk.is_late(one):
            continue
        if one.end_ms > walk.at_ms and not walk.take(one):
            break
        if walk.before is None or one.end_ms >= walk.before.end_ms:
            walk.before = one
    return joined(walk.found)


def first_open(one: Unbroken, next_id: int | None) -> int:
    """The first id of an interval of which nothing is known yet, where `next_id` lies behind what is."""
    return next_id if next_id is not None and one.first_id <= next_id <= one.last_id + 1 else one.first_id


class _Walk:
    """A walk through intervals in the order of their times. before: the last one that was passed."""

    def __init__(
        self, told: Sequence[Unbroken], links: Sequence[Link], at_ms: int, next_id: int | None, terms: Terms
    ) -> None:
        self.at_ms = at_ms
        self.found: list[Segment] = []
        self.before: Unbroken | None = None
        self._told = told
        self._links = links
        self._next_id = next_id
        self._terms = terms

    def is_late(self, one: Unbroken) -> bool:
        """Whether an interval came late, in the middle of one that goes on: of the time around it that one tells."""
        before, next_id = self.before, self._next_id
        return bool(
            before is not None
            and not before.cause
            and one.cause
            and next_id is not None
            and one.last_id < min(next_id, before.first_id)
        )

    def take(self, one: Unbroken) -> bool:
        """Go on to the end of an interval that ends behind this place. False: it is not reached yet."""
        if not self._is_reached(one) and not self._pass_gap(one):
            return False
        return one.end_ms <= self.at_ms or self._pass(one)

    def _is_reached(self, one: Unbroken) -> bool:
        """Whether nothing lies between what is told already and an interval: it overlaps the one before, maybe."""
        before, next_id = self.before, self._next_id
        if next_id is not None and one.first_id < next_id <= one.last_id + 1:
            return True  # a part of it is told
        if before is None:
            return one.start_ms <= self.at_ms
        is_told = before.end_ms < self.at_ms and one.start_ms <= self.at_ms
        return is_told or before.first_id <= one.first_id <= before.last_id + 1

    def _pass_gap(self, one: Unbroken) -> bool:
        """Give the verdict for the time before an interval."""
        before, terms = self.before, self._terms
        end_ms = max(one.start_ms, self.at_ms + 1)
        first_id = max(self._next_id or 0, 0 if before is None else before.last_id + 1)
        if terms.seen_id is not None and max(first_id - 1, terms.seen_id) < one.first_id - 1:
            return False
        verdict, cause = Verdict.UNKNOWN, UNTOLD
        if not self._is_untold(first_id, one.first_id):
            known = "" if before is None else before.cause or (ENDED if terms.explains(before, one) else "")
            verdict, cause = (Verdict.LOST, known) if known else (verdict, cause)
        ids = (first_id, one.first_id - 1) if verdict is Verdict.UNKNOWN and first_id < one.first_id else (None, None)
        return self._leave_out(end_ms, verdict, cause, *ids)

    def _is_untold(self, first_id: int, stop_id: int) -> bool:
        """Whether a record is stored whose ids lie there, and no interval tells of it."""
        first, stop = (bisect_left(self._links, one, key=lambda link: link.last_id) for one in (first_id, stop_id))
        return any(
            not any(one.first_id <= link.last_id <= one.last_id for one in self._told)
            for link in self._links[first:stop]
        )

    def _pass(self, one: Unbroken) -> bool:
        """Say which parts of an interval are stored."""
        links, begin = self._links, first_open(one, self._next_id)
        while True:
            first = at = bisect_left(links, begin, key=lambda link: link.last_id)
            reached = begin - 1
            while at < len(links) and reached < one.last_id and links[at].first_id <= reached + 1:
                reached = links[at].last_id
                at += 1
            if reached >= one.last_id:
                self._keep(one, one.end_ms, begin, one.last_id, links[first:at])
                return True
            self._keep_before(one, begin, links[first:at])
            if at == len(links) and (self._terms.seen_id is not None or not self._terms.ended):
                return False
            begin, end_ms = one.last_id + 1, one.end_ms
            if at < len(links) and links[at].first_id <= one.last_id:
                begin, end_ms = links[at].first_id, min(links[at].time_ms, one.end_ms)
            if not self._leave_out(max(end_ms, self.at_ms + 1), Verdict.UNKNOWN, NOT_STORED, reached + 1, begin - 1):
                return False
            if begin > one.last_id or self.at_ms >= one.end_ms:
                return True

    def _keep_before(self, one: Unbroken, first_id: int, links: Sequence[Link]) -> None:
        """Say that the first records of an interval are stored; of the last one's millisecond more may come."""
        end_ms = min(links[-1].time_ms, one.end_ms) if links else self.at_ms
        count = len(links)
        while count and links[count - 1].time_ms >= end_ms:
            count -= 1
        if count:
            self._keep(one, end_ms, first_id, links[count - 1].last_id, links[:count])

    def _keep(self, one: Unbroken, end_ms: int, first_id: int, last_id: int, links: Sequence[Link]) -> None:
        """Say that records are stored, of each day where those of days lie apart."""
        if end_ms <= self.at_ms:
            return
        begun = 0
        for at in self._midnights(links, end_ms):
            before_id, day_ms = links[at - 1].last_id, links[at].time_ms // DAY_MS * DAY_MS
            self._add(one, day_ms, first_id, before_id, links[begun:at])
            first_id, begun = before_id + 1, at
        self._add(one, end_ms, first_id, last_id, links[begun:])

    def _midnights(self, links: Sequence[Link], end_ms: int) -> Iterator[int]:
        """The places of the first records of later days. A day without one has no part of its own."""
        day = self._day_of(links)
        if self._terms.placement.daily and day < (end_ms - 1) // DAY_MS:
            for at, link in enumerate(links):
                if day < link.time_ms // DAY_MS and link.time_ms < end_ms:
                    day = link.time_ms // DAY_MS
                    yield at

    def _day_of(self, links: Sequence[Link]) -> int:
        return max(self.at_ms, links[0].time_ms if links else 0) // DAY_MS

    def _add(self, one: Unbroken, end_ms: int, first_id: int, last_id: int, links: Sequence[Link]) -> None:
        self.found.append(
            Segment(
                start_ms=self.at_ms,
                end_ms=end_ms,
                verdict=Verdict.STORED,
                collection=self._terms.placement.at(self._day_of(links) * DAY_MS),
                records=len(links),
                first_id=first_id,
                last_id=last_id,
                cause=one.doubt,
            )
        )
        self.at_ms, self._next_id = end_ms, last_id + 1

    def _leave_out(self, end_ms: int, verdict: Verdict, cause: str, first_id: int | None, last_id: int | None) -> bool:
        if end_ms > self._terms.old_ms and not self._terms.ended:
            return False
        self.found.append(
            Segment(
                start_ms=self.at_ms, end_ms=end_ms, verdict=verdict, cause=cause, first_id=first_id, last_id=last_id
            )
        )
        self.at_ms = end_ms
        if last_id is not None:
            self._next_id = last_id + 1
        return True
