"""Supplements: workflows that the manager makes to load as history what a live workflow lacks.

That is what is older than its stream, and holes that its loader has not filled. A supplement has its own topic, is
planned, loaded and proven as any other history, and the coverage of the series has its verdicts: nothing of it passes
through the live workflow. A live workflow has one at a time.
"""

from __future__ import annotations

from collections.abc import Sequence

import structlog
from msgspec.structs import replace

from streamforge.manager.dependencies import Dependencies
from streamforge.manager.engine.document import Status, Workflow
from streamforge.manager.engine.registry import form_of
from streamforge.manager.use_cases import StartRequest
from streamforge.manager.workflows.live.front import reached_ms
from streamforge.manager.workflows.live.model import Ledger
from streamforge.manager.workflows.series.model import loaded_series
from streamforge.manager.workflows.series.requests import check, workflow_of
from streamforge_utils.model.daily_collections import DAY_MS
from streamforge_utils.model.kinds.registry import rule_of, type_of
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.ports.retry import backoff_s

PAUSE_S = 60.0
LONGEST_PAUSE_S = 3600.0
MOST_DAYS = 31
"""A history of more of them than this has one collection; else its records lie with the others of their day."""

_log = structlog.get_logger(__name__)


async def supplemented(deps: Dependencies, workflow: Workflow, ledger: Ledger, wanted: Sequence[TimeRange]) -> Ledger:
    """The ledger of a live workflow that lacks `wanted`, with the supplement that loads it; it is made if need be.

    A manager that dies before the ledger is stored finds the one that it has made. Raises RetryableError.
    """
    mine = (stored.workflow for stored in deps.workflows.live.values())
    under_way = next((one.queue_id for one in mine if form_of(one).parent(one) == workflow.queue_id), None)
    if under_way is not None:
        return replace(ledger, supplement=under_way)
    if ledger.supplement:
        ledger = await _after(deps, ledger)
    if not wanted:
        return replace(ledger, failure="", failures=0)
    now_ms = deps.clock.now_ms()
    if now_ms < ledger.not_before_ms or len(deps.workflows.live) >= deps.policy.max_live:
        return ledger
    known = await deps.coverage.known(loaded_series(workflow))
    exchange_now_ms = max(now_ms + known.clock_ahead_ms, reached_ms(workflow))
    over_ms = rule_of(loaded_series(workflow)).over_ms(exchange_now_ms, known.grid_ms)
    # A plan would cut off what is not over by the exchange's clock, and leave a rest of a hole that names no record.
    wanted = [span for span in wanted if span.end_ms <= over_ms]
    if not wanted:
        return ledger
    made = await _made(deps, workflow, ledger, TimeRange(wanted[0].start_ms, wanted[-1].end_ms))
    _log.info(
        "what a live workflow lacks is loaded", queue_id=workflow.queue_id, by=made.queue_id, range=str(made.span)
    )
    return replace(ledger, supplement=made.queue_id, supplements=ledger.supplements + 1)


async def _after(deps: Dependencies, ledger: Ledger) -> Ledger:
    """The ledger after its supplement has ended."""
    stored = await deps.workflows.get(ledger.supplement)
    ended = None if stored is None else stored.workflow
    if ended is not None and ended.status is Status.FINISHED:
        # What it could not have had any more is for the next one, which then lacks little: it can wait.
        pause_ms = int(deps.policy.hole_grace_s * 1000)
        return replace(ledger, supplement="", not_before_ms=deps.clock.now_ms() + pause_ms)
    failures = ledger.failures + 1
    reason = "it was removed" if ended is None else ended.status.value
    if ended is not None and ended.failure is not None:
        reason = ended.failure.reason
    pause_s = backoff_s(failures, first_s=PAUSE_S, longest_s=LONGEST_PAUSE_S, draw=1.0)
    return replace(
        ledger,
        supplement="",
        failure=f"{ledger.supplement}: {reason}",
        failures=failures,
        not_before_ms=deps.clock.now_ms() + int(pause_s * 1000),
    )


async def _made(deps: Dependencies, workflow: Workflow, ledger: Ledger, span: TimeRange) -> Workflow:
    now_ms, lies_with_rest = deps.clock.now_ms(), span.start_ms >= (ledger.history_ms or 0)
    if workflow.daily:
        lies_with_rest = span.end_ms - span.start_ms <= MOST_DAYS * DAY_MS
    request = StartRequest(
        symbol=workflow.symbol,
        type=type_of(loaded_series(workflow)),
        time_range=str(span),
        # What was missed lies with the rest; years of history have a collection of their own.
        collection=workflow.collection if lies_with_rest else None,
    )
    checked = check(request, now_ms)

    def draft(code: str) -> Workflow:
        made = workflow_of(checked, code=code, now_ms=now_ms, exchange_now_ms=max(now_ms, span.end_ms))
        made = made.with_form(supplements=workflow.queue_id)
        return replace(made, daily=workflow.daily and lies_with_rest)

    return await deps.reservations.create(deps.workflows, draft)
