"""When a live loader is handed over, and what becomes of what its attempts say: pure functions of the document."""

from __future__ import annotations

from typing import Any

import pytest

from streamforge.manager.engine.document import Handover, StepStatus, Workflow
from streamforge.manager.engine.lifecycle.actions import EndJob, Launch, SendStop, TakeOver, WriteTerminalEvent
from streamforge.manager.engine.lifecycle.conditions import Conditions
from streamforge.manager.engine.lifecycle.decision import decide
from streamforge.manager.engine.lifecycle.fold import fold_event, fold_jobs, without_progress
from streamforge.manager.engine.lifecycle.rounds import next_number, next_round
from streamforge.manager.engine.lifecycle.topic_lifetime import may_trim
from streamforge.manager.engine.stored_document import decode_workflow, encode_workflow
from streamforge.manager.workflows.live.model import Ledger
from streamforge_utils.model.messages import Live, Progress
from streamforge_utils.runtime.life.worker_definition import Source
from tests.manager.support import (
    LOADER,
    NOW,
    POLICY,
    SINK,
    attempt,
    changed,
    decide_running,
    job_named,
    replace,
    said,
    step,
    with_attempt,
)


def live(**fields: Any) -> Workflow:
    """A live workflow whose jobs run; the loader's attempt with the fields."""
    workflow = changed(decide_running(), endless=True, ledger=Ledger(stream_ms=NOW, compared_ms=NOW))
    workflow = workflow.with_step(replace(step(workflow, LOADER), source=Source.STREAM))
    return with_attempt(workflow, LOADER, **{"progress": Progress(live=Live(frame_age_s=0.1)), **fields})


def beside(**fields: Any) -> Workflow:
    """One whose shadow runs; its attempt with the fields."""
    workflow = live()
    handover = Handover(asked_ms=NOW, reason="asked", of=1)
    workflow = workflow.with_step(replace(step(workflow, LOADER), handover=handover))
    workflow, _ = decide(workflow, NOW, POLICY, Conditions())
    found = step(workflow, LOADER)
    assert found.shadow is not None
    shadow = replace(found.shadow, observed=True, started_ms=NOW, seen_ms=NOW, **fields)
    return workflow.with_step(replace(found, shadow=shadow))


READY = Progress(live=Live(shadow="ready"))


@pytest.mark.parametrize(
    ("runs", "now", "because"),
    [
        ("version 1", "version 2", "it runs version 1, and the next attempt version 2"),
        ("image a:1", "image a:2", "it runs image a:1, and the next attempt image a:2"),
        ("version 1", "version 1", None),
        ("version 1", "image a:2", None),
        ("", "version 2", None),
        ("version 1", "", None),
    ],
)
def test_another_version_is_a_reason(runs: str, now: str, because: str | None) -> None:
    workflow, actions = decide(live(runs=runs), NOW, POLICY, Conditions(runs={LOADER: now}))
    handover = step(workflow, LOADER).handover
    assert (handover.reason if handover else None) == because
    assert actions == []
    busy = Conditions(runs={LOADER: now}, may_hand_over=False)
    assert step(decide(live(runs=runs), NOW, POLICY, busy)[0], LOADER).handover is None


def test_what_it_was_handed_over_for_is_no_reason_again() -> None:
    workflow = live(runs="version 1")
    workflow = workflow.with_step(replace(step(workflow, LOADER), handed_over="version 2"))
    now = Conditions(runs={LOADER: "version 2"})
    assert step(decide(workflow, NOW, POLICY, now)[0], LOADER).handover is None
    newer = Conditions(runs={LOADER: "version 3"})
    assert step(decide(workflow, NOW, POLICY, newer)[0], LOADER).handover is not None


@pytest.mark.parametrize("conditions", [Conditions(may_connect=False), Conditions(banned_until_ms=NOW + 1)])
def test_a_shadow_waits_for_its_turn_to_connect(conditions: Conditions) -> None:
    workflow = live()
    handover = Handover(asked_ms=NOW, reason="asked", of=1)
    workflow = workflow.with_step(replace(step(workflow, LOADER), handover=handover))
    waits, actions = decide(workflow, NOW, POLICY, conditions)
    assert (step(waits, LOADER).shadow, actions) == (None, [])
    begun, actions = decide(waits, NOW, POLICY, Conditions())
    assert actions == []  # stored first
    assert decide(begun, NOW, POLICY, Conditions())[1] == [Launch(LOADER, shadow=True)]


