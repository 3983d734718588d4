"""Handing a live loader over: another attempt listens beside the one that writes, until it can take its place. Pure.

Only one of the two is the step's attempt, and may write. The other one, its shadow, becomes that once the job of the
former has ended.
"""

from __future__ import annotations

import msgspec

from streamforge.manager.engine.document import Attempt, Handover, Status, Step, StepStatus, Workflow
from streamforge.manager.engine.lifecycle.actions import Action, EndJob, Launch, SendStop, TakeOver, WriteTerminalEvent
from streamforge.manager.engine.lifecycle.conditions import Conditions
from streamforge.manager.engine.lifecycle.retry_policy import HANDOVER, STOP, STUCK, backoff_ms, terminal_event
from streamforge.manager.engine.lifecycle.rounds import kept_attempts, next_attempt
from streamforge.manager.engine.refusals import NotNow
from streamforge.manager.policy import Policy
from streamforge_utils.runtime.life.worker_definition import Role, Source

MOST_SHADOWS = 3
"""So many in a row that cannot take over, and the handover is given up."""
SHADOWS_KEPT = 10
NEVER_SEEN_MS = 3_000
"""A planned job that was not seen for this long after it was asked to end was never started."""
READY = "ready"
LEAVING = "its process is being ended from outside"
ASKED = "somebody asked for it"

_replace = msgspec.structs.replace


def with_shadow(step: Step) -> Step | None:
    """The step with its shadow as its latest attempt; None: it has none."""
    return None if step.shadow is None else _replace(step, attempts=(*step.attempts, step.shadow), shadow=None)


def launching(target: str) -> str:
    """What the launch of a shadow is called beside that of the step's attempt."""
    return f"{target} shadow"


def is_wanted(step: Step) -> bool:
    """Whether another attempt is to take the place of the step's own."""
    return step.handover is not None and not step.handover.given_up


def is_leaving(step: Step) -> bool:
    """Whether the process of its attempt is being ended from outside."""
    live = None if step.attempt is None else step.attempt.progress.live
    return live is not None and live.leaving


def leaves(workflow: Workflow | None) -> bool:
    """Whether that is so of one of its loaders."""
    return workflow is not None and any(map(is_leaving, workflow.steps))


def state_of(step: Step) -> str:
    """How far its handover is, as the API tells it."""
    attempt, shadow = step.attempt, step.shadow
    if attempt is not None and attempt.stop_reason == HANDOVER:
        return "taking over"
    if shadow is None:
        return "waiting" if is_wanted(step) else "given up"
    if shadow.started_ms is None:
        return "starting"
    return READY if _is_ready(shadow) else "listening"


def taken_over(workflow: Workflow) -> Workflow:
    """The workflow in which each shadow whose step has lost its attempt is the attempt of the step."""
    for step in workflow.steps:
        attempt, shadow = step.attempt, step.shadow
        if shadow is None or attempt is None or attempt.ended_ms is None or step.status is not StepStatus.WAITING:
            continue
        if _goes_on(shadow):
            handed_over = step.handed_over if step.handover is None else step.handover.runs or step.handed_over
            workflow = workflow.with_step(
                _replace(
                    step,
                    status=StepStatus.RUNNING,
                    attempts=(*kept_attempts(step), shadow),
                    shadow=None,
                    shadows=(),
                    handover=None,
                    handed_over=handed_over,
                )
            )
    return workflow


def hand_over(
    workflow: Workflow, now_ms: int, policy: Policy, conditions: Conditions, actions: list[Action]
) -> Workflow:
    """What is to be done for the handovers of a live workflow that goes on."""
    for step in workflow.steps:
        if step.source is Source.STREAM:
            step = _counted(workflow, step, now_ms, policy, actions)
            if step.shadow is None or step.shadow.ended_ms is None:
                step = _followed(workflow, step, now_ms, policy, conditions, actions)
            workflow = workflow.with_step(step)
    if not any(map(is_wanted, workflow.steps)):
        for step in workflow.steps:
            if step.role is Role.SINK:
                workflow = workflow.with_step(_renewed(step, now_ms, conditions))
    return workflow


def end_shadows(workflow: Workflow, now_ms: int, conditions: Conditions, actions: list[Action]) -> Workflow:
    """A workflow that ends has no use for them: each is ended, and forgotten once it is gone."""
    for step in workflow.steps:
        shadow = step.shadow
        if shadow is None:
            continue
        if shadow.ended_ms is not None:
            if shadow.terminal_event is None:
                actions.append(WriteTerminalEvent(terminal_event(workflow, step, shadow, now_ms)))
                continue
            step = _without_shadow(step, shadow)
            shadow = None
        else:
            if shadow.stop_asked_ms is None:
                shadow = _replace(shadow, stop_asked_ms=now_ms, stop_reason=STOP)
            shadow = _ended(step, shadow, now_ms, conditions, actions)
        workflow = workflow.with_step(_replace(step, shadow=shadow, handover=None if shadow is None else step.handover))
    return workflow


