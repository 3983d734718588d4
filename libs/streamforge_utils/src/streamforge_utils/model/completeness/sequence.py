"""Completeness by consecutive ids: no id lacks between the first and the last record of a range."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from collections.abc import Sequence as Positions

import msgspec

from streamforge_utils.model.completeness.rule import Rule
from streamforge_utils.model.coverage import Segment, Verdict
from streamforge_utils.model.kinds.paging import ById, Question
from streamforge_utils.model.timeranges import TimeRange

HOLE_A_REQUEST = 900
"""Ids of a hole asked for at once: below a page of 1000, so that the request is cut differently from the loader's."""

_LATE_MS = 1000


class Run(msgspec.Struct, frozen=True):
    """Consecutive ids, the last one included. collection: where the records lie; None: they are not stored.

    first_ms, last_ms: when the first and the last one happened, of a stored run.
    """

    first_id: int
    last_id: int
    collection: str | None = None
    first_ms: int = 0
    last_ms: int = 0


class Sequence(Rule, frozen=True):
    """Consecutive ids: a record's position is its id. Times follow the ids, and several records may share one.

    Only the exchange knows which ids a range of time has: the first id at its start or later, and the neighbours beyond
    both ends. A stored segment has its first and last id, and those of neighbouring segments must meet.
    """

    by_id = True

    def expected(self, segment: Segment, phase_ms: int | None) -> Positions[int] | None:
        if segment.first_id is None or segment.last_id is None:
            return None
        return range(segment.first_id, segment.last_id + 1)

    def over_ms(self, now_ms: int, phase_ms: int | None = None) -> int:
        """The last second is not: the exchange may give its records a little later. Ranges are in whole seconds."""
        return (now_ms - _LATE_MS) // 1000 * 1000

    def whole(self, segments: Iterable[Segment], phase_ms: int | None) -> list[Segment]:
        """A stored segment whose ids do not meet those of the one before it gives up its first millisecond.

        The records between the two are in it, or right before: it becomes `unknown`, with their ids, and is loaded.
        """
        found: list[Segment] = []
        for segment in segments:
            last = found[-1] if found else None
            if last is not None and not meets(last, segment):
                hole_end_ms = min(segment.start_ms + 1, segment.end_ms)
                first_id, last_id = (last.last_id or 0) + 1, (segment.first_id or 0) - 1
                found.append(
                    Segment(
                        start_ms=segment.start_ms,
                        end_ms=hole_end_ms,
                        verdict=Verdict.UNKNOWN,
                        first_id=first_id if first_id <= last_id else None,
                        last_id=last_id if first_id <= last_id else None,
                    )
                )
                if hole_end_ms == segment.end_ms:
                    continue
                segment = msgspec.structs.replace(segment, start_ms=hole_end_ms)
            found.append(segment)
        return found

    def counted(self, segments: Iterable[Segment], phase_ms: int | None) -> list[Segment]:
        """A stored segment that knows both its ids has a record for each."""
        found = []
        for segment in segments:
            ids = self.expected(segment, phase_ms) if segment.verdict is Verdict.STORED else None
            found.append(segment if ids is None else msgspec.structs.replace(segment, records=len(ids)))
        return found

    def questions(self, hole: Segment, phase_ms: int | None) -> Iterator[tuple[Positions[int], Positions[Question]]]:
        """By requests from the hole's first id and from the one before it."""
        ids = self.expected(hole, phase_ms) or ()
        for index in range(0, len(ids), HOLE_A_REQUEST):
            part = ids[index : index + HOLE_A_REQUEST]
            yield part, (ById(part[0], limit=len(part)), ById(max(0, part[0] - 1), limit=len(part) + 1))

    def answered(self, hole: Segment, found: set[int], phase_ms: int | None) -> list[Segment]:
        """One verdict for the whole hole: times alone do not tell its parts apart."""
        ids = self.expected(hole, phase_ms) or ()
        verdict = Verdict.OURS if any(one in ids for one in found) else Verdict.EXCHANGE
        return [msgspec.structs.replace(hole, verdict=verdict, collection=None, records=0)]


def meets(before: Segment, after: Segment) -> bool:
    """Whether no id can lie between two stored segments of which the second begins where the first ends.

    True also where one of them has no ids, or is not stored.
    """
    if before.end_ms != after.start_ms or not before.verdict is after.verdict is Verdict.STORED:
        return True
    if before.last_id is None or after.first_id is None:
        return True
    return after.first_id <= before.last_id + 1


def segments_of(span: TimeRange, runs: Positions[Run]) -> list[Segment]:
    """`span` by `runs`, whose ids are consecutive: stored segments and `unknown` holes, without a gap.

    A hole reaches from behind the stored record before it to the first one after it, a millisecond at least. Records
    of the same millisecond as one of these may lack, too: who loads the hole begins a millisecond earlier and ends one
    later. Stored records for which no millisecond is left between two holes become part of them.
    """
    found: list[Segment] = []
    cursor_ms, first_id = span.start_ms, None
    for run, following in zip(runs, [*runs[1:], None], strict=True):
        stored = run.collection is not None
        if following is None:
            end_ms = span.end_ms
        elif not stored:
            end_ms = max(following.first_ms, cursor_ms + 1)
        elif following.collection is None:
            end_ms = min(run.last_ms + 1, span.end_ms - 1)
        else:
            end_ms = following.first_ms
        end_ms = min(end_ms, span.end_ms)
        if end_ms <= cursor_ms:
            if found and found[-1].verdict is Verdict.UNKNOWN:
                found[-1] = msgspec.structs.replace(found[-1], last_id=run.last_id)
            elif first_id is None:
                first_id = run.first_id
            continue
        stored = stored and first_id is None
        hole = Segment(
            start_ms=cursor_ms,
            end_ms=end_ms,
            verdict=Verdict.UNKNOWN,
            first_id=run.first_id if first_id is None else first_id,
            last_id=run.last_id,
        )
        cursor_ms, first_id = end_ms, None
        if stored:
            records = run.last_id - run.first_id + 1
            found.append(
                msgspec.structs.replace(hole, verdict=Verdict.STORED, collection=run.collection, records=records)
            )
        elif found and found[-1].verdict is Verdict.UNKNOWN:
            found[-1] = msgspec.structs.replace(found[-1], end_ms=end_ms, last_id=run.last_id)
        else:
            found.append(hole)
    if first_id is not None and found:  # the last runs, for which no time is left
        found[-1] = msgspec.structs.replace(
            found[-1], verdict=Verdict.UNKNOWN, collection=None, records=0, last_id=runs[-1].last_id
        )
    return found


def filled(holes: Iterable[Run], stored: Iterable[Run]) -> list[Run]:
    """`holes` with what of `stored` lies in them; each is sorted and disjoint. What of `holes` is stored stays."""
    found: list[Run] = []
    others = sorted(stored, key=lambda run: run.first_id)
    for hole in holes:
        if hole.collection is not None:
            found.append(hole)
            continue
        next_id = hole.first_id
        for run in others:
            if run.last_id < next_id or run.first_id > hole.last_id:
                continue
            if run.first_id > next_id:
                found.append(Run(next_id, run.first_id - 1))
            first_id, last_id = max(run.first_id, next_id), min(run.last_id, hole.last_id)
            found.append(Run(first_id, last_id, run.collection))
            next_id = last_id + 1
        if next_id <= hole.last_id:
            found.append(Run(next_id, hole.last_id))
    return found
