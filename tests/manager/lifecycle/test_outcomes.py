"""How an ended attempt is counted, with which reason, and when the next one may be made."""

from __future__ import annotations

from typing import Any

import pytest

from streamforge.manager.lifecycle.decision import Conditions, decide
from streamforge.manager.lifecycle.retry_policy import STOP, STUCK, apply_retry_policy, backoff_ms
from streamforge.manager.workflow import StepStatus, Workflow
from tests.manager.support import DAY, LOADER, NOW, POLICY, SINK, attempt, planned, replace, step, with_attempt


def ended(**fields: Any) -> Workflow:
    """A workflow whose loader has ended as the fields say."""
    workflow = decide(planned(), NOW, POLICY, Conditions())[0]
    return with_attempt(workflow, LOADER, **{"observed": True, "ended_ms": NOW, **fields})


@pytest.mark.parametrize(
    ("how", "outcome", "reason"),
    [
        ({"terminal_event": "finished", "exit_code": 0}, "finished", ""),
        ({"terminal_event": "error", "exit_code": 2, "error": "no key", "reason": "r"}, "refused", "no key"),
        ({"terminal_event": "error", "exit_code": 2, "reason": "exit code 2"}, "refused", "exit code 2"),
        ({"terminal_event": "error", "signal": 9, "stop_reason": STUCK, "reason": "silent"}, "stuck", "silent"),
        ({"terminal_event": "error", "signal": 9, "stop_reason": STUCK}, "stuck", "it was stuck"),
        ({"terminal_event": "interrupted", "exit_code": 0, "stop_reason": STOP}, "interrupted", ""),
        (
            {"terminal_event": "error", "exit_code": 1, "permanent": True, "error": "no symbol"},
            "permanent",
            "no symbol",
        ),
        ({"terminal_event": "error", "signal": 9, "reason": "out of memory"}, "disrupted", "out of memory"),
        ({"terminal_event": "error", "signal": 9}, "disrupted", "it was ended from outside"),
        ({"terminal_event": "interrupted", "exit_code": 0}, "interrupted", ""),
        ({"terminal_event": "interrupted", "exit_code": 1}, "disrupted", "it was asked to end by a signal"),
        ({"terminal_event": "finished", "exit_code": 1}, "failed", "it said finished, but ended with exit code 1"),
        ({"terminal_event": "error", "exit_code": 1, "error": "no disk", "reason": "r"}, "failed", "no disk"),
        ({"terminal_event": "error", "exit_code": 1, "reason": "no node"}, "failed", "no node"),
        ({"terminal_event": "error", "exit_code": 1}, "failed", "it ended with exit code 1"),
    ],
)
def test_an_end_has_a_reason_that_says_what_is_known(how: dict[str, Any], outcome: str, reason: str) -> None:
    found = attempt(apply_retry_policy(ended(**how), NOW, POLICY)[0], LOADER)
    assert (found.outcome, found.reason) == (outcome, reason)


def test_what_finished_has_nothing_left_and_was_not_disrupted() -> None:
    workflow = ended(terminal_event="finished", exit_code=0)
    workflow = workflow.with_step(replace(step(workflow, LOADER), disruptions=4, ranges=(DAY,)))
    done = step(apply_retry_policy(workflow, NOW, POLICY)[0], LOADER)
    assert (done.status, done.ranges, done.disruptions) == (StepStatus.FINISHED, (), 0)


@pytest.mark.parametrize(("before", "tries"), [(0, 0), (1, 0), (2, 1), (3, 2), (18, 17), (19, None)])
def test_from_the_third_disruption_in_a_row_on_the_next_attempt_waits_longer_and_longer(
    before: int, tries: int | None
) -> None:
    workflow = ended(terminal_event="error", signal=9)
    workflow = workflow.with_step(replace(step(workflow, LOADER), disruptions=before))
    found = step(apply_retry_policy(workflow, NOW, POLICY)[0], LOADER)
    if tries is None:
        assert found.status is StepStatus.ERROR
        return
    wait_ms = backoff_ms(POLICY, tries, attempt(workflow, LOADER).job) if tries else 0
    assert (found.status, found.disruptions, found.not_before_ms) == (StepStatus.WAITING, before + 1, NOW + wait_ms)


def test_each_failed_attempt_waits_its_own_time() -> None:
    workflow = ended(terminal_event="error", exit_code=1)
    found = step(apply_retry_policy(workflow, NOW, POLICY)[0], LOADER)
    job = attempt(workflow, LOADER).job
    assert found.not_before_ms == NOW + backoff_ms(POLICY, 1, workflow.queue_id, job)


@pytest.mark.parametrize("silent", [LOADER, SINK])
def test_one_that_ended_in_silence_holds_up_no_other(silent: str) -> None:
    other = SINK if silent == LOADER else LOADER
    workflow = with_attempt(ended(), SINK, observed=True, ended_ms=NOW)
    workflow = with_attempt(workflow, other, terminal_event="finished", exit_code=0)
    settled, words = apply_retry_policy(workflow, NOW, POLICY)
    assert [word.event.target for word in words] == [silent]
    assert (attempt(settled, other).outcome, attempt(settled, silent).outcome) == ("finished", None)
