"""What is told of a live workflow: its state by what is proven and by the age of frames, never by a connection."""

from __future__ import annotations

from typing import Any

import pytest

from streamforge.manager.engine.document import Status, Workflow
from streamforge.manager.engine.lifecycle.fold import fold_event, without_progress
from streamforge.manager.presentation import workflow_answer
from streamforge.manager.workflows.live.answers import live_answer
from streamforge.manager.workflows.live.metrics import MOST_NAMED, LiveMetrics
from streamforge.manager.workflows.live.model import Ledger
from streamforge_utils.model.coverage import Segment, Verdict
from streamforge_utils.model.messages import Progress
from streamforge_utils.runtime.life.worker_definition import Role, Source
from tests.doubles.observer import RecordingObserver
from tests.manager.support import DAY_START, LOADER, NOW, changed, decide_running, replace, said

HOLE = Segment(start_ms=NOW - 2000, end_ms=NOW - 1000, verdict=Verdict.UNKNOWN, first_id=3, last_id=5)


def live(heard: dict[str, Any] | None = None, **ledger: Any) -> Workflow:
    """A live workflow whose loader has told `heard`."""
    given = {"from_ms": DAY_START, "stream_ms": DAY_START, "proven_ms": NOW - 3000, **ledger}
    workflow = changed(decide_running(), type="ws_candles_1m", endless=True, ledger=Ledger(**given))
    steps = tuple(replace(s, source=Source.STREAM) if s.role is Role.LOADER else s for s in workflow.steps)
    workflow = replace(workflow, steps=steps)
    return (
        workflow
        if heard is None
        else fold_event(workflow, said(workflow, LOADER, "loading", extra={"live": heard}), NOW)
    )


@pytest.mark.parametrize(
    ("heard", "ledger", "state"),
    [
        ({"frame_age_s": 0.5}, {}, "live"),
        (None, {"stream_ms": NOW - 5000}, "live"),
        (None, {}, "behind"),
        ({"frame_age_s": 61}, {}, "behind"),
        ({"frame_age_s": 0.5}, {"proven_ms": NOW - 179_000}, "live"),
        ({"frame_age_s": 0.5}, {"proven_ms": NOW - 181_000}, "behind"),
        ({"frame_age_s": 0.5}, {"proven_ms": None}, "syncing"),
        ({"frame_age_s": 0.5}, {"history_ms": NOW}, "syncing"),
        ({"frame_age_s": 0.5}, {"history_ms": NOW, "failures": 1}, "live"),
        ({"frame_age_s": 0.5}, {"open_holes": 1, "holes": (HOLE,)}, "suspect"),
    ],
)
def test_its_state(heard: dict[str, Any] | None, ledger: dict[str, Any], state: str) -> None:
    found = live_answer(live(heard, **ledger), NOW)
    assert found is not None
    assert found.state == state


def test_all_that_is_known_of_it_is_told() -> None:
    heard = {
        "last_id": 7,
        "frame_age_s": 0.25,
        "reconnects": 2,
        "failure": "it broke off",
        "refused": 8,
        "refusal": "no digits",
        "dropped": 9,
        "backfilled": 30,
        "duplicates": 4,
        "held_bytes": 5,
        "clock_offset_ms": -12,
        "new": "in a later version",
    }
    ledger = {"proven_id": 6, "open_holes": 1, "holes": (HOLE,), "failure": "wf-x: no", "not_before_ms": NOW}
    shown = workflow_answer(live(heard, **ledger), at_ms=NOW + 1000)
    found = shown.live
    assert found is not None
    assert (found.proven_through_ms, found.proven_id, found.behind_seconds) == (NOW - 3000, 6, 4.0)
    assert (found.frame_age_seconds, found.last_id, found.reconnects) == (1.25, 7, 2)
    assert (found.failure, found.refused, found.refusal, found.dropped) == ("it broke off", 8, "no digits", 9)
    assert (found.backfilled, found.duplicates, found.held_bytes, found.clock_offset_ms) == (30, 4, 5, -12)
    assert [(one.first_id, one.last_id, one.verdict) for one in found.holes] == [(3, 5, "unknown")]
    assert (found.supplement, found.supplement_failure, found.repair_at) == (
        None,
        "wf-x: no",
        "2024-08-11T00:00:00.000Z",
    )
    assert (shown.time_range.start_ms, shown.time_range.end_ms) == (DAY_START, NOW - 3000)
    assert (shown.time_range.clipped, shown.progress.records_expected) == (False, None)


