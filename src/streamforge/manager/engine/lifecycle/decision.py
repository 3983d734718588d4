"""What to do next for a workflow: a pure function of its document, the time and a few facts, called again and again.

The document that is returned is stored before any action is carried out, and the actions follow from the document
alone: a manager that dies in between decides the same after its restart.
"""

from __future__ import annotations

import msgspec

from streamforge.manager.engine.document import (
    STEP_ENDED,
    Attempt,
    Status,
    Step,
    StepStatus,
    Workflow,
)
from streamforge.manager.engine.lifecycle.actions import Action, Compare, EndJob, Prepare, Prove, SendStop
from streamforge.manager.engine.lifecycle.conditions import Conditions
from streamforge.manager.engine.lifecycle.fold import waits
from streamforge.manager.engine.lifecycle.handovers import NEVER_SEEN_MS, end_shadows, hand_over, leave, taken_over
from streamforge.manager.engine.lifecycle.launches import ban, launch, live
from streamforge.manager.engine.lifecycle.retry_policy import HANDOVER, STOP, STUCK, apply_retry_policy
from streamforge.manager.engine.lifecycle.stop_times import patience_s
from streamforge.manager.engine.registry import form_of
from streamforge.manager.policy import Policy
from streamforge_utils.runtime.life.worker_definition import Role

_replace = msgspec.structs.replace


def decide(workflow: Workflow, now_ms: int, policy: Policy, conditions: Conditions) -> tuple[Workflow, list[Action]]:
    """The workflow's next document, and what must be done once it is stored."""
    actions: list[Action] = []
    workflow = _decide(workflow, now_ms, policy, conditions, actions)
    if conditions.unseen and not workflow.ended and not workflow.waiting_for and any(map(live, workflow.steps)):
        workflow = _replace(workflow, waiting_for=f"the launcher: {conditions.unseen}")
    return workflow, actions


def _decide(workflow: Workflow, now_ms: int, policy: Policy, conditions: Conditions, actions: list[Action]) -> Workflow:
    if workflow.ended:
        return workflow
    workflow, events = apply_retry_policy(workflow, now_ms, policy)
    actions += events
    workflow = _with_failure(taken_over(workflow))
    if conditions.abandoned and workflow.stop_asked_ms is None:
        workflow = workflow.next_epoch(stop_asked_ms=now_ms)
    if workflow.stop_asked_ms is not None or workflow.failure is not None:
        return _stopping(workflow, now_ms, policy, conditions, actions)
    if workflow.status is Status.PENDING:
        if not conditions.may_start:
            return _replace(workflow, waiting_for="a free slot: other workflows are running")
        if conditions.ahead is not None:
            return _replace(workflow, waiting_for=f"the end of {conditions.ahead}, which loads a part of its range")
        workflow = _replace(workflow, status=Status.RUNNING, waiting_for="")
    form = form_of(workflow)
    if not workflow.form.is_prepared:
        return _preparing(workflow, now_ms, conditions, actions)
    if not _has_work(workflow):
        steps = tuple(_replace(step, status=StepStatus.FINISHED) for step in workflow.steps)
        return _conclude(_replace(workflow, steps=steps), now_ms, policy, conditions, actions)
    if any(step.status is not StepStatus.FINISHED for step in workflow.steps):
        workflow = _replace(workflow, waiting_for="")
    if form.continuous:
        workflow = hand_over(workflow, now_ms, policy, conditions, actions)
    workflow = _watch(workflow, now_ms, policy, conditions, actions)
    workflow = launch(workflow, now_ms, policy, conditions, actions)
    if all(step.status is StepStatus.FINISHED for step in workflow.steps):
        return _conclude(workflow, now_ms, policy, conditions, actions)
    if form.is_comparison_due(workflow, now_ms, policy, conditions.continuous):
        actions.append(Compare(ask=now_ms >= conditions.banned_until_ms))
    return workflow


def _has_work(workflow: Workflow) -> bool:
    """Whether there is anything for the steps to do in this round."""
    if workflow.endless or workflow.repairs or any(step.replay for step in workflow.steps):
        return True
    return form_of(workflow).has_work(workflow)


def _preparing(workflow: Workflow, now_ms: int, conditions: Conditions, actions: list[Action]) -> Workflow:
    form = form_of(workflow)
    if form.asks_exchange(workflow) and now_ms < conditions.banned_until_ms:
        return _replace(workflow, waiting_for=ban(conditions))
    if now_ms >= workflow.not_before_ms:
        actions.append(Prepare())
        workflow = _replace(workflow, waiting_for=form.awaited(workflow, conditions))
    return workflow


