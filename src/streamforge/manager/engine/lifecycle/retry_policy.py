"""The retry policy of steps: what an ended attempt means. Pure.

Exit code 2 is never retried, exit code 1 a limited number of times in a row with back-off (`policy.py` has the limits).
A ban by the exchange is waited for. An end from outside (a signal nobody asked for, a lost machine) is retried at
once and not counted while attempts make progress.
"""

from __future__ import annotations

import hashlib

import msgspec

from streamforge.manager.engine.document import Attempt, Failure, Step, StepStatus, Workflow
from streamforge.manager.engine.lifecycle.actions import WriteTerminalEvent
from streamforge.manager.engine.lifecycle.ban import LONGEST_BAN_MS
from streamforge.manager.engine.lifecycle.rounds import disjoint
from streamforge.manager.engine.registry import form_of
from streamforge.manager.failure_codes import FailureCode
from streamforge.manager.policy import Policy
from streamforge_utils.model.messages import Event
from streamforge_utils.model.timeranges import TimeRange, parse_time_range
from streamforge_utils.runtime.life.worker_definition import Role, Source

STOP, STUCK, HANDOVER = "stop", "stuck", "handover"
"""Why the manager asked an attempt to end."""

_replace = msgspec.structs.replace


def apply_retry_policy(workflow: Workflow, now_ms: int, policy: Policy) -> tuple[Workflow, list[WriteTerminalEvent]]:
    """The workflow with every ended attempt counted, and the terminal events that must be written for those
    whose process sent none.

    An attempt without a terminal event is counted once the one that the manager writes for it was read.
    """
    terminal_events: list[WriteTerminalEvent] = []
    for step in workflow.steps:
        attempt = step.attempt
        if attempt is None or attempt.ended_ms is None or attempt.outcome is not None:
            continue
        if attempt.terminal_event is None:
            terminal_events.append(WriteTerminalEvent(terminal_event(workflow, step, attempt, now_ms)))
            continue
        workflow = _count_attempt(workflow, step, attempt, now_ms, policy)
    return workflow, terminal_events


