"""From the workflows that the service gives to what the API answers. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Literal

from streamforge.manager import service, workflow
from streamforge.manager.api import models
from streamforge.manager.workflow import Workflow
from streamforge_utils.model import coverage, events
from streamforge_utils.model.coverage import SETTLED, Verdict
from streamforge_utils.runtime.worker_definition import Role

_EPOCH_YEAR_END_MS = 253_402_300_799_999  # the last millisecond of the year 9999


@lru_cache(maxsize=4096)  # pages of a list name the same times again
def moment(time_ms: int) -> str:
    """ISO 8601 in UTC; milliseconds only where there are any."""
    time_ms = min(max(time_ms, 0), _EPOCH_YEAR_END_MS)
    text = datetime.fromtimestamp(time_ms // 1000, UTC).isoformat().removesuffix("+00:00")
    return f"{text}.{time_ms % 1000:03d}Z" if time_ms % 1000 else f"{text}Z"


def workflow_summary(
    found: Workflow, undriven: str | None = None, now: service.Report | None = None
) -> models.WorkflowSummary:
    """A workflow for a list. undriven: why no manager drives workflows now. now: what is known of an ended one's range,
    where its proof was longer ago."""
    alone = None if found.ended else undriven
    return models.WorkflowSummary(
        queue_id=found.queue_id,
        status=found.status.value,
        symbol=found.symbol,
        type=found.type,
        time_range=_time_range(found),
        created_at=moment(found.created_ms),
        ended_at=moment_if_any(found.ended_ms),
        waiting_for=waiting_for(found) if alone is None else f"a manager: {alone}",
        undriven=alone,
        progress=progress_of(found, still=alone is not None, now=now),
        proven_at=moment_if_any(found.proof.checked_ms if found.proof is not None else None),
        failure=_failure(found.failure),
        topic=found.topic,
        collection=found.collection,
        links=_links(found),
    )


def workflow_view(found: Workflow, undriven: str | None = None, now: service.Report | None = None) -> models.Workflow:
    """A workflow with its steps. undriven, now: as `workflow_summary` takes them."""
    alone = None if found.ended else undriven
    return models.Workflow(
        **dict(workflow_summary(found, alone, now)),
        again=found.again,
        repairs=found.repairs,
        coverage=None if found.proof is None else _proof(found.proof, now),
        steps=[_step(step, still=alone is not None) for step in found.steps],
    )


def waiting_for(found: Workflow) -> str | None:
    """What keeps a workflow from going on: its own reason, else that of the step that holds up the others.

    A sink that waits although records are there for it holds up the loaders; a loader that waits, the sinks. A sink
    without records waits for nothing but its loaders: that is told where none of them runs.
    """
    if found.ended or found.waiting_for:
        return None if found.ended else found.waiting_for
    running = [(step, step.attempt.progress) for step in found.steps if step.attempt is not None and _runs(step)]
    loaders = [pair for pair in running if pair[0].role is Role.LOADER]
    sinks = [pair for pair in running if pair[0].role is Role.SINK]
    behind = [pair for pair in sinks if pair[1].lag]
    for step, progress in (*behind, *loaders, *(() if loaders else sinks)):
        if progress.waiting:
            return f"{step.target}: {progress.waiting}"
    return None


def _runs(step: workflow.Step) -> bool:
    latest = step.attempt
    return latest is not None and latest.ended_ms is None and latest.terminal_event is None


def progress_of(found: Workflow, *, still: bool = False, now: service.Report | None = None) -> models.Progress:
    """How far a workflow is: what was there before or the latest proof counted, and what its sinks confirmed since.

    still: nobody drives it, so what was said of its rate is over. now: what is known of an ended one's range.
    """
    sinks = [step for step in found.steps if step.role is Role.SINK]
    proof, plan = found.proof, found.plan
    there = plan.there if plan is not None else 0
    apart = there if proof is None or not proof.whole else 0
    expected: int | None = None
    if proof is not None:
        expected = proof.expected + apart
    elif plan is not None:
        expected = plan.expected + there if plan.bars is None else plan.bars
    if now is not None:
        stored = _records(now.segments)
    else:
        stored = apart + (0 if proof is None else proof.stored)
        if proof is None or not found.ended:
            stored += _confirmed(sinks, since_ms=0 if proof is None else proof.checked_ms)
    if expected is not None:
        stored = min(stored, expected)
    rate = 0.0 if still else min((_rate(step) for step in sinks), default=0.0)
    share = None if expected is None else stored / expected if expected else 1.0
    eta = None
    if expected is not None and not found.ended and rate > 0:
        eta = round((expected - stored) / rate, 1)
    return models.Progress(
        records_expected=expected,
        records_stored=stored,
        records_there=there,
        records_refused=sum(map(_refused, sinks)),
        share=share,
        rate=round(rate, 1),
        eta_seconds=eta,
    )


def _confirmed(sinks: Iterable[workflow.Step], since_ms: int) -> int:
    """What every sink stored in attempts planned since then: each stores every record, so the slowest counts."""
    return min(
        (
            _distinct(step, [a for a in step.attempts if a.planned_ms >= since_ms and a.number >= step.round_from])
            for step in sinks
        ),
        default=0,
    )


def _distinct(step: workflow.Step, attempts: Sequence[workflow.Attempt]) -> int:
    """What consecutive attempts of a sink have stored; what a later one has read once more counts once.

    By how far they came in the topic since the first of them began: a later attempt begins where the one before it had
    committed, not where it had stored. Where that beginning is not known any more, their sum.
    """
    total = sum(attempt.progress.records for attempt in attempts)
    readers = [attempt for attempt in attempts if not attempt.replay]
    offsets = [a.progress.position for a in readers if a.progress.position is not None]
    if step.role is not Role.SINK or len(readers) < 2 or not offsets:
        return total
    first = readers[0].number
    earlier = [
        a.progress.position
        for a in step.attempts
        if a.number < first and not a.replay and a.progress.position is not None
    ]
    begin = 0 if first == 1 else max(earlier) + 1 if earlier else None
    if begin is None or max(offsets) < begin:  # or the topic is another one
        return total
    replayed = total - sum(a.progress.records for a in readers)
    read = max(offsets) + 1 - begin - sum(a.progress.refused for a in readers)
    new = sum(a.progress.records - a.progress.unchanged for a in readers)
    return min(total, max(read, new) + replayed)


def _refused(step: workflow.Step) -> int:
    """What its attempts refused since all earlier dead letters were replayed."""
    refused = 0
    for attempt in reversed(step.attempts):
        refused += attempt.progress.refused
        if attempt.replay and attempt.terminal_event == "finished":
            break
    return refused


def _time_range(found: Workflow) -> models.TimeRange:
    start_ms, planned = found.span.start_ms, found.planned_span
    end_ms = start_ms if planned is None else planned.end_ms
    return models.TimeRange(
        requested=found.requested,
        start=moment(start_ms),
        end=moment(end_ms),
        start_ms=start_ms,
        end_ms=end_ms,
        clipped=found.clipped or end_ms < found.span.end_ms,
    )


def _links(found: Workflow) -> models.Links:
    queue = f"/queues/{found.queue_id}"
    return models.Links(
        self=queue,
        events=f"{queue}/events",
        coverage=f"{queue}/coverage",
        records=f"/collections/{found.collection}/records",
        dead_letters=f"{queue}/dlq",
    )


def _step(step: workflow.Step, *, still: bool) -> models.Step:
    latest = step.attempt
    return models.Step(
        target=step.target,
        role="loader" if step.role is Role.LOADER else "sink",
        telemetry_id=step.telemetry_id,
        status=step.status.value,
        image=step.image,
        parameters=step.parameters,
        records=_distinct(step, step.attempts),
        messages_left=step.left,
        messages_left_at_least=step.left_at_least,
        progress=None if latest is None else _progress(latest.progress, still=still),
        failure=_failure(step.failure),
        attempts=[_attempt(attempt, still=still) for attempt in step.attempts],
    )


def _attempt(attempt: workflow.Attempt, *, still: bool) -> models.Attempt:
    return models.Attempt(
        number=attempt.number,
        job=attempt.job,
        status=_attempt_status(attempt),
        started_at=moment_if_any(attempt.started_ms),
        ended_at=moment_if_any(attempt.ended_ms),
        seen_at=moment_if_any(attempt.seen_ms),
        progress=_progress(attempt.progress, still=still),
        message=attempt.message,
        last_word=attempt.terminal_event,
        exit_code=attempt.exit_code,
        signal=attempt.signal,
        error=attempt.error or None,
        reason=attempt.reason or None,
        stop_reason=attempt.stop_reason or None,
        ranges=list(attempt.ranges),
    )


def _attempt_status(
    attempt: workflow.Attempt,
) -> Literal["planned", "running", "stopping", "finished", "interrupted", "error"]:
    match attempt.terminal_event:
        case "finished" | "interrupted" | "error" as word:
            return word
    if attempt.ended_ms is not None:
        return "error"
    if attempt.stop_asked_ms is not None:
        return "stopping"
    return "running" if attempt.started_ms is not None or attempt.observed else "planned"


def _progress(progress: events.Progress, *, still: bool) -> models.AttemptProgress:
    until = None if still else progress.waiting_until
    return models.AttemptProgress(
        records=progress.records,
        rate=0.0 if still else progress.rate,
        share=progress.share,
        lag=progress.lag,
        position=progress.position,
        unchanged=progress.unchanged,
        stale=progress.stale,
        refused=progress.refused,
        waiting=None if still else progress.waiting,
        waiting_until=None if until is None else moment(int(min(max(until, 0.0), 1e12) * 1000)),
    )


def _proof(proof: workflow.Proof, now: service.Report | None) -> models.CoverageSummary:
    segments = proof.segments if now is None else now.segments
    return models.CoverageSummary(
        complete=is_complete(segments),
        checked_at=moment(proof.checked_ms),
        round=proof.round,
        records_expected=proof.expected,
        records_stored=proof.stored if now is None else _records(segments),
        verdicts=verdict_sums(segments),
    )


def _records(segments: Iterable[coverage.Segment]) -> int:
    return sum(segment.records for segment in segments if segment.verdict is Verdict.STORED)


def is_complete(segments: Iterable[coverage.Segment]) -> bool:
    """Whether every hole has its reason."""
    return all(segment.verdict in SETTLED for segment in segments)


def verdict_sums(segments: Sequence[coverage.Segment]) -> list[models.VerdictSum]:
    """Each verdict that there is, with how much has it."""
    sums = []
    for verdict in Verdict:
        mine = [segment for segment in segments if segment.verdict is verdict]
        if mine:
            sums.append(
                models.VerdictSum(
                    verdict=verdict.value,
                    segments=len(mine),
                    seconds=sum(segment.end_ms - segment.start_ms for segment in mine) / 1000,
                    records=sum(segment.records for segment in mine),
                )
            )
    return sums


def _failure(failure: workflow.Failure | None) -> models.Failure | None:
    return None if failure is None else models.Failure(reason=failure.reason, next_step=failure.next_step)


def moment_if_any(time_ms: int | None) -> str | None:
    """As `moment`; None for none."""
    return None if time_ms is None else moment(time_ms)


def _rate(step: workflow.Step) -> float:
    return step.attempt.progress.rate if step.attempt is not None and _runs(step) else 0.0