def _with_failure(workflow: Workflow) -> Workflow:
    if workflow.failure is not None:
        return workflow
    for step in workflow.steps:
        if step.status is StepStatus.ERROR and step.failure is not None:
            failure = msgspec.structs.replace(step.failure, reason=f"{step.target}: {step.failure.reason}")
            return workflow.next_epoch(failure=failure)
    return workflow


def _watch(workflow: Workflow, now_ms: int, policy: Policy, conditions: Conditions, actions: list[Action]) -> Workflow:
    for step in workflow.steps:
        attempt = live(step)
        if attempt is None:
            continue
        if attempt.stop_reason == HANDOVER:
            leave(step, attempt, now_ms, policy, actions)
            continue
        if attempt.started_ms is None and attempt.message:
            workflow = _replace(workflow, waiting_for=f"the start of {step.target}: {attempt.message}")
        if attempt.stop_asked_ms is None:
            if conditions.unseen and attempt.terminal_event is not None:
                continue  # it has ended, or is about to: only its end is not seen
            why = _stuck(attempt, now_ms, policy, conditions.listening_since_ms) or _without_end_of_stream(
                workflow, step, now_ms, policy
            )
            if why is None:
                continue
            attempt = _replace(attempt, stop_asked_ms=now_ms, stop_reason=STUCK, reason=why)
            workflow = workflow.with_step(_replace(step, attempts=(*step.attempts[:-1], attempt)))
        actions.append(EndJob(attempt.job))
    return workflow


def _without_end_of_stream(workflow: Workflow, step: Step, now_ms: int, policy: Policy) -> str | None:
    """Why a sink would wait for ever: it has read everything, its loaders have finished, and no end of stream came."""
    attempt = step.attempt
    if step.role is not Role.SINK or attempt is None or attempt.replay or attempt.progress.lag != 0:
        return None
    loaders = [other for other in workflow.steps if other.role is Role.LOADER]
    if not loaders:
        return None  # its reader knows itself what ends it
    if any(other.status is not StepStatus.FINISHED for other in loaders):
        return None
    since_ms = max([attempt.started_ms or now_ms, *(o.attempt.ended_ms or now_ms for o in loaders if o.attempt)])
    waited_s = (now_ms - since_ms) / 1000
    if waited_s <= policy.stuck_after_s:
        return None
    return f"all is read and the loaders finished {waited_s:.0f} s ago, but the end of their stream never came"


def _stuck(attempt: Attempt, now_ms: int, policy: Policy, since_ms: int) -> str | None:
    if not attempt.observed and attempt.started_ms is None:
        return None  # not launched yet: nothing to be patient with
    if attempt.started_ms is None:
        # From the first sight of its job: that the launcher was slow before is not its fault.
        waited_s = (now_ms - max(attempt.planned_ms, attempt.seen_ms or 0, since_ms)) / 1000
        if waited_s <= policy.start_within_s:
            return None
        return f"it did not start within {waited_s:.0f} s" + (f": {attempt.message}" if attempt.message else "")
    silent_s = (now_ms - max(attempt.seen_ms or attempt.started_ms, since_ms)) / 1000
    if silent_s > policy.silent_after_s:
        return f"it sent nothing for {silent_s:.0f} s"
    if waits(attempt.progress, now_ms):
        return None
    still_s = (now_ms - max(attempt.progressed_ms or attempt.started_ms, since_ms)) / 1000
    if still_s > policy.stuck_after_s:
        return f"it was alive but got nowhere for {still_s:.0f} s"
    return None