def test_events_and_jobs_of_a_shadow_are_its_own() -> None:
    workflow = beside()
    shadow = step(workflow, LOADER).shadow
    assert shadow is not None
    told = fold_event(workflow, said(workflow, LOADER, "loading", number=2, extra={"live": {"shadow": "ready"}}), NOW)
    assert attempt(told, LOADER) == attempt(workflow, LOADER)
    found = step(told, LOADER).shadow
    assert found is not None
    assert found.progress.live == Live(shadow="ready")
    assert without_progress(told) == without_progress(workflow)
    mine = job_named(attempt(workflow, LOADER).job)
    seen = fold_jobs(workflow, {mine.name: mine}, NOW)
    gone = step(seen, LOADER).shadow
    assert gone is not None
    assert gone.ended_ms == NOW
    assert attempt(seen, LOADER).ended_ms is None


def test_the_one_that_writes_is_told_to_stop_once_the_shadow_is_ready() -> None:
    assert decide(beside(), NOW, POLICY, Conditions())[1] == []
    workflow, actions = decide(beside(progress=READY), NOW, POLICY, Conditions())
    assert actions == [SendStop(LOADER)]
    assert attempt(workflow, LOADER).stop_reason == "handover"
    late = NOW + int(POLICY.stop_within_s * 1000) + 1
    assert EndJob(attempt(workflow, LOADER).job) in decide(workflow, late, POLICY, Conditions())[1]


def test_once_it_has_ended_the_shadow_is_the_attempt_until_it_is_heard_to_write() -> None:
    workflow, _ = decide(beside(progress=READY), NOW, POLICY, Conditions())
    workflow = with_attempt(workflow, LOADER, ended_ms=NOW, exit_code=0, terminal_event="interrupted")
    workflow, actions = decide(workflow, NOW, POLICY, Conditions())
    assert actions == [TakeOver(LOADER)]
    found = attempt(workflow, LOADER)
    assert (found.number, found.shadow) == (2, True)
    silent = fold_event(workflow, said(workflow, LOADER, "loading", extra={"live": {"shadow": "ready"}}), NOW)
    assert attempt(silent, LOADER).shadow
    heard = fold_event(workflow, said(workflow, LOADER, "loading", extra={"live": {"last_id": 1}}), NOW)
    assert not attempt(heard, LOADER).shadow
    assert decide(heard, NOW, POLICY, Conditions())[1] == []


def test_one_that_does_not_take_over_is_stuck() -> None:
    workflow, _ = decide(beside(progress=READY), NOW, POLICY, Conditions())
    workflow = with_attempt(workflow, LOADER, ended_ms=NOW, exit_code=0, terminal_event="interrupted")
    workflow, _ = decide(workflow, NOW, POLICY, Conditions())
    late = NOW + int(POLICY.stuck_after_s * 1000) + 1
    workflow = with_attempt(workflow, LOADER, seen_ms=late, progressed_ms=late)
    workflow, _ = decide(workflow, late, POLICY, Conditions())
    assert attempt(workflow, LOADER).reason == "it was told to take over, and did not for 120 s"


def test_no_number_is_given_twice() -> None:
    workflow = beside(ended_ms=NOW, terminal_event="error", exit_code=1)
    workflow, _ = decide(workflow, NOW, POLICY, Conditions())
    found = step(workflow, LOADER)
    assert (found.shadow, next_number(found), [one.number for one in found.shadows]) == (None, 3, [2])
    assert found.handover is not None
    assert found.handover.not_before_ms > NOW
    again = step(next_round(workflow), LOADER)
    assert (again.round_from, again.handover) == (3, None)


def test_the_document_holds_all_of_it() -> None:
    workflow = beside(progress=READY)
    assert decode_workflow(encode_workflow(workflow)) == workflow


