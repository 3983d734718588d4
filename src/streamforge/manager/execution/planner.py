"""Before anything is started: what of the range asked for exists at the exchange, and what of it is still lacking.

What narrows the range is asked twice, the second time by a request that is cut differently: one wrong answer must
not turn data into "before the listing".
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import msgspec
import structlog

from streamforge.manager.dependencies import Dependencies
from streamforge.manager.execution.id_ranges import bounds_at_exchange, ids_at_exchange
from streamforge.manager.execution.record_count import counted, gone
from streamforge.manager.lifecycle.rounds import joined
from streamforge.manager.persistence.coverage_store import SeriesCoverage
from streamforge.manager.workflow import Part, Plan, Workflow
from streamforge_utils.model.completeness.grid import Grid
from streamforge_utils.model.completeness.rule import Rule
from streamforge_utils.model.coverage import Segment, Verdict, clip, lacking, overlay
from streamforge_utils.model.errors import PermanentError, RetryableError
from streamforge_utils.model.kinds.paging import ByTime
from streamforge_utils.model.kinds.registry import rule_of
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.ports.exchange import Exchange

_CONFIRMATIONS = 5

_replace = msgspec.structs.replace
_log = structlog.get_logger(__name__)


async def verified(deps: Dependencies, workflow: Workflow) -> SeriesCoverage:
    """The coverage of the workflow's series, with what it says of the workflow's range counted again.

    Records that were there may have been removed or lost since, by hand or by a power cut: the coverage then says so,
    and they are loaded again. From now on nothing that the workflow relies on is removed.
    Raises OutOfDate or RetryableError.
    """
    series = workflow.series
    async with deps.coverage.locks.hold(series.id, workflow.collection):
        known = await deps.coverage.known(series)
        found = await counted(deps.store, known, workflow.span, every_key=False)
        lacking = gone(found, known.segments)
        if not lacking:
            return known
        _log.warning("records that the coverage names are not there", queue_id=workflow.queue_id, ranges=len(lacking))
        await deps.coverage.lay_over(series, lacking, condition=partial(deps.workflows.check_epoch, workflow))
        return await deps.coverage.known(series)


class ExchangeFailed(Exception):
    """The exchange did not answer what it has. error: why; a PermanentError will not go away by itself."""

    def __init__(self, error: RetryableError | PermanentError) -> None:
        super().__init__(str(error))
        self.error = error


async def prepare(
    exchange: Exchange,
    series: Series,
    span: TimeRange,
    known: tuple[Segment, ...],
    *,
    exchange_now_ms: int,
    again: bool,
) -> Plan:
    """What there is to load of `span`, given what is `known` of the series. What is not over yet is no part of it.

    Raises PermanentError (the exchange does not know the symbol) or RetryableError.
    """
    rule = rule_of(series)
    info = await exchange.symbol_info(series.symbol)
    now_ms = exchange_now_ms
    bounds = await _bounds(exchange, series, rule, now_ms, trading=info.status == "TRADING")
    if bounds is None:
        # What opens from now on may still come; where `3d` bars open is not known before the first of them.
        until_ms = min(span.end_ms, rule.over_ms(now_ms))
        closed = [_segment(span.start_ms, until_ms, Verdict.CLOSED)] if until_ms > span.start_ms else []
        closed = rule.whole(closed, None)
        until_ms = until_ms if closed else min(until_ms, span.start_ms)
        return Plan(exchange_now_ms=now_ms, until_ms=until_ms, bars=0, settled=tuple(closed))
    first_ms, last_ms = bounds
    phase_ms = first_ms if not rule.is_fixed(None) else None
    settled: list[Segment] = []
    # What is known of a series is known of whole bars: here of those that open in the range and are over.
    until_ms = min(span.end_ms, rule.over_ms(now_ms, phase_ms))
    start_ms = rule.ceil(span.start_ms, phase_ms)
    end_ms = max(start_ms, rule.ceil(until_ms, phase_ms))
    if start_ms == end_ms:
        until_ms = min(until_ms, span.start_ms)
    if start_ms < first_ms:
        settled.append(_segment(start_ms, min(end_ms, first_ms), Verdict.CLOSED))
        start_ms = min(end_ms, first_ms)
    if last_ms is not None and end_ms > (after_last_ms := rule.next(last_ms)):
        settled.append(_segment(max(start_ms, after_last_ms), end_ms, Verdict.CLOSED))
        end_ms = max(start_ms, after_last_ms)
    settled = [segment for segment in settled if segment.end_ms > segment.start_ms]
    plan = Plan(
        exchange_now_ms=now_ms,
        until_ms=until_ms,
        bars=0,
        settled=tuple(settled),
        phase_ms=phase_ms,
        first_ms=first_ms,
        last_ms=last_ms,
    )
    if start_ms >= end_ms:
        return plan
    wanted = TimeRange(start_ms, end_ms)
    known = tuple(rule.whole(overlay(known, settled), phase_ms))
    ranges = joined([wanted] if again else lacking(known, wanted))
    reason = "it was asked for again" if again else "it was not stored"
    if isinstance(rule, Grid):
        bars = len(rule.times(wanted.start_ms, wanted.end_ms, phase_ms))
        there = _there(known, wanted, ranges, rule, phase_ms)
        expected = sum(len(rule.times(r.start_ms, r.end_ms, phase_ms)) for r in ranges)
    else:
        bars = len(await ids_at_exchange(exchange, series, wanted, now_ms))
        there = 0 if again else sum(s.records for s in clip(known, wanted) if s.verdict is Verdict.STORED)
        expected = max(0, bars - there) if ranges else 0
    parts = tuple(Part(span=r, reason=reason) for r in ranges)
    return _replace(plan, parts=parts, expected=expected, bars=bars, there=there)


def _there(known: Sequence[Segment], wanted: TimeRange, load: list[TimeRange], grid: Grid, phase_ms: int | None) -> int:
    """Bars of `wanted` that are known as stored and will not be loaded again."""

    def bars(span: TimeRange | None) -> int:
        return 0 if span is None else len(grid.times(span.start_ms, span.end_ms, phase_ms))

    spans = [segment.span.intersection(wanted) for segment in known if segment.verdict is Verdict.STORED]
    return sum(bars(span) - sum(bars(span.intersection(r)) for r in load) for span in spans if span is not None)


async def _bounds(
    exchange: Exchange, series: Series, rule: Rule, now_ms: int, *, trading: bool
) -> tuple[int, int | None] | None:
    """When the first record of the series is, and the last one if no more will come; None: there is none."""
    if not isinstance(rule, Grid):
        return await bounds_at_exchange(exchange, series, now_ms, trading=trading)
    first = await _extreme(exchange, series, rule, TimeRange(0, now_ms), newest=False)
    if first is None:
        return None
    if trading:
        return first, None
    last = await _extreme(exchange, series, rule, TimeRange(first, now_ms), newest=True)
    return first, first if last is None else last


async def _extreme(exchange: Exchange, series: Series, grid: Grid, span: TimeRange, *, newest: bool) -> int | None:
    """The position of the first (or last) record in `span`; None: there is none.

    What lies beyond it was asked for again from the other end, and is empty. That there is none takes two rounds of
    two questions, since it would end the workflow with nothing stored.
    """
    empty_rounds = 0
    for _ in range(_CONFIRMATIONS):
        found = await exchange.page(series, ByTime(span, limit=1, newest=newest))
        if not found:
            if not await exchange.page(series, ByTime(span, newest=not newest)):
                empty_rounds += 1
                if empty_rounds == 2:
                    return None
            continue
        edge_ms = found.positions[0]
        beyond = (grid.next(edge_ms), span.end_ms) if newest else (span.start_ms, edge_ms)
        if beyond[0] >= beyond[1]:
            return edge_ms
        if not await exchange.page(series, ByTime(TimeRange(*beyond), newest=not newest)):
            return edge_ms
    raise RetryableError(
        f"{series.id}: the exchange contradicted itself {_CONFIRMATIONS} times about where the series begins or ends"
    )


def _segment(start_ms: int, end_ms: int, verdict: Verdict) -> Segment:
    return Segment(start_ms=start_ms, end_ms=end_ms, verdict=verdict)
