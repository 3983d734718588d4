"""Before the first attempt and after the last one: what is waited for, until when, and what is said."""

from __future__ import annotations

import pytest

from streamforge.manager.engine.document import Attempt, Failure, Status, StepStatus, Workflow
from streamforge.manager.engine.lifecycle.actions import Launch, Prepare, Prove
from streamforge.manager.engine.lifecycle.conditions import Conditions
from streamforge.manager.engine.lifecycle.decision import decide
from streamforge.manager.workflows.series.model import SeriesProof
from streamforge_utils.model.coverage import Segment, Verdict
from tests.manager.support import (
    DAY_START,
    LOADER,
    MINUTE_MS,
    NOW,
    POLICY,
    SINK,
    accepted,
    changed,
    decide_running,
    replace,
    step,
    with_attempt,
)
from tests.manager.support import planned as with_plan

W = Conditions()
BAN = Conditions(banned_until_ms=NOW)
BAN_TEXT = "the end of the exchange's ban at 2024-08-11"


def finished() -> Workflow:
    workflow = decide_running()
    for target in (LOADER, SINK):
        workflow = with_attempt(workflow, target, ended_ms=NOW, terminal_event="finished", exit_code=0)
    return decide(workflow, NOW, POLICY, W)[0]


@pytest.mark.parametrize(("ban_reason", "why"), [("", ""), ("too many requests", ": too many requests")])
def test_the_end_of_a_ban_is_waited_for_to_the_millisecond_and_told(ban_reason: str, why: str) -> None:
    banned = replace(BAN, ban_reason=ban_reason)
    for before, action in ((replace(accepted(), status=Status.RUNNING), Prepare()), (finished(), Prove(ask=True))):
        waiting, actions = decide(replace(before, waiting_for="something"), NOW - 1, POLICY, banned)
        assert (waiting.waiting_for, actions) == (BAN_TEXT + why, [])
        assert decide(before, NOW, POLICY, banned)[1] == [action]
    waiting, actions = decide(with_plan(), NOW - 1, POLICY, banned)
    assert (waiting.waiting_for, actions) == (BAN_TEXT + why, [Launch(SINK)])
    assert step(waiting, LOADER).status is StepStatus.WAITING
    assert decide(waiting, NOW, POLICY, banned)[1] == [Launch(SINK), Launch(LOADER)]


def test_the_end_of_a_ban_is_told_in_whole_seconds_and_not_too_early() -> None:
    for more_ms, second in ((1, "01"), (1000, "01"), (1001, "02")):
        waiting, _ = decide(with_plan(), NOW, POLICY, replace(BAN, banned_until_ms=NOW + more_ms))
        assert waiting.waiting_for == f"{BAN_TEXT}T00:00:{second}Z"


def test_a_pause_before_the_exchange_is_asked_ends_with_its_last_millisecond() -> None:
    for before, action in ((accepted(), Prepare()), (finished(), Prove(ask=True))):
        paused = replace(before, not_before_ms=NOW)
        assert decide(paused, NOW - 1, POLICY, W)[1] == []
        assert decide(paused, NOW, POLICY, W)[1] == [action]


def test_what_the_questions_wait_for_is_told() -> None:
    waits = Conditions(exchange_waits="request weight")
    assert decide(accepted(), NOW, POLICY, waits)[0].waiting_for == "the exchange: request weight"
    proving = replace(finished(), waiting_for="something")
    assert decide(proving, NOW, POLICY, waits)[0].waiting_for == "the exchange: request weight"
    assert decide(proving, NOW, POLICY, W)[0].waiting_for == ""


def test_what_is_finished_waits_for_nothing() -> None:
    proof = SeriesProof(round=1, checked_ms=NOW, expected=0, stored=0, segments=())
    done, _ = decide(changed(finished(), proof=proof, waiting_for="the exchange"), NOW, POLICY, W)
    assert (done.status, done.waiting_for) == (Status.FINISHED, "")


def test_the_first_five_holes_that_stay_are_named_and_all_are_counted() -> None:
    verdicts = [Verdict.OURS, Verdict.STORED, Verdict.UNKNOWN] * 3
    segments = tuple(
        Segment(start_ms=DAY_START + n * MINUTE_MS, end_ms=DAY_START + (n + 1) * MINUTE_MS, verdict=verdict)
        for n, verdict in enumerate(verdicts)
    )
    proof = SeriesProof(round=6, checked_ms=NOW, expected=9, stored=3, segments=segments)
    failed, _ = decide(changed(finished(), repairs=5, proof=proof), NOW, POLICY, W)
    assert failed.failure == Failure(
        code="holes-left",
        reason="6 holes are still there after 5 rounds of repair: 2024-08-01:2024-08-01T00:01Z, "
        "2024-08-01T00:03Z:2024-08-01T00:04Z, 2024-08-01T00:06Z:2024-08-01T00:07Z, "
        "2024-08-01T00:02Z:2024-08-01T00:03Z, 2024-08-01T00:05Z:2024-08-01T00:06Z",
        next_step="look at the dead letters of the workflow for records that were refused, then retry it",
    )


