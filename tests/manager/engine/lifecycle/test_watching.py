"""When a job is called stuck, to the millisecond, and with which reason; a job that waits for room is not."""

from __future__ import annotations

from typing import Any

import pytest

from streamforge.manager.engine.document import Status, StepStatus, Workflow
from streamforge.manager.engine.lifecycle.actions import EndJob, Launch
from streamforge.manager.engine.lifecycle.conditions import Conditions
from streamforge.manager.engine.lifecycle.decision import decide
from streamforge.manager.engine.lifecycle.fold import fold_event, fold_jobs
from streamforge.manager.engine.lifecycle.retry_policy import STUCK
from streamforge_utils.model.messages import Progress
from streamforge_utils.ports.launcher import JobState
from tests.manager.support import (
    LOADER,
    NOW,
    POLICY,
    SINK,
    attempt,
    decide_running,
    job_named,
    planned,
    replace,
    said,
    step,
    with_attempt,
)

W = Conditions()
PATIENCE_MS = 10_000_000
LONG = replace(POLICY, start_within_s=10_000.0, silent_after_s=10_000.0, stuck_after_s=10_000.0)
"""So patient that a second of 1001 milliseconds would be seen."""

AWAY = {"seen_ms": NOW + 10**9, "progressed_ms": NOW + 10**9}


def running(**fields: Any) -> Workflow:
    """The sink is well; the loader is as the fields say."""
    return with_attempt(with_attempt(decide_running(), SINK, **AWAY), LOADER, **fields)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"started_ms": None, "seen_ms": None}, "it did not start within 10000 s"),
        ({"started_ms": None, "message": "no node"}, "it did not start within 10000 s: no node"),
        ({"progressed_ms": NOW + 10**9}, "it sent nothing for 10000 s"),
        ({"seen_ms": NOW + 10**9}, "it was alive but got nowhere for 10000 s"),
    ],
)
def test_patience_ends_after_its_last_millisecond(fields: dict[str, Any], said: str) -> None:
    workflow = running(**fields)
    patient, actions = decide(workflow, NOW + PATIENCE_MS, LONG, W)
    assert (actions, attempt(patient, LOADER).stop_asked_ms) == ([], None)
    late = NOW + PATIENCE_MS + 1
    stuck, actions = decide(workflow, late, LONG, W)
    assert actions == [EndJob(attempt(workflow, LOADER).job)]
    found = attempt(stuck, LOADER)
    assert (found.stop_asked_ms, found.stop_reason, found.reason) == (late, STUCK, said)


WELL: list[tuple[dict[str, Any], int]] = [
    ({"observed": False, "started_ms": None, "seen_ms": None}, 9_999_000),
    ({"started_ms": None, "planned_ms": NOW - 999_000}, 30_000),
    ({"seen_ms": NOW + 120_000, "progressed_ms": NOW + 100_000}, 121_000),
    ({"seen_ms": NOW + 120_000, "progress": Progress(waiting="weight")}, 121_000),
    ({"seen_ms": NOW + 500_000, "progress": Progress(waiting="weight", waiting_until=NOW / 1000 + 500.001)}, 500_000),
]


@pytest.mark.parametrize(
    ("fields", "after_ms"), WELL, ids=["not launched yet", "launched late", "moving", "waiting", "waiting for a time"]
)
def test_who_is_not_stuck(fields: dict[str, Any], after_ms: int) -> None:
    assert decide(running(**fields), NOW + after_ms, POLICY, W)[1] == [
        Launch(LOADER) for observed in [fields.get("observed", True)] if not observed
    ]


def test_one_that_waits_longer_than_it_said_is_stuck() -> None:
    waits = Progress(waiting="weight", waiting_until=NOW / 1000 + 500)
    _, actions = decide(running(seen_ms=NOW + 500_000, progress=waits), NOW + 500_000, POLICY, W)
    assert actions == [EndJob(attempt(running(), LOADER).job)]


@pytest.mark.parametrize(
    ("lag", "after_ms", "loader_is_over", "stuck"),
    [
        (0, PATIENCE_MS + 1, True, True),
        (0, PATIENCE_MS, True, False),
        (1, PATIENCE_MS + 1, True, False),
        (0, PATIENCE_MS + 1, False, False),
    ],
    ids=["nothing comes any more", "not for long", "something is left to read", "its loader is not over"],
)
def test_a_sink_whose_loaders_ended_without_a_marker_does_not_wait_for_ever(
    lag: int, after_ms: int, loader_is_over: bool, stuck: bool
) -> None:
    over = {"ended_ms": NOW, "terminal_event": "finished", "exit_code": 0}
    workflow = with_attempt(decide_running(), LOADER, **(over if loader_is_over else AWAY))
    workflow = with_attempt(workflow, SINK, **AWAY, progress=Progress(lag=lag, waiting="records"))
    found, actions = decide(workflow, NOW + after_ms, LONG, W)
    assert actions == ([EndJob(attempt(workflow, SINK).job)] if stuck else [])
    assert attempt(found, SINK).reason == (
        "all is read and the loaders finished 10000 s ago, but the end of their stream never came" if stuck else ""
    )


@pytest.mark.parametrize(
    ("unseen", "terminal_event", "ended"),
    [("no answer", "finished", False), ("no answer", None, True), ("", "error", True)],
)
def test_only_who_said_its_terminal_event_is_given_time_while_no_job_is_seen(
    unseen: str, terminal_event: str | None, ended: bool
) -> None:
    workflow = running(terminal_event=terminal_event)
    _, actions = decide(workflow, NOW + 31_000, POLICY, Conditions(unseen=unseen))
    assert (EndJob(attempt(workflow, LOADER).job) in actions) is ended