def _goes_on(shadow: Attempt) -> bool:
    return shadow.ended_ms is None and shadow.terminal_event is None and shadow.stop_asked_ms is None


def _without_shadow(step: Step, shadow: Attempt) -> Step:
    """The step whose shadow has ended, and is one of its attempts once another one writes."""
    ended = _replace(shadow, outcome="not taken over")
    return _replace(step, shadow=None, shadows=(*step.shadows, ended)[-SHADOWS_KEPT:])


def _counted(workflow: Workflow, step: Step, now_ms: int, policy: Policy, actions: list[Action]) -> Step:
    """The step whose shadow has ended: what that means for the handover."""
    shadow, handover = step.shadow, step.handover
    if shadow is None or shadow.ended_ms is None:
        return step
    if shadow.terminal_event is None:
        actions.append(WriteTerminalEvent(terminal_event(workflow, step, shadow, now_ms)))
        return step
    step = _without_shadow(step, shadow)
    if handover is None:
        return step
    failures = handover.failures + 1
    handover = _replace(
        handover,
        failures=failures,
        trouble=shadow.reason or shadow.error or "it ended",
        not_before_ms=now_ms + backoff_ms(policy, failures, shadow.job),
        given_up=failures >= MOST_SHADOWS,
    )
    handed_over = handover.runs or step.handed_over if handover.given_up else step.handed_over
    return _replace(step, handover=handover, handed_over=handed_over)


def _followed(
    workflow: Workflow, step: Step, now_ms: int, policy: Policy, conditions: Conditions, actions: list[Action]
) -> Step:
    attempt = step.attempt
    if attempt is None or attempt.ended_ms is not None:
        return step if step.shadow is None else _driven(step, now_ms, policy, conditions, actions)
    if attempt.shadow:
        step, attempt = _told(step, attempt, now_ms, policy, actions)
    if step.handover is not None and step.handover.of != attempt.number and step.shadow is None:
        step = _replace(step, handover=None)
    if not is_wanted(step) and step.shadow is None:
        wanted = _wanted(step, attempt, now_ms, conditions)
        return step if wanted is None else _replace(step, handover=wanted)
    if step.shadow is None:
        return _begun(workflow, step, attempt, now_ms, conditions)
    step = _driven(step, now_ms, policy, conditions, actions)
    shadow, handover = step.shadow, step.handover
    mine = handover is not None and handover.of == attempt.number
    if shadow is not None and mine and attempt.stop_asked_ms is None and _goes_on(shadow) and _is_ready(shadow):
        attempt = _replace(attempt, stop_asked_ms=now_ms, stop_reason=HANDOVER)
        step = _replace(step, attempts=(*step.attempts[:-1], attempt))
    return step


def _wanted(step: Step, attempt: Attempt, now_ms: int, conditions: Conditions) -> Handover | None:
    """The handover that there is a new reason for; None: there is none."""
    if attempt.started_ms is None or attempt.shadow or attempt.stop_asked_ms is not None:
        return None
    if is_leaving(step):
        # What was given up is tried again: this attempt will end anyway.
        known = None if step.handover is None else step.handover.reason
        return None if known == LEAVING else Handover(asked_ms=now_ms, reason=LEAVING, of=attempt.number)
    runs = conditions.runs.get(step.target, "")
    if not conditions.may_hand_over or not attempt.observed or not _differs(attempt.runs, runs):
        return None
    if runs == step.handed_over:
        return None  # it was tried
    reason = f"it runs {attempt.runs}, and the next attempt {runs}"
    return Handover(asked_ms=now_ms, reason=reason, of=attempt.number, runs=runs)


def _renewed(step: Step, now_ms: int, conditions: Conditions) -> Step:
    """A sink that runs another image than it would be started with is asked to end: the next one goes on there."""
    attempt, runs = step.attempt, conditions.runs.get(step.target, "")
    if attempt is None or attempt.started_ms is None or attempt.stop_asked_ms is not None or not attempt.observed:
        return step
    if not conditions.may_hand_over or runs == step.handed_over or not _differs(attempt.runs, runs):
        return step
    attempt = _replace(attempt, stop_asked_ms=now_ms, stop_reason=HANDOVER)
    return _replace(step, attempts=(*step.attempts[:-1], attempt), handed_over=runs)


def _differs(runs: str, other: str) -> bool:
    """Whether both are known, of one sort (images, or versions), and not the same."""
    return bool(runs and other) and runs != other and runs.split()[0] == other.split()[0]


