from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamforge.manager.lifecycle.ban import LONGEST_BAN_MS
from streamforge.manager.lifecycle.decision import Conditions, decide
from streamforge.manager.lifecycle.fold import fold_event
from streamforge.manager.lifecycle.retry_policy import STOP, STUCK, apply_retry_policy, backoff_ms, remaining
from streamforge.manager.policy import Policy
from streamforge.manager.workflow import StepStatus, Workflow
from streamforge_utils.model.events import Event, Progress
from streamforge_utils.model.timeranges import TimeRange, parse_time_range
from tests.manager.support import (
    DAY,
    DAY_START,
    HOUR_MS,
    LOADER,
    MINUTE_MS,
    NOW,
    POLICY,
    SINK,
    attempt,
    decide_running,
    planned,
    replace,
    said,
    step,
    with_attempt,
)


def ended(target: str = LOADER, **fields: Any) -> Workflow:
    """A workflow whose `target` has ended as the fields say."""
    workflow = decide(planned(), NOW, POLICY, Conditions())[0]
    return with_attempt(workflow, target, **{"observed": True, "ended_ms": NOW, **fields})


@pytest.mark.parametrize(
    ("how", "outcome", "status"),
    [
        ({"terminal_event": "finished", "exit_code": 0}, "finished", StepStatus.FINISHED),
        ({"terminal_event": "finished"}, "finished", StepStatus.FINISHED),
        ({"terminal_event": "finished", "exit_code": 0, "stop_reason": STUCK}, "finished", StepStatus.FINISHED),
        ({"terminal_event": "finished", "exit_code": 1}, "failed", StepStatus.WAITING),
        ({"terminal_event": "finished", "exit_code": 2}, "refused", StepStatus.ERROR),
        ({"terminal_event": "error", "exit_code": 2, "permanent": True}, "refused", StepStatus.ERROR),
        ({"terminal_event": "error", "exit_code": 1}, "failed", StepStatus.WAITING),
        ({"terminal_event": "error", "exit_code": 0}, "failed", StepStatus.WAITING),
        ({"terminal_event": "error", "exit_code": 1, "permanent": True}, "permanent", StepStatus.ERROR),
        ({"terminal_event": "error", "signal": 9, "permanent": True}, "permanent", StepStatus.ERROR),
        ({"terminal_event": "error", "signal": 9}, "disrupted", StepStatus.WAITING),
        ({"terminal_event": "error"}, "disrupted", StepStatus.WAITING),
        ({"terminal_event": "interrupted", "exit_code": 1}, "disrupted", StepStatus.WAITING),
        ({"terminal_event": "interrupted", "exit_code": 1, "stop_reason": STOP}, "interrupted", StepStatus.INTERRUPTED),
        ({"terminal_event": "interrupted", "exit_code": 0, "stop_reason": STOP}, "interrupted", StepStatus.INTERRUPTED),
        ({"terminal_event": "error", "signal": 9, "stop_reason": STOP}, "interrupted", StepStatus.INTERRUPTED),
        ({"terminal_event": "error", "signal": 9, "stop_reason": STUCK}, "stuck", StepStatus.WAITING),
        ({"terminal_event": "interrupted", "exit_code": 1, "stop_reason": STUCK}, "stuck", StepStatus.WAITING),
    ],
)
def test_outcomes(how: dict[str, Any], outcome: str, status: StepStatus) -> None:
    settled, words = apply_retry_policy(ended(**how), NOW, POLICY)
    assert attempt(settled, LOADER).outcome == outcome
    assert step(settled, LOADER).status is status
    assert words == []
    assert apply_retry_policy(settled, NOW + 5, POLICY) == (settled, []), "an attempt is counted once"
    assert settled.stop_asked_ms is None


def test_a_stop_that_came_from_elsewhere_stops_the_workflow() -> None:
    settled, _ = apply_retry_policy(ended(terminal_event="interrupted", exit_code=0), NOW + 3, POLICY)
    assert settled.stop_asked_ms == NOW + 3
    assert step(settled, LOADER).status is StepStatus.INTERRUPTED


