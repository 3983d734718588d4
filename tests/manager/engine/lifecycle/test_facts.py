"""What actions found out and what people ask for, folded into a workflow: only what is of its epoch counts."""

from __future__ import annotations

from typing import Any

import pytest

from streamforge.manager.engine.document import Attempt, Failure, Status, StepStatus, Workflow
from streamforge.manager.engine.lifecycle.actions import Action, EndJob, Launch, Prepare, Prove, SendStop
from streamforge.manager.engine.lifecycle.ban import Banned
from streamforge.manager.engine.lifecycle.conditions import Conditions
from streamforge.manager.engine.lifecycle.decision import decide
from streamforge.manager.engine.lifecycle.facts import Replay, Request, Retry, Stop, apply, failed, grant
from streamforge.manager.engine.lifecycle.findings import (
    Fact,
    Failed,
    Finding,
    Left,
    Planned,
    Proven,
    Refused,
    TopicsRemoved,
    Unanswered,
)
from streamforge.manager.engine.lifecycle.retry_policy import backoff_ms
from streamforge.manager.engine.refusals import NotNow
from streamforge.manager.engine.stored_document import decode_workflow, encode_workflow
from streamforge.manager.policy import Policy
from streamforge.manager.workflows.series.model import Plan, SeriesProof, plan_of, proof_of
from streamforge_utils.model.coverage import Segment, Verdict
from streamforge_utils.model.timeranges import format_ms
from tests.manager.support import (
    DAY,
    DAY_MS,
    DAY_START,
    LOADER,
    NOW,
    POLICY,
    SINK,
    accepted,
    changed,
    decide_running,
    replace,
    rest,
    step,
    with_attempt,
)

PLAN = Plan(exchange_now_ms=NOW, parts=rest(DAY), expected=1440)
FAILURE = Failure(reason="no such symbol", next_step="correct it")
PROOF = SeriesProof(
    round=1,
    checked_ms=NOW,
    expected=1440,
    stored=1440,
    segments=(Segment(start_ms=DAY_START, end_ms=DAY_START + DAY_MS, verdict=Verdict.STORED, collection="c"),),
)
BAN = Banned(until_ms=NOW + 60_000, said_ms=NOW)
FINDINGS: list[Finding] = [
    Planned(PLAN),
    Proven(proof=PROOF, asked=True),
    Proven(proof=PROOF, asked=False),
    Unanswered(reason="no route", number=1, at_ms=NOW),
    Unanswered(reason="banned", number=0, at_ms=NOW, ban=BAN),
    Unanswered(reason="no route", number=POLICY.max_asking_failures, at_ms=NOW),
    Refused(FAILURE),
    Failed(action="Prepare", number=1, reason="a bug"),
    Failed(action="Prove", number=POLICY.max_action_failures, reason="a bug"),
    Failed(action="Launch", number=1, reason="a bug", target=LOADER, attempt=1),
    Failed(action="Launch", number=POLICY.max_action_failures, reason="a bug", target=SINK, attempt=1),
    TopicsRemoved(dead_letters=False),
    TopicsRemoved(dead_letters=True),
]


def folded(workflow: Workflow, finding: Finding, policy: Policy = POLICY) -> Workflow:
    return apply(workflow, Fact(workflow.epoch, finding), policy)


def ended(status: Status, **fields: Any) -> Workflow:
    return changed(accepted(), status=status, ended_ms=NOW, plan=PLAN, **fields)


@pytest.mark.parametrize("finding", FINDINGS, ids=lambda finding: type(finding).__name__)
@pytest.mark.parametrize("off", [-1, 1])
def test_a_fact_of_another_epoch_changes_nothing(finding: Finding, off: int) -> None:
    for workflow in (replace(accepted(), epoch=5), replace(ended(Status.FINISHED), epoch=5)):
        assert apply(workflow, Fact(5 + off, finding), POLICY) == workflow


