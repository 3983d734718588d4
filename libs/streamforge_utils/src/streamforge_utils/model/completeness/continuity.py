"""Completeness by an unbroken chain: what a loader received without a break, by its own record."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from streamforge_utils.model.completeness.rule import Bounds, Pages, Rule, Run
from streamforge_utils.model.coverage import Segment, Verdict, verdict_of
from streamforge_utils.model.errors import PermanentError
from streamforge_utils.model.kinds.paging import Question
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange

SUSPECT = "suspect"
"""Begins the doubt about records of which something speaks against them."""

MOST_TURNED = 50
"""So many of the intervals that ended last may be told again, each under its key, with another doubt."""


class Unbroken(msgspec.Struct, frozen=True, kw_only=True):
    """Updates received without a break, from an anchor on: ids, the last one included, and times, half-open.

    cause: why it ended there, one word or a few; empty: it goes on.
    """

    first_id: int
    last_id: int
    start_ms: int
    end_ms: int
    cause: str = ""

    @property
    def doubt(self) -> str:
        """Why the records may not be what the exchange had; empty: they are. It begins with `SUSPECT`, or nothing
        speaks against them."""
        return ""


class Continuity(Rule, frozen=True):
    """An unbroken chain of updates. What was not received cannot be had again: it is `lost`, with its cause."""

    @property
    def is_counted(self) -> bool:
        return False

    async def bounds(self, exchange: Pages, series: Series, now_ms: int, *, trading: bool) -> Bounds | None:
        """Raises PermanentError: the exchange does not answer questions about the past."""
        raise _unasked(series)

    async def existing(
        self, exchange: Pages, series: Series, span: TimeRange, now_ms: int, phase_ms: int | None
    ) -> Sequence[int]:
        """Raises PermanentError, as `bounds`."""
        raise _unasked(series)

    def survey(self, span: TimeRange, runs: Sequence[Run], phase_ms: int | None) -> list[Segment]:
        """Keys alone do not tell what was received without a break: all is `unknown`."""
        return [verdict_of(span, Verdict.UNKNOWN)]

    def whole(self, segments: Iterable[Segment], phase_ms: int | None) -> list[Segment]:
        return list(segments)

    def expected(self, segment: Segment, phase_ms: int | None) -> Sequence[int] | None:
        """Not known: an update has many ids, and only the loader's record has them."""
        return None

    def counted(self, segments: Iterable[Segment], phase_ms: int | None) -> list[Segment]:
        return list(segments)

    def questions(
        self, hole: Segment, phase_ms: int | None, most: int
    ) -> Iterator[tuple[Sequence[int], Sequence[Question]]]:
        """None: the exchange does not answer questions about the past."""
        return iter(())

    def answered(self, hole: Segment, found: set[int], phase_ms: int | None) -> list[Segment]:
        return [msgspec.structs.replace(hole, verdict=Verdict.LOST)]


def chains(received: Iterable[Unbroken]) -> list[Unbroken]:
    """The unbroken chains of `received`, by id: what follows without a gap, or overlaps, is one."""
    found: list[Unbroken] = []
    for one in sorted(received, key=lambda one: (one.first_id, one.last_id)):
        last = found[-1] if found else None
        if last is None or one.first_id > last.last_id + 1:
            found.append(one)
            continue
        longer = one if one.last_id > last.last_id else last
        found[-1] = Unbroken(
            first_id=last.first_id,
            last_id=longer.last_id,
            start_ms=min(last.start_ms, one.start_ms),
            end_ms=max(last.end_ms, one.end_ms),
            cause=longer.cause,
        )
    return found


def _unasked(series: Series) -> PermanentError:
    return PermanentError(f"{series.id}: the exchange does not answer questions about the past of such records")
