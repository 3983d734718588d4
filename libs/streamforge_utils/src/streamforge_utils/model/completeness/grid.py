"""Completeness by a calendar grid: one record for each step of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime

import msgspec

from streamforge_utils.model.completeness.rule import CONFIRMATIONS, Bounds, Pages, Rule, Run, contradiction
from streamforge_utils.model.coverage import Segment, Verdict, clip, joined, touching, verdict_of
from streamforge_utils.model.kinds.paging import ByTime, Question
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange, format_ms

HOLE_A_REQUEST = 900
"""Steps of a hole asked for at once: below a page of 1000, so that the request is cut differently from the loader's."""


class Grid(Rule, frozen=True):
    """A record for every step, at which it begins: its position is that time.

    length_ms: of a step; None: a calendar month. offset_ms: a time at which a step begins; None: only the exchange's
    data tell one (`phase_ms`).
    """

    length_ms: int | None
    offset_ms: int | None = 0

    @property
    def step_ms(self) -> int | None:
        return self.length_ms

    def is_fixed(self, phase_ms: int | None) -> bool:
        return self.offset_ms is not None or phase_ms is not None

    def floor(self, time_ms: int, phase_ms: int | None = None) -> int:
        """The beginning of the step that holds `time_ms`. Raises ValueError where the grid is not fixed."""
        if self.length_ms is None:
            return _month_start(_month_index(time_ms))
        return time_ms - (time_ms - self._phase(phase_ms)) % self.length_ms

    def ceil(self, time_ms: int, phase_ms: int | None = None) -> int:
        """The beginning of the first step that begins at `time_ms` or later. Raises ValueError as `floor`."""
        begin_ms = self.floor(time_ms, phase_ms)
        return begin_ms if begin_ms == time_ms else self.next(begin_ms)

    def next(self, time_ms: int) -> int:
        """The beginning of the step after the one that begins at `time_ms`."""
        if self.length_ms is None:
            return _month_start(_month_index(time_ms) + 1)
        return time_ms + self.length_ms

    def over_ms(self, now_ms: int, phase_ms: int | None = None) -> int:
        if self.is_fixed(phase_ms):
            return self.floor(now_ms, phase_ms)
        # Where steps begin is not known: what begins from then on may not be over. Ranges are in whole seconds.
        return (now_ms - (self.length_ms or 0)) // 1000 * 1000

    def position_at(self, time_ms: int) -> int:
        return time_ms

    def time_at(self, position: int) -> int:
        return position

    def shown(self, position: int) -> str:
        return format_ms(position)

    def times(self, start_ms: int, end_ms: int, phase_ms: int | None = None) -> Sequence[int]:
        """The beginnings of all steps in the half-open range [start_ms, end_ms), ascending.

        For steps of fixed length this is a `range`: its size costs nothing, however long the series.
        """
        first = self.ceil(start_ms, phase_ms)
        if self.length_ms is not None:
            return range(first, max(first, end_ms), self.length_ms)
        months = []
        while first < end_ms:
            months.append(first)
            first = self.next(first)
        return months

    def expected(self, segment: Segment, phase_ms: int | None) -> Sequence[int] | None:
        return self.times(segment.start_ms, segment.end_ms, phase_ms) if self.is_fixed(phase_ms) else None

    async def bounds(self, exchange: Pages, series: Series, now_ms: int, *, trading: bool) -> Bounds | None:
        first = await self._extreme(exchange, series, TimeRange(0, now_ms), newest=False)
        if first is None:
            return None
        if trading:
            return Bounds(first)
        last = await self._extreme(exchange, series, TimeRange(first, now_ms), newest=True)
        return Bounds(first, first if last is None else last)

    async def existing(
        self, exchange: Pages, series: Series, span: TimeRange, now_ms: int, phase_ms: int | None
    ) -> Sequence[int]:
        return self.times(span.start_ms, span.end_ms, phase_ms)

    def survey(self, span: TimeRange, runs: Sequence[Run], phase_ms: int | None) -> list[Segment]:
        """Where no step begins nothing is stored, though nothing lacks: that is like a hole."""
        if not runs:
            return [verdict_of(span, Verdict.UNKNOWN)]
        found: list[Segment] = []
        cursor_ms = span.start_ms
        for number, run in enumerate(runs, start=1):
            end_ms = span.end_ms if number == len(runs) else self.next(run.last)
            hole = Segment(start_ms=cursor_ms, end_ms=end_ms, verdict=Verdict.UNKNOWN)
            if run.collection is None:
                found.append(hole)
            else:
                records = len(self.times(run.first, run.last + 1, phase_ms))
                found.append(
                    msgspec.structs.replace(hole, verdict=Verdict.STORED, collection=run.collection, records=records)
                )
            cursor_ms = end_ms
        return joined(found)

    def whole(self, segments: Iterable[Segment], phase_ms: int | None) -> list[Segment]:
        """Each segment from the first step that begins in it to the end of the last one; without a step it is left out.

        They stay as they are where the grid is not fixed.
        """
        segments, found = list(segments), list[Segment]()
        if not self.is_fixed(phase_ms):
            return segments
        if self.length_ms is not None:
            length_ms, begin_ms = self.length_ms, self.floor(0, phase_ms)
            if not any((s.start_ms - begin_ms) % length_ms or (s.end_ms - begin_ms) % length_ms for s in segments):
                return segments  # mostly: a series may have thousands, and they are looked at with each change
        for segment in segments:
            start_ms, end_ms = (self.ceil(time_ms, phase_ms) for time_ms in (segment.start_ms, segment.end_ms))
            if (start_ms, end_ms) != (segment.start_ms, segment.end_ms):
                if start_ms == end_ms:
                    continue
                segment = msgspec.structs.replace(segment, start_ms=start_ms, end_ms=end_ms)
            found.append(segment)
        return joined(found)

    def counted(self, segments: Iterable[Segment], phase_ms: int | None) -> list[Segment]:
        """Each stored segment has a record for every step that begins in it."""
        if not self.is_fixed(phase_ms):
            return list(segments)
        return [
            msgspec.structs.replace(s, records=len(self.times(s.start_ms, s.end_ms, phase_ms)))
            if s.verdict is Verdict.STORED
            else s
            for s in segments
        ]

    def spans(self, runs: Iterable[tuple[int, int]]) -> list[TimeRange]:
        """The ranges of runs of steps, each given by its first and last step; joined where one follows another."""
        found: list[TimeRange] = []
        for first_ms, last_ms in runs:
            start_ms = first_ms
            if found and found[-1].end_ms == first_ms:
                start_ms = found.pop().start_ms
            found.append(TimeRange(start_ms, self.next(last_ms)))
        return found

    def questions(
        self, hole: Segment, phase_ms: int | None, most: int
    ) -> Iterator[tuple[Sequence[int], Sequence[Question]]]:
        """By a request from each end, the second one step longer."""
        grid = self.times(hole.start_ms, hole.end_ms, phase_ms)
        size = min(HOLE_A_REQUEST, max(1, most - 1))
        for index in range(0, len(grid), size):
            part = grid[index : index + size]
            end_ms = self.next(part[-1])
            yield (
                part,
                (
                    ByTime(TimeRange(part[0], end_ms), newest=True),
                    ByTime(TimeRange(part[0], self.next(end_ms))),
                ),
            )

    def answered(self, hole: Segment, found: set[int], phase_ms: int | None) -> list[Segment]:
        grid = self.times(hole.start_ms, hole.end_ms, phase_ms)
        answers = {
            Verdict.OURS: self.spans((time, time) for time in grid if time in found),
            Verdict.EXCHANGE: self.spans((time, time) for time in grid if time not in found),
        }
        return sorted(
            (verdict_of(span, verdict) for verdict, spans in answers.items() for span in spans),
            key=lambda segment: segment.start_ms,
        )

    def with_answers(self, found: Iterable[Segment], answers: Sequence[Segment]) -> list[Segment]:
        filled: list[Segment] = []
        for segment in found:
            told = touching(answers, segment.span) if segment.verdict is Verdict.UNKNOWN else ()
            filled += clip(told, segment.span) if told else [segment]
        return joined(filled)

    async def _extreme(self, exchange: Pages, series: Series, span: TimeRange, *, newest: bool) -> int | None:
        """The position of the first (or last) record in `span`; None: there is none.

        What lies beyond it was asked for again from the other end, and is empty. That there is none takes two rounds of
        two questions, since it would end the workflow with nothing stored.
        """
        empty_rounds = 0
        for _ in range(CONFIRMATIONS):
            found = await exchange.page(series, ByTime(span, limit=1, newest=newest))
            if not found:
                if not await exchange.page(series, ByTime(span, newest=not newest)):
                    empty_rounds += 1
                    if empty_rounds == 2:
                        return None
                continue
            edge_ms = found.positions[0]
            beyond = (self.next(edge_ms), span.end_ms) if newest else (span.start_ms, edge_ms)
            if beyond[0] >= beyond[1]:
                return edge_ms
            if not await exchange.page(series, ByTime(TimeRange(*beyond), newest=not newest)):
                return edge_ms
        raise contradiction(series, "where the series begins or ends")

    def _phase(self, phase_ms: int | None) -> int:
        if self.offset_ms is not None:
            return self.offset_ms
        if phase_ms is None:
            raise ValueError("this grid needs a known position of the series")
        return phase_ms


def _month_index(time_ms: int) -> int:
    moment = datetime.fromtimestamp(time_ms // 1000, UTC)
    return moment.year * 12 + moment.month - 1


def _month_start(index: int) -> int:
    return int(datetime(index // 12, index % 12 + 1, 1, tzinfo=UTC).timestamp()) * 1000