@pytest.mark.parametrize("finding", FINDINGS, ids=lambda finding: type(finding).__name__)
def test_a_fact_that_comes_again_changes_nothing(finding: Finding) -> None:
    stopping = grant(decide_running(), Stop(), NOW)
    for workflow in (accepted(), decide_running(), stopping, ended(Status.ERROR)):
        fact = Fact(workflow.epoch, finding)
        once = apply(workflow, fact, POLICY)
        assert apply(once, fact, POLICY) == once


def test_a_plan_lets_the_loaders_load_what_it_names_once() -> None:
    begun = replace(accepted(), status=Status.RUNNING, asking_failures=3, waiting_for="the exchange")
    fact = Fact(begun.epoch, Planned(PLAN))
    planned = apply(begun, fact, POLICY)
    assert (plan_of(planned), planned.asking_failures, planned.waiting_for) == (PLAN, 0, "")
    assert step(planned, LOADER).ranges == (DAY,)
    assert apply(planned, fact, POLICY) == planned


def test_a_proof_is_kept_and_a_survey_says_that_it_was_made() -> None:
    before = ended(Status.ERROR, asking_failures=3)
    asked, surveyed = (folded(before, Proven(proof=PROOF, asked=asked)) for asked in (True, False))
    assert (asked.asking_failures, surveyed.asking_failures) == (0, 0), "the exchange answers"
    assert (proof_of(asked), asked.surveyed) == (PROOF, False)
    assert (proof_of(surveyed), surveyed.surveyed) == (PROOF, True)


def test_what_sinks_have_left_is_kept_with_their_steps() -> None:
    left = {SINK: Left(7, at_least=True), "other": Left(3)}
    surveyed = folded(decide_running(), Proven(proof=PROOF, asked=False, left=left))
    assert (step(surveyed, SINK).left, step(surveyed, SINK).left_at_least) == (7, True)
    assert step(surveyed, LOADER) == step(decide_running(), LOADER)


def test_tries_without_an_answer_are_counted_and_end_a_ban_is_not() -> None:
    policy = Policy(max_asking_failures=3)
    workflow = accepted()
    for count in (1, 2):
        no_route = Unanswered(reason="no route", number=count, at_ms=NOW, retry_after_ms=90_000)
        workflow = folded(workflow, no_route, policy)
        workflow = folded(workflow, Unanswered(reason="banned", number=count, at_ms=NOW, ban=BAN), policy)
        assert (workflow.asking_failures, workflow.failure) == (count, None)
    assert folded(workflow, Unanswered(reason="late", number=1, at_ms=NOW), policy) == workflow
    last = folded(workflow, Unanswered(reason="no route", number=3, at_ms=NOW, retry_after_ms=90_000), policy)
    assert last.asking_failures == 3
    assert last.failure == Failure(
        code="exchange-silent",
        reason="the exchange did not answer 3 times in a row; the last time: no route",
        next_step="see whether the exchange can be reached from here, then retry the workflow",
    )
    for ban, failures in ((None, 1), (BAN, 0)):
        busy = Unanswered(reason="busy", number=failures, at_ms=NOW, ban=ban)
        waits = folded(accepted(), busy, policy)
        assert waits.not_before_ms == NOW + backoff_ms(policy, 1, accepted().queue_id, failures), "all at other times"
    waits = folded(accepted(), Unanswered(reason="busy", number=1, at_ms=NOW, retry_after_ms=90_000), policy)
    assert waits.not_before_ms == NOW + 90_000
    assert waits.waiting_for == f"the exchange: busy; next try at {format_ms(NOW + 90_000)}"


def test_the_first_refusal_is_the_failure() -> None:
    begun = decide_running()
    facts = [Fact(begun.epoch, Refused(Failure(reason=reason, next_step=""))) for reason in ("first", "second")]
    refused = begun
    for fact in facts:
        refused = apply(refused, fact, POLICY)
    assert refused.failure is not None
    assert refused.failure.reason == "first"


ACTIONS: list[Action] = [Prepare(), Prove(ask=True), Launch(LOADER), Launch(SINK)]