def test_records_that_contradict_each_other_are_loaded_again_and_then_named_with_the_reason() -> None:
    hole = Segment(start_ms=DAY_START, end_ms=DAY_START + MINUTE_MS, verdict=Verdict.OURS, cause="5 ends with trade 9")
    proof = SeriesProof(round=6, checked_ms=NOW, expected=9, stored=7, segments=(hole,))
    again, _ = decide(changed(finished(), proof=proof), NOW, POLICY, W)
    assert (again.repairs, again.failure) == (1, None)
    failed, _ = decide(changed(finished(), repairs=5, proof=proof), NOW, POLICY, W)
    assert failed.failure == Failure(
        code="holes-left",
        reason="1 holes are still there after 5 rounds of repair: 2024-08-01:2024-08-01T00:01Z (5 ends with trade 9)",
        next_step="load it and what lies beside it again over REST alone (source=rest, again)",
    )


def two_loaders() -> Workflow:
    workflow = with_plan()
    loader = step(workflow, LOADER)
    return replace(workflow, steps=(loader, replace(loader, target="second", telemetry_id="s"), step(workflow, SINK)))


@pytest.mark.parametrize(("reason", "why"), [("", ""), ("no disk", "; the one before: no disk"), (None, "")])
def test_who_is_paused_is_told_and_holds_up_no_other(reason: str | None, why: str) -> None:
    workflow = two_loaders()
    before = (
        () if reason is None else (Attempt(number=1, job="j", planned_ms=0, ended_ms=1, outcome="f", reason=reason),)
    )
    workflow = workflow.with_step(replace(step(workflow, LOADER), not_before_ms=NOW, attempts=before))
    found, actions = decide(workflow, NOW - 1, POLICY, W)
    assert actions == [Launch(SINK), Launch("second")]
    assert found.waiting_for == f"the next attempt of {LOADER} at 2024-08-11{why}"
    assert {target: step(found, target).status for target in (LOADER, "second", SINK)} == {
        LOADER: StepStatus.WAITING,
        "second": StepStatus.RUNNING,
        SINK: StepStatus.RUNNING,
    }
    found, actions = decide(found, NOW, POLICY, W)
    assert (Launch(LOADER) in actions, found.waiting_for) == (True, "")


def test_a_ban_holds_up_no_loader_that_is_under_way() -> None:
    workflow = decide(two_loaders(), NOW, POLICY, W)[0]
    waiting = replace(step(workflow, LOADER), status=StepStatus.WAITING, attempts=())
    _, actions = decide(workflow.with_step(waiting), NOW - 1, POLICY, BAN)
    assert actions == [Launch(SINK), Launch("second")]


def test_who_waits_for_another_says_for_whom_and_who_goes_on_waits_for_nothing() -> None:
    waiting, actions = decide(accepted(), NOW, POLICY, Conditions(ahead="wf-other"))
    assert (waiting.status, actions) == (Status.PENDING, [])
    assert waiting.waiting_for == "the end of wf-other, which loads a part of its range"
    going, _ = decide(replace(waiting, not_before_ms=NOW + 1), NOW, POLICY, W)
    assert (going.status, going.waiting_for) == (Status.RUNNING, "")


def test_jobs_that_cannot_be_seen_are_waited_for_where_nothing_else_is() -> None:
    unseen = Conditions(unseen="it does not answer")
    running = decide_running()
    assert decide(running, NOW, POLICY, unseen)[0].waiting_for == "the launcher: it does not answer"
    assert decide(running, NOW, POLICY, W)[0].waiting_for == ""
    starting = with_attempt(running, SINK, started_ms=None, message="no node")
    assert decide(starting, NOW, POLICY, unseen)[0].waiting_for == f"the start of {SINK}: no node"
    for without_jobs in (finished(), replace(running, status=Status.FINISHED, ended_ms=NOW)):
        assert decide(without_jobs, NOW, POLICY, unseen)[0].waiting_for == ""
