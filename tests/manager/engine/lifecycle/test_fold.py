from __future__ import annotations

import msgspec
import pytest

from streamforge.manager.engine.document import Remark, Workflow
from streamforge.manager.engine.lifecycle.conditions import Conditions
from streamforge.manager.engine.lifecycle.decision import decide
from streamforge.manager.engine.lifecycle.fold import fold_event, fold_jobs
from streamforge.manager.engine.stored_document import decode_workflow, encode_workflow
from streamforge.manager.workflows.history.model import History
from streamforge_utils.model.coverage import IdsRead
from streamforge_utils.model.messages import Progress
from streamforge_utils.model.timeranges import parse_time_range
from streamforge_utils.ports.launcher import JobState
from tests.manager.support import (
    LOADER,
    NOW,
    POLICY,
    SINK,
    attempt,
    job_named,
    planned,
    replace,
    said,
    step,
    with_attempt,
)


@pytest.fixture
def workflow() -> Workflow:
    """Both steps launched, their jobs not yet seen."""
    return decide(planned(), NOW, POLICY, Conditions())[0]


def test_the_first_word_starts_the_attempt_and_progress_moves_it(workflow: Workflow) -> None:
    heard = fold_event(workflow, said(workflow, LOADER, "started"), NOW + 1)
    assert attempt(heard, LOADER).started_ms == attempt(heard, LOADER).progressed_ms == NOW + 1
    heard = fold_event(heard, said(workflow, LOADER, "loading", records=5, position=7), NOW + 2)
    heard = fold_event(heard, said(workflow, LOADER, "loading", records=5, position=7, rate=3.0, lag=9), NOW + 3)
    found = attempt(heard, LOADER)
    assert (found.seen_ms, found.progressed_ms, found.progress.rate) == (NOW + 3, NOW + 2, 3.0)
    assert attempt(heard, SINK) == attempt(workflow, SINK)


def test_a_pong_is_a_sign_of_life_and_nothing_more(workflow: Workflow) -> None:
    heard = fold_event(workflow, said(workflow, LOADER, "pong"), NOW + 9)
    assert attempt(heard, LOADER) == replace(attempt(workflow, LOADER), seen_ms=NOW + 9)


@pytest.mark.parametrize("word", ["finished", "interrupted", "error"])
def test_after_its_terminal_event_nothing_more_is_believed(workflow: Workflow, word: str) -> None:
    ended = fold_event(
        workflow, said(workflow, LOADER, word, error="why", records=3, extra={"permanent": True}), NOW + 1
    )
    found = attempt(ended, LOADER)
    assert (found.terminal_event, found.error, found.permanent, found.progress.records) == (word, "why", True, 3)
    for other in ("started", "loading", "finished", "interrupted", "error", "pong"):
        assert fold_event(ended, said(workflow, LOADER, other, records=99), NOW + 2) == ended


def test_what_a_terminal_event_does_not_say_is_not_so(workflow: Workflow) -> None:
    bare = replace(said(workflow, LOADER, "finished"), extra=None, message="all is loaded")
    found = attempt(fold_event(workflow, bare, NOW + 1), LOADER)
    assert (found.error, found.permanent, found.own_exit_code, found.message) == ("", False, None, "all is loaded")


def test_what_a_loader_reports_of_its_files_is_kept_until_its_terminal_event_has_all(workflow: Workflow) -> None:
    ranges = ("2024-08-01:2024-08-03",)
    told = [{"disputed": [{"range": f"2024-08-0{day}:2024-08-0{day + 1}", "reason": "12, not 34"}]} for day in (1, 2)]
    workflow = with_attempt(workflow, LOADER, ranges=ranges)
    for extra in told:
        workflow = fold_event(workflow, said(workflow, LOADER, "loading", extra=extra), NOW)
    assert attempt(workflow, LOADER).disputed == (Remark(parse_time_range(ranges[0]), "12, not 34"),)
    for extra, kept in (({}, parse_time_range(ranges[0])), (told[1], parse_time_range("2024-08-02"))):
        ended = fold_event(workflow, said(workflow, LOADER, "error", extra=extra), NOW)
        assert [one.span for one in attempt(ended, LOADER).disputed] == [kept]


