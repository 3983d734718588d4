"""Which attempts are made and launched now, and what the others wait for. Pure."""

from __future__ import annotations

import msgspec

from streamforge.manager.engine.document import Attempt, Step, StepStatus, Workflow
from streamforge.manager.engine.lifecycle.actions import Action, Launch
from streamforge.manager.engine.lifecycle.conditions import Conditions
from streamforge.manager.engine.lifecycle.handovers import is_wanted
from streamforge.manager.engine.lifecycle.rounds import kept_attempts, next_attempt
from streamforge.manager.policy import Policy
from streamforge_utils.model.timeranges import format_ms
from streamforge_utils.runtime.life.worker_definition import Role, Source

_replace = msgspec.structs.replace


def live(step: Step) -> Attempt | None:
    """The step's attempt whose job is planned or running."""
    attempt = step.attempt
    return attempt if attempt is not None and attempt.ended_ms is None else None


def shares_process(step: Step, policy: Policy) -> bool:
    """Whether its job is one of several in a process, which begin together."""
    return step.source is Source.STREAM and policy.basket_size > 1


def launch(workflow: Workflow, now_ms: int, policy: Policy, conditions: Conditions, actions: list[Action]) -> Workflow:
    """The workflow with an attempt of each step that may have one now; those that were not seen yet are launched."""
    may_begin = conditions.may_begin
    # Sinks first: nothing is produced unseen.
    for role in (Role.DIAGNOSTIC, Role.ANALYST, Role.SINK, Role.LOADER):
        for step in workflow.steps:
            if step.role is not role:
                continue
            attempt = live(step)
            if attempt is None and step.status is StepStatus.WAITING:
                if role is Role.LOADER and now_ms < conditions.banned_until_ms:
                    workflow = _replace(workflow, waiting_for=ban(conditions))
                    continue
                if step.source is Source.STREAM and not conditions.may_connect:
                    workflow = _replace(workflow, waiting_for="its turn to connect to the exchange's streams")
                    continue
                if now_ms < step.not_before_ms:
                    workflow = _replace(workflow, waiting_for=_pause(step))
                    continue
                if may_begin is not None and not shares_process(step, policy):
                    if may_begin <= 0:
                        turn = f"its turn to start {step.target}: other workers are starting"
                        workflow = _replace(workflow, waiting_for=turn)
                        continue
                    may_begin -= 1
                attempt = next_attempt(workflow, step, now_ms)
                step = _replace(step, status=StepStatus.RUNNING, attempts=(*kept_attempts(step), attempt), shadows=())
                workflow = workflow.with_step(step)
            if attempt is not None and not attempt.observed and attempt.stop_asked_ms is None:
                actions.append(Launch(step.target))
    return workflow


def ban(conditions: Conditions) -> str:
    """What a workflow waits for while the exchange's ban lasts."""
    why = f": {conditions.ban_reason}" if conditions.ban_reason else ""
    return f"the end of the exchange's ban at {_shown(conditions.banned_until_ms)}{why}"


def _pause(step: Step) -> str:
    reason = step.attempt.reason if step.attempt is not None else ""
    why = f"; the one before: {reason}" if reason else ""
    return f"the next attempt of {step.target} at {_shown(step.not_before_ms)}{why}"


def _shown(time_ms: int) -> str:
    """A time until which is waited, in whole seconds: not before it."""
    return format_ms(-(-time_ms // 1000) * 1000)


def waits_to_connect(workflow: Workflow | None) -> bool:
    """Whether an attempt of a loader of its stream is to be made."""
    steps = () if workflow is None else workflow.steps
    return any(
        one.source is Source.STREAM and (one.status is StepStatus.WAITING or (is_wanted(one) and one.shadow is None))
        for one in steps
    )
