"""What an ended workflow takes over into its next round, and what it does not."""

from __future__ import annotations

import pytest

from streamforge.manager.engine.document import Attempt, Failure, Remark, Status, StepStatus, Workflow
from streamforge.manager.engine.lifecycle.conditions import Conditions
from streamforge.manager.engine.lifecycle.decision import decide
from streamforge.manager.engine.lifecycle.facts import Replay, Retry, apply, grant
from streamforge.manager.engine.lifecycle.findings import Fact, TopicsRemoved
from streamforge.manager.engine.lifecycle.rounds import (
    MAX_RANGES,
    joined,
    next_attempt,
    next_round,
    read_letters,
    replay_round,
)
from streamforge.manager.workflows.series.model import Part, Plan, SeriesProof
from streamforge.manager.workflows.series.rounds import repair_round
from streamforge_utils.model.coverage import IdsRead
from streamforge_utils.model.timeranges import TimeRange, parse_time_range
from streamforge_utils.model.topic_reading import PartitionRange
from streamforge_utils.runtime.life.worker_definition import Source
from tests.manager.support import (
    DAY,
    DAY_START,
    HOUR_MS,
    LOADER,
    NOW,
    POLICY,
    SINK,
    accepted,
    changed,
    replace,
    rest,
    step,
)

FAILURE = Failure(reason="no such symbol", next_step="correct it")
PLAN = Plan(exchange_now_ms=NOW, parts=rest(DAY), expected=1440)
PAST = (Attempt(number=6, job="job-6", planned_ms=NOW), Attempt(number=7, job="job-7", planned_ms=NOW))
READ = (IdsRead(start_ms=DAY_START, end_ms=DAY_START + HOUR_MS, first_id=3, last_id=9),)
DOUBT = (Remark(TimeRange(DAY_START, DAY_START + HOUR_MS), "published 12, read 34"),)


def ended() -> Workflow:
    """A failed workflow of which every field says something."""
    fresh = accepted()
    return changed(
        fresh,
        status=Status.ERROR,
        plan=PLAN,
        proof=SeriesProof(round=3, checked_ms=NOW, expected=1, stored=0, segments=()),
        asking_failures=3,
        not_before_ms=NOW,
        waiting_for="the exchange",
        repairs=2,
        disputed=DOUBT,
        read=READ,
        surveyed=True,
        stop_asked_ms=NOW,
        failure=FAILURE,
        ended_ms=NOW,
        replayed=Status.INTERRUPTED,
        replayed_failure=Failure(reason="older", next_step=""),
        topic_removed=True,
        dlq_removed=True,
        steps=tuple(
            replace(
                one,
                status=StepStatus.ERROR,
                attempts=PAST,
                replay=True,
                letters=("0:3:4",),
                not_before_ms=NOW,
                failures=3,
                disruptions=4,
                ranges=(DAY,),
                failure=FAILURE,
                left=5,
                left_at_least=True,
            )
            for one in fresh.steps
        ),
    )


def test_a_retry_begins_as_a_new_workflow_does_but_for_the_numbers_of_its_attempts() -> None:
    again = grant(ended(), Retry(), NOW)
    steps = tuple(replace(one, attempts=PAST, round_from=8) for one in accepted().steps)
    assert again == replace(accepted(), epoch=again.epoch, steps=steps)
    assert again.epoch > ended().epoch


def test_a_replay_keeps_the_plan_and_how_it_had_ended_and_its_loaders_have_nothing_to_do() -> None:
    again = grant(ended(), Replay(), NOW)
    loader, sink = (replace(step(accepted(), target), attempts=PAST, round_from=8) for target in (LOADER, SINK))
    steps = {LOADER: replace(loader, status=StepStatus.FINISHED), SINK: replace(sink, replay=True)}
    assert again == changed(
        accepted(),
        epoch=again.epoch,
        plan=PLAN,
        disputed=DOUBT,  # what is replayed may be of that file
        read=READ,
        replayed=Status.ERROR,
        replayed_failure=FAILURE,
        steps=tuple(steps[one.target] for one in accepted().steps),
    )


@pytest.mark.parametrize("outcome", ["finished", "interrupted", None])
def test_after_a_replay_only_a_loader_that_had_not_finished_is_interrupted(outcome: str | None) -> None:
    attempts = {LOADER: () if outcome is None else (replace(PAST[0], ended_ms=NOW, outcome=outcome),), SINK: ()}
    before = changed(accepted(), plan=PLAN, waiting_for="")
    replaying = replay_round(
        replace(before, steps=tuple(replace(one, attempts=attempts[one.target]) for one in before.steps))
    )
    done = replace(
        replaying,
        status=Status.RUNNING,
        replayed=Status.INTERRUPTED,
        surveyed=True,
        waiting_for="something",
        steps=tuple(replace(one, status=StepStatus.FINISHED) for one in replaying.steps),
    )
    after, actions = decide(done, NOW, POLICY, Conditions())
    assert (after.status, after.waiting_for, actions) == (Status.INTERRUPTED, "", [])
    kept = StepStatus.FINISHED if outcome == "finished" else StepStatus.INTERRUPTED
    assert (step(after, LOADER).status, step(after, SINK).status) == (kept, StepStatus.FINISHED)


