"""What actions found out and what people ask for, folded into a workflow. Pure.

An action takes its time, and what it finds out may be out of date by then: a fact of another epoch than the workflow's
changes nothing, in any order of the facts. Nor does one that comes again, as it does where the store has kept what
follows from it and its answer was lost: what is counted carries its number.
"""

from __future__ import annotations

from typing import ClassVar

import msgspec

from streamforge.manager.engine.document import Attempt, Failure, Status, Workflow
from streamforge.manager.engine.lifecycle.actions import Action, Launch, Prepare, Prove
from streamforge.manager.engine.lifecycle.findings import (
    Awaited,
    Compared,
    Fact,
    Failed,
    Planned,
    Proven,
    Refused,
    TopicsRemoved,
    Unanswered,
)
from streamforge.manager.engine.lifecycle.handovers import asked_for
from streamforge.manager.engine.lifecycle.retry_policy import backoff_ms
from streamforge.manager.engine.lifecycle.rounds import next_round, open_again, replay_round, with_loader
from streamforge.manager.engine.refusals import NotNow
from streamforge.manager.engine.registry import form_of
from streamforge.manager.failure_codes import FailureCode
from streamforge.manager.policy import Policy
from streamforge_utils.model.timeranges import format_ms
from streamforge_utils.model.topic_reading import PartitionRange

AWAITED_MS = 2_000
"""After that it is looked again whether what comes first is there."""
_replace = msgspec.structs.replace


class Stop(msgspec.Struct, frozen=True):
    """Somebody asks the workflow to end in order."""

    name: ClassVar[str] = "stop"


class HandOver(msgspec.Struct, frozen=True):
    """Somebody asks for another attempt in the place of the loader of a live workflow, without a gap."""

    name: ClassVar[str] = "handover"


class Retry(msgspec.Struct, frozen=True):
    """Somebody asks an interrupted or failed workflow to go on with what it lacks."""

    name: ClassVar[str] = "retry"


class Replay(msgspec.Struct, frozen=True):
    """Somebody asks for the dead letters of an ended workflow to be read again. letters, passed: as `replay_round`."""

    letters: tuple[str, ...] = ()
    passed: tuple[PartitionRange, ...] | None = None

    name: ClassVar[str] = "replay"


Request = Stop | HandOver | Retry | Replay
"""What people ask of a workflow that is there."""


def failed(workflow: Workflow, action: Action, reason: str) -> Failed | None:
    """What becomes known when a try of the action fails, which was begun for this document.

    None: the workflow does not depend on it, and it is tried until it works.
    """
    match action:
        case Prepare() | Prove():
            return Failed(action=type(action).__name__, number=workflow.action_failures + 1, reason=reason)
        case Launch(target, shadow):
            step = workflow.step(target)
            if step is not None and (attempt := step.shadow if shadow else step.attempt) is not None:
                return Failed(
                    action=type(action).__name__,
                    number=attempt.launch_failures + 1,
                    reason=reason,
                    target=target,
                    attempt=attempt.number,
                )
    return None


def apply(workflow: Workflow, fact: Fact, policy: Policy) -> Workflow:
    """The workflow after the fact; the same one if the fact is out of date."""
    if fact.epoch != workflow.epoch:
        return workflow
    match fact.finding:
        case Planned(found, loader):
            form = form_of(workflow)
            planned = form.learn(with_loader(workflow, loader), found)
            return next_round(_replace(planned, asking_failures=0, waiting_for=""), form.ranges(planned))
        case Awaited(reason, at_ms):
            return _replace(workflow, waiting_for=reason, not_before_ms=at_ms + AWAITED_MS, action_failures=0)
        case Proven() as proven:
            return _proven(workflow, proven)
        case Compared(found):
            return form_of(workflow).learn(workflow, found)
        case Unanswered() as unanswered:
            return _unanswered(workflow, unanswered, policy)
        case Refused(failure):
            return workflow.next_epoch(failure=failure)
        case Failed() as failure:
            return _failed(workflow, failure, policy)
        case TopicsRemoved(dead_letters):
            return _without_letters(workflow) if dead_letters else _replace(workflow, topic_removed=True)


def grant(workflow: Workflow, request: Request, now_ms: int) -> Workflow:
    """The workflow after what somebody asks of it. Raises NotNow."""
    match request:
        case Stop():
            return _stopped(workflow, now_ms)
        case HandOver():
            return asked_for(workflow, now_ms)
        case Retry():
            if workflow.status not in (Status.INTERRUPTED, Status.ERROR):
                raise NotNow(
                    f"workflow {workflow.queue_id} is {workflow.status.value}: only an interrupted or failed one can "
                    "be retried"
                )
            # What coverage has by the time of the new plan will not be loaded again.
            return next_round(open_again(workflow, prepared=False))
        case Replay(letters, passed):
            if not workflow.ended:
                raise NotNow(
                    f"workflow {workflow.queue_id} is {workflow.status.value}: dead letters are replayed after its end"
                )
            # Nothing is loaded again, and a dead letter may be of a file whose checksum was wrong.
            going_on = open_again(workflow, prepared=True)
            going_on = _replace(going_on, replayed=workflow.status, replayed_failure=workflow.failure)
            return replay_round(going_on, letters, passed)


