"""What is said of a series: of which span, with which verdicts and counts, and which workflows are loading it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

import msgspec

from streamforge.manager.keeping.coverage import Known
from streamforge.manager.parts import Parts
from streamforge.manager.service import Basis, NotFound, Report
from streamforge.manager.workflow import Workflow
from streamforge_utils.model.candles import FIRST_TIME_MS, candle_key
from streamforge_utils.model.coverage import Segment, Verdict, clip, counted, extent, judged_by_bar, over, overlay
from streamforge_utils.model.intervals import Interval
from streamforge_utils.model.series import Series, check_symbol, normal_type, series_of
from streamforge_utils.model.timeranges import TimeRange

_SUGGESTIONS = 3


class Reports:
    """Makes reports from coverage and live workflows."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def of_workflow(self, workflow: Workflow) -> Report:
        """What is known of the workflow's range. Raises RetryableError."""
        known = await self._parts.coverage.known(workflow.series)
        return await self._report(self._as_of_now(known), "workflow", workflow.span)

    async def of_ended(self, workflows: Iterable[Workflow]) -> dict[str, Report]:
        """By queue_id, what is known now of the range of each workflow that has ended and was proven; it may have
        changed since. Raises RetryableError.
        """
        found: dict[str, Report] = {}
        series: dict[Series, Known] = {}
        for workflow in workflows:
            if not workflow.ended or workflow.proof is None:
                continue
            known = series.get(workflow.series)
            if known is None:
                known = series[workflow.series] = self._as_of_now(await self._parts.coverage.known(workflow.series))
            found[workflow.queue_id] = await self._report(known, "workflow", workflow.span)
        return found

    async def of_series(self, symbol: str, type: str, span: TimeRange | None, *, life: bool) -> Report:
        """What is known of the series in `span`; without one, in all that was asked for, or in its `life`.

        Raises NotFound (nothing is known of the series), InvalidInput or RetryableError.
        """
        symbol, type = check_symbol(symbol), normal_type(type)
        series = series_of(symbol, type)
        known = await self._parts.coverage.known(series)
        if not known.segments and not self._live(series):
            raise await self._unknown(series, type)
        known = self._as_of_now(known)
        if span is not None:
            return await self._report(known, "range", span)
        asked = self._asked(known)
        if not life:
            return await self._report(known, "asked", asked)
        return await self._report(known, "life", self._life(known, asked))

    async def _report(self, known: Known, basis: Basis, span: TimeRange | None) -> Report:
        if span is None:
            return Report(series=known.series, basis=basis, span=None, segments=known.segments)
        interval = Interval(known.series.interval)
        phase_ms = await self._phase_ms(known, interval)
        start_ms = span.start_ms
        if phase_ms is not None or interval.aligned_by_calendar:
            start_ms = interval.floor(start_ms, phase_ms)
        bars = TimeRange(start_ms, span.end_ms)
        judged = judged_by_bar(clip(self._with_pending(known, bars), bars), interval, phase_ms)
        segments = counted(clip(judged, span), interval, phase_ms)
        loading = [one for one in self._live(known.series) if one.span.intersection(span) is not None]
        return Report(series=known.series, basis=basis, span=span, segments=segments, loading=loading)

    def _as_of_now(self, known: Known) -> Known:
        """A bar that was not over when it was asked for may be over by now: then nobody has asked for it."""
        return msgspec.structs.replace(known, segments=tuple(over(known.segments, self._open_from_ms(known))))

    def _with_pending(self, known: Known, span: TimeRange) -> Sequence[Segment]:
        """What is known of the series; of a bar in `span` that is not over yet the clock tells, whether it was asked
        for or not. Where a series has ended, it does not tell."""
        start_ms = max(span.start_ms, self._open_from_ms(known))
        if start_ms >= span.end_ms or known.last_ms is not None:
            return known.segments
        pending = Segment(start_ms=start_ms, end_ms=span.end_ms, verdict=Verdict.PENDING)
        return overlay([pending], known.segments)

    def _open_from_ms(self, known: Known) -> int:
        """What opens from then on is not over yet."""
        interval, now_ms = Interval(known.series.interval), self._now_ms(known)
        if interval.aligned_by_calendar or known.first_ms is not None:
            return interval.floor(now_ms, known.first_ms)
        return (now_ms - (interval.step_ms or 0)) // 1000 * 1000  # ranges are written in whole seconds

    def _now_ms(self, known: Known) -> int:
        """The time at the exchange, whose clock decides which bar is over."""
        return self._parts.clock.now_ms() + known.clock_ahead_ms

    def _live(self, series: Series) -> list[Workflow]:
        live = [stored.workflow for stored in self._parts.workflows.live.values()]
        return sorted((one for one in live if one.series == series), key=lambda one: one.created_ms)

    def _asked(self, known: Known) -> TimeRange | None:
        spans = [one.span for one in self._live(known.series) if one.plan is None]
        spans += [span for span in (extent(known.segments),) if span is not None]
        if not spans:
            return None
        return TimeRange(min(span.start_ms for span in spans), max(span.end_ms for span in spans))

    def _life(self, known: Known, asked: TimeRange | None) -> TimeRange | None:
        """From the first bar at the exchange (where no plan has found it out: from the first known range) to now."""
        interval = Interval(known.series.interval)
        now_ms = self._now_ms(known)
        if known.last_ms is not None:
            end_ms = interval.next(known.last_ms)
        elif interval.aligned_by_calendar or known.first_ms is not None:
            end_ms = interval.floor(now_ms, known.first_ms)
        else:
            end_ms = now_ms // 1000 * 1000  # ranges are written in whole seconds
        start_ms = known.first_ms
        if start_ms is None:
            start_ms = None if asked is None else asked.start_ms
        return None if start_ms is None or end_ms <= start_ms else TimeRange(start_ms, end_ms)

    async def _phase_ms(self, known: Known, interval: Interval) -> int | None:
        """An open time of a series whose grid the calendar does not tell: the exchange's first one, or a stored one."""
        if interval.aligned_by_calendar:
            return None
        if known.first_ms is not None or known.phase_ms is not None:
            return known.phase_ms if known.first_ms is None else known.first_ms
        for segment in known.segments:
            if segment.verdict is Verdict.STORED and segment.collection is not None:
                first = candle_key(known.series.symbol, interval.value, max(segment.start_ms, FIRST_TIME_MS))
                last = candle_key(known.series.symbol, interval.value, max(segment.end_ms, FIRST_TIME_MS))
                keys = await self._parts.store.keys(segment.collection, first=first, last=last, limit=1)
                if keys:
                    return int(keys[0].rpartition("_")[2])
        return None

    async def _all_series(self) -> list[Series]:
        return [known.series async for known in self._parts.coverage.all()]

    async def _unknown(self, series: Series, type: str) -> NotFound:
        others = [one for one in await self._all_series() if one.interval == series.interval]
        near = difflib.get_close_matches(series.symbol, sorted({one.symbol for one in others}), n=_SUGGESTIONS)
        known = f": did you mean {' or '.join(near)}?" if near else ": nothing of it was loaded yet."
        return NotFound(f"nothing is known of {series.symbol} {type}{known}", meant=near)