def test_the_age_of_the_last_frame_grows_while_no_loader_runs() -> None:
    workflow = live({"frame_age_s": 0.5})
    step = next(one for one in workflow.steps if one.role is Role.LOADER)
    assert step.attempt is not None
    waits = replace(step.attempt, number=2, progress=Progress(), ended_ms=None)
    workflow = workflow.with_step(replace(step, attempts=(replace(step.attempt, ended_ms=NOW), waits)))
    found = live_answer(workflow, NOW + 90_000)
    assert found is not None
    assert (found.state, found.frame_age_seconds) == ("behind", 90.5)
    observer = RecordingObserver()
    LiveMetrics(observer).observe([workflow], NOW + 90_000)
    assert observer.gauges["live_frame_age_seconds"] == 90.5


def test_a_book_that_is_not_compared_is_told_of_once_that_lasts_and_the_age_of_the_comparison_grows() -> None:
    for heard, unchecked in (({}, None), ({"unchecked_s": 299.9}, None), ({"unchecked_s": 300.0}, 300.0)):
        found = live_answer(live({"frame_age_s": 0.5, "trust": "verified", "agreed_age_s": 400, **heard}), NOW + 1000)
        assert found is not None
        assert (found.agreed_age_seconds, found.unchecked_seconds) == (401.0, unchecked)
        assert (found.state, found.trust) == ("live", "verified")


def test_what_a_loader_reports_is_progress_and_not_stored_for_itself() -> None:
    first, second = live({"frame_age_s": 0.5, "last_id": 1}), live({"frame_age_s": 0.1, "last_id": 2})
    assert first != second
    assert without_progress(first) == without_progress(second)


def test_where_frames_come_a_loader_is_not_stuck_though_nothing_happens() -> None:
    workflow = live({"frame_age_s": 0.5})
    later = NOW + 600_000
    heard = fold_event(workflow, said(workflow, LOADER, "loading", extra={"live": {"frame_age_s": 2}}), later)
    attempt = next(one.attempt for one in heard.steps if one.role is Role.LOADER)
    assert attempt is not None
    assert attempt.progressed_ms == later - 2000
    silent = fold_event(workflow, said(workflow, LOADER, "loading", extra={"live": {"frame_age_s": 600}}), later)
    attempt = next(one.attempt for one in silent.steps if one.role is Role.LOADER)
    assert attempt is not None
    assert attempt.progressed_ms == NOW


def test_the_metrics_tell_the_worst_of_all_and_nothing_once_they_have_ended() -> None:
    observer = RecordingObserver()
    metrics = LiveMetrics(observer)
    workflows = [
        live({"frame_age_s": 70}),
        live({"frame_age_s": 1}, proven_ms=NOW - 500_000),
        live({"frame_age_s": 1}, history_ms=NOW, proven_ms=DAY_START + 1),
        live({"frame_age_s": 1}, open_holes=2),
        decide_running(),
    ]
    metrics.observe(workflows, NOW)
    assert observer.gauges["live_frame_age_seconds"] == 70
    assert observer.gauges["live_proven_age_seconds"] == 500
    assert observer.gauges["live_open_holes"] == 2
    metrics.observe([], NOW)
    assert observer.gauges["live_frame_age_seconds"] == observer.gauges["live_open_holes"] == 0


def test_the_series_that_are_most_late_are_named_until_they_are_no_more() -> None:
    observer = RecordingObserver()
    metrics = LiveMetrics(observer)

    def named() -> dict[str, float]:
        return {name: value for name, value in observer.gauges.items() if name.startswith("live_late_seconds")}

    def key(symbol: str) -> str:
        return f"live_late_seconds{{symbol={symbol},type=ws_candles_1m}}"

    many = [replace(live({"frame_age_s": 100 + n}), symbol=f"A{n}") for n in range(MOST_NAMED + 1)]
    fine = live({"frame_age_s": 1})
    metrics.observe([fine], NOW)
    assert named() == {}
    metrics.observe([fine, *many], NOW)
    assert named() == {key(f"A{n}"): 100 + n for n in range(1, MOST_NAMED + 1)}
    proven = replace(live({"frame_age_s": 1}, open_holes=1, proven_ms=NOW - 500_000), symbol="HOLES")
    metrics.observe([fine, many[0], proven], NOW)
    assert named() == {key("A0"): 100, key("HOLES"): 500}, "the others are not shown any more"
    metrics.observe([fine], NOW)
    assert named() == {}