def _without_letters(workflow: Workflow) -> Workflow:
    """The workflow after its topic of dead letters is gone: another one would begin at offset 0."""
    steps = tuple(_replace(step, letters=()) for step in workflow.steps)
    return _replace(workflow, steps=steps, letters_read=(), dlq_removed=True)


def _proven(workflow: Workflow, proven: Proven) -> Workflow:
    for step in workflow.steps:
        if (left := proven.left.get(step.target)) is not None:
            workflow = workflow.with_step(_replace(step, left=left.messages, left_at_least=left.at_least))
    form = form_of(workflow)
    workflow = form.learn(with_loader(workflow, proven.loader), proven.proof)
    if proven.more is not None:
        workflow = form.learn(workflow, proven.more)
    surveyed = workflow.surveyed or not proven.asked or workflow.stop_asked_ms is not None
    return _replace(workflow, asking_failures=0, action_failures=0, surveyed=surveyed)


def _stopped(workflow: Workflow, now_ms: int) -> Workflow:
    if workflow.ended:
        raise NotNow(f"workflow {workflow.queue_id} has ended ({workflow.status.value}): there is nothing to stop")
    if workflow.stop_asked_ms is not None:
        return workflow
    return workflow.next_epoch(stop_asked_ms=now_ms, status=Status.STOPPING)


def _unanswered(workflow: Workflow, unanswered: Unanswered, policy: Policy) -> Workflow:
    failures = unanswered.number
    if failures < workflow.asking_failures:
        return workflow
    if failures >= policy.max_asking_failures and workflow.stop_asked_ms is not None:
        return _replace(workflow, asking_failures=failures, surveyed=True)  # it ends unproven
    if failures >= policy.max_asking_failures:
        failure = Failure(
            code=FailureCode.EXCHANGE_SILENT,
            reason=f"the exchange did not answer {failures} times in a row; the last time: {unanswered.reason}",
            next_step="see whether the exchange can be reached from here, then retry the workflow",
        )
        return workflow.next_epoch(asking_failures=failures, failure=failure)
    wait_ms = max(unanswered.retry_after_ms, backoff_ms(policy, max(1, failures), workflow.queue_id, failures))
    next_ms = unanswered.at_ms + wait_ms
    return _replace(
        workflow,
        asking_failures=failures,
        action_failures=0,
        not_before_ms=next_ms,
        waiting_for=f"the exchange: {unanswered.reason}; next try at {format_ms(-(-next_ms // 1000) * 1000)}",
    )


def _failed(workflow: Workflow, found: Failed, policy: Policy) -> Workflow:
    """The try is counted. After the last one the workflow fails, or ends without the action if it is ending already."""
    if not found.target:
        workflow = _replace(workflow, action_failures=max(workflow.action_failures, found.number))
    else:
        step = workflow.step(found.target)
        attempt = None if step is None else step.attempt
        if step is not None and step.shadow is not None and step.shadow.number == found.attempt:
            return workflow.with_step(_replace(step, shadow=_not_launched(step.shadow, found, policy)))
        if step is None or attempt is None or attempt.number != found.attempt:
            return workflow
        attempt = _replace(attempt, launch_failures=max(attempt.launch_failures, found.number))
        workflow = workflow.with_step(_replace(step, attempts=(*step.attempts[:-1], attempt)))
    if found.number < policy.max_action_failures:
        return workflow
    if workflow.stop_asked_ms is not None or workflow.failure is not None:
        return _replace(workflow, surveyed=workflow.surveyed or found.action == "Prove")
    failure = Failure(
        code=FailureCode.ACTION_FAILED,
        reason=f"{found.action} failed again and again: {found.reason}",
        next_step="see the manager's log; if it names no cause that you can remove, report it",
    )
    return workflow.next_epoch(failure=failure)


def _not_launched(shadow: Attempt, found: Failed, policy: Policy) -> Attempt:
    """A shadow that could not be launched once more: after the last try it has ended, and its workflow goes on."""
    shadow = _replace(shadow, launch_failures=max(shadow.launch_failures, found.number))
    if found.number < policy.max_action_failures or shadow.ended_ms is not None:
        return shadow
    return _replace(shadow, ended_ms=shadow.planned_ms, reason=f"it cannot be launched: {found.reason}")
