"""Completeness by consecutive ids: no id lacks between the first and the last record of a range."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from collections.abc import Sequence as Positions

import msgspec

from streamforge_utils.model.completeness.rule import CONFIRMATIONS, Bounds, Pages, Rule, Run, contradiction
from streamforge_utils.model.coverage import Segment, Verdict, verdict_of
from streamforge_utils.model.kinds.paging import ById, ByTime, Question
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange

HOLE_A_REQUEST = 900
"""Ids of a hole asked for at once: below a page of 1000, so that the request is cut differently from the loader's."""

_LATE_MS = 1000
_FIRST_ID = 1
_IDS = "which records a range has"


class Sequence(Rule, frozen=True):
    """Consecutive ids: a record's position is its id. Times follow the ids, and several records may share one.

    Only the exchange knows which ids a range of time has: the first id at its start or later, and the neighbours beyond
    both ends. A stored segment has its first and last id, and those of neighbouring segments must meet.
    """

    def expected(self, segment: Segment, phase_ms: int | None) -> Positions[int] | None:
        if segment.first_id is None or segment.last_id is None:
            return None
        return range(segment.first_id, segment.last_id + 1)

    def over_ms(self, now_ms: int, phase_ms: int | None = None) -> int:
        """The last second is not: the exchange may give its records a little later. Ranges are in whole seconds."""
        return (now_ms - _LATE_MS) // 1000 * 1000

    async def bounds(self, exchange: Pages, series: Series, now_ms: int, *, trading: bool) -> Bounds | None:
        """The first id of a series is 0 or 1: where the first record has another one, those before are not given.

        That there is none takes two rounds of questions, since it would end the workflow with nothing stored.
        """
        whole, empty_rounds = TimeRange(0, now_ms), 0
        for number in range(CONFIRMATIONS):
            places = number == 0  # a floor may lie between a place and the first record that is given
            by_id = await exchange.page(series, ById(0, limit=1))
            by_time = await exchange.page(series, ByTime(whole, limit=1, places=places))
            if by_id and not by_time:
                # Where older records are given no more, a window that begins with them may be answered with none.
                since_first = TimeRange(by_id.times[0], now_ms)
                by_time = await exchange.page(series, ByTime(since_first, limit=1, places=places))
            if not by_id and not by_time and not await exchange.page(series, ByTime(whole, newest=True, places=True)):
                empty_rounds += 1
                if empty_rounds == 2:
                    return None
                continue
            if by_id and by_time and by_id.positions[0] == by_time.positions[0]:
                break
        else:
            raise contradiction(series, _IDS)
        first = by_id.positions[0]
        floor_id = first if first > _FIRST_ID else None
        floor = "" if floor_id is None else floor_cause(floor_id)
        if trading:
            return Bounds(by_id.times[0], floor=floor, floor_id=floor_id)
        next_id = await _first_from(exchange, series, now_ms, now_ms)
        last = await exchange.page(series, ById(next_id - 1, limit=1))
        if not last:
            raise contradiction(series, _IDS)
        return Bounds(by_id.times[0], last.times[-1], floor, floor_id)

    async def existing(
        self, exchange: Pages, series: Series, span: TimeRange, now_ms: int, phase_ms: int | None
    ) -> range:
        """They are those between the neighbours beyond both ends, which are asked for."""
        first = await _first_from(exchange, series, span.start_ms, now_ms)
        return range(first, max(first, await _first_from(exchange, series, span.end_ms, now_ms)))

    def survey(self, span: TimeRange, runs: Positions[Run], phase_ms: int | None) -> list[Segment]:
        """A hole reaches from behind the stored record before it to the first one after it, a millisecond at least.

        Records of the same millisecond as one of these may lack, too: who loads the hole begins a millisecond earlier
        and ends one later. Stored records for which no millisecond is left between two holes become part of them.
        """
        if not runs:
            return [verdict_of(span, Verdict.UNKNOWN)]
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
            else:  # which may have happened in the millisecond behind the span
                end_ms = min(following.first_ms, span.end_ms - 1)
            end_ms = min(end_ms, span.end_ms)
            if end_ms <= cursor_ms:
                if found and found[-1].verdict is Verdict.UNKNOWN:
                    found[-1] = msgspec.structs.replace(found[-1], last_id=run.last)
                elif first_id is None:
                    first_id = run.first
                continue
            stored = stored and first_id is None
            hole = Segment(
                start_ms=cursor_ms,
                end_ms=end_ms,
                verdict=Verdict.UNKNOWN,
                first_id=run.first if first_id is None else first_id,
                last_id=run.last,
            )
            cursor_ms, first_id = end_ms, None
            if stored:
                records = run.last - run.first + 1
                found.append(
                    msgspec.structs.replace(hole, verdict=Verdict.STORED, collection=run.collection, records=records)
                )
            elif found and found[-1].verdict is Verdict.UNKNOWN:
                found[-1] = msgspec.structs.replace(found[-1], end_ms=end_ms, last_id=run.last)
            else:
                found.append(hole)
        if first_id is not None and found:  # the last runs, for which no time is left
            found[-1] = msgspec.structs.replace(
                found[-1], verdict=Verdict.UNKNOWN, collection=None, records=0, last_id=runs[-1].last
            )
        return found

    def whole(self, segments: Iterable[Segment], phase_ms: int | None) -> list[Segment]:
        """A stored segment whose ids do not meet those of the one before it gives up its first millisecond.

        The records between the two are in it, or right before: it becomes `unknown`, with their ids, and is loaded.
        So does a time without a record between two stored segments, which is a part of the first one where they meet.
        """
        found: list[Segment] = []
        for segment in segments:
            if len(found) > 1 and found[-1].verdict is Verdict.EXCHANGE:
                found[-2:] = _with_silence(found[-2], found[-1], segment)
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

    def questions(
        self, hole: Segment, phase_ms: int | None, most: int
    ) -> Iterator[tuple[Positions[int], Positions[Question]]]:
        """By requests from the hole's first id and from the one before it."""
        ids = self.expected(hole, phase_ms) or ()
        size = min(HOLE_A_REQUEST, max(1, most - 1))
        for index in range(0, len(ids), size):
            part = ids[index : index + size]
            more = 1 if len(part) < most else 0
            yield part, (ById(part[0], limit=len(part)), ById(max(0, part[0] - more), limit=len(part) + more))

    def answered(self, hole: Segment, found: set[int], phase_ms: int | None) -> list[Segment]:
        """One verdict for the whole hole: times alone do not tell its parts apart."""
        ids = self.expected(hole, phase_ms) or ()
        verdict = Verdict.OURS if any(one in ids for one in found) else Verdict.EXCHANGE
        return [msgspec.structs.replace(hole, verdict=verdict, collection=None, records=0)]