def test_of_two_pods_of_an_attempt_the_one_that_was_asked_to_end_stops_nothing() -> None:
    """Its own exit code was not that of the Job, which the other one gave."""
    running = decide_running()
    heard = fold_event(running, said(running, LOADER, "interrupted", extra={"exit_code": 1}), NOW)
    assert attempt(heard, LOADER).own_exit_code == 1
    workflow = with_attempt(heard, LOADER, exit_code=0, ended_ms=NOW)
    changed, _ = apply_retry_policy(workflow, NOW, POLICY)
    assert changed.stop_asked_ms is None
    assert attempt(changed, LOADER).outcome == "disrupted"
    assert step(changed, LOADER).status is StepStatus.WAITING


@pytest.mark.parametrize(
    ("stop_reason", "word", "message"),
    [("", "error", "killed"), (STUCK, "error", "killed"), (STOP, "interrupted", None)],
)
def test_a_silent_end_is_given_its_terminal_event_and_is_not_counted_before_it_is_heard(
    stop_reason: str, word: str, message: str | None
) -> None:
    workflow = ended(stop_reason=stop_reason, reason="killed", signal=9, progress=Progress(records=7))
    settled, (said,) = apply_retry_policy(workflow, NOW + 250, POLICY)
    assert settled is workflow
    assert said.event == Event(
        event=word,  # type: ignore[arg-type]
        status=word,  # type: ignore[arg-type]
        queue_id=workflow.queue_id,
        producer="loader-api-candles__abc123",
        target=LOADER,
        symbol="BTCUSDT",
        type="api_candles_1m",
        attempt=1,
        message="written by queue-manager: the worker could not speak",
        records_written=7,
        finished=True,
        timestamp=NOW / 1000 + 0.25,
        error_message=message,
        extra={"records": 7, "observed_by": "queue-manager"},
    )


def test_an_end_of_which_nothing_is_known_is_told_as_that() -> None:
    _, (said,) = apply_retry_policy(ended(signal=9, number=7), NOW, POLICY)
    assert (said.event.error_message, said.event.attempt) == ("its process is gone", 7)


@pytest.mark.parametrize(
    ("how", "policy", "next_step"),
    [
        (
            {"exit_code": 2, "terminal_event": "error"},
            POLICY,
            "correct the setting that the reason names, then retry the workflow",
        ),
        (
            {"exit_code": 1, "terminal_event": "error", "permanent": True},
            POLICY,
            "correct the request or the cause that the reason names; a retry alone will not help",
        ),
        (
            {"signal": 9, "terminal_event": "error"},
            replace(POLICY, max_disruptions=1),
            "see whether the machine ends processes (memory?), then retry the workflow",
        ),
        (
            {"signal": 9, "terminal_event": "error", "next_step": "give it more memory"},
            replace(POLICY, max_disruptions=1),
            "give it more memory",
        ),
        (
            {"exit_code": 1, "terminal_event": "error"},
            replace(POLICY, max_failures=1),
            "remove the cause that the reason names, then retry the workflow",
        ),
        (
            {"exit_code": 1, "terminal_event": "error", "next_step": "add a node"},
            replace(POLICY, max_failures=1),
            "add a node",
        ),
    ],
)
def test_a_failure_says_what_to_do_next(how: dict[str, Any], policy: Policy, next_step: str) -> None:
    failure = step(apply_retry_policy(ended(**how), NOW, policy)[0], LOADER).failure
    assert failure is not None
    assert failure.next_step == next_step


def test_failures_are_retried_with_growing_pauses_up_to_the_limit() -> None:
    workflow, pauses = ended(terminal_event="error", error="no disk", exit_code=1), []
    for number in range(1, POLICY.max_failures):
        workflow, _ = apply_retry_policy(workflow, NOW, POLICY)
        pauses.append(step(workflow, LOADER).not_before_ms - NOW)
        assert step(workflow, LOADER).failures == number
        fresh = replace(attempt(workflow, LOADER), number=number + 1, outcome=None)
        workflow = workflow.with_step(replace(step(workflow, LOADER), attempts=(fresh,)))
    assert 500 <= pauses[0] <= 1000 <= pauses[1] <= 2000
    workflow, _ = apply_retry_policy(workflow, NOW, POLICY)
    failure = step(workflow, LOADER).failure
    assert step(workflow, LOADER).status is StepStatus.ERROR
    assert failure is not None
    assert failure.reason == "3 attempts failed; the last one: no disk"
    assert failure.next_step


