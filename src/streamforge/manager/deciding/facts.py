"""What actions found out and what people ask for, folded into a workflow. Pure.

An action takes its time, and what it finds out may be out of date by then: a fact of another epoch than the workflow's
changes nothing, in any order of the facts.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from streamforge.manager.deciding.rounds import next_round, open_again, replay_round
from streamforge.manager.deciding.settling import backoff_ms
from streamforge.manager.policy import Policy
from streamforge.manager.service import NotNow
from streamforge.manager.workflow import Failure, Plan, Proof, Status, Workflow

_replace = msgspec.structs.replace


class Planned(msgspec.Struct, frozen=True):
    """What there is to load."""

    plan: Plan


class Left(msgspec.Struct, frozen=True):
    """Messages that a sink has left unstored. at_least: there may be more, not all of them could be counted."""

    messages: int
    at_least: bool = False


class Proven(msgspec.Struct, frozen=True, kw_only=True):
    """What is stored. asked: the exchange was asked for each hole. left: what sinks have left unstored, by target."""

    proof: Proof
    asked: bool
    left: Mapping[str, Left] = {}


class Unanswered(msgspec.Struct, frozen=True, kw_only=True):
    """The exchange did not answer. retry_after_ms: what it asked for. banned: it named the end of a ban."""

    reason: str
    retry_after_ms: int = 0
    banned: bool = False


class Refused(msgspec.Struct, frozen=True):
    """It will not work, however often it is tried."""

    failure: Failure


class GivenUp(msgspec.Struct, frozen=True, kw_only=True):
    """An action was tried as often as it may be. action: its name."""

    action: str
    reason: str


class TopicsRemoved(msgspec.Struct, frozen=True):
    """The data topic, or (`dead_letters`) the topic of dead letters, is gone."""

    dead_letters: bool


Finding = Planned | Proven | Unanswered | Refused | GivenUp | TopicsRemoved
"""What an action found out."""


class Fact(msgspec.Struct, frozen=True):
    """A finding, and the epoch of the workflow in which its action was begun."""

    epoch: int
    finding: Finding


class Stop(msgspec.Struct, frozen=True):
    """Somebody asks the workflow to end in order."""


class Retry(msgspec.Struct, frozen=True):
    """Somebody asks an interrupted or failed workflow to go on with what it lacks."""


class Replay(msgspec.Struct, frozen=True):
    """Somebody asks for the dead letters of an ended workflow to be read again."""


Request = Stop | Retry | Replay
"""What people ask of a workflow that is there."""


def apply(workflow: Workflow, fact: Fact, now_ms: int, policy: Policy) -> Workflow:
    """The workflow after the fact; the same one if the fact is out of date."""
    if fact.epoch != workflow.epoch:
        return workflow
    match fact.finding:
        case Planned(plan):
            return next_round(_replace(workflow, plan=plan, asking_failures=0, waiting_for=""), plan.load)
        case Proven() as proven:
            return _proven(workflow, proven)
        case Unanswered() as unanswered:
            return _unanswered(workflow, unanswered, now_ms, policy)
        case Refused(failure):
            return workflow.next_epoch(failure=failure)
        case GivenUp() as given_up:
            return _given_up(workflow, given_up)
        case TopicsRemoved(dead_letters):
            return _replace(workflow, dlq_removed=True) if dead_letters else _replace(workflow, topic_removed=True)


def grant(workflow: Workflow, request: Request, now_ms: int) -> Workflow:
    """The workflow after what somebody asks of it. Raises NotNow."""
    match request:
        case Stop():
            return _stopped(workflow, now_ms)
        case Retry():
            if workflow.status not in (Status.INTERRUPTED, Status.ERROR):
                raise NotNow(
                    f"workflow {workflow.queue_id} is {workflow.status.value}: only an interrupted or failed one can "
                    "be retried"
                )
            # What coverage has by the time of the new plan will not be loaded again.
            return next_round(open_again(workflow, plan=None), ())
        case Replay():
            if not workflow.ended:
                raise NotNow(
                    f"workflow {workflow.queue_id} is {workflow.status.value}: dead letters are replayed after its end"
                )
            going_on = open_again(workflow, plan=workflow.plan)
            return replay_round(_replace(going_on, replayed=workflow.status, replayed_failure=workflow.failure))


def _proven(workflow: Workflow, proven: Proven) -> Workflow:
    for step in workflow.steps:
        if (left := proven.left.get(step.target)) is not None:
            workflow = workflow.with_step(_replace(step, left=left.messages, left_at_least=left.at_least))
    surveyed = workflow.surveyed or not proven.asked
    return _replace(workflow, proof=proven.proof, asking_failures=0, surveyed=surveyed)


def _stopped(workflow: Workflow, now_ms: int) -> Workflow:
    if workflow.ended:
        raise NotNow(f"workflow {workflow.queue_id} has ended ({workflow.status.value}): there is nothing to stop")
    if workflow.stop_asked_ms is not None:
        return workflow
    return workflow.next_epoch(stop_asked_ms=now_ms, status=Status.STOPPING)


def _unanswered(workflow: Workflow, unanswered: Unanswered, now_ms: int, policy: Policy) -> Workflow:
    # A ban says when it ends: waiting for it is no failed try.
    failures = workflow.asking_failures + (0 if unanswered.banned else 1)
    if failures >= policy.max_asking_failures:
        failure = Failure(
            reason=f"the exchange did not answer {failures} times in a row; the last time: {unanswered.reason}",
            next_step="see whether the exchange can be reached from here, then retry the workflow",
        )
        return workflow.next_epoch(asking_failures=failures, failure=failure)
    wait_ms = max(unanswered.retry_after_ms, backoff_ms(policy, max(1, failures), workflow.queue_id, failures))
    return _replace(
        workflow,
        asking_failures=failures,
        not_before_ms=now_ms + wait_ms,
        waiting_for=f"the exchange: {unanswered.reason}",
    )


def _given_up(workflow: Workflow, given_up: GivenUp) -> Workflow:
    """The workflow fails, or ends without the action if it is ending already."""
    if workflow.ended or given_up.action not in ("Prepare", "Launch", "Prove"):
        return workflow
    if workflow.stop_asked_ms is not None or workflow.failure is not None:
        return _replace(workflow, surveyed=workflow.surveyed or given_up.action == "Prove")
    failure = Failure(
        reason=f"{given_up.action} failed again and again: {given_up.reason}",
        next_step="see the manager's log; if it names no cause that you can remove, report it",
    )
    return workflow.next_epoch(failure=failure)
