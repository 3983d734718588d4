"""How a live workflow begins, and how its ledger is closed at its end."""

from __future__ import annotations

import asyncio
from functools import partial

import msgspec
from msgspec.structs import replace

from streamforge.manager.catalogue.symbols import TRADING
from streamforge.manager.continuation import LIVE
from streamforge.manager.dependencies import Dependencies
from streamforge.manager.engine.document import Workflow
from streamforge.manager.engine.lifecycle.findings import Left, Planned, Proven
from streamforge.manager.engine.lifecycle.stop_times import left_s
from streamforge.manager.workflows.live.comparison import Comparison
from streamforge.manager.workflows.live.interval_comparison import comparison_of
from streamforge.manager.workflows.live.model import Ledger, ledger_of
from streamforge.manager.workflows.series.backlog import COUNTED_WITHIN_S, backlog_of
from streamforge.manager.workflows.series.model import Part, Plan, SeriesProof, loaded_series
from streamforge.manager.workflows.series.part_codes import PartCode
from streamforge_utils.model.coverage import Verdict
from streamforge_utils.model.errors import RetryableError
from streamforge_utils.model.kinds.registry import has_history, rule_of
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.runtime.life.worker_definition import Role, Source

_OVERLAP_MS = 1000
"""How much of its end a history has in common with the stream, where records have ids that must meet."""
_AGAIN_S = 1.0
"""An action that has failed is begun again so much later."""
_MOMENT_S = 0.5


class Began(msgspec.Struct, frozen=True):
    """What a live workflow begins with."""

    plan: Plan
    ledger: Ledger


class Closed(msgspec.Struct, frozen=True):
    """The ledger of a live workflow whose workers have ended."""

    ledger: Ledger


async def begun(deps: Dependencies, workflow: Workflow) -> Planned:
    """What a live workflow begins with: the stream from now on, and where that is wanted the history before it.

    Raises PermanentError (the exchange does not know the symbol), RetryableError or OutOfDate.
    """
    series, rule = loaded_series(workflow), rule_of(loaded_series(workflow))
    info = await deps.exchange.symbol_info(series.symbol)
    exchange_now_ms, now_ms = await deps.exchange.server_time(), deps.clock.now_ms()
    await deps.exchange_binding.accept()
    known = await deps.coverage.known(series)
    first_ms = known.first_ms
    if not rule.is_fixed(known.grid_ms):  # only the exchange's data tell where its bars open
        bounds = await rule.bounds(deps.exchange, series, exchange_now_ms, trading=True)
        first_ms = None if bounds is None else bounds.first_ms
    phase_ms = first_ms if known.phase_ms is None else known.phase_ms
    over_ms = rule.over_ms(exchange_now_ms, phase_ms)
    by_time = rule.position_at(over_ms) is not None
    stream_ms = over_ms if by_time else over_ms - _OVERLAP_MS
    before = ledger_of(workflow)
    from_ms: int | None = None
    if before is not None and before.from_ms is not None:
        from_ms = before.from_ms
    elif workflow.requested != LIVE:
        from_ms = rule.ceil(workflow.span.start_ms, phase_ms) if rule.is_fixed(phase_ms) else None
    ledger = Ledger(
        from_ms=stream_ms if from_ms is None and by_time else from_ms,
        stream_ms=stream_ms,
        history_ms=over_ms if from_ms is not None and from_ms < over_ms and has_history(series) else None,
        entry_id=None if before is None else before.entry_id,
        segment_id=0 if before is None else before.segment_id,
        supplements=0 if before is None else before.supplements,
        untraded="" if info.status == TRADING else info.status,
    )
    span, codes = TimeRange(stream_ms, stream_ms + 1000), (PartCode.STREAM_BEGINS,)
    part = Part(span=span, source=Source.STREAM, reason="it goes on from here", codes=codes)
    plan = Plan(exchange_now_ms=exchange_now_ms, parts=(part,))
    condition = partial(deps.workflows.check_epoch, workflow)
    learnt = Plan(exchange_now_ms=exchange_now_ms, first_ms=first_ms, last_ms=known.last_ms)
    await deps.coverage.learn_plan(series, learnt, now_ms, condition=condition)
    return Planned(Began(plan, ledger))


async def closed(deps: Dependencies, workflow: Workflow, ledger: Ledger, stopping: int, *, ask: bool) -> Proven:
    """What a live workflow has come to whose workers have ended, and what its sinks have left.

    Where its store has not told all by the time at which it is to end, that is what was compared before; then what is
    left is a lower bound. stopping: how many end at the same time. Raises OutOfDate or RetryableError.
    """
    compared = await _compared(deps, workflow, ledger, stopping)
    if compared is None:
        comparison = comparison_of(deps, workflow, ledger, close=True)
        ledger, proof = await _close(deps, workflow, comparison, compare=False)
    else:
        ledger, proof = compared
    rest_s = left_s(workflow, deps.clock.now_ms(), deps.policy, stopping)
    within_s = COUNTED_WITHIN_S if rest_s is None else max(_MOMENT_S, rest_s)
    left = await backlog_of(deps, workflow, within_s)
    if compared is None:
        sinks = [one.target for one in workflow.steps if one.role is Role.SINK]
        left = {one: Left(left[one].messages if one in left else 0, at_least=True) for one in sinks}
    return Proven(proof=proof, asked=ask, more=Closed(ledger), left=left)


async def _compared(
    deps: Dependencies, workflow: Workflow, ledger: Ledger, stopping: int
) -> tuple[Ledger, SeriesProof] | None:
    """The ledger closed with what is stored by now; None: the store has not told that in time.

    Raises OutOfDate, or RetryableError where the store refuses before that.
    """

    def rest_s() -> float | None:
        return left_s(workflow, deps.clock.now_ms(), deps.policy, stopping)

    comparison = comparison_of(deps, workflow, ledger, close=True)
    if (rest := rest_s()) is None:
        return await _close(deps, workflow, comparison, compare=True)
    within_s = max(_MOMENT_S, rest - _MOMENT_S)  # a moment is for counting what is left on the topic
    comparison.exchange_s = min(comparison.exchange_s, within_s / 2)
    try:
        async with asyncio.timeout(within_s):
            return await _close(deps, workflow, comparison, compare=True)
    except TimeoutError:
        return None
    except RetryableError:
        if (rest_s() or 0) > _AGAIN_S:
            raise
        return None


async def _close(
    deps: Dependencies, workflow: Workflow, comparison: Comparison, *, compare: bool
) -> tuple[Ledger, SeriesProof]:
    """The ledger, and all its verdicts. compare: with what is stored by now. Raises OutOfDate or RetryableError."""
    ledger, segments = await comparison.closed(compare=compare)
    rule = rule_of(loaded_series(workflow))
    stored = sum(one.records for one in segments if one.verdict is Verdict.STORED)
    lacking = [one for one in segments if one.verdict in (Verdict.OURS, Verdict.UNKNOWN)]
    proof = SeriesProof(
        round=workflow.repairs + 1,
        checked_ms=deps.clock.now_ms(),
        expected=stored + sum(len(rule.expected(one, None) or ()) for one in lacking if rule.is_fixed(None)),
        stored=stored,
        segments=tuple(segments),
    )
    return replace(ledger, compared_ms=deps.clock.now_ms()), proof
