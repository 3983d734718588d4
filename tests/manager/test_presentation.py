"""How far a workflow is said to be, where that is not simply a number of one attempt."""

from __future__ import annotations

from functools import partial

import pytest

from streamforge.manager.engine.document import Attempt, Status, Workflow
from streamforge.manager.presentation import moment, workflow_answer
from streamforge.manager.workflow_progress import progress_of
from streamforge.manager.workflows.series.model import Plan, SeriesProof
from streamforge_utils.model.messages import Progress
from streamforge_utils.runtime.life.worker_definition import Source
from tests.manager.api.support import SEGMENTS, replace, running
from tests.manager.support import accepted, changed, rest, the_plan

LOADER, SINK = "loader-api-candles", "arango-candles"


@pytest.fixture
def workflow() -> Workflow:
    return running(accepted())


def _attempts(workflow: Workflow, *progress: Progress | int, first: int = 1, target: str = SINK) -> Workflow:
    """The workflow with attempts of a step that are as far as that, or have so many records."""
    step = workflow.step(target)
    assert step is not None
    attempts = tuple(
        replace(
            step.attempts[0],
            number=number,
            planned_ms=workflow.created_ms + number,
            progress=found if isinstance(found, Progress) else Progress(records=found),
        )
        for number, found in enumerate(progress, first)
    )
    return workflow.with_step(replace(step, attempts=attempts))


def test_attempts_of_the_sink_add_up_and_never_beyond_what_is_expected(workflow: Workflow) -> None:
    assert progress_of(_attempts(workflow, 400, 300)).records_stored == 700
    assert progress_of(_attempts(workflow, 1000, 900)).records_stored == 1440
    assert progress_of(_attempts(workflow)).records_stored == 0


def test_what_was_refused_is_told_until_it_was_replayed(workflow: Workflow) -> None:
    step = workflow.step("arango-candles")
    assert step is not None
    first, second, replayed = (
        replace(step.attempts[0], number=number, progress=Progress(refused=count), replay=number == 3)
        for number, count in ((1, 5), (2, 2), (3, 1))
    )

    def refused(*attempts: Attempt) -> int:
        return progress_of(workflow.with_step(replace(step, attempts=attempts))).records_refused

    assert refused(first, second) == 7
    assert refused(first, second, replayed) == 8, "the replay has not come to its end"
    ended = replace(replayed, terminal_event="finished")
    assert refused(first, second, ended) == 1
    assert refused(first, second, replace(ended, letters=3)) == 5, "three were chosen, one of them came back"
    assert refused(second, replace(ended, letters=3), replace(ended, progress=Progress())) == 0


def _counted(workflow: Workflow) -> tuple[int, int]:
    """Records stored, and those of the sink's step."""
    view = workflow_answer(workflow)
    return view.progress.records_stored, next(step.records for step in view.steps if step.target == SINK)


def test_what_a_sink_reads_again_after_a_kill_counts_once(workflow: Workflow) -> None:
    # It had committed 300 of its 400, was killed, began again at 300 and is at 700.
    killed = Progress(records=400, position=299)
    assert _counted(_attempts(workflow, killed, Progress(records=400, position=699, unchanged=100))) == (700, 700)
    # It had stored 150 more than it could tell before it was killed: they are not lost.
    silent = Progress(records=250, position=249)
    assert _counted(_attempts(workflow, silent, Progress(records=400, position=649, unchanged=150))) == (650, 650)
    late = Progress(records=450, position=699, unchanged=50)
    assert _counted(_attempts(workflow, Progress(records=300, position=249), late)) == (700, 700)
    # What was refused has a place in the topic, but is not stored.
    refused = Progress(records=390, position=699, unchanged=100, refused=10)
    assert _counted(_attempts(workflow, killed, refused)) == (690, 690)


def test_what_all_was_there_counts_too_where_it_is_loaded_again(workflow: Workflow) -> None:
    again = changed(workflow, again=True)
    halves = Progress(records=400, position=299, unchanged=400), Progress(records=400, position=699, unchanged=400)
    assert _counted(_attempts(again, *halves)) == (700, 700)


