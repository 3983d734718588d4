from __future__ import annotations

from typing import Any

import pytest

from streamforge.manager.engine.document import Failure, Status, StepStatus, Workflow
from streamforge.manager.engine.lifecycle.actions import EndJob, Launch, Prepare, Prove, SendStop, WriteTerminalEvent
from streamforge.manager.engine.lifecycle.conditions import Conditions
from streamforge.manager.engine.lifecycle.decision import decide
from streamforge.manager.engine.lifecycle.findings import TopicsRemoved
from streamforge.manager.engine.lifecycle.retry_policy import STOP, STUCK
from streamforge.manager.engine.lifecycle.rounds import (
    ATTEMPTS_KEPT,
    MAX_RANGES,
    next_number,
    next_round,
    read_letters,
    replay_round,
)
from streamforge.manager.engine.lifecycle.stop_times import drain_s, kill_grace_s
from streamforge.manager.engine.lifecycle.topic_lifetime import due_removal
from streamforge.manager.workflows.live.model import Ledger
from streamforge.manager.workflows.series.model import Plan, SeriesProof
from streamforge_utils.model.coverage import Segment, Verdict
from streamforge_utils.model.messages import Progress
from tests.manager.support import (
    DAY,
    DAY_MS,
    DAY_START,
    LOADER,
    MINUTE_MS,
    NOW,
    POLICY,
    SINK,
    accepted,
    attempt,
    changed,
    planned,
    replace,
    rest,
    step,
    with_attempt,
)

W = Conditions()


def running(**fields: Any) -> Workflow:
    """Both steps launched, seen and started."""
    workflow = decide(planned(), NOW, POLICY, W)[0]
    for target in (LOADER, SINK):
        workflow = with_attempt(workflow, target, observed=True, started_ms=NOW, seen_ms=NOW, progressed_ms=NOW)
    return with_attempt(workflow, LOADER, **fields)


def over(workflow: Workflow, target: str, word: str = "finished", code: int | None = 0) -> Workflow:
    """The latest attempt of `target` has ended."""
    return with_attempt(workflow, target, observed=True, ended_ms=NOW, terminal_event=word, exit_code=code)


def proof(*verdicts: Verdict, round: int = 1) -> SeriesProof:
    segments = tuple(
        Segment(start_ms=DAY_START + n * MINUTE_MS, end_ms=DAY_START + (n + 1) * MINUTE_MS, verdict=verdict)
        for n, verdict in enumerate(verdicts)
    )
    return SeriesProof(round=round, checked_ms=NOW, expected=len(segments), stored=0, segments=segments)


def test_a_pending_workflow_takes_a_slot_then_asks_the_exchange() -> None:
    waiting, actions = decide(accepted(), NOW, POLICY, Conditions(may_start=False))
    assert (waiting.status, actions) == (Status.PENDING, [])
    assert "slot" in waiting.waiting_for
    going, actions = decide(waiting, NOW, POLICY, W)
    assert (going.status, going.waiting_for, actions) == (Status.RUNNING, "the exchange: its answer", [Prepare()])
    assert decide(replace(going, not_before_ms=NOW + 1), NOW, POLICY, W)[1] == []


def test_sinks_are_launched_before_loaders_and_until_they_are_seen() -> None:
    workflow, actions = decide(planned(), NOW, POLICY, W)
    assert actions == [Launch(SINK), Launch(LOADER)]
    assert attempt(workflow, LOADER).ranges == (DAY,)
    assert attempt(workflow, LOADER).job == "job-loader-api-candles-btcusdt-abc123"
    assert decide(workflow, NOW + 1, POLICY, W) == (workflow, actions), "deciding twice is deciding once"
    seen = with_attempt(workflow, SINK, observed=True)
    assert decide(seen, NOW + 1, POLICY, W)[1] == [Launch(LOADER)]
    assert decide(running(), NOW + 1, POLICY, W) == (running(), [])


def test_a_failed_attempt_is_followed_by_the_next_one_under_its_own_name() -> None:
    workflow, _ = decide(over(running(), LOADER, "error", 1), NOW, POLICY, W)
    not_before = step(workflow, LOADER).not_before_ms
    assert decide(workflow, not_before - 1, POLICY, W)[1] == []
    workflow, actions = decide(workflow, not_before, POLICY, W)
    assert actions == [Launch(LOADER)]
    assert attempt(workflow, LOADER).number == 2
    assert attempt(workflow, LOADER).job.endswith("-2")


