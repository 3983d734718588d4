"""What actions found out and what people ask for, folded into a workflow: only what is of its epoch counts."""

from __future__ import annotations

from typing import Any

import pytest

from streamforge.manager.deciding.decide import World, decide
from streamforge.manager.deciding.facts import (
    Fact,
    Finding,
    GivenUp,
    Planned,
    Proven,
    Refused,
    Replay,
    Request,
    Retry,
    Stop,
    TopicsRemoved,
    Unanswered,
    apply,
    grant,
)
from streamforge.manager.deciding.settling import backoff_ms
from streamforge.manager.policy import Policy
from streamforge.manager.service import NotNow
from streamforge.manager.workflow import (
    Failure,
    Plan,
    Proof,
    Status,
    StepStatus,
    Workflow,
    decode_workflow,
    encode_workflow,
)
from streamforge_utils.model.coverage import Segment, Verdict
from tests.manager.support import (
    DAY,
    DAY_MS,
    DAY_START,
    LOADER,
    NOW,
    POLICY,
    accepted,
    decide_running,
    replace,
    step,
    with_attempt,
)

PLAN = Plan(exchange_now_ms=NOW, load=(DAY,), expected=1440)
FAILURE = Failure(reason="no such symbol", next_step="correct it")
PROOF = Proof(
    round=1,
    checked_ms=NOW,
    expected=1440,
    stored=1440,
    segments=(Segment(start_ms=DAY_START, end_ms=DAY_START + DAY_MS, verdict=Verdict.STORED, collection="c"),),
)
FINDINGS: list[Finding] = [
    Planned(PLAN),
    Proven(proof=PROOF, asked=True),
    Proven(proof=PROOF, asked=False),
    Unanswered(reason="no route"),
    Refused(FAILURE),
    GivenUp(action="Prepare", reason="a bug"),
    TopicsRemoved(dead_letters=False),
    TopicsRemoved(dead_letters=True),
]


def folded(workflow: Workflow, finding: Finding, policy: Policy = POLICY) -> Workflow:
    return apply(workflow, Fact(workflow.epoch, finding), NOW, policy)


def ended(status: Status, **fields: Any) -> Workflow:
    return replace(accepted(), status=status, ended_ms=NOW, plan=PLAN, **fields)


@pytest.mark.parametrize("finding", FINDINGS, ids=lambda finding: type(finding).__name__)
@pytest.mark.parametrize("off", [-1, 1])
def test_a_fact_of_another_epoch_changes_nothing(finding: Finding, off: int) -> None:
    for workflow in (replace(accepted(), epoch=5), replace(ended(Status.FINISHED), epoch=5)):
        assert apply(workflow, Fact(5 + off, finding), NOW, POLICY) == workflow


def test_a_plan_lets_the_loaders_load_what_it_names_once() -> None:
    begun = replace(accepted(), status=Status.RUNNING, asking_failures=3, waiting_for="the exchange")
    fact = Fact(begun.epoch, Planned(PLAN))
    planned = apply(begun, fact, NOW, POLICY)
    assert (planned.plan, planned.asking_failures, planned.waiting_for) == (PLAN, 0, "")
    assert step(planned, LOADER).ranges == (DAY,)
    assert apply(planned, fact, NOW, POLICY) == planned


def test_a_proof_is_kept_and_a_survey_says_that_it_was_made() -> None:
    before = ended(Status.ERROR, asking_failures=3)
    asked, surveyed = (folded(before, Proven(proof=PROOF, asked=asked)) for asked in (True, False))
    assert (asked.asking_failures, surveyed.asking_failures) == (0, 0), "the exchange answers"
    assert (asked.proof, asked.surveyed) == (PROOF, False)
    assert (surveyed.proof, surveyed.surveyed) == (PROOF, True)


def test_tries_without_an_answer_are_counted_and_end_a_ban_is_not() -> None:
    policy = Policy(max_asking_failures=3)
    workflow = accepted()
    for count in (1, 2):
        workflow = folded(workflow, Unanswered(reason="no route", retry_after_ms=90_000), policy)
        workflow = folded(workflow, Unanswered(reason="banned", banned=True), policy)
        assert (workflow.asking_failures, workflow.failure) == (count, None)
    failed = folded(workflow, Unanswered(reason="no route", retry_after_ms=90_000), policy)
    assert failed.asking_failures == 3
    assert failed.failure == Failure(
        reason="the exchange did not answer 3 times in a row; the last time: no route",
        next_step="see whether the exchange can be reached from here, then retry the workflow",
    )
    for banned, failures in ((False, 1), (True, 0)):
        waits = folded(accepted(), Unanswered(reason="busy", banned=banned), policy)
        assert waits.not_before_ms == NOW + backoff_ms(policy, 1, accepted().queue_id, failures), "all at other times"
    waits = folded(accepted(), Unanswered(reason="busy", retry_after_ms=90_000), policy)
    assert (waits.not_before_ms, waits.waiting_for) == (NOW + 90_000, "the exchange: busy")