@pytest.mark.parametrize(("number", "left"), [(1, 1), (MAX_RANGES, MAX_RANGES), (MAX_RANGES + 1, 1)])
def test_more_ranges_than_a_job_can_be_told_are_joined(number: int, left: int) -> None:
    ranges = [TimeRange(n * 10, n * 10 + 5) for n in range(number)]
    found = joined(ranges)
    assert len(found) == left
    assert (found[0].start_ms, found[-1].end_ms) == (0, (number - 1) * 10 + 5)


ARCHIVE = Part(span=TimeRange(DAY_START, DAY_START + HOUR_MS), source=Source.ARCHIVE)
REST = Part(span=TimeRange(DAY_START + HOUR_MS, DAY_START + 2 * HOUR_MS))


@pytest.mark.parametrize(
    ("parts", "bulk", "rest_"),
    [((ARCHIVE, REST), True, True), ((ARCHIVE,), True, False), ((REST,), False, True)],
)
def test_each_loader_has_the_parts_of_its_source_and_one_without_has_finished(
    parts: tuple[Part, ...], bulk: bool, rest_: bool
) -> None:
    workflow = with_bulk_loader()
    plan = Plan(exchange_now_ms=NOW, parts=parts)
    going = next_round(changed(workflow, plan=plan), plan.ranges)
    for target, part, loads in (("bulk", ARCHIVE, bulk), (LOADER, REST, rest_)):
        found = step(going, target)
        assert found.ranges == ((str(part.span),) if loads else ())
        assert found.status is (StepStatus.WAITING if loads else StepStatus.FINISHED)
    assert step(going, SINK).status is StepStatus.WAITING


def test_holes_are_loaded_again_over_rest_where_a_loader_can() -> None:
    workflow = with_bulk_loader()
    day = parse_time_range(DAY)
    repaired = repair_round(workflow, [day])
    assert (step(repaired, LOADER).ranges, step(repaired, "bulk").ranges) == ((DAY,), ())
    alone = replace(workflow, steps=tuple(one for one in workflow.steps if one.target != LOADER))
    assert step(repair_round(alone, [day]), "bulk").ranges == (DAY,)
    with_floor = changed(workflow, plan=replace(PLAN, floor_ms=day.start_ms + HOUR_MS, floor_id=7))
    repaired = repair_round(with_floor, [TimeRange(day.start_ms - HOUR_MS, day.start_ms), day])
    assert (step(repaired, LOADER).ranges, step(repaired, "bulk").ranges) == (
        ("2024-08-01T01:00Z:2024-08-02",),
        ("2024-07-31T23:00Z:2024-08-01", "2024-08-01:2024-08-01T01:00Z"),
    )


def with_bulk_loader() -> Workflow:
    """A workflow with a second loader, which reads the exchange's files."""
    workflow = accepted()
    bulk = replace(step(workflow, LOADER), target="bulk", source=Source.ARCHIVE)
    return replace(workflow, steps=(bulk, *workflow.steps))


def replayed(workflow: Workflow, status: StepStatus = StepStatus.FINISHED) -> Workflow:
    """The workflow after its replay has ended so."""
    steps = tuple(replace(one, status=status) if one.replay else one for one in workflow.steps)
    return replace(workflow, status=Status.FINISHED, ended_ms=NOW, steps=steps)


def test_letters_that_a_replay_has_read_are_passed_over_by_the_next_and_by_a_round_between() -> None:
    once = grant(replayed(accepted()), Replay(("0:3:4", "0:5:6"), ()), NOW)
    assert (once.letters_read, read_letters(once)) == ((), ()), "it has not read them yet"
    sink = replace(step(once, SINK), attempts=PAST)
    assert (next_attempt(once, sink, NOW).letters, next_attempt(once, step(once, LOADER), NOW).letters) == (2, 0)
    read = (PartitionRange(0, 3, 4), PartitionRange(0, 5, 6))
    assert read_letters(replayed(once)) == read
    assert read_letters(replayed(once, StepStatus.ERROR)) == (), "it stays with all of them"
    between = next_round(replayed(once))
    assert (between.letters_read, read_letters(between)) == (read, read)
    again = grant(replayed(once), Replay(("0:4:5",), read[1:]), NOW)
    assert again.letters_read == read[1:], "what the sinks have committed is forgotten"
    assert read_letters(replayed(again)) == (PartitionRange(0, 4, 6),)
    every = grant(replayed(once), Replay((), read), NOW)
    assert (every.letters_read, read_letters(replayed(every))) == (read, ())


def test_of_a_topic_of_letters_that_is_gone_nothing_was_read() -> None:
    once = replayed(grant(replayed(accepted()), Replay(("0:3:4",), (PartitionRange(0, 0, 1),)), NOW))
    gone = apply(once, Fact(once.epoch, TopicsRemoved(dead_letters=True)), POLICY)
    assert (gone.dlq_removed, read_letters(gone)) == (True, ())
    assert grant(gone, Replay(), NOW).letters_read == ()