def _begun(workflow: Workflow, step: Step, attempt: Attempt, now_ms: int, conditions: Conditions) -> Step:
    """The step with the next shadow, if one may be made now."""
    handover = step.handover
    if handover is None or now_ms < max(handover.not_before_ms, conditions.banned_until_ms):
        return step
    if not conditions.may_connect or attempt.stop_asked_ms is not None:
        return step
    return _replace(step, shadow=_replace(next_attempt(workflow, step, now_ms), shadow=True))


def _driven(step: Step, now_ms: int, policy: Policy, conditions: Conditions, actions: list[Action]) -> Step:
    """The step whose shadow is launched, or ended where it comes to nothing."""
    shadow = step.shadow
    if shadow is None:
        return step
    if shadow.stop_asked_ms is None and (why := _trouble(step, shadow, now_ms, policy, conditions)):
        shadow = _replace(shadow, stop_asked_ms=now_ms, stop_reason=STUCK, reason=why)
    if shadow.stop_asked_ms is not None:
        shadow = _ended(step, shadow, now_ms, conditions, actions)
    elif not shadow.observed:
        actions.append(Launch(step.target, shadow=True))
    return _replace(step, shadow=shadow)


def _trouble(step: Step, shadow: Attempt, now_ms: int, policy: Policy, conditions: Conditions) -> str:
    """Why a shadow is to be ended; empty if it is not."""
    attempt = step.attempt
    if attempt is not None and attempt.stop_reason == HANDOVER:
        return ""
    silent_s = (now_ms - max(shadow.seen_ms or shadow.planned_ms, conditions.listening_since_ms)) / 1000
    if shadow.started_ms is not None and silent_s > policy.silent_after_s:
        return f"it sent nothing for {silent_s:.0f} s"
    since_ms = max(shadow.planned_ms, conditions.listening_since_ms)
    if (took_s := (now_ms - since_ms) / 1000) > policy.handover_within_s:
        return f"it was not ready within {took_s:.0f} s" + (f": {shadow.message}" if shadow.message else "")
    return ""


def _ended(step: Step, shadow: Attempt, now_ms: int, conditions: Conditions, actions: list[Action]) -> Attempt:
    """A shadow that was asked to end: it writes nothing that it would need time for."""
    asked_ms = now_ms - (shadow.stop_asked_ms or now_ms)
    if not shadow.observed and launching(step.target) not in conditions.launching and asked_ms > NEVER_SEEN_MS:
        return _replace(shadow, ended_ms=now_ms, reason=shadow.reason or "it was never started")
    actions.append(EndJob(shadow.job))
    return shadow


def _is_ready(shadow: Attempt) -> bool:
    live = shadow.progress.live
    return live is not None and live.shadow == READY


def _told(step: Step, attempt: Attempt, now_ms: int, policy: Policy, actions: list[Action]) -> tuple[Step, Attempt]:
    """The attempt that has taken over, and is told so until it is heard to write."""
    since_ms = max([attempt.planned_ms, *(one.ended_ms or 0 for one in step.attempts[:-1])])
    waited_s = (now_ms - max(since_ms, attempt.started_ms or now_ms)) / 1000
    if attempt.stop_asked_ms is None and waited_s > policy.stuck_after_s:
        reason = f"it was told to take over, and did not for {waited_s:.0f} s"
        attempt = _replace(attempt, stop_asked_ms=now_ms, stop_reason=STUCK, reason=reason)
        step = _replace(step, attempts=(*step.attempts[:-1], attempt))
    elif attempt.stop_asked_ms is None:
        actions.append(TakeOver(step.target))
    return step, attempt


def leave(step: Step, attempt: Attempt, now_ms: int, policy: Policy, actions: list[Action]) -> None:
    """End an attempt in whose place another one goes on: a loader in order, and by force if it does not."""
    if attempt.terminal_event is None and step.role is Role.LOADER:
        actions.append(SendStop(step.target))
    if step.role is Role.SINK or now_ms - (attempt.stop_asked_ms or now_ms) > 1000 * policy.stop_within_s:
        actions.append(EndJob(attempt.job))


def asked_for(workflow: Workflow, now_ms: int) -> Workflow:
    """The workflow whose loaders of streams somebody wants to be handed over. Raises NotNow."""
    steps = [one for one in workflow.steps if one.source is Source.STREAM]
    if not steps:
        raise NotNow(f"workflow {workflow.queue_id} loads no stream: there is nothing to hand over")
    for step in steps:
        attempt = step.attempt
        if workflow.status is not Status.RUNNING or attempt is None or step.status is not StepStatus.RUNNING:
            raise NotNow(f"{step.target} of workflow {workflow.queue_id} does not run: there is nothing to hand over")
        if not is_wanted(step):
            handover = Handover(asked_ms=now_ms, reason=ASKED, of=attempt.number)
            workflow = workflow.with_step(_replace(step, handover=handover))
    return workflow
