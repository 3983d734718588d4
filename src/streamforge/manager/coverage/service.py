"""What is said of a series: of which span, with which verdicts and counts, and which workflows are loading it."""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Iterable, Sequence
from typing import Protocol

from msgspec.structs import replace

from streamforge.manager.coverage import answers as data_answers
from streamforge.manager.coverage.store import CoverageStore, SeriesCoverage
from streamforge.manager.engine.document import Workflow
from streamforge.manager.engine.lifecycle.topic_lifetime import leaves_some
from streamforge.manager.engine.persistence.workflow_store import WorkflowStore
from streamforge.manager.engine.refusals import NotFound
from streamforge.manager.presentation import series_answer
from streamforge.manager.problem_codes import ProblemCode
from streamforge.manager.use_cases import Basis, Report
from streamforge.manager.workflows.live.answers import stream_of
from streamforge.manager.workflows.live.model import ledger_of
from streamforge.manager.workflows.series.model import loaded_series, loads_series, plan_of, planned_span, proof_of
from streamforge_utils.model.coverage import (
    Segment,
    Verdict,
    clip,
    extent,
    lacking,
    overlay,
    touching,
    verdict_of,
)
from streamforge_utils.model.errors import StreamForgeError
from streamforge_utils.model.kinds.registry import normal_type, rule_of, series_of
from streamforge_utils.model.series import Series, check_symbol
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.ports.clock import Clock
from streamforge_utils.ports.exchange import Exchange

_SUGGESTIONS = 3
_LIST_WITHIN_S = 3.0
LEFT = "sent, and left on the topic: a retry stores it"


_AT_ONCE = 32
"""Series whose coverage is read at once."""
_NONE_WANTED = (Verdict.CLOSED, Verdict.PENDING, Verdict.EXPIRED)


class Sources(Protocol):
    """What reports are made from; the fields are those of `Dependencies`."""

    @property
    def coverage(self) -> CoverageStore: ...

    @property
    def workflows(self) -> WorkflowStore: ...

    @property
    def clock(self) -> Clock: ...

    @property
    def exchange(self) -> Exchange: ...

    @property
    def asks(self) -> bool: ...