def _stopping(
    workflow: Workflow, now_ms: int, policy: Policy, conditions: Conditions, actions: list[Action]
) -> Workflow:
    workflow = _replace(workflow, status=Status.STOPPING, waiting_for="")
    workflow = end_shadows(workflow, now_ms, conditions, actions)
    loading = any(step.role is Role.LOADER and live(step) is not None for step in workflow.steps)
    for step in workflow.steps:
        attempt = live(step)
        if attempt is None:
            if step.status not in STEP_ENDED and (step.attempt is None or step.attempt.outcome is not None):
                workflow = workflow.with_step(_replace(step, status=StepStatus.INTERRUPTED))
            continue
        if step.role is Role.SINK and loading and attempt.stop_asked_ms is None:
            continue  # it stores meanwhile what the loaders still send
        if attempt.stop_asked_ms is None or attempt.stop_reason == HANDOVER:
            attempt = _replace(attempt, stop_asked_ms=now_ms, stop_reason=STOP)
            workflow = workflow.with_step(_replace(step, attempts=(*step.attempts[:-1], attempt)))
        if attempt.stop_reason == STOP and attempt.terminal_event is None:
            actions.append(SendStop(step.target))  # again and again: one may be lost
        asked_ms = now_ms - (attempt.stop_asked_ms or now_ms)
        if not attempt.observed and step.target not in conditions.launching and asked_ms > NEVER_SEEN_MS:
            attempt = _replace(attempt, ended_ms=now_ms, reason="it was never started")
            workflow = workflow.with_step(_replace(step, attempts=(*step.attempts[:-1], attempt)))
        elif asked_ms > 1000 * _patience_s(workflow, step, attempt, now_ms, policy, conditions):
            actions.append(EndJob(attempt.job))
    if any(step.status not in STEP_ENDED or step.shadow is not None for step in workflow.steps):
        return workflow
    form = form_of(workflow)
    if not workflow.surveyed:
        if workflow.form.is_prepared and workflow.endless and workflow.failure is None:
            return _proving(workflow, now_ms, conditions, actions)
        touched = workflow.endless or workflow.repairs or form.leaves_something(workflow)
        if workflow.form.is_prepared and touched:
            actions.append(Prove(ask=False))
            return workflow
        workflow = _replace(workflow, surveyed=True)
    if (again := form.recovered(workflow)) is not None:
        return again
    if (failed := workflow.failure or form.loss(workflow)) is not None:
        return workflow.next_epoch(status=Status.ERROR, failure=failed, ended_ms=now_ms)
    if workflow.endless and form.is_whole(workflow):
        # A replay that was stopped midway has not read all of its dead letters: it stays interrupted.
        steps = (one if one.replay else _replace(one, status=StepStatus.FINISHED) for one in workflow.steps)
        return workflow.next_epoch(status=Status.FINISHED, steps=tuple(steps), ended_ms=now_ms)
    return workflow.next_epoch(status=Status.INTERRUPTED, ended_ms=now_ms)


def _proving(workflow: Workflow, now_ms: int, conditions: Conditions, actions: list[Action]) -> Workflow:
    """The workflow while what is stored is compared with the exchange, which may have to be waited for."""
    if not form_of(workflow).asks_exchange(workflow):
        actions.append(Prove(ask=True))
        return _replace(workflow, waiting_for="")
    if now_ms < conditions.banned_until_ms:
        return _replace(workflow, waiting_for=ban(conditions))
    if now_ms >= workflow.not_before_ms:
        actions.append(Prove(ask=True))
        waits = f"the exchange: {conditions.exchange_waits}" if conditions.exchange_waits else ""
        workflow = _replace(workflow, waiting_for=waits)
    return workflow


def _patience_s(
    workflow: Workflow, step: Step, attempt: Attempt, now_ms: int, policy: Policy, conditions: Conditions
) -> float:
    """How long an attempt that was asked to end may take until its job is ended."""
    if attempt.stop_reason == STUCK:
        return 0
    # A sink that stores what its loaders have sent reports it again and again.
    silent_s = (now_ms - max(attempt.seen_ms or attempt.planned_ms, conditions.listening_since_ms)) / 1000
    drains = step.role is Role.SINK and not attempt.replay and silent_s <= policy.silent_after_s
    return patience_s(workflow, attempt.stop_asked_ms or now_ms, policy, conditions.stopping, drains=drains)


def _conclude(
    workflow: Workflow, now_ms: int, policy: Policy, conditions: Conditions, actions: list[Action]
) -> Workflow:
    if workflow.replayed in (Status.INTERRUPTED, Status.ERROR):
        return _replayed(workflow, workflow.replayed, now_ms, actions)
    form = form_of(workflow)
    if (again := form.rerouted(workflow)) is not None:
        return again
    proof = workflow.form.proof
    if proof is None or proof.round <= workflow.repairs:
        return _proving(workflow, now_ms, conditions, actions)
    return form.settle(workflow, now_ms, policy)


def _replayed(workflow: Workflow, status: Status, now_ms: int, actions: list[Action]) -> Workflow:
    """What had not come to its end before its dead letters were replayed has not now: that is for a retry."""
    if not workflow.surveyed:
        actions.append(Prove(ask=False))
        return workflow
    for step in workflow.steps:
        if step.role is Role.LOADER and (step.attempt is None or step.attempt.outcome != "finished"):
            workflow = workflow.with_step(_replace(step, status=StepStatus.INTERRUPTED))
    return workflow.next_epoch(status=status, failure=workflow.replayed_failure, waiting_for="", ended_ms=now_ms)