UNTOLD = "no loader has told what it read there"
"""Ends the cause of an `unknown` range that files alone have, and of which nothing tells which ids it has."""


def floor_cause(floor_id: int) -> str:
    """Why records before that id cannot be asked for."""
    return f"the exchange gives no record before id {floor_id}"


def meets(before: Segment, after: Segment) -> bool:
    """Whether no id can lie between two stored segments of which the second begins where the first ends.

    True also where one of them has no ids, or is not stored.
    """
    if before.end_ms != after.start_ms or not before.verdict is after.verdict is Verdict.STORED:
        return True
    if before.last_id is None or after.first_id is None:
        return True
    return after.first_id <= before.last_id + 1


def _with_silence(stored: Segment, silence: Segment, after: Segment) -> list[Segment]:
    """The two segments before `after`, of which the second is a time of which the exchange has no record.

    That no record happened in it does not tell of those of the milliseconds beside it, as ids do.
    """
    apart = stored.end_ms != silence.start_ms or silence.end_ms != after.start_ms
    named = silence.first_id is not None or silence.last_id is not None
    if apart or named or not stored.verdict is after.verdict is Verdict.STORED:
        return [stored, silence]
    if stored.last_id is None or after.first_id is None:
        return [stored, silence]
    first_id, last_id = stored.last_id + 1, after.first_id - 1
    if first_id > last_id:
        return [msgspec.structs.replace(stored, end_ms=silence.end_ms)]
    return [stored, msgspec.structs.replace(silence, verdict=Verdict.UNKNOWN, first_id=first_id, last_id=last_id)]


async def _first_from(exchange: Pages, series: Series, time_ms: int, now_ms: int) -> int:
    """The id of the first record that happened at `time_ms` or later; the one after the last record where none did.

    The record before it is asked for too: it must have happened earlier. Raises RetryableError.
    """
    for number in range(CONFIRMATIONS):
        page, places = None, number == 0
        if time_ms < now_ms:
            page = await exchange.page(series, ByTime(TimeRange(time_ms, now_ms), limit=1, places=places))
        if page:
            seen = found = page.positions[0]
        else:
            whole = TimeRange(0, max(now_ms, 1))
            page = await exchange.page(series, ByTime(whole, limit=1, newest=True, places=places))
            # A record of that time or later contradicts the answer that there is none.
            if not page or time_ms <= page.times[-1] < now_ms:
                continue
            seen = page.positions[-1]
            found = seen + (1 if page.times[-1] < time_ms else 0)
        around = await exchange.page(series, ById(max(0, found - 1), limit=2))
        times = dict(zip(around.positions, around.times, strict=True))
        if seen in times and times.get(found - 1, -1) < time_ms <= times.get(found, time_ms):
            return found
    raise contradiction(series, _IDS)