class Reports:
    """Makes reports from coverage and live workflows."""

    def __init__(self, deps: Sources) -> None:
        self._deps = deps

    async def of_workflow(self, workflow: Workflow) -> Report:
        """What is known of the workflow's range as it was planned. Raises RetryableError."""
        if not loads_series(workflow):  # there is no series, of which something could be known
            proof = workflow.form.proof
            complete = proof is not None and proof.is_whole
            return Report(series=loaded_series(workflow), basis="workflow", span=None, complete=complete)
        known = await self._deps.coverage.known(loaded_series(workflow))
        report = self._report(known, "workflow", planned_span(workflow), self._live(loaded_series(workflow)))
        return _with_left(report, known, workflow)

    async def of_ended(self, workflows: Iterable[Workflow]) -> dict[str, Report]:
        """By queue_id, what is known now of the range of each workflow that has ended and had a plan; it may have
        changed since. Which workflows load the range is left out. Raises RetryableError.
        """
        ended = [one for one in workflows if one.ended and loads_series(one)]
        planned = [one for one in ended if not (plan_of(one) is None and proof_of(one) is None)]
        known: dict[Series, SeriesCoverage] = {}
        asked = list({loaded_series(one): None for one in planned})
        for first in range(0, len(asked), _AT_ONCE):
            some = asked[first : first + _AT_ONCE]
            known |= await self._deps.coverage.known_of(some)
        found: dict[str, Report] = {}
        reports: dict[tuple[Series, TimeRange | None], Report] = {}
        for workflow in planned:
            series, span = loaded_series(workflow), planned_span(workflow)
            if (series, span) not in reports:
                reports[series, span] = self._report(known[series], "workflow", span)
                await asyncio.sleep(0)  # leases and events do not wait for a list
            found[workflow.queue_id] = _with_left(reports[series, span], known[series], workflow)
        return found

    async def of_stored(self, listed: Iterable[SeriesCoverage]) -> list[data_answers.Series]:
        """Of each series, what is known from the first to the last record that is stored, or was and is gone; of one
        that has had none, of all that was asked for. Raises RetryableError.
        """
        found: list[data_answers.Series] = []
        for known in listed:
            proven = [s for s in known.segments if s.verdict in (Verdict.STORED, Verdict.OURS)]
            span = extent(s for s in proven if s.verdict is Verdict.STORED)
            told = extent(proven) or _asked(known, ())
            segments = () if told is None else self._report(known, "asked", told).segments
            has_grid = rule_of(known.series).is_fixed(known.grid_ms)
            records = sum(segment.records for segment in segments) if has_grid or span is None else None
            asked = extent(s for s in known.segments if s.verdict not in _NONE_WANTED) or told
            every = segments if asked is None or asked == told else self._report(known, "asked", asked).segments
            found.append(series_answer(known.series, span, segments, records, every))
            await asyncio.sleep(0)
        return found

    def of_span(self, known: SeriesCoverage, span: TimeRange) -> Sequence[Segment]:
        """What is known of the series in `span`, as `of_series` says it."""
        return self._report(known, "range", span).segments

    def asked(self, known: SeriesCoverage) -> TimeRange | None:
        """From the first to the last record that is stored; where none is, all that was asked for; None: nothing."""
        stored = extent(one for one in known.segments if one.verdict is Verdict.STORED)
        return stored or self.all_asked(known)

    def all_asked(self, known: SeriesCoverage) -> TimeRange | None:
        """All that was asked for, of which `of_series` speaks without a span; None: nothing."""
        return _asked(known, self._live(known.series))

    async def of_series(self, symbol: str, type: str, span: TimeRange | None = None, *, life: bool = False) -> Report:
        """What is known of the series in `span`; without one, in all that was asked for, or in its `life`.

        Raises NotFound (nothing is known of the series), InvalidInput or RetryableError.
        """
        symbol, type = check_symbol(symbol), normal_type(type)
        series = series_of(symbol, type)
        known, live = await self._deps.coverage.known(series), self._live(series)
        named = span is not None and known.first_ms is not None  # a plan has found out that there is such a series
        if not known.segments and not live and not named:
            raise await self._unknown(series, type)
        if span is not None:
            return self._report(known, "range", span, live)
        asked = _asked(known, live)
        if not life:
            return self._report(known, "asked", asked, live)
        return self._report(known, "life", self._life(known, asked), live)

    def _report(
        self, known: SeriesCoverage, basis: Basis, span: TimeRange | None, live: Sequence[Workflow] = ()
    ) -> Report:
        """live: the live workflows of the series."""
        rule, grid_ms = rule_of(known.series), known.grid_ms
        if span is None:
            segments = () if basis == "workflow" else known.segments
            return Report(series=known.series, basis=basis, span=None, segments=segments)
        # Of a bar that is not over yet the clock tells, whether it was asked for or not: it is pending, or closed where
        # no more bars will come.
        found: Sequence[Segment] = touching(known.segments, span)
        open_ms = max(span.start_ms, rule.over_ms(self._now_ms(known), grid_ms))
        if open_ms < span.end_ms:
            verdict = Verdict.PENDING if known.last_ms is None else Verdict.CLOSED
            found = overlay([Segment(start_ms=open_ms, end_ms=span.end_ms, verdict=verdict)], found)
        if not rule.is_fixed(grid_ms):
            found = clip(found, span)
        else:
            opens_ms = rule.ceil(span.start_ms, grid_ms)
            found = clip(found, TimeRange(opens_ms, span.end_ms)) if opens_ms < span.end_ms else ()
            found = rule.counted(found, grid_ms)
        loading = [one for one in live if (s := planned_span(one)) is not None and s.intersection(span) is not None]
        return Report(series=known.series, basis=basis, span=span, segments=found, loading=loading)

    def _now_ms(self, known: SeriesCoverage) -> int:
        """The time at the exchange, whose clock decides which bar is over."""
        return self._deps.clock.now_ms() + known.clock_ahead_ms

    def _live(self, series: Series) -> Sequence[Workflow]:
        live = [stored.workflow for stored in self._deps.workflows.live.values()]
        mine = [one for one in live if one.symbol == series.symbol and loaded_series(one) == series]
        return sorted(mine, key=lambda one: one.created_ms)

    def _life(self, known: SeriesCoverage, asked: TimeRange | None) -> TimeRange | None:
        """From the first bar at the exchange (where no plan has found it out: from the first known range) to now."""
        rule, now_ms = rule_of(known.series), self._now_ms(known)
        if known.last_ms is not None:
            end_ms = rule.next(known.last_ms)
        elif rule.is_fixed(known.first_ms):
            end_ms = rule.over_ms(now_ms, known.first_ms)
        else:
            end_ms = now_ms // 1000 * 1000  # ranges are written in whole seconds
        start_ms = known.first_ms
        if start_ms is None:
            start_ms = None if asked is None else asked.start_ms
        return None if start_ms is None or end_ms <= start_ms else TimeRange(start_ms, end_ms)

    async def _unknown(self, series: Series, type: str) -> NotFound:
        all_series = [known.series async for known in self._deps.coverage.all() if known.segments]
        symbols = {one.symbol for one in all_series if (one.kind, one.interval) == (series.kind, series.interval)}
        near = difflib.get_close_matches(series.symbol, sorted(symbols), n=_SUGGESTIONS)
        listed, names = await self._is_listed(series.symbol) if near else True, " or ".join(near)
        what, code = f"nothing is known of {series.symbol} {type}:", ProblemCode.SERIES_UNKNOWN
        if listed is False:
            return NotFound(f"{what} did you mean {names}?", meant=near, code=code)
        doubt = f" (or is {names} meant, of which something was?)" if listed is None else ""
        return NotFound(f"{what} nothing of it was loaded yet{doubt}.", code=code)

    async def _is_listed(self, symbol: str) -> bool | None:
        """Whether the exchange has the symbol; None: it is not asked, or does not answer soon."""
        if not self._deps.asks:
            return None
        try:
            async with asyncio.timeout(_LIST_WITHIN_S):
                return any(one.symbol == symbol for one in await self._deps.exchange.symbols())
        except (StreamForgeError, TimeoutError):
            return None


def _with_left(report: Report, known: SeriesCoverage, workflow: Workflow) -> Report:
    """The report with what a live workflow has left on its topic at its end, as far as nobody has it."""
    last_ms, span, ledger = stream_of(workflow).last_time, report.span, ledger_of(workflow)
    if not workflow.ended or ledger is None or last_ms is None or not leaves_some(workflow):
        return report
    begin_ms, end_ms = ledger.stream_ms if span is None else span.end_ms, rule_of(known.series).next(last_ms)
    if end_ms <= begin_ms:
        return report
    rest = lacking(known.segments, TimeRange(begin_ms, end_ms))
    left = [replace(verdict_of(one, Verdict.UNKNOWN), cause=LEFT) for one in rest]
    whole = TimeRange(begin_ms if span is None else span.start_ms, end_ms)
    return replace(report, span=whole, segments=[*report.segments, *left]) if left else report


def _asked(known: SeriesCoverage, live: Sequence[Workflow]) -> TimeRange | None:
    spans = [one.span for one in live if plan_of(one) is None]
    spans += [span for span in (extent(known.segments),) if span is not None]
    if not spans:
        return None
    return TimeRange(min(span.start_ms for span in spans), max(span.end_ms for span in spans))