def test_old_attempts_are_forgotten_and_their_numbers_are_not() -> None:
    workflow = running()
    for number in range(2, ATTEMPTS_KEPT + 20):
        reached = with_attempt(workflow, LOADER, progress=Progress(records=1, position=DAY_START + number * MINUTE_MS))
        workflow, _ = decide(with_attempt(over(reached, LOADER, "error", None), LOADER, signal=9), NOW, POLICY, W)
        assert attempt(workflow, LOADER).number == number
    assert len(step(workflow, LOADER).attempts) == ATTEMPTS_KEPT
    assert next_number(step(workflow, LOADER)) == ATTEMPTS_KEPT + 20
    assert step(next_round(workflow), LOADER).round_from == ATTEMPTS_KEPT + 20


def test_silence_while_nobody_listened_is_not_held_against_the_workers() -> None:
    later = NOW + 3_600_000
    assert decide(running(), later, POLICY, Conditions(listening_since_ms=later - 29_000))[1] == []
    never_started = running(started_ms=None)
    assert decide(never_started, later, POLICY, Conditions(listening_since_ms=later - 29_000))[1] == []
    assert len(decide(running(), later, POLICY, Conditions(listening_since_ms=later - 31_000))[1]) == 2


def test_a_stuck_attempt_is_ended_until_it_is_gone_and_counts_as_a_failure() -> None:
    stuck, actions = decide(running(), NOW + 31_000, POLICY, W)
    assert decide(stuck, NOW + 31_100, POLICY, W)[1] == actions
    gone = with_attempt(stuck, LOADER, ended_ms=NOW, terminal_event="error", signal=9)
    settled, _ = decide(gone, NOW + 40_000, POLICY, W)
    assert step(settled, LOADER).failures == 1
    assert attempt(settled, LOADER).outcome == "stuck"


def test_a_stop_before_the_plan_ends_the_workflow_at_once() -> None:
    for status in (Status.PENDING, Status.STOPPING):
        stopped, actions = decide(replace(accepted(), status=status, stop_asked_ms=NOW), NOW, POLICY, W)
        assert (stopped.status, stopped.surveyed, stopped.ended_ms, actions) == (Status.INTERRUPTED, True, NOW, [])
        assert {s.status for s in stopped.steps} == {StepStatus.INTERRUPTED}


def test_a_stop_ends_loaders_then_sinks_then_surveys_what_is_stored() -> None:
    workflow, actions = decide(replace(running(), stop_asked_ms=NOW), NOW, POLICY, W)
    assert (workflow.status, actions) == (Status.STOPPING, [SendStop(LOADER)])
    assert decide(workflow, NOW + 8_000, POLICY, W)[1] == [SendStop(LOADER)], "until it has ended"
    assert decide(workflow, NOW + 8_001, POLICY, W)[1] == [SendStop(LOADER), EndJob(attempt(workflow, LOADER).job)]
    spoken = with_attempt(workflow, LOADER, terminal_event="interrupted")
    assert decide(spoken, NOW + 8_000, POLICY, W)[1] == []
    workflow, actions = decide(over(workflow, LOADER, "interrupted"), NOW + 9_000, POLICY, W)
    assert actions == [SendStop(SINK)]
    drained_ms, ended = NOW + 9_000 + 68_000, [SendStop(SINK), EndJob(attempt(workflow, SINK).job)]
    heard = with_attempt(workflow, SINK, seen_ms=drained_ms)
    assert decide(heard, drained_ms, POLICY, W)[1] == [SendStop(SINK)], "it stores what the loader has sent"
    assert decide(heard, drained_ms + 1, POLICY, W)[1] == ended
    assert decide(workflow, NOW + 30_000, POLICY, W)[1] == [SendStop(SINK)]
    assert decide(workflow, NOW + 30_001, POLICY, W)[1] == ended, "who says nothing stores nothing"
    workflow, actions = decide(over(workflow, SINK, "interrupted"), NOW + 9_500, POLICY, W)
    assert (workflow.status, actions) == (Status.STOPPING, [Prove(ask=False)])
    workflow, actions = decide(replace(workflow, surveyed=True), NOW + 9_600, POLICY, W)
    assert (workflow.status, workflow.ended_ms, actions) == (Status.INTERRUPTED, NOW + 9_600, [])


