"""When a job is called stuck, to the millisecond, and what is said of it."""

from __future__ import annotations

from typing import Any

import pytest

from streamforge.manager.lifecycle.actions import EndJob
from streamforge.manager.lifecycle.decision import Conditions, decide
from streamforge.manager.lifecycle.retry_policy import STUCK
from streamforge.manager.workflow import StepStatus, Workflow
from streamforge_utils.model.events import Progress
from tests.manager.support import LOADER, NOW, POLICY, SINK, attempt, decide_running, replace, step, with_attempt

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
        ({"progressed_ms": NOW + 10**9}, "it said nothing for 10000 s"),
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


def test_a_sink_waits_for_markers_as_long_as_for_anything() -> None:
    workflow = with_attempt(decide_running(), LOADER, ended_ms=NOW, terminal_event="finished", exit_code=0)
    workflow = with_attempt(workflow, SINK, **AWAY, progress=Progress(lag=0, waiting="records"))
    assert decide(workflow, NOW + PATIENCE_MS, LONG, W)[1] == []
    stuck, actions = decide(workflow, NOW + PATIENCE_MS + 1, LONG, W)
    assert actions == [EndJob(attempt(workflow, SINK).job)]
    assert attempt(stuck, SINK).reason == (
        "all is read and the loaders finished 10000 s ago, but the end of their stream never came"
    )


@pytest.mark.parametrize(("until_ms", "stuck"), [(0, True), (1, False)])
def test_what_waits_until_a_time_is_stuck_from_that_time_on(until_ms: int, stuck: bool) -> None:
    late = NOW + 500_000
    waits = Progress(waiting="weight", waiting_until=(late + until_ms) / 1000)
    _, actions = decide(running(seen_ms=late, progress=waits), late, POLICY, W)
    assert bool(actions) is stuck


def test_the_attempts_before_a_stuck_one_are_kept() -> None:
    workflow = running()
    of = step(workflow, LOADER)
    three = tuple(replace(of.attempts[0], number=number, job=f"job-{number}") for number in (1, 2, 3))
    stuck, _ = decide(workflow.with_step(replace(of, attempts=three)), NOW + 31_000, POLICY, W)
    assert step(stuck, LOADER).attempts[:-1] == three[:-1]


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
