"""What an ended attempt means for its step, and what is known of a ban: only what makes it longer counts."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamforge.manager.engine.document import StepStatus, Workflow
from streamforge.manager.engine.lifecycle.ban import LONGEST_BAN_MS, Ban, Banned, fold_ban
from streamforge.manager.engine.lifecycle.conditions import Conditions
from streamforge.manager.engine.lifecycle.decision import decide
from streamforge.manager.engine.lifecycle.fold import fold_event
from streamforge.manager.engine.lifecycle.retry_policy import STOP, STUCK, apply_retry_policy, backoff_ms, remaining
from streamforge_utils.model.messages import Event, Progress
from streamforge_utils.model.timeranges import TimeRange, parse_time_range
from streamforge_utils.runtime.life.worker_definition import Source
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

UNTIL = NOW + 60_000
KNOWN = Ban(until_ms=UNTIL, reason="too many requests")


def heard(until_ms: int, *, said_ms: int = NOW, reason: str = "banned") -> Banned:
    return Banned(until_ms=until_ms, said_ms=said_ms, reason=reason)


def test_a_ban_that_ends_later_takes_the_place_of_the_one_before() -> None:
    assert fold_ban(Ban(), heard(UNTIL), NOW) == Ban(until_ms=UNTIL, reason="banned")
    assert fold_ban(KNOWN, heard(UNTIL + 1), NOW) == Ban(until_ms=UNTIL + 1, reason="banned")


@pytest.mark.parametrize("until_ms", [UNTIL, UNTIL - 1, 0])
def test_a_ban_that_ends_no_later_changes_nothing(until_ms: int) -> None:
    assert fold_ban(KNOWN, heard(until_ms), NOW) is KNOWN


@pytest.mark.parametrize("late_ms", [0, 1, LONGEST_BAN_MS])
def test_a_ban_that_is_heard_when_it_is_over_changes_nothing(late_ms: int) -> None:
    none = Ban()
    assert fold_ban(none, heard(UNTIL), UNTIL + late_ms) is none
    assert fold_ban(none, heard(UNTIL), UNTIL - 1).until_ms == UNTIL


def test_bans_may_be_heard_in_any_order_and_more_than_once() -> None:
    facts = [heard(UNTIL), heard(UNTIL + 5), heard(UNTIL - 5), heard(UNTIL)]
    for order in permutations(facts):
        ban = Ban()
        for fact in order:
            ban = fold_ban(ban, fact, NOW)
        assert ban.until_ms == UNTIL + 5


def test_nobody_can_claim_a_ban_for_ever_however_often_it_is_heard() -> None:
    endless = heard(NOW + 999 * LONGEST_BAN_MS)
    ban = fold_ban(Ban(), endless, NOW)
    assert ban.until_ms == NOW + LONGEST_BAN_MS
    assert fold_ban(ban, endless, NOW + LONGEST_BAN_MS - 1) is ban
    assert fold_ban(ban, endless, NOW + LONGEST_BAN_MS) is ban


def test_who_says_it_in_the_future_says_it_now() -> None:
    endless = heard(NOW + 999 * LONGEST_BAN_MS, said_ms=NOW + LONGEST_BAN_MS)
    assert fold_ban(Ban(), endless, NOW).until_ms == NOW + LONGEST_BAN_MS


def test_a_long_reason_is_cut() -> None:
    assert fold_ban(Ban(), heard(UNTIL, reason="x" * 1000), NOW).reason == "x" * 300


def ended(target: str = LOADER, **fields: Any) -> Workflow:
    """A workflow whose `target` has ended as the fields say."""
    workflow = decide(planned(), NOW, POLICY, Conditions())[0]
    return with_attempt(workflow, target, **{"observed": True, "ended_ms": NOW, **fields})


FINISHED = {"terminal_event": "finished"}
ERROR = {"terminal_event": "error"}
INTERRUPTED = {"terminal_event": "interrupted"}
OUTSIDE, SIGNAL = "it was ended from outside", "it was asked to end by a signal"
BAD_END = "it reported finished, but ended with exit code 1"
STATUS_OF = {
    "finished": StepStatus.FINISHED,
    "interrupted": StepStatus.INTERRUPTED,
    "refused": StepStatus.ERROR,
    "permanent": StepStatus.ERROR,
}
"""Of any other outcome the step waits for its next attempt."""


@pytest.mark.parametrize(
    ("how", "outcome", "reason"),
    [
        ({**FINISHED, "exit_code": 0}, "finished", ""),
        (FINISHED, "finished", ""),
        ({**FINISHED, "exit_code": 0, "stop_reason": STUCK}, "finished", ""),
        ({**FINISHED, "exit_code": 1}, "failed", BAD_END),
        ({**FINISHED, "exit_code": 2, "reason": "exit code 2"}, "refused", "exit code 2"),
        ({**ERROR, "exit_code": 2, "permanent": True, "error": "no key", "reason": "r"}, "refused", "no key"),
        ({**ERROR, "exit_code": 1, "error": "no disk", "reason": "r"}, "failed", "no disk"),
        ({**ERROR, "exit_code": 1, "reason": "no node"}, "failed", "no node"),
        ({**ERROR, "exit_code": 1}, "failed", "it ended with exit code 1"),
        ({**ERROR, "exit_code": 0}, "failed", "it ended with exit code 0"),
        ({**ERROR, "exit_code": 1, "permanent": True, "error": "no symbol"}, "permanent", "no symbol"),
        ({**ERROR, "signal": 9, "permanent": True}, "permanent", ""),
        ({**ERROR, "signal": 9, "reason": "out of memory"}, "disrupted", "out of memory"),
        (ERROR, "disrupted", OUTSIDE),
        ({**INTERRUPTED, "exit_code": 1}, "disrupted", SIGNAL),
        ({**INTERRUPTED, "exit_code": 1, "stop_reason": STOP}, "interrupted", ""),
        ({**INTERRUPTED, "exit_code": 0, "stop_reason": STOP}, "interrupted", ""),
        ({**ERROR, "signal": 9, "stop_reason": STOP}, "interrupted", ""),
        ({**ERROR, "signal": 9, "stop_reason": STUCK, "reason": "silent"}, "stuck", "silent"),
        ({**INTERRUPTED, "exit_code": 1, "stop_reason": STUCK}, "stuck", "it was stuck"),
    ],
)
def test_outcomes(how: dict[str, Any], outcome: str, reason: str) -> None:
    counted, words = apply_retry_policy(ended(**how), NOW, POLICY)
    assert (attempt(counted, LOADER).outcome, attempt(counted, LOADER).reason) == (outcome, reason)
    assert step(counted, LOADER).status is STATUS_OF.get(outcome, StepStatus.WAITING)
    assert words == []
    assert apply_retry_policy(counted, NOW + 5, POLICY) == (counted, []), "an attempt is counted once"
    assert counted.stop_asked_ms is None


def test_a_stop_that_came_from_elsewhere_stops_the_workflow() -> None:
    counted, _ = apply_retry_policy(ended(terminal_event="interrupted", exit_code=0), NOW + 3, POLICY)
    assert counted.stop_asked_ms == NOW + 3
    assert step(counted, LOADER).status is StepStatus.INTERRUPTED


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
    counted, (said,) = apply_retry_policy(workflow, NOW + 250, POLICY)
    assert counted is workflow
    assert said.event == Event(
        event=word,  # type: ignore[arg-type]
        status=word,  # type: ignore[arg-type]
        queue_id=workflow.queue_id,
        producer="loader-api-candles__abc123",
        target=LOADER,
        symbol="BTCUSDT",
        type="api_candles_1m",
        attempt=1,
        message="written by queue-manager: the worker could not send it",
        records_written=7,
        finished=True,
        timestamp=NOW / 1000 + 0.25,
        error_message=message,
        extra={"records": 7, "observed_by": "queue-manager"},
    )


@pytest.mark.parametrize("silent", [LOADER, SINK])
def test_one_that_ended_without_a_word_holds_up_no_other(silent: str) -> None:
    other = SINK if silent == LOADER else LOADER
    workflow = with_attempt(ended(number=7), SINK, observed=True, ended_ms=NOW, number=7)
    workflow = with_attempt(workflow, other, **FINISHED, exit_code=0)
    counted, (word,) = apply_retry_policy(workflow, NOW, POLICY)
    assert (word.event.target, word.event.error_message, word.event.attempt) == (silent, "its process is gone", 7)
    assert (attempt(counted, other).outcome, attempt(counted, silent).outcome) == ("finished", None)


@pytest.mark.parametrize(
    ("how", "next_step"),
    [
        ({"exit_code": 2}, "correct the setting that the reason names, then retry the workflow"),
        (
            {"exit_code": 1, "permanent": True},
            "correct the request or the cause that the reason names; a retry alone will not help",
        ),
        ({"signal": 9}, "see whether the machine ends processes (memory?), then retry the workflow"),
        ({"signal": 9, "next_step": "give it more memory"}, "give it more memory"),
        ({"exit_code": 1}, "remove the cause that the reason names, then retry the workflow"),
        ({"exit_code": 1, "next_step": "add a node"}, "add a node"),
    ],
)
def test_a_failure_says_what_to_do_next(how: dict[str, Any], next_step: str) -> None:
    impatient = replace(POLICY, max_failures=1, max_disruptions=1)
    failure = step(apply_retry_policy(ended(**ERROR, **how), NOW, impatient)[0], LOADER).failure
    assert failure is not None
    assert failure.next_step == next_step


def test_failures_are_retried_with_growing_pauses_up_to_the_limit() -> None:
    workflow, pauses = ended(**ERROR, error="no disk", exit_code=1), []
    for number in range(1, POLICY.max_failures):
        workflow, _ = apply_retry_policy(workflow, NOW, POLICY)
        found, job = step(workflow, LOADER), attempt(workflow, LOADER).job
        assert (found.failures, found.not_before_ms) == (
            number,
            NOW + backoff_ms(POLICY, number, workflow.queue_id, job),
        )
        pauses.append(found.not_before_ms - NOW)
        workflow = workflow.with_step(replace(found, attempts=(replace(found.attempts[-1], outcome=None),)))
    assert 500 <= pauses[0] <= 1000 <= pauses[1] <= 2000
    found = step(apply_retry_policy(workflow, NOW, POLICY)[0], LOADER)
    assert found.status is StepStatus.ERROR
    assert found.failure is not None
    assert found.failure.reason == "3 attempts failed; the last one: no disk"
    assert found.failure.code == "attempts-failed"


@pytest.mark.parametrize(
    ("until_ms", "waits_until_ms"),
    [(NOW, None), (NOW + 600_000, NOW + 600_000), (NOW + 99 * LONGEST_BAN_MS, NOW + LONGEST_BAN_MS)],
    ids=["over", "ten minutes", "too long"],
)
def test_a_ban_is_waited_for_and_is_no_failure_however_often_it_comes(
    until_ms: int, waits_until_ms: int | None
) -> None:
    workflow = ended(**ERROR, exit_code=1, progress=Progress(banned_until_ms=until_ms))
    for _ in range(9 if waits_until_ms else 1):
        workflow, _ = apply_retry_policy(workflow, NOW, POLICY)
        found = step(workflow, LOADER)
        assert (found.status, found.failures) == (StepStatus.WAITING, 0 if waits_until_ms else 1)
        assert waits_until_ms in (None, found.not_before_ms)
        workflow = workflow.with_step(replace(found, attempts=(replace(found.attempts[-1], outcome=None),)))


def test_attempts_that_got_further_make_up_for_those_before() -> None:
    workflow = ended(**ERROR, exit_code=1)
    positions = [None, 1, None, 2, None, 3, None, None]
    for number, (hours, failures) in enumerate(zip(positions, (1, 1, 2, 1, 2, 1, 2, 3), strict=True), 1):
        progress = Progress() if hours is None else Progress(records=1, position=DAY_START + hours * HOUR_MS)
        of = step(workflow, LOADER)
        fresh = replace(of.attempts[-1], number=number, outcome=None, progress=progress)
        workflow, _ = apply_retry_policy(workflow.with_step(replace(of, attempts=(*of.attempts, fresh))), NOW, POLICY)
        assert step(workflow, LOADER).failures == failures
        assert (step(workflow, LOADER).status is StepStatus.ERROR) == (failures == POLICY.max_failures)


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


def test_a_loader_of_files_reads_all_again_and_only_going_further_is_progress() -> None:
    reached, position = Progress(records=60, position=DAY_START + HOUR_MS), DAY_START + HOUR_MS
    workflow = ended(terminal_event="error", signal=9, progress=reached)
    workflow = workflow.with_step(replace(step(workflow, LOADER), source=Source.ARCHIVE))
    workflow, _ = apply_retry_policy(workflow, NOW, POLICY)
    assert (step(workflow, LOADER).ranges, step(workflow, LOADER).disruptions) == ((DAY,), 0)
    workflow = again(workflow, LOADER, position)
    assert (step(workflow, LOADER).ranges, step(workflow, LOADER).disruptions) == ((DAY,), 1)
    workflow = again(workflow, LOADER, position + MINUTE_MS)
    assert (step(workflow, LOADER).ranges, step(workflow, LOADER).disruptions) == ((DAY,), 0)


@pytest.mark.parametrize(("before", "tries"), [(0, 0), (1, 0), (2, 1), (3, 2), (18, 17), (19, None)])
def test_disruptions_without_progress_wait_longer_and_longer_and_have_an_end(before: int, tries: int | None) -> None:
    workflow = ended(**ERROR, signal=9)
    workflow = workflow.with_step(replace(step(workflow, LOADER), disruptions=before))
    found = step(apply_retry_policy(workflow, NOW, POLICY)[0], LOADER)
    if tries is None:
        assert found.status is StepStatus.ERROR
        assert found.failure is not None
        assert "20 times in a row" in found.failure.reason
        assert found.failure.code == "ended-from-outside"
        return
    wait_ms = backoff_ms(POLICY, tries, attempt(workflow, LOADER).job) if tries else 0
    assert (found.status, found.disruptions, found.not_before_ms) == (StepStatus.WAITING, before + 1, NOW + wait_ms)


def test_what_finished_has_nothing_left_and_was_not_disrupted() -> None:
    workflow = ended(**FINISHED, exit_code=0)
    workflow = workflow.with_step(replace(step(workflow, LOADER), disruptions=4, ranges=(DAY,)))
    done = step(apply_retry_policy(workflow, NOW, POLICY)[0], LOADER)
    assert (done.status, done.ranges, done.disruptions) == (StepStatus.FINISHED, (), 0)


def test_a_loader_goes_on_where_the_one_before_was() -> None:
    reached = Progress(position=DAY_START + 90 * MINUTE_MS)
    counted, _ = apply_retry_policy(ended(**ERROR, exit_code=1, progress=reached), NOW, POLICY)
    assert step(counted, LOADER).ranges == ("2024-08-01T01:30Z:2024-08-02",)


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


def test_backoff_doubles_up_to_its_cap_and_is_another_for_each_identity() -> None:
    endless = replace(POLICY, backoff_cap_s=1e9)
    assert [backoff_ms(endless, tries, "a") for tries in (1, 2, 17, 18)] == [712, 1425, 46_720_000, 46_720_000]
    assert [backoff_ms(endless, tries, "b", 1) for tries in (1, 2)] == [646, 1292]
    assert len({backoff_ms(POLICY, 1, identity) for identity in range(99)}) > 50
    capped_ms = POLICY.backoff_cap_s * 1000
    assert all(capped_ms / 2 <= backoff_ms(POLICY, 100, identity) <= capped_ms for identity in range(99))