def test_a_ban_is_waited_for() -> None:
    until = NOW + 600_000
    settled, _ = apply_retry_policy(
        ended(terminal_event="error", exit_code=1, progress=Progress(banned_until_ms=until)), NOW, POLICY
    )
    assert step(settled, LOADER).not_before_ms == until


def test_bans_in_a_row_are_no_failures() -> None:
    workflow = ended(terminal_event="error", exit_code=1, progress=Progress(banned_until_ms=NOW + 1000))
    for number in range(2, 10):
        workflow, _ = apply_retry_policy(workflow, NOW, POLICY)
        assert (step(workflow, LOADER).status, step(workflow, LOADER).failures) == (StepStatus.WAITING, 0)
        fresh = replace(attempt(workflow, LOADER), number=number, outcome=None)
        workflow = workflow.with_step(replace(step(workflow, LOADER), attempts=(fresh,)))


def test_a_ban_that_is_over_or_endless_stops_nothing() -> None:
    over = ended(terminal_event="error", exit_code=1, progress=Progress(banned_until_ms=NOW))
    assert step(apply_retry_policy(over, NOW, POLICY)[0], LOADER).failures == 1, "or it would be tried for ever"
    endless = ended(terminal_event="error", exit_code=1, progress=Progress(banned_until_ms=NOW + 99 * LONGEST_BAN_MS))
    assert step(apply_retry_policy(endless, NOW, POLICY)[0], LOADER).not_before_ms == NOW + LONGEST_BAN_MS


def test_attempts_that_got_further_make_up_for_those_before() -> None:
    workflow = ended(terminal_event="error", error="no disk", exit_code=1)
    positions = [None, 1, None, 2, None, 3, None, None]
    for number, hours in enumerate(positions, 1):
        progress = Progress() if hours is None else Progress(records=1, position=DAY_START + hours * HOUR_MS)
        of = step(workflow, LOADER)
        fresh = replace(of.attempts[-1], number=number, outcome=None, progress=progress)
        workflow, _ = apply_retry_policy(workflow.with_step(replace(of, attempts=(*of.attempts, fresh))), NOW, POLICY)
        failing = (1, 1, 2, 1, 2, 1, 2, 3)[number - 1]
        assert step(workflow, LOADER).failures == failing
        assert (step(workflow, LOADER).status is StepStatus.ERROR) == (failing == POLICY.max_failures)


def again(workflow: Workflow, target: str, position: int | None) -> Workflow:
    """The step's next attempt is disrupted as well, having reached `position`."""
    of = step(workflow, target)
    fresh = replace(
        of.attempts[-1],
        number=of.attempts[-1].number + 1,
        outcome=None,
        progress=Progress(records=9, position=position),
    )
    return apply_retry_policy(workflow.with_step(replace(of, attempts=(*of.attempts, fresh))), NOW, POLICY)[0]


@pytest.mark.parametrize(("target", "first"), [(LOADER, DAY_START + HOUR_MS), (SINK, 100)])
def test_only_going_further_than_before_is_progress(target: str, first: int) -> None:
    reached = Progress(records=60, position=first)
    workflow, _ = apply_retry_policy(ended(target, terminal_event="error", signal=9, progress=reached), NOW, POLICY)
    assert step(workflow, target).disruptions == 0
    workflow = again(workflow, target, first)  # the same piece once more
    workflow = again(workflow, target, None)
    assert step(workflow, target).disruptions == 2
    workflow = again(workflow, target, first + MINUTE_MS)
    assert step(workflow, target).disruptions == 0
    assert step(workflow, target).failures == 0