def test_a_sink_of_another_version_is_made_again_after_the_loader() -> None:
    now = Conditions(runs={LOADER: "version 2", SINK: "version 2"})
    workflow = with_attempt(live(runs="version 1"), SINK, runs="version 1")
    first, _ = decide(workflow, NOW, POLICY, now)
    assert step(first, LOADER).handover is not None
    assert attempt(first, SINK).stop_asked_ms is None
    workflow = with_attempt(live(runs="version 2"), SINK, runs="version 1")
    workflow, actions = decide(workflow, NOW, POLICY, now)
    assert attempt(workflow, SINK).stop_reason == "handover"
    assert actions == [EndJob(attempt(workflow, SINK).job)]
    workflow = with_attempt(workflow, SINK, ended_ms=NOW, exit_code=1, terminal_event="interrupted")
    workflow, actions = decide(workflow, NOW, POLICY, now)
    assert actions == [Launch(SINK)]
    assert (attempt(workflow, SINK).number, step(workflow, SINK).handed_over) == (2, "version 2")


def test_the_topic_is_not_trimmed_while_another_attempt_is_to_go_on_behind_its_last_record() -> None:
    written: dict[str, Any] = {"position": NOW, "live": Live(last_id=5)}
    assert may_trim(live(progress=Progress(**written)))
    assert not may_trim(live())  # it reads the last records first
    assert not may_trim(live(progress=Progress(**written), ended_ms=NOW))
    assert not may_trim(live(progress=Progress(**written), stop_asked_ms=NOW))
    assert not may_trim(with_attempt(beside(), LOADER, progress=Progress(**written)))
    assert not may_trim(decide_running())


@pytest.mark.parametrize("fields", [{"stop_asked_ms": NOW}, {"terminal_event": "interrupted"}])
def test_a_shadow_that_is_about_to_end_takes_no_place(fields: dict[str, Any]) -> None:
    workflow, _ = decide(beside(progress=READY, **fields), NOW, POLICY, Conditions())
    assert attempt(workflow, LOADER).stop_asked_ms is None
    workflow = with_attempt(workflow, LOADER, ended_ms=NOW, exit_code=1, terminal_event="error")
    workflow, _ = decide(workflow, NOW, POLICY, Conditions())
    assert attempt(workflow, LOADER).number == 1
    workflow, actions = decide(workflow, NOW + 10_000, POLICY, Conditions())
    assert attempt(workflow, LOADER).number == 3
    assert Launch(LOADER) in actions


def test_a_shadow_of_an_attempt_that_is_gone_takes_no_other_ones_place() -> None:
    workflow = beside(progress=READY)
    found = step(workflow, LOADER)
    other = replace(attempt(workflow, LOADER), number=3, job="other")
    workflow = workflow.with_step(replace(found, attempts=(*found.attempts, other)))
    workflow, _ = decide(workflow, NOW, POLICY, Conditions())
    assert attempt(workflow, LOADER).stop_asked_ms is None


def test_a_workflow_that_stops_has_not_ended_before_its_shadow_has() -> None:
    workflow = replace(beside(), stop_asked_ms=NOW, surveyed=True)
    for target in (LOADER, SINK):
        workflow = with_attempt(workflow, target, ended_ms=NOW, terminal_event="interrupted", outcome="interrupted")
        workflow = workflow.with_step(replace(step(workflow, target), status=StepStatus.INTERRUPTED))
    waits, actions = decide(workflow, NOW, POLICY, Conditions())
    shadow = step(waits, LOADER).shadow
    assert shadow is not None
    assert (waits.ended, actions) == (False, [EndJob(shadow.job)])
    gone = waits.with_step(replace(step(waits, LOADER), shadow=replace(shadow, ended_ms=NOW)))
    told, actions = decide(gone, NOW, POLICY, Conditions())
    assert not told.ended
    assert [type(one) for one in actions] == [WriteTerminalEvent]
    said_so = replace(shadow, ended_ms=NOW, terminal_event="interrupted")
    assert decide(gone.with_step(replace(step(gone, LOADER), shadow=said_so)), NOW, POLICY, Conditions())[0].ended