def test_one_that_has_ended_is_behind_nothing() -> None:
    ended = replace(live({"frame_age_s": 0.5}), status=Status.FINISHED, ended_ms=NOW)
    found = live_answer(ended, NOW + 3_600_000)
    assert found is not None
    assert (found.state, found.behind_seconds, found.frame_age_seconds) == ("ended", None, None)


def book(heard: dict[str, Any], store_diffs: bool = False, **ledger: Any) -> Workflow:
    """A live workflow of an order book, in segments of 900 seconds."""
    workflow = replace(live({"frame_age_s": 0.5, **heard}, **ledger), type="ws_orderbook")
    parameters = {"store_diffs": store_diffs}
    steps = tuple(
        replace(one, target="arango-orderbook", parameters=parameters) if one.role is Role.SINK else one
        for one in workflow.steps
    )
    return replace(workflow, steps=steps)


@pytest.mark.parametrize(
    ("found", "state"),
    [
        (book({"trust": "verified"}), "live"),
        (book({"trust": "unverifiable"}), "syncing"),
        (book({"trust": "suspect"}), "suspect"),
        (book({"trust": "verified"}, proven_ms=None), "syncing"),
        (book({"trust": "verified"}, open_holes=1), "suspect"),
        (book({"trust": "verified"}, proven_ms=NOW - 1_019_000), "live"),
        (book({"trust": "verified"}, proven_ms=NOW - 1_021_000), "behind"),
        (book({"trust": "verified"}, True, proven_ms=NOW - 121_000), "behind"),
        (book({"trust": "verified", "last_id": 9}, proven_ms=NOW - 9_000_000, proven_id=9), "live"),
        (book({"trust": "verified", "last_id": 9}, proven_ms=NOW - 9_000_000, proven_id=8), "behind"),
        (book({"trust": "verified", "last_id": 9, "frame_age_s": 61}, proven_id=9), "behind"),
    ],
)
def test_the_state_of_an_order_book(found: Workflow, state: str) -> None:
    told = live_answer(found, NOW)
    assert told is not None
    assert told.state == state


@pytest.mark.parametrize(("frame_age_s", "after_s"), [(None, 0), (0.5, 61)])
def test_an_order_book_of_which_nothing_is_heard_is_not_called_verified(frame_age_s: float, after_s: int) -> None:
    found = book({"trust": "verified", "last_id": 9, "frame_age_s": frame_age_s}, proven_id=9, proven_ms=NOW - 1000)
    told = live_answer(found, NOW + 1000 * after_s)
    assert told is not None
    assert (told.state, told.trust, told.why) == ("behind", "unverifiable", "no frame comes")


def test_how_much_of_an_order_book_can_be_trusted_is_told() -> None:
    span = {"from_ms": NOW - 13_000, "proven_ms": NOW - 3000}
    found = live_answer(
        book({"trust": "suspect", "why": "crossed"}, False, verified_ms=9000, clean_ms=500, lost_ms=250, **span), NOW
    )
    assert found is not None
    assert (found.trust, found.why) == ("suspect", "crossed")
    assert (found.verified_share, found.clean_share, found.lost_seconds) == (0.9, 0.05, 0.25)
    other = live_answer(live({"frame_age_s": 0.5}), NOW)
    assert other is not None
    assert (other.trust, other.why, other.verified_share, other.lost_seconds) == (None, None, None, None)


def test_a_segment_that_is_still_open_is_no_age_to_be_called_for() -> None:
    observer = RecordingObserver()
    LiveMetrics(observer).observe([book({"trust": "verified"}, proven_ms=NOW - 800_000)], NOW)
    assert observer.gauges["live_proven_age_seconds"] == 120


def test_of_an_order_book_diffs_alone_are_stored_and_those_of_an_open_segment_are_on_their_way() -> None:
    found = book({"trust": "verified"}, stored=213)
    loader, sink = LOADER, "arango-orderbook"
    found = fold_event(found, said(found, loader, "loading", records=4000, rate=11.5), NOW)
    found = fold_event(found, said(found, sink, "loading", records=27, rate=0.4, lag=3, held=1840), NOW)
    told = workflow_answer(found, at_ms=NOW)
    assert told.live is not None
    assert (told.progress.records_stored, told.progress.rate, told.live.records_waiting) == (213, 11.5, 1843)
    ended = workflow_answer(replace(found, status=Status.INTERRUPTED, ended_ms=NOW), at_ms=NOW)
    assert ended.live is not None
    assert (ended.progress.records_stored, ended.live.records_waiting) == (213, 0)