def test_disruption_without_progress_has_an_end() -> None:
    workflow, _ = apply_retry_policy(ended(terminal_event="error", signal=9), NOW, POLICY)
    assert step(workflow, LOADER).not_before_ms == NOW, "at once"
    count = 1
    while step(workflow, LOADER).status is StepStatus.WAITING:
        workflow, count = again(workflow, LOADER, None), count + 1
    assert count == POLICY.max_disruptions
    failure = step(workflow, LOADER).failure
    assert failure is not None
    assert "20 times in a row" in failure.reason


def test_a_loader_goes_on_where_the_one_before_was_and_a_sink_has_no_ranges() -> None:
    position = DAY_START + 90 * MINUTE_MS
    settled, _ = apply_retry_policy(
        ended(terminal_event="error", exit_code=1, progress=Progress(position=position)), NOW, POLICY
    )
    assert step(settled, LOADER).ranges == ("2024-08-01T01:30Z:2024-08-02",)
    assert step(apply_retry_policy(ended(terminal_event="finished", exit_code=0), NOW, POLICY)[0], LOADER).ranges == ()


@pytest.mark.parametrize(
    ("position", "left"),
    [
        (None, (DAY, "2024-08-05:2024-08-06")),
        (DAY_START - 1, (DAY, "2024-08-05:2024-08-06")),
        (DAY_START, (DAY, "2024-08-05:2024-08-06")),
        (DAY_START + MINUTE_MS, ("2024-08-01T00:01Z:2024-08-02", "2024-08-05:2024-08-06")),
        (DAY_START + 24 * HOUR_MS - 2, ("2024-08-01T23:59:59Z:2024-08-02", "2024-08-05:2024-08-06")),
        (DAY_START + 24 * HOUR_MS - 1, ("2024-08-05:2024-08-06",)),
        (DAY_START + 48 * HOUR_MS, ("2024-08-05:2024-08-06",)),
        (DAY_START + 999 * HOUR_MS, ()),
    ],
)
def test_remaining(position: int | None, left: tuple[str, ...]) -> None:
    assert remaining((DAY, "2024-08-05:2024-08-06"), position) == left


@given(
    st.lists(st.integers(0, 4000), min_size=2, max_size=12, unique=True), st.integers(-10, 5000), st.integers(0, 999)
)
def test_remaining_keeps_all_behind_the_position_and_nothing_new(edges: list[int], second: int, ms: int) -> None:
    edges = sorted(edges)[: len(edges) // 2 * 2]
    spans = [(DAY_START + a * 1000, DAY_START + b * 1000) for a, b in zip(edges[::2], edges[1::2], strict=True)]
    texts = tuple(str(TimeRange(a, b)) for a, b in spans)
    position = DAY_START + second * 1000 + ms
    left = [parse_time_range(text) for text in remaining(texts, position)]
    for start, end in spans:
        for time in (start, (start + end) // 2000 * 1000, end - 1000):
            was_there = any(time in span for span in left)
            if time >= position:
                assert was_there
            elif time < position - 1000:
                assert not was_there
    assert remaining(tuple(map(str, left)), position) == tuple(map(str, left))


@given(st.integers(1, 100), st.text(max_size=8))
def test_backoff_is_bounded_and_the_same_each_time(tries: int, identity: str) -> None:
    policy = Policy()
    full_ms = min(policy.backoff_cap_s, policy.backoff_first_s * 2 ** (tries - 1)) * 1000
    assert full_ms / 2 <= backoff_ms(policy, tries, identity) <= full_ms
    assert backoff_ms(policy, tries, identity) == backoff_ms(policy, tries, identity)


def test_backoff_doubles_up_to_its_cap_and_is_another_for_each_identity() -> None:
    endless = replace(POLICY, backoff_cap_s=1e9)
    assert [backoff_ms(endless, tries, "a") for tries in (1, 2, 17, 18)] == [712, 1425, 46_720_000, 46_720_000]
    assert [backoff_ms(endless, tries, "b", 1) for tries in (1, 2)] == [646, 1292]
    assert len({backoff_ms(POLICY, 1, identity) for identity in range(99)}) > 50
