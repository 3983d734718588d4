"""A job that is there and has not begun: what it waits for is told, and only what waits for nothing is called stuck."""

from __future__ import annotations

from typing import Any

from streamforge.manager.lifecycle.actions import EndJob
from streamforge.manager.lifecycle.decision import Conditions, decide
from streamforge.manager.lifecycle.fold import fold_event, fold_jobs
from streamforge.manager.workflow import Status, StepStatus, Workflow
from streamforge_utils.ports.launcher import JobState
from tests.manager.support import LOADER, NOW, POLICY, SINK, attempt, job_named, planned, replace, said, step

W = Conditions()
PATIENCE_MS = int(POLICY.start_within_s * 1000)
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
    late = NOW + PATIENCE_MS + 1
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
    workflow = look(launched(), NOW + 10 * PATIENCE_MS, **NO_ROOM)
    soon, late = NOW + 11 * PATIENCE_MS - 1, NOW + 11 * PATIENCE_MS + 1001
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