def tried(workflow: Workflow, action: Action, times: int, reason: str = "a bug") -> Workflow:
    """The workflow after so many tries of the action have failed."""
    for _ in range(times):
        found = failed(workflow, action, reason)
        assert found is not None
        workflow = folded(workflow, found)
    return workflow


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: type(action).__name__)
def test_an_action_that_fails_by_itself_five_times_fails_the_workflow(action: Action) -> None:
    begun = tried(decide_running(), action, 4)
    assert (begun.failure, begun.epoch) == (None, decide_running().epoch)
    given_up = tried(begun, action, 1, "another bug")
    assert given_up.failure == Failure(
        code="action-failed",
        reason=f"{type(action).__name__} failed again and again: another bug",
        next_step="see the manager's log; if it names no cause that you can remove, report it",
    )
    assert (given_up.epoch, given_up.action_failures) == (begun.epoch + 1, 0)


@pytest.mark.parametrize("action", [SendStop(LOADER), EndJob("job"), Launch("other")])
def test_what_a_workflow_does_not_depend_on_is_tried_until_it_works(action: Action) -> None:
    assert failed(decide_running(), action, "a bug") is None
    assert failed(accepted(), Launch(LOADER), "a bug") is None, "no attempt was planned"


def test_tries_of_each_launch_are_counted_alone_and_those_of_another_attempt_are_none() -> None:
    begun = tried(tried(decide_running(), Launch(LOADER), 4), Launch(SINK), 4)
    assert (begun.failure, begun.action_failures) == (None, 0)
    late = failed(begun, Launch(LOADER), "a bug")
    assert late == Failed(action="Launch", number=5, reason="a bug", target=LOADER, attempt=1)
    loader = step(begun, LOADER)
    following = begun.with_step(
        replace(loader, attempts=(*loader.attempts, Attempt(number=2, job="a", planned_ms=NOW)))
    )
    assert folded(following, late) == following
    third = Attempt(number=3, job="b", planned_ms=NOW)
    attempts = (*step(following, LOADER).attempts, third)
    again = tried(following.with_step(replace(loader, attempts=attempts)), Launch(LOADER), 1)
    assert step(again, LOADER).attempts == (*attempts[:-1], replace(third, launch_failures=1))
    assert folded(begun, replace(late, target="other")) == begun


def test_tries_of_an_epoch_are_counted_in_it_alone() -> None:
    begun = tried(accepted(), Prepare(), 4)
    assert begun.action_failures == 4
    assert folded(begun, Planned(PLAN)).action_failures == 0
    assert folded(begun, Failed(action="Prepare", number=3, reason="late")) == begun


@pytest.mark.parametrize(
    "answer",
    [
        Unanswered(reason="no route", number=1, at_ms=NOW),
        Unanswered(reason="banned", number=0, at_ms=NOW, ban=BAN),
        Proven(proof=PROOF, asked=True),
    ],
    ids=lambda finding: type(finding).__name__,
)
def test_a_try_that_finds_something_out_ends_the_row_of_those_that_failed(answer: Finding) -> None:
    begun = folded(tried(decide_running(), Prove(ask=True), 4), answer)
    assert begun.action_failures == 0
    assert tried(begun, Prove(ask=True), 4).failure is None
    assert tried(begun, Prove(ask=True), 5).failure is not None


def test_an_answer_that_comes_late_ends_no_row() -> None:
    begun = tried(replace(accepted(), asking_failures=2), Prepare(), 4)
    assert folded(begun, Unanswered(reason="late", number=1, at_ms=NOW)) == begun


def test_a_survey_that_is_given_up_lets_a_stopped_workflow_end() -> None:
    stopped = grant(decide_running(), Stop(), NOW)
    assert not tried(stopped, Launch(LOADER), 5).surveyed
    assert not tried(stopped, Prove(ask=False), 4).surveyed
    given_up = tried(stopped, Prove(ask=False), 5)
    assert (given_up.surveyed, given_up.failure) == (True, None)