def test_the_attempts_before_are_kept(workflow: Workflow) -> None:
    of = step(workflow, LOADER)
    three = tuple(replace(of.attempts[0], number=number, job=f"job-{number}") for number in (1, 2, 3))
    workflow = workflow.with_step(replace(of, attempts=three))
    heard = fold_event(workflow, said(workflow, LOADER, "started"), NOW)
    seen = fold_jobs(workflow, {"job-3": job_named("job-3")}, NOW)
    for changed in (heard, seen):
        assert step(changed, LOADER).attempts[:-1] == three[:-1]
        assert attempt(changed, LOADER).number == 3


@pytest.mark.parametrize(("until", "waits"), [(None, True), (NOW / 1000, False), (NOW / 1000 + 0.001, True)])
def test_the_time_in_which_it_says_that_it_waits_counts_as_progress(
    workflow: Workflow, until: float | None, waits: bool
) -> None:
    started = with_attempt(workflow, LOADER, started_ms=5, progressed_ms=5)
    heard = fold_event(started, said(workflow, LOADER, "loading", waiting="weight", waiting_until=until), NOW)
    assert attempt(heard, LOADER).progressed_ms == (NOW if waits else 5)


@pytest.mark.parametrize("number", [0, 2, 3])
def test_another_attempt_is_not_heard(workflow: Workflow, number: int) -> None:
    assert fold_event(workflow, said(workflow, LOADER, "finished", number=number), NOW) is workflow


def test_a_stranger_is_not_heard(workflow: Workflow) -> None:
    event = said(workflow, LOADER, "finished")
    assert fold_event(workflow, replace(event, target="arango-trades"), NOW) is workflow
    assert fold_event(workflow, replace(event, producer="loader-api-candles__zzzzzz"), NOW) is workflow


def test_progress_that_cannot_be_read_keeps_the_count(workflow: Workflow) -> None:
    event = replace(said(workflow, LOADER, "loading"), extra={"records": "many"}, records_written=12)
    assert attempt(fold_event(workflow, event, NOW), LOADER).progress == Progress(records=12)


def test_what_a_loader_has_read_is_kept_over_attempts_as_far_as_it_can_be_read(workflow: Workflow) -> None:
    told: list[object] = [{"start_ms": 0, "end_ms": 10, "first_id": 3, "last_id": 5}, {"start_ms": 20, "end_ms": 30}]
    for number, read in enumerate((told, [{"start_ms": 10, "end_ms": 20, "first_id": 6, "last_id": 9}], "all", [{}])):
        heard = fold_event(workflow, said(workflow, LOADER, "error", extra={"read": read}), NOW)
        assert fold_event(heard, said(workflow, LOADER, "error", extra={"read": told}), NOW) == heard
        heard = with_attempt(heard, LOADER, ended_ms=NOW, exit_code=1)
        workflow = decide(heard, NOW, POLICY, Conditions())[0]
        assert attempt(workflow, LOADER).read == ()
        workflow = decode_workflow(encode_workflow(workflow))
        if number == 0:
            assert workflow.part(History).read == msgspec.convert(told, tuple[IdsRead, ...])
        workflow = decide(workflow, NOW + (number + 1) * 3_600_000, POLICY, Conditions())[0]
        if number < POLICY.max_failures - 1:
            assert attempt(workflow, LOADER).number == number + 2
    assert workflow.part(History).read == (IdsRead(start_ms=0, end_ms=30, first_id=3, last_id=9),)


def test_hearing_twice_is_hearing_once(workflow: Workflow) -> None:
    events = [said(workflow, LOADER, word, records=n) for n, word in enumerate(("started", "loading", "finished"))]
    once = twice = workflow
    for event in events:
        once = fold_event(once, event, NOW)
    for event in [*events, *events]:
        twice = fold_event(twice, event, NOW)
    assert once == twice