def test_the_first_refusal_is_the_failure() -> None:
    begun = decide_running()
    facts = [Fact(begun.epoch, Refused(Failure(reason=reason, next_step=""))) for reason in ("first", "second")]
    failed = begun
    for fact in facts:
        failed = apply(failed, fact, NOW, POLICY)
    assert failed.failure is not None
    assert failed.failure.reason == "first"


@pytest.mark.parametrize(
    ("action", "fails"), [("Prepare", True), ("Launch", True), ("Prove", True), ("SendStop", False), ("EndJob", False)]
)
def test_what_is_given_up_fails_the_workflow_where_it_cannot_go_on_without(action: str, fails: bool) -> None:
    failure = Failure(
        reason=f"{action} failed again and again: a bug",
        next_step="see the manager's log; if it names no cause that you can remove, report it",
    )
    assert folded(decide_running(), GivenUp(action=action, reason="a bug")).failure == (failure if fails else None)


def test_a_survey_that_is_given_up_lets_a_stopped_workflow_end() -> None:
    stopped = grant(decide_running(), Stop(), NOW)
    assert not folded(stopped, GivenUp(action="Launch", reason="a bug")).surveyed
    given_up = folded(stopped, GivenUp(action="Prove", reason="a bug"))
    assert (given_up.surveyed, given_up.failure) == (True, None)


def test_removed_topics_are_remembered_unless_the_workflow_goes_on() -> None:
    workflow = ended(Status.ERROR)
    fact = Fact(workflow.epoch, TopicsRemoved(dead_letters=False))
    assert apply(workflow, fact, NOW, POLICY).topic_removed
    assert not apply(grant(workflow, Retry(), NOW), fact, NOW, POLICY).topic_removed
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
    waits, actions = decide(again, NOW, POLICY, World(may_start=False))
    assert (waits.status, actions) == (Status.PENDING, [])
    assert waits.waiting_for == "a free slot: other workflows are running"
    assert decide(again, NOW, POLICY, World())[0].status is Status.RUNNING


def test_each_thing_that_makes_results_out_of_date_begins_an_epoch() -> None:
    workflow = accepted()
    seen = [workflow.epoch]

    def next_one(changed: Workflow) -> Workflow:
        seen.append(changed.epoch)
        return changed

    workflow = next_one(folded(workflow, Planned(PLAN)))
    workflow = replace(workflow, steps=tuple(replace(s, status=StepStatus.FINISHED) for s in workflow.steps))
    ours = replace(PROOF, segments=(replace(PROOF.segments[0], verdict=Verdict.OURS),))
    workflow = next_one(decide(replace(workflow, proof=ours), NOW, POLICY, World())[0])  # a repair
    workflow = next_one(grant(workflow, Stop(), NOW))
    workflow = next_one(decide(replace(workflow, surveyed=True), NOW, POLICY, World())[0])
    assert workflow.status is Status.INTERRUPTED
    workflow = next_one(grant(workflow, Retry(), NOW))
    workflow = next_one(folded(workflow, Refused(FAILURE)))
    workflow = next_one(decide(workflow, NOW, POLICY, World())[0])
    assert workflow.status is Status.ERROR
    next_one(grant(workflow, Replay(), NOW))
    assert seen == sorted(set(seen))


def test_a_worker_that_others_stopped_begins_an_epoch() -> None:
    stopped = with_attempt(decide_running(), LOADER, ended_ms=NOW, last_word="interrupted", exit_code=0)
    decided, _ = decide(stopped, NOW, POLICY, World())
    assert decided.stop_asked_ms == NOW
    assert decided.epoch > stopped.epoch


def test_a_document_of_the_version_before_is_read() -> None:
    without = encode_workflow(accepted()).replace(b'"epoch":0,', b"")
    assert b"epoch" not in without
    assert decode_workflow(without) == accepted()