def test_a_later_round_begins_in_the_topic_where_the_one_before_it_ended(workflow: Workflow) -> None:
    found = _attempts(
        workflow,
        Progress(records=500, position=499),
        Progress(records=200, position=650),
        Progress(records=100, position=750, unchanged=50),
    )
    step = found.step(SINK)
    assert step is not None
    # 250 records, and the marker at the end of the first round.
    assert progress_of(found.with_step(replace(step, round_from=2))).records_stored == 251


def test_where_the_beginning_is_forgotten_attempts_add_up(workflow: Workflow) -> None:
    later = Progress(records=5, position=9), Progress(records=6, position=12)
    assert progress_of(_attempts(workflow, *later, first=51)).records_stored == 11


def test_what_was_there_before_is_told_beside_what_is_loaded(workflow: Workflow) -> None:
    found = progress_of(changed(workflow, plan=replace(the_plan(workflow), there=300)))
    assert (found.records_expected, found.records_stored, found.records_there) == (1740, 1020, 300)
    assert progress_of(changed(workflow, plan=None)).records_there == 0


def test_what_the_loader_has_sent_is_not_what_is_stored(workflow: Workflow) -> None:
    assert progress_of(_attempts(workflow, 1440, target=LOADER)).records_stored == 720


def test_after_a_proof_only_newer_attempts_are_added(workflow: Workflow) -> None:
    proof = SeriesProof(round=1, checked_ms=workflow.created_ms + 2, expected=1440, stored=1000, segments=SEGMENTS)
    repairing = _attempts(changed(workflow, proof=proof), 1000, 30, 40)

    assert progress_of(repairing).records_stored == 1070
    ended = changed(repairing, status=Status.FINISHED, proof=replace(proof, stored=1440))
    assert (progress_of(ended).records_stored, progress_of(ended).share) == (1440, 1.0)


def _eta(workflow: Workflow, *, weight: int | None, done: float, seconds: float, stored: int, rate: float) -> object:
    """Of 1,052,000 candles (2,104 weight): the loader has `done` of them, the sink `stored` in so many seconds."""
    plan = Plan(exchange_now_ms=0, parts=rest("2023:2025"), expected=1_052_000)
    for target, progress in (
        (LOADER, Progress(share=done, weight_per_minute=weight)),
        (SINK, Progress(records=stored, rate=rate)),
    ):
        step = workflow.step(target)
        assert step is not None
        begun_ms = workflow.created_ms
        attempt = replace(
            step.attempts[0], started_ms=begun_ms, seen_ms=round(begun_ms + seconds * 1000), progress=progress
        )
        workflow = workflow.with_step(replace(step, attempts=(replace(attempt, ranges=("2023:2025",)),)))
    return workflow_answer(changed(workflow, plan=plan)).progress.eta_seconds


def test_the_time_left_is_that_of_the_requests_where_their_weight_holds_them_up(workflow: Workflow) -> None:
    at = partial(_eta, workflow, weight=120)
    # 120 a minute are 1,000 records a second, whatever the burst of a minute looks like.
    assert at(done=0.0, seconds=0.1, stored=0, rate=0.0) == 1052.0
    assert at(done=0.05, seconds=2, stored=52_600, rate=26_300.0) == pytest.approx(0.95 * 1052)
    # In the wait for the next minute nothing moves.
    assert at(done=0.05, seconds=50, stored=52_600, rate=0.0) == pytest.approx(0.95 * 1052)
    # Where the store is slower, it is what counts; and so it is where no weight is told.
    assert at(done=0.5, seconds=2000, stored=1_000, rate=0.5) == pytest.approx(1_051_000 / 0.5)
    assert at(weight=None, done=0.5, seconds=10, stored=52_000, rate=5200.0) == pytest.approx(1_000_000 / 5200, abs=0.1)
    assert at(weight=0, done=0.5, seconds=10, stored=52_000, rate=0.0) is None, "it is banned"


