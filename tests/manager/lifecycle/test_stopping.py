"""The end in order: who is asked when, how long each may take, and what is kept of it."""

from __future__ import annotations

from streamforge.manager.lifecycle.actions import EndJob, SendStop
from streamforge.manager.lifecycle.decision import Conditions, decide
from streamforge.manager.lifecycle.retry_policy import STUCK
from streamforge.manager.workflow import Status, Workflow
from tests.manager.support import (
    LOADER,
    NOW,
    POLICY,
    accepted,
    attempt,
    decide_running,
    planned,
    replace,
    step,
    with_attempt,
)

W = Conditions()


def third(workflow: Workflow, target: str) -> Workflow:
    """The workflow with two attempts before the one of `target`."""
    of = step(workflow, target)
    attempts = tuple(replace(of.attempts[0], number=number, job=f"job-{number}") for number in (1, 2, 3))
    return workflow.with_step(replace(of, attempts=attempts))


def test_who_stops_waits_for_nothing_and_its_attempts_before_are_kept() -> None:
    running = third(replace(decide_running(), stop_asked_ms=NOW, waiting_for="the exchange"), LOADER)
    stopping, actions = decide(running, NOW, POLICY, W)
    assert (stopping.waiting_for, actions) == ("", [SendStop(LOADER)])
    assert step(stopping, LOADER).attempts[:-1] == step(running, LOADER).attempts[:-1]
    assert attempt(stopping, LOADER).stop_asked_ms == NOW


def test_what_was_never_started_is_given_up_after_three_seconds_and_the_attempts_before_are_kept() -> None:
    launched = third(replace(decide(planned(), NOW, POLICY, W)[0], stop_asked_ms=NOW), LOADER)
    stopping, _ = decide(launched, NOW, POLICY, W)
    assert attempt(decide(stopping, NOW + 3_000, POLICY, W)[0], LOADER).ended_ms is None
    given_up, _ = decide(stopping, NOW + 3_001, POLICY, W)
    assert (attempt(given_up, LOADER).ended_ms, attempt(given_up, LOADER).reason) == (
        NOW + 3_001,
        "it was never started",
    )
    assert step(given_up, LOADER).attempts[:-1] == step(launched, LOADER).attempts[:-1]


def test_the_job_of_a_stuck_attempt_is_ended_without_patience() -> None:
    stuck = with_attempt(decide_running(), LOADER, stop_asked_ms=NOW, stop_reason=STUCK)
    stopping = replace(stuck, stop_asked_ms=NOW)
    assert EndJob(attempt(stuck, LOADER).job) in decide(stopping, NOW + 1, POLICY, W)[1]


def test_what_had_nothing_to_load_has_nothing_left_to_survey() -> None:
    stopped, actions = decide(replace(accepted(), stop_asked_ms=NOW), NOW, POLICY, W)
    assert (stopped.status, stopped.surveyed, actions) == (Status.INTERRUPTED, True, [])
