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
from streamforge.manager.execution.record_count import counted, gone
from streamforge.manager.lifecycle.ranges import joined
from streamforge.manager.persistence.coverage_store import Known
from streamforge.manager.workflow import Plan, Workflow
from streamforge_utils.model.candles import Candle
from streamforge_utils.model.coverage import Segment, Verdict, lacking, overlay, whole_bars
from streamforge_utils.model.errors import RetryableError
from streamforge_utils.model.intervals import Interval
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.ports.exchange import Exchange

_CONFIRMATIONS = 5

_log = structlog.get_logger(__name__)


async def verified(deps: Dependencies, workflow: Workflow) -> Known:
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


class _Bounds(msgspec.Struct, frozen=True):
    """The first candle of the series, and the last one if no more will come."""

    first_ms: int
    last_ms: int | None


async def prepare(
    exchange: Exchange,
    symbol: str,
    interval: Interval,
    span: TimeRange,
    known: tuple[Segment, ...],
    *,
    exchange_now_ms: int,
    again: bool,
) -> Plan:
    """What there is to load of `span`, given what is `known` of the series. What is not over yet is no part of it.

    Raises PermanentError (the exchange does not know the symbol) or RetryableError.
    """
    info = await exchange.symbol_info(symbol)
    now_ms = exchange_now_ms
    bounds = await _bounds(exchange, symbol, interval, now_ms, trading=info.status == "TRADING")
    if bounds is None:
        # What opens from now on may still come; where `3d` bars open is not known before the first of them.
        open_from_ms = interval.floor(now_ms) if interval.aligned_by_calendar else now_ms - (interval.step_ms or 0)
        until_ms = min(span.end_ms, open_from_ms // 1000 * 1000)  # a range is written in whole seconds
        closed = [_segment(span.start_ms, until_ms, Verdict.CLOSED)] if until_ms > span.start_ms else []
        closed = whole_bars(closed, interval, None)
        until_ms = until_ms if closed else min(until_ms, span.start_ms)
        return Plan(exchange_now_ms=now_ms, until_ms=until_ms, load=(), bars=0, settled=tuple(closed))
    phase_ms = bounds.first_ms if not interval.aligned_by_calendar else None
    settled: list[Segment] = []
    # What is known of a series is known of whole bars: here of those that open in the range and are over.
    until_ms = min(span.end_ms, interval.floor(now_ms, phase_ms))
    start_ms = interval.ceil(span.start_ms, phase_ms)
    end_ms = max(start_ms, interval.ceil(until_ms, phase_ms))
    if start_ms == end_ms:
        until_ms = min(until_ms, span.start_ms)
    if start_ms < bounds.first_ms:
        settled.append(_segment(start_ms, min(end_ms, bounds.first_ms), Verdict.CLOSED))
        start_ms = min(end_ms, bounds.first_ms)
    if bounds.last_ms is not None and end_ms > (after_last_ms := interval.next(bounds.last_ms)):
        settled.append(_segment(max(start_ms, after_last_ms), end_ms, Verdict.CLOSED))
        end_ms = max(start_ms, after_last_ms)
    settled = [segment for segment in settled if segment.end_ms > segment.start_ms]
    if start_ms >= end_ms:
        return Plan(
            exchange_now_ms=now_ms,
            until_ms=until_ms,
            load=(),
            bars=0,
            settled=tuple(settled),
            phase_ms=phase_ms,
            first_ms=bounds.first_ms,
            last_ms=bounds.last_ms,
        )
    wanted = TimeRange(start_ms, end_ms)
    known = tuple(whole_bars(overlay(known, settled), interval, phase_ms))
    ranges = joined([wanted] if again else lacking(known, wanted))
    return Plan(
        exchange_now_ms=now_ms,
        until_ms=until_ms,
        load=tuple(str(r) for r in ranges),
        settled=tuple(settled),
        phase_ms=phase_ms,
        expected=sum(len(interval.grid(r.start_ms, r.end_ms, phase_ms)) for r in ranges),
        bars=len(interval.grid(wanted.start_ms, wanted.end_ms, phase_ms)),
        there=_there(known, wanted, ranges, interval, phase_ms),
        first_ms=bounds.first_ms,
        last_ms=bounds.last_ms,
    )


def _there(
    known: Sequence[Segment], wanted: TimeRange, load: list[TimeRange], interval: Interval, phase_ms: int | None
) -> int:
    """Bars of `wanted` that are known as stored and will not be loaded again."""

    def bars(span: TimeRange | None) -> int:
        return 0 if span is None else len(interval.grid(span.start_ms, span.end_ms, phase_ms))

    spans = [segment.span.intersection(wanted) for segment in known if segment.verdict is Verdict.STORED]
    return sum(bars(span) - sum(bars(span.intersection(r)) for r in load) for span in spans if span is not None)


async def _bounds(exchange: Exchange, symbol: str, interval: Interval, now_ms: int, *, trading: bool) -> _Bounds | None:
    first = await _extreme(exchange, symbol, interval, TimeRange(0, now_ms), newest=False)
    if first is None:
        return None
    if trading:
        return _Bounds(first.open_time, None)
    last = await _extreme(exchange, symbol, interval, TimeRange(first.open_time, now_ms), newest=True)
    return _Bounds(first.open_time, (last or first).open_time)


async def _extreme(
    exchange: Exchange, symbol: str, interval: Interval, span: TimeRange, *, newest: bool
) -> Candle | None:
    """The first (or last) candle in `span`: what lies beyond it was asked for again from the other end and is empty.

    None: there is none. That takes two rounds of two questions, since it would end the workflow with nothing stored.
    """
    empty_rounds = 0
    for _ in range(_CONFIRMATIONS):
        found = await exchange.candles(symbol, interval, span, limit=1, newest=newest)
        if not found:
            if not await exchange.candles(symbol, interval, span, limit=1000, newest=not newest):
                empty_rounds += 1
                if empty_rounds == 2:
                    return None
            continue
        edge_ms = found[0].open_time
        beyond = (interval.next(edge_ms), span.end_ms) if newest else (span.start_ms, edge_ms)
        if beyond[0] >= beyond[1] or not await exchange.candles(
            symbol, interval, TimeRange(*beyond), limit=1000, newest=not newest
        ):
            return found[0]
    raise RetryableError(
        f"candles {symbol} {interval.value}: the exchange contradicted itself {_CONFIRMATIONS} times about where the "
        "series begins or ends"
    )


def _segment(start_ms: int, end_ms: int, verdict: Verdict) -> Segment:
    return Segment(start_ms=start_ms, end_ms=end_ms, verdict=verdict)