def remaining(ranges: tuple[str, ...], position: int | None) -> tuple[str, ...]:
    """The rest of `ranges` once all up to the open time `position` (inclusive) is on the bus."""
    if position is None:
        return ranges
    left = []
    for text in ranges:
        span = parse_time_range(text)
        if span.end_ms <= position + 1:
            continue
        start_ms = max(span.start_ms, position // 1000 * 1000)
        left.append(str(TimeRange(start_ms, span.end_ms)))
    return tuple(left)


def backoff_ms(policy: Policy, tries: int, *identity: object) -> int:
    """Milliseconds to wait after `tries` failed ones: doubling, capped, with a jitter that the identity fixes."""
    full = min(policy.backoff_cap_s, policy.backoff_first_s * 2 ** min(tries - 1, 16))
    digest = hashlib.sha256(repr(identity).encode()).digest()
    return int(full * 1000 * (0.5 + digest[0] / 512))


def _count_attempt(workflow: Workflow, step: Step, attempt: Attempt, now_ms: int, policy: Policy) -> Workflow:
    outcome, reason = _outcome(attempt)
    if outcome == "stopped from outside":
        if workflow.stop_asked_ms is None:
            workflow = workflow.next_epoch(stop_asked_ms=now_ms)
        outcome = "interrupted"
    if outcome == "failed" and (attempt.progress.banned_until_ms or 0) > now_ms:
        outcome = "banned"
    workflow = form_of(workflow).count(workflow, attempt)
    step = _replace(step, unloaded=disjoint((*step.unloaded, *attempt.unloaded)))
    attempt = _replace(attempt, outcome=outcome, reason=reason, unloaded=(), disputed=(), read=())
    moved = _got_somewhere(step, attempt)
    # A sink has no ranges. A loader of files reads all once more: only its terminal event tells what it could not load,
    # and what it took from a file with a wrong checksum, and an attempt that was killed has told nothing.
    files = step.source is Source.ARCHIVE
    left = step.ranges if files else remaining(step.ranges, attempt.progress.position)
    step = _replace(step, ranges=left, attempts=(*step.attempts[:-1], attempt))
    if outcome == "finished":
        step = _replace(step, status=StepStatus.FINISHED, ranges=(), disruptions=0)
    elif outcome == "handed over":
        step = _replace(step, status=StepStatus.WAITING, failures=0, disruptions=0)
    elif outcome == "interrupted":
        step = _replace(step, status=StepStatus.INTERRUPTED)
    elif outcome in ("refused", "permanent"):
        step = _replace(step, status=StepStatus.ERROR, failure=_failure(outcome, reason))
    elif outcome == "disrupted":
        step = _disrupted(workflow, step, attempt, now_ms, policy, moved=moved)
    elif outcome == "banned":
        step = _banned(step, attempt, now_ms)
    else:
        step = _failed(workflow, step, attempt, now_ms, policy, moved=moved)
    return workflow.with_step(step)


def _outcome(attempt: Attempt) -> tuple[str, str]:
    code, word = attempt.exit_code, attempt.terminal_event
    if word == "finished" and code in (0, None):
        return "finished", ""
    if code == 2:
        return "refused", attempt.error or attempt.reason
    if attempt.stop_reason == HANDOVER:
        return "handed over", ""
    if attempt.stop_reason == STUCK:
        return "stuck", attempt.reason or "it was stuck"
    if attempt.stop_reason == STOP:
        return "interrupted", ""
    if word == "error" and attempt.permanent:
        return "permanent", attempt.error
    if code is None:
        return "disrupted", attempt.reason or "it was ended from outside"
    # By its own exit code, too: a Job controller that was killed may have made a second pod of the attempt, and of the
    # two one was asked to end and the other went on.
    if code == 0 and word == "interrupted" and attempt.own_exit_code in (None, 0):
        return "stopped from outside", ""
    if word == "interrupted":
        return "disrupted", "it was asked to end by a signal"
    if word == "finished":
        return "failed", f"it reported finished, but ended with exit code {code}"
    return "failed", attempt.error or attempt.reason or f"it ended with exit code {code}"


def _got_somewhere(step: Step, attempt: Attempt) -> bool:
    """Whether the attempt went beyond those before it; doing the same piece again and again is no progress."""
    position = attempt.progress.position
    if position is None:
        return False
    if step.role is Role.LOADER and step.source is Source.REST:
        return remaining(step.ranges, position) != step.ranges
    before = [a.progress.position for a in step.attempts[:-1] if a.number >= step.round_from]
    return all(other is None or position > other for other in before)


def _disrupted(workflow: Workflow, step: Step, attempt: Attempt, now_ms: int, policy: Policy, *, moved: bool) -> Step:
    disruptions = 0 if moved else step.disruptions + 1
    if disruptions >= policy.max_disruptions and not form_of(workflow).continuous:
        reason = (
            f"ended from outside {disruptions} times in a row without getting anywhere; the last time: {attempt.reason}"
        )
        failure = _failure("disrupted", reason, attempt.next_step)
        return _replace(step, status=StepStatus.ERROR, failure=failure)
    wait_ms = 0 if disruptions < 3 else backoff_ms(policy, disruptions - 2, attempt.job)
    return _replace(step, status=StepStatus.WAITING, disruptions=disruptions, not_before_ms=now_ms + wait_ms)


def _banned(step: Step, attempt: Attempt, now_ms: int) -> Step:
    """The exchange names the end of a ban: waiting for it is no failure, however many there are."""
    until_ms = min(attempt.progress.banned_until_ms or 0, now_ms + LONGEST_BAN_MS)
    return _replace(step, status=StepStatus.WAITING, not_before_ms=until_ms)


def _failed(workflow: Workflow, step: Step, attempt: Attempt, now_ms: int, policy: Policy, *, moved: bool) -> Step:
    # Failures in a row: an attempt that got further than all before it starts the count again. What is live goes on
    # for months: what may go away by itself never ends it.
    failures = 1 if moved else step.failures + 1
    if failures >= policy.max_failures and not form_of(workflow).continuous:
        reason = f"{failures} attempts failed; the last one: {attempt.reason}"
        failure = _failure("failed", reason, attempt.next_step)
        return _replace(step, status=StepStatus.ERROR, failures=failures, failure=failure)
    not_before_ms = now_ms + backoff_ms(policy, failures, workflow.queue_id, attempt.job)
    return _replace(step, status=StepStatus.WAITING, failures=failures, not_before_ms=not_before_ms)


_BY_OUTCOME = {
    "refused": (FailureCode.SETTING_WRONG, "correct the setting that the reason names, then retry the workflow"),
    "permanent": (
        FailureCode.PERMANENT,
        "correct the request or the cause that the reason names; a retry alone will not help",
    ),
    "disrupted": (
        FailureCode.ENDED_FROM_OUTSIDE,
        "see whether the machine ends processes (memory?), then retry the workflow",
    ),
    "failed": (FailureCode.ATTEMPTS_FAILED, "remove the cause that the reason names, then retry the workflow"),
}


def _failure(outcome: str, reason: str, known: str = "") -> Failure:
    """known: the launcher's own advice, which is more exact."""
    code, next_step = _BY_OUTCOME[outcome]
    return Failure(code=code, reason=reason, next_step=known or next_step)


def terminal_event(workflow: Workflow, step: Step, attempt: Attempt, now_ms: int) -> Event:
    """What is written for an attempt whose process sent no terminal event."""
    asked = attempt.stop_reason in (STOP, HANDOVER)
    reason = attempt.reason or "its process is gone"
    return Event(
        event="interrupted" if asked else "error",
        status="interrupted" if asked else "error",
        queue_id=workflow.queue_id,
        producer=step.telemetry_id,
        target=step.target,
        symbol=workflow.symbol,
        type=step.type,
        attempt=attempt.number,
        message="written by queue-manager: the worker could not send it",
        records_written=attempt.progress.records,
        finished=True,
        timestamp=now_ms / 1000,
        error_message=None if asked else reason,
        extra={**msgspec.to_builtins(attempt.progress), "observed_by": "queue-manager"},
    )