def test_removed_topics_are_remembered_unless_the_workflow_goes_on() -> None:
    workflow = ended(Status.ERROR)
    fact = Fact(workflow.epoch, TopicsRemoved(dead_letters=False))
    assert apply(workflow, fact, POLICY).topic_removed
    assert not apply(grant(workflow, Retry(), NOW), fact, POLICY).topic_removed
    assert folded(workflow, TopicsRemoved(dead_letters=True)).dlq_removed


def test_a_stop_is_remembered_once() -> None:
    stopped = grant(decide_running(), Stop(), NOW)
    assert (stopped.status, stopped.stop_asked_ms) == (Status.STOPPING, NOW)
    assert grant(stopped, Stop(), NOW + 5) == stopped


@pytest.mark.parametrize(
    ("status", "request_", "reason"),
    [
        (Status.FINISHED, Stop(), "has ended (finished): there is nothing to stop"),
        (Status.FINISHED, Retry(), "is finished: only an interrupted or failed one can be retried"),
        (Status.RUNNING, Retry(), "is running: only an interrupted or failed one can be retried"),
        (Status.RUNNING, Replay(), "is running: dead letters are replayed after its end"),
    ],
)
def test_what_is_not_possible_now_is_refused(status: Status, request_: Request, reason: str) -> None:
    with pytest.raises(NotNow) as refused:
        grant(replace(ended(status), ended_ms=None), request_, NOW)
    assert str(refused.value) == f"workflow {accepted().queue_id} {reason}"


@pytest.mark.parametrize("request_", [Retry(), Replay()])
def test_what_goes_on_waits_for_a_free_slot_as_a_new_workflow_does(request_: Request) -> None:
    again = grant(ended(Status.INTERRUPTED), request_, NOW)
    assert (again.status, again.ended_ms) == (Status.PENDING, None)
    waits, actions = decide(again, NOW, POLICY, Conditions(may_start=False))
    assert (waits.status, actions) == (Status.PENDING, [])
    assert waits.waiting_for == "a free slot: other workflows are running"
    assert decide(again, NOW, POLICY, Conditions())[0].status is Status.RUNNING


def test_each_thing_that_makes_results_out_of_date_begins_an_epoch() -> None:
    workflow = accepted()
    seen = [workflow.epoch]

    def next_one(changed: Workflow) -> Workflow:
        seen.append(changed.epoch)
        return changed

    workflow = next_one(folded(workflow, Planned(PLAN)))
    workflow = replace(workflow, steps=tuple(replace(s, status=StepStatus.FINISHED) for s in workflow.steps))
    ours = replace(PROOF, segments=(replace(PROOF.segments[0], verdict=Verdict.OURS),))
    workflow = next_one(decide(changed(workflow, proof=ours), NOW, POLICY, Conditions())[0])  # a repair
    workflow = next_one(grant(workflow, Stop(), NOW))
    workflow = next_one(decide(replace(workflow, surveyed=True), NOW, POLICY, Conditions())[0])
    assert workflow.status is Status.INTERRUPTED
    workflow = next_one(grant(workflow, Retry(), NOW))
    workflow = next_one(folded(workflow, Refused(FAILURE)))
    workflow = next_one(decide(workflow, NOW, POLICY, Conditions())[0])
    assert workflow.status is Status.ERROR
    next_one(grant(workflow, Replay(), NOW))
    assert seen == sorted(set(seen))


def test_a_worker_that_others_stopped_begins_an_epoch() -> None:
    stopped = with_attempt(decide_running(), LOADER, ended_ms=NOW, terminal_event="interrupted", exit_code=0)
    decided, _ = decide(stopped, NOW, POLICY, Conditions())
    assert decided.stop_asked_ms == NOW
    assert decided.epoch > stopped.epoch


def test_a_document_of_the_version_before_is_read() -> None:
    without = encode_workflow(accepted()).replace(b'"epoch":0,', b"")
    assert b"epoch" not in without
    assert decode_workflow(without) == accepted()