def test_a_job_that_was_never_seen_is_given_up_after_three_seconds_unless_it_may_be_being_launched() -> None:
    launched = replace(decide(planned(), NOW, POLICY, W)[0], stop_asked_ms=NOW)
    workflow, actions = decide(launched, NOW, POLICY, W)
    assert actions == [SendStop(LOADER)], "no launch any more"
    at = NOW + 3_001
    launching = Conditions(launching=frozenset({LOADER}))
    for now_ms, conditions in ((at, launching), (at - 1, W)):
        assert attempt(decide(workflow, now_ms, POLICY, conditions)[0], LOADER).ended_ms is None
    workflow, _ = decide(workflow, at, POLICY, W)
    assert (attempt(workflow, LOADER).ended_ms, attempt(workflow, LOADER).reason) == (at, "it was never started")
    _, actions = decide(workflow, at, POLICY, W)
    assert [a.event.event for a in actions if isinstance(a, WriteTerminalEvent)] == ["interrupted"]


def test_the_attempts_before_the_one_that_is_ended_are_kept() -> None:
    launched = decide(planned(), NOW, POLICY, W)[0]
    stopped = {"stop_asked_ms": NOW, "waiting_for": "the exchange"}
    never_started = replace(decide(replace(launched, **stopped), NOW, POLICY, W)[0])
    for before, after_s in ((replace(running(), **stopped), 0), (never_started, 4), (running(), 31)):
        of = step(before, LOADER)
        three = tuple(replace(of.attempts[0], number=number, job=f"job-{number}") for number in (1, 2, 3))
        ending, _ = decide(before.with_step(replace(of, attempts=three)), NOW + after_s * 1000, POLICY, W)
        assert ending.waiting_for == ""
        assert attempt(ending, LOADER).stop_asked_ms is not None
        assert step(ending, LOADER).attempts[:-1] == three[:-1]


def test_the_job_of_a_stuck_attempt_is_ended_without_patience() -> None:
    stuck = with_attempt(running(), LOADER, stop_asked_ms=NOW, stop_reason=STUCK)
    assert EndJob(attempt(stuck, LOADER).job) in decide(replace(stuck, stop_asked_ms=NOW), NOW + 1, POLICY, W)[1]


def test_one_failed_step_ends_the_workflow_with_its_reason() -> None:
    failed = with_attempt(over(running(), LOADER, "error", 1), LOADER, permanent=True, error="no such symbol")
    workflow, actions = decide(failed, NOW, POLICY, W)
    assert workflow.status is Status.STOPPING
    assert workflow.failure is not None
    assert workflow.failure.reason == f"{LOADER}: no such symbol"
    assert actions == [SendStop(SINK)]
    workflow, _ = decide(over(workflow, SINK, "interrupted"), NOW, POLICY, W)
    workflow, _ = decide(replace(workflow, surveyed=True), NOW, POLICY, W)
    assert workflow.status is Status.ERROR


def finished() -> Workflow:
    return decide(over(over(running(), LOADER), SINK), NOW, POLICY, W)[0]


def test_nothing_is_finished_without_its_proof() -> None:
    workflow, actions = decide(finished(), NOW, POLICY, W)
    assert (workflow.status, actions) == (Status.RUNNING, [Prove(ask=True)])
    old = changed(workflow, repairs=1, proof=proof(Verdict.STORED, round=1))
    assert decide(old, NOW, POLICY, W)[1] == [Prove(ask=True)], "a proof from before the repair proves nothing"


@pytest.mark.parametrize("verdict", list(Verdict))
def test_which_verdicts_are_an_end(verdict: Verdict) -> None:
    workflow, actions = decide(changed(finished(), proof=proof(Verdict.STORED, verdict)), NOW, POLICY, W)
    if verdict is Verdict.OURS:
        assert (workflow.status, workflow.repairs, actions) == (Status.RUNNING, 1, [])
        assert step(workflow, LOADER).ranges == ("2024-08-01T00:01Z:2024-08-01T00:02Z",)
        workflow, actions = decide(workflow, NOW, POLICY, W)
        assert actions == [Launch(SINK), Launch(LOADER)]
        assert step(workflow, LOADER).round_from == attempt(workflow, LOADER).number == 2
    elif verdict is Verdict.UNKNOWN:
        assert workflow.failure is not None
    else:
        assert (workflow.status, workflow.ended_ms) == (Status.FINISHED, NOW)