def test_a_job_is_seen_to_run_and_to_end(workflow: Workflow) -> None:
    name = attempt(workflow, LOADER).job
    seen = fold_jobs(workflow, {name: job_named(name)}, NOW + 5)
    assert attempt(seen, LOADER).observed
    assert attempt(seen, LOADER).seen_ms == NOW + 5, "its patience counts from here"
    assert fold_jobs(seen, {name: job_named(name)}, NOW + 6) is seen
    gone = job_named(name, state=JobState.ENDED, exit_code=1, reason="no disk", ended_ms=NOW + 7)
    ended = attempt(fold_jobs(seen, {name: gone}, NOW + 9), LOADER)
    assert (ended.ended_ms, ended.exit_code, ended.signal, ended.reason) == (NOW + 7, 1, None, "no disk")


def test_a_job_not_seen_yet_has_not_disappeared_but_one_seen_before_has(workflow: Workflow) -> None:
    assert fold_jobs(workflow, {}, NOW) is workflow
    seen = with_attempt(workflow, LOADER, observed=True)
    gone = attempt(fold_jobs(seen, {}, NOW + 1), LOADER)
    assert gone.ended_ms == NOW + 1
    assert gone.reason == "its job disappeared: somebody else removed it"


def test_a_job_that_is_first_seen_when_it_has_ended_was_seen(workflow: Workflow) -> None:
    name = attempt(workflow, LOADER).job
    job = job_named(name, state=JobState.ENDED, signal=9, reason="killed", ended_ms=NOW)
    found = attempt(fold_jobs(workflow, {name: job}, NOW), LOADER)
    assert (found.observed, found.signal, found.exit_code, found.reason) == (True, 9, None, "killed")


@pytest.mark.parametrize(
    ("began", "ended", "times"),
    [
        (NOW + 200, NOW + 700, (NOW + 400, NOW + 700)),
        (NOW + 200, NOW + 300, (NOW + 200, NOW + 300)),  # its first word was heard later
        (NOW - 1000, NOW + 300, (NOW, NOW + 300)),  # by whole seconds, or by a clock that is behind
        (NOW - 1000, NOW - 500, (NOW, NOW)),
        (0, NOW + 300, (NOW + 300, NOW + 300)),  # nobody knows
    ],
)
def test_no_attempt_ends_before_it_began(workflow: Workflow, began: int, ended: int, times: tuple[int, int]) -> None:
    name = attempt(workflow, LOADER).job
    assert attempt(workflow, LOADER).planned_ms == NOW
    job = job_named(name, state=JobState.ENDED, exit_code=0, started_ms=began, ended_ms=ended)
    word = replace(said(workflow, LOADER, "started"), timestamp=(began or ended + 900) / 1000)
    found = attempt(fold_jobs(fold_event(workflow, word, NOW + 400), {name: job}, NOW + 900), LOADER)
    assert (found.started_ms, found.ended_ms) == times
    found = attempt(fold_event(fold_jobs(workflow, {name: job}, NOW + 900), word, NOW + 900), LOADER)
    assert (found.started_ms, found.ended_ms) == (max(NOW, min(began or ended, ended)), times[1])


@pytest.mark.parametrize("first", [LOADER, SINK])
def test_one_that_has_ended_hides_no_other(workflow: Workflow, first: str) -> None:
    other = SINK if first == LOADER else LOADER
    ended = with_attempt(workflow, first, observed=True, ended_ms=5, exit_code=0)
    name = attempt(ended, other).job
    assert attempt(fold_jobs(ended, {name: job_named(name)}, NOW), other).observed


def test_what_has_ended_stays_ended(workflow: Workflow) -> None:
    name = attempt(workflow, LOADER).job
    ended = with_attempt(workflow, LOADER, observed=True, ended_ms=5, exit_code=0)
    assert fold_jobs(ended, {name: job_named(name)}, NOW) is ended