@pytest.mark.parametrize("first", [LOADER, SINK])
@pytest.mark.parametrize("over", [True, False], ids=["the other is over", "the other is about to end"])
def test_a_stuck_one_is_seen_whatever_the_other_does(first: str, over: bool) -> None:
    other = SINK if first == LOADER else LOADER
    workflow = with_attempt(decide_running(), first, terminal_event="finished")
    if over:
        workflow = workflow.with_step(replace(step(workflow, first), status=StepStatus.FINISHED))
        workflow = with_attempt(workflow, first, ended_ms=NOW, exit_code=0, outcome="finished")
    _, actions = decide(workflow, NOW + 31_000, POLICY, Conditions(unseen="no answer"))
    assert actions == [EndJob(attempt(workflow, other).job)]


# A job that is there and has not begun.

START_MS = int(POLICY.start_within_s * 1000)
IMAGE = {"waiting": "image x cannot be pulled", "next_step": "correct STREAMFORGE_IMAGES"}
NO_ROOM = {"waiting": "no node takes it", "next_step": "add a node", "waits_for_room": True}


def launched() -> Workflow:
    return decide(planned(), NOW, POLICY, W)[0]


def look(workflow: Workflow, now_ms: int, **sink: Any) -> Workflow:
    """The workflow after a look at jobs of which only the sink's does not begin."""
    jobs = {target: job_named(attempt(workflow, target).job, state=JobState.RUNNING) for target in (LOADER, SINK)}
    jobs[SINK] = replace(jobs[SINK], **sink)
    return fold_jobs(workflow, {job.name: job for job in jobs.values()}, now_ms)


def test_what_a_job_waits_for_is_what_its_workflow_waits_for() -> None:
    workflow = look(launched(), NOW, **IMAGE)
    assert attempt(workflow, SINK).message == "image x cannot be pulled"
    workflow, actions = decide(workflow, NOW, POLICY, W)
    assert workflow.waiting_for == f"the start of {SINK}: image x cannot be pulled"
    assert EndJob(attempt(workflow, SINK).job) not in actions


def test_one_that_begins_waits_for_nothing_any_more() -> None:
    workflow = look(launched(), NOW, **IMAGE)
    workflow = decide(workflow, NOW, POLICY, W)[0]
    workflow = look(fold_event(workflow, said(workflow, SINK, "started"), NOW + 1), NOW + 1)
    assert decide(workflow, NOW + 1, POLICY, W)[0].waiting_for == ""


def test_one_that_never_begins_is_stuck_and_its_failure_says_why_and_what_to_do() -> None:
    policy = replace(POLICY, max_failures=1)
    workflow = look(launched(), NOW, **IMAGE)
    late = NOW + START_MS + 1
    workflow, actions = decide(look(workflow, late, **IMAGE), late, policy, W)
    assert EndJob(attempt(workflow, SINK).job) in actions
    ended = job_named(attempt(workflow, SINK).job, state=JobState.ENDED, reason="it never began", ended_ms=late)
    workflow = fold_jobs(workflow, {ended.name: ended}, late)
    workflow = fold_event(workflow, said(workflow, SINK, "error", error="it is gone"), late)
    workflow = decide(workflow, late, policy, W)[0]
    failure = step(workflow, SINK).failure
    assert step(workflow, SINK).status is StepStatus.ERROR
    assert failure is not None
    assert "it did not start within 30 s: image x cannot be pulled; it never began" in failure.reason
    assert failure.next_step == "correct STREAMFORGE_IMAGES"
    assert workflow.status is Status.STOPPING


def test_one_that_waits_for_room_is_waited_for_however_long() -> None:
    workflow = launched()
    for minutes in range(1, 60):
        now_ms = NOW + minutes * 60_000
        workflow = look(workflow, now_ms, **NO_ROOM)
        workflow, actions = decide(workflow, now_ms, POLICY, W)
        assert EndJob(attempt(workflow, SINK).job) not in actions
        assert workflow.waiting_for == f"the start of {SINK}: no node takes it"


def test_its_patience_begins_when_there_is_room() -> None:
    workflow = look(launched(), NOW + 10 * START_MS, **NO_ROOM)
    soon, late = NOW + 11 * START_MS - 1, NOW + 11 * START_MS + 1001
    job = attempt(workflow, SINK).job
    assert EndJob(job) not in decide(look(workflow, soon), soon, POLICY, W)[1]
    assert EndJob(job) in decide(look(workflow, late), late, POLICY, W)[1]


def test_what_was_to_be_done_about_the_waiting_is_no_advice_for_a_later_end() -> None:
    workflow = look(launched(), NOW, **IMAGE)
    workflow = fold_event(workflow, said(workflow, SINK, "started"), NOW)
    ended = job_named(
        attempt(workflow, SINK).job, state=JobState.ENDED, exit_code=1, reason="exit code 1", ended_ms=NOW
    )
    assert attempt(fold_jobs(workflow, {ended.name: ended}, NOW), SINK).next_step == ""
    ended = replace(ended, next_step="raise the limit")
    assert attempt(fold_jobs(workflow, {ended.name: ended}, NOW), SINK).next_step == "raise the limit"