def test_very_many_holes_are_repaired_as_one() -> None:
    verdicts = [Verdict.OURS, Verdict.STORED] * (MAX_RANGES + 1)
    workflow, _ = decide(changed(finished(), proof=proof(*verdicts)), NOW, POLICY, W)
    assert step(workflow, LOADER).ranges == ("2024-08-01:2024-08-01T06:41Z",)


def test_nothing_to_load_is_proven_and_finished_without_any_job() -> None:
    workflow = changed(accepted(), status=Status.RUNNING, plan=Plan(exchange_now_ms=NOW))
    workflow, actions = decide(workflow, NOW, POLICY, W)
    assert actions == [Prove(ask=True)]
    workflow, actions = decide(changed(workflow, proof=proof()), NOW, POLICY, W)
    assert (workflow.status, actions) == (Status.FINISHED, [])
    assert {s.status for s in workflow.steps} == {StepStatus.FINISHED}


@pytest.mark.parametrize("load", [(DAY,), ()])
def test_a_replay_launches_the_sinks_alone_and_is_proven_anew(load: tuple[str, ...]) -> None:
    ended = changed(finished(), plan=Plan(exchange_now_ms=NOW, parts=rest(*load)))
    workflow, actions = decide(replay_round(ended), NOW, POLICY, W)
    assert actions == [Launch(SINK)]
    assert (attempt(workflow, SINK).replay, attempt(workflow, SINK).number) == (True, 2)
    again, _ = decide(with_attempt(over(workflow, SINK, "error", None), SINK, signal=9), NOW, POLICY, W)
    assert attempt(again, SINK).replay, "also after it was disrupted"
    workflow, actions = decide(over(workflow, SINK), NOW, POLICY, W)
    assert actions == [Prove(ask=True)]


@pytest.mark.parametrize("status", [Status.INTERRUPTED, Status.ERROR])
def test_a_replay_of_what_did_not_finish_loads_nothing_and_ends_as_before(status: Status) -> None:
    failure = Failure(reason="r", next_step="n") if status is Status.ERROR else None
    stopped = with_attempt(decide(planned(), NOW, POLICY, W)[0], LOADER, ended_ms=NOW, outcome="interrupted")
    stopped = with_attempt(stopped, SINK, ended_ms=NOW, outcome="interrupted")
    replaying = replace(replay_round(stopped), replayed=status, replayed_failure=failure)
    workflow, actions = decide(replaying, NOW, POLICY, W)
    assert actions == [Launch(SINK)]
    workflow, actions = decide(over(workflow, SINK), NOW, POLICY, W)
    assert actions == [Prove(ask=False)], "nobody is asked for what was never loaded"
    workflow, actions = decide(replace(workflow, surveyed=True), NOW, POLICY, W)
    assert (workflow.status, workflow.failure, workflow.ended_ms, actions) == (status, failure, NOW, [])
    assert step(workflow, LOADER).status is StepStatus.INTERRUPTED


def test_topics_are_removed_in_their_time() -> None:
    ended = replace(finished(), status=Status.FINISHED, ended_ms=NOW)
    assert decide(ended, NOW + 99 * DAY_MS, POLICY, W) == (ended, [])
    removed = replace(ended, topic_removed=True)
    gone = replace(removed, dlq_removed=True)
    failed = replace(ended, status=Status.ERROR, batch="batch-1")
    unread = failed.with_step(replace(step(failed, SINK), status=StepStatus.INTERRUPTED))
    left = ended.with_step(replace(step(ended, SINK), left=1))
    for workflow, after_ms, due in (
        (ended, 3_600_000, None),
        (ended, 3_600_001, TopicsRemoved(dead_letters=False)),
        (removed, 7 * DAY_MS, None),
        (removed, 7 * DAY_MS + 1, TopicsRemoved(dead_letters=True)),
        (gone, 99 * DAY_MS, None),
        (running(), 99 * DAY_MS, None),
        (failed, 0, TopicsRemoved(dead_letters=False)),
        (replace(failed, topic_removed=True), 0, TopicsRemoved(dead_letters=True)),
        (unread, 3_600_000, None),
        (left, 7 * DAY_MS, None),
        (left, 7 * DAY_MS + 1, TopicsRemoved(dead_letters=False)),
    ):
        assert due_removal(workflow, NOW + after_ms, POLICY) == due, after_ms