def test_requests_count_for_what_is_loaded_by_requests_alone(workflow: Workflow) -> None:
    loader = workflow.step(LOADER)
    assert loader is not None
    part = replace(loader.attempts[0], ranges=("2024-08-01T12:00Z:2024-08-02",), progress=Progress(weight_per_minute=2))
    found = changed(
        workflow.with_step(replace(loader, attempts=(part,))), plan=replace(the_plan(workflow), expected=4000)
    )
    assert progress_of(found).eta_seconds == 120.0, "2,000 records are two requests of 2"
    files = replace(loader, attempts=(part,), source=Source.ARCHIVE)
    assert progress_of(found.with_step(files)).eta_seconds == pytest.approx((4000 - 720) / 144, abs=0.1)


WAITS: list[tuple[dict[str, Progress], str | None]] = [
    ({LOADER: Progress(waiting="no connection"), SINK: Progress(waiting="records", lag=0)}, f"{LOADER}: no connection"),
    ({LOADER: Progress(waiting="no connection"), SINK: Progress(waiting="records")}, f"{LOADER}: no connection"),
    ({LOADER: Progress(waiting="readers are behind"), SINK: Progress(waiting="disk", lag=9)}, f"{SINK}: disk"),
    ({LOADER: Progress(waiting="readers are behind"), SINK: Progress(lag=9)}, f"{LOADER}: readers are behind"),
    ({LOADER: Progress(), SINK: Progress(waiting="records", lag=0)}, None),
    ({SINK: Progress(waiting="records", lag=0)}, f"{SINK}: records"),
]


@pytest.mark.parametrize(("progress", "said"), WAITS)
def test_a_workflow_waits_for_what_holds_up_its_steps(
    workflow: Workflow, progress: dict[str, Progress], said: str | None
) -> None:
    for step in workflow.steps:
        latest = replace(step.attempts[0], progress=progress.get(step.target, Progress(waiting="old")))
        if step.target not in progress:
            latest = replace(latest, terminal_event="finished")
        workflow = workflow.with_step(replace(step, attempts=(latest,)))

    assert workflow_answer(workflow).waiting_for == said
    assert workflow_answer(replace(workflow, waiting_for="a slot")).waiting_for == "a slot"
    assert workflow_answer(replace(workflow, status=Status.ERROR)).waiting_for is None


def test_nothing_to_load_is_all_done(workflow: Workflow) -> None:
    done = changed(workflow, plan=Plan(exchange_now_ms=0, expected=0), steps=())

    assert (progress_of(done).share, progress_of(done).records_stored) == (1.0, 0)
    assert progress_of(done).eta_seconds is None


def test_an_attempt_that_has_ended_has_no_rate(workflow: Workflow) -> None:
    step = workflow.step("arango-candles")
    assert step is not None
    ended = workflow.with_step(replace(step, attempts=(replace(step.attempts[0], ended_ms=1),)))

    assert (progress_of(ended).rate, progress_of(ended).eta_seconds) == (0.0, None)


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"started_ms": None, "observed": False}, "planned"),
        ({"started_ms": None}, "running"),
        ({"observed": False}, "running"),
        ({"stop_asked_ms": 5}, "stopping"),
        ({"stop_asked_ms": 5, "terminal_event": "interrupted"}, "interrupted"),
        ({"terminal_event": "finished"}, "finished"),
        ({"ended_ms": 9}, "error"),
        ({"ended_ms": 9, "terminal_event": "finished"}, "finished"),
    ],
)
def test_the_status_of_an_attempt_follows_from_what_is_known(
    workflow: Workflow, fields: dict[str, object], status: str
) -> None:
    step = workflow.steps[0]
    attempt: Attempt = replace(step.attempts[0], **fields)
    view = workflow_answer(workflow.with_step(replace(step, attempts=(attempt,))))

    assert view.steps[0].attempts[0].status == status


@pytest.mark.parametrize(
    ("time_ms", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (1_722_470_400_007, "2024-08-01T00:00:00.007Z"),
        (-1, "1970-01-01T00:00:00Z"),
        (10**18, "9999-12-31T23:59:59.999Z"),
    ],
)
def test_moments_are_iso_8601_in_utc_whatever_the_number(time_ms: int, text: str) -> None:
    assert moment(time_ms) == text
