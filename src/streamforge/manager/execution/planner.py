"""Before anything is started: what of the range asked for exists at the exchange, and what of it is still lacking.

What narrows the range is asked twice, the second time by a request that is cut differently: one wrong answer must
not turn data into "before the listing".
"""

from __future__ import annotations

from functools import partial

import msgspec
import structlog

from streamforge.manager.dependencies import Dependencies
from streamforge.manager.lifecycle.rounds import joined
from streamforge.manager.persistence.coverage_store import SeriesCoverage
from streamforge.manager.persistence.record_count import counted, gone
from streamforge.manager.workflow import Part, Plan, Workflow
from streamforge_utils.model.coverage import Segment, Verdict, clip, lacking, outside, overlay
from streamforge_utils.model.errors import PermanentError, RetryableError
from streamforge_utils.model.kinds.registry import rule_of
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.ports.exchange import Exchange

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
    bounds = await rule.bounds(exchange, series, now_ms, trading=info.status == "TRADING")
    if bounds is None:
        # What opens from now on may still come; where `3d` bars open is not known before the first of them.
        until_ms = min(span.end_ms, rule.over_ms(now_ms))
        closed = [_segment(span.start_ms, until_ms, Verdict.CLOSED)] if until_ms > span.start_ms else []
        closed = rule.whole(closed, None)
        until_ms = until_ms if closed else min(until_ms, span.start_ms)
        return Plan(exchange_now_ms=now_ms, until_ms=until_ms, bars=0, settled=tuple(closed))
    first_ms, last_ms = bounds.first_ms, bounds.last_ms
    phase_ms = first_ms if not rule.is_fixed(None) else None
    settled: list[Segment] = []
    # What is known of a series is known of whole bars: here of those that open in the range and are over.
    until_ms = min(span.end_ms, rule.over_ms(now_ms, phase_ms))
    start_ms = rule.ceil(span.start_ms, phase_ms)
    end_ms = max(start_ms, rule.ceil(until_ms, phase_ms))
    if start_ms == end_ms:
        until_ms = min(until_ms, span.start_ms)
    if start_ms < first_ms:
        before = TimeRange(start_ms, min(end_ms, first_ms))
        if bounds.floor:
            gone = (_segment(one.start_ms, one.end_ms, Verdict.UNKNOWN) for one in lacking(known, before))
            settled += (_replace(one, cause=bounds.floor) for one in gone)
        else:
            settled.append(_segment(before.start_ms, before.end_ms, Verdict.CLOSED))
        start_ms = before.end_ms
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
    bars = len(await rule.existing(exchange, series, wanted, now_ms, phase_ms))
    load = [_segment(one.start_ms, one.end_ms, Verdict.UNKNOWN) for one in ranges]
    stored = [segment for segment in clip(known, wanted) if segment.verdict is Verdict.STORED]
    there = sum(segment.records for segment in rule.counted(outside(stored, load), phase_ms))
    each = [rule.expected(one, phase_ms) for one in load]
    expected = sum(len(one) for one in each if one is not None) if None not in each else max(0, bars - there)
    parts = tuple(Part(span=r, reason=reason) for r in ranges)
    return _replace(plan, parts=parts, expected=expected, bars=bars, there=there)


def _segment(start_ms: int, end_ms: int, verdict: Verdict) -> Segment:
    return Segment(start_ms=start_ms, end_ms=end_ms, verdict=verdict)