def test_an_ended_attempt_that_was_asked_to_stop_as_stuck_does_not_hold_up_the_stop() -> None:
    stuck, _ = decide(running(), NOW + 31_000, POLICY, W)
    stopping = replace(stuck, stop_asked_ms=NOW, failure=Failure(reason="r", next_step="n"))
    for target in (LOADER, SINK):
        stopping = with_attempt(stopping, target, ended_ms=NOW, terminal_event="error", signal=9)
    workflow, actions = decide(stopping, NOW + 32_000, POLICY, W)
    assert actions == [Prove(ask=False)]
    assert {s.status for s in workflow.steps} == {StepStatus.INTERRUPTED}
    assert STOP not in {attempt(workflow, LOADER).stop_reason, attempt(workflow, SINK).stop_reason}


def test_a_live_workflow_gives_its_loader_and_its_sink_what_is_left_of_five_seconds() -> None:
    live = changed(running(), endless=True, ledger=Ledger(stream_ms=DAY_START), stop_asked_ms=NOW)
    workflow, actions = decide(live, NOW, POLICY, W)
    assert actions == [SendStop(LOADER)]
    assert decide(workflow, NOW + 3_500, POLICY, W)[1] == [SendStop(LOADER)]
    assert decide(workflow, NOW + 3_501, POLICY, W)[1] == [SendStop(LOADER), EndJob(attempt(workflow, LOADER).job)]
    for ended_ms, seconds in ((NOW + 500, 2.0), (NOW + 3_600, 0.5)):
        stopped, actions = decide(over(workflow, LOADER, "interrupted"), ended_ms, POLICY, W)
        assert actions == [SendStop(SINK)]
        assert drain_s(stopped, ended_ms, POLICY, 1) == pytest.approx(seconds)
        late_ms = ended_ms + round(1000 * seconds) + 500
        heard = with_attempt(stopped, SINK, seen_ms=late_ms)
        assert decide(heard, late_ms, POLICY, W)[1] == [SendStop(SINK)]
        assert decide(heard, late_ms + 1, POLICY, W)[1] == [SendStop(SINK), EndJob(attempt(stopped, SINK).job)]
        many = Conditions(stopping=400)
        assert decide(heard, late_ms + 1, POLICY, many)[1] == [SendStop(SINK)], "others take their time, too"
    assert (kill_grace_s(workflow, POLICY, 1), kill_grace_s(running(), POLICY, 1)) == (0.5, 3.0)


@pytest.mark.parametrize(("left", "status"), [(None, Status.FINISHED), (0, Status.FINISHED), (3, Status.INTERRUPTED)])
def test_a_live_workflow_has_not_finished_where_its_sink_left_what_its_loader_had_sent(
    left: int | None, status: Status
) -> None:
    live = changed(finished(), endless=True, ledger=Ledger(stream_ms=DAY_START), stop_asked_ms=NOW, surveyed=True)
    live = changed(live, proof=proof(Verdict.STORED)).with_step(replace(step(live, SINK), left=left))
    assert decide(live, NOW, POLICY, W)[0].status is status


@pytest.mark.parametrize(("status", "read"), [(StepStatus.INTERRUPTED, 0), (StepStatus.FINISHED, 1)])
def test_letters_that_a_stopped_replay_did_not_come_to_are_not_taken_for_read(status: StepStatus, read: int) -> None:
    live = changed(finished(), endless=True, ledger=Ledger(stream_ms=DAY_START), stop_asked_ms=NOW, surveyed=True)
    replay = replace(step(live, SINK), replay=True, letters=("0:3:4",), status=status)
    found = decide(changed(live, proof=proof(Verdict.STORED)).with_step(replay), NOW, POLICY, W)[0]
    assert (found.status, step(found, SINK).status, len(read_letters(found))) == (Status.FINISHED, status, read)
