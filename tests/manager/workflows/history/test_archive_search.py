"""Holes that requests do not fill are looked for in files: at once, and again where there was none yet."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from streamforge.manager.engine.document import Status, StepStatus, Workflow
from streamforge.manager.workflows.series.model import SourceChoice
from streamforge_utils.model.coverage import FILE_AWAITED, Verdict
from streamforge_utils.model.errors import RetryableError
from streamforge_utils.model.timeranges import TimeRange, parse_time_range
from streamforge_utils.runtime.history.archive_loader import UNSERVED
from tests.doubles.memoryarchive import TARGET, MemoryArchive, published, with_files
from tests.manager.execution.world import SERIES, exchange_of, store_bars, turns_until_ended
from tests.manager.support import DAY_MS, DAY_START, LOADER, MINUTE_MS, SINK, World, attempt, replace, said, the_proof
from tests.manager.workflows.history.source_rig import (
    OPENS,
    REQUEST,
    again,
    all_end,
    finished,
    launched_with,
    parts,
    running,
    world_with_files,
)


@pytest.fixture(autouse=True)
def _files() -> Iterator[None]:
    with with_files(SERIES):
        yield


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with world_with_files() as world:
        yield world


@pytest.mark.parametrize("there", [True, False])
async def test_a_hole_that_rest_does_not_fill_is_looked_for_in_files_once(world: World, there: bool) -> None:
    lacking = DAY_START + 5 * MINUTE_MS
    exchange_of(world).opens.remove(lacking)
    workflow = await running(world, time_range="2024-08-01")
    assert parts(workflow) == [("2024-08-01:2024-08-02", "rest")]
    store_bars(world, workflow, [one for one in OPENS[:1440] if one != lacking])
    all_end(world, workflow)
    await world.turns(3)
    second = await again(world, workflow.queue_id)
    hole = str(TimeRange(lacking, lacking + MINUTE_MS))
    assert launched_with(world, TARGET)["STREAMFORGE_RANGES"] == hole
    assert {one.target: one.status.value for one in second.steps} == {
        LOADER: "finished",
        SINK: "running",
        TARGET: "running",
    }
    if there:
        store_bars(world, second, [lacking])
    all_end(world, second, unloaded=[] if there else [{"range": hole, "reason": "it has none"}])
    if not there:
        await world.turns(3)
        third = await again(world, workflow.queue_id)
        all_end(world, third)
    done = await finished(world, workflow.queue_id)
    found = [one.verdict for one in the_proof(done).segments if one.start_ms <= lacking < one.end_ms]
    assert found == [Verdict.STORED if there else Verdict.EXCHANGE]


@pytest.mark.parametrize(
    ("span", "hole", "looked_for"),
    [
        ("2024-08-02T12:00Z:2024-08-03T12:00Z", "2024-08-02T23:58Z:2024-08-03T00:02Z", "the hole"),
        ("2024-08-07T12:00Z:2024-08-08T12:00Z", "2024-08-07T23:58Z:2024-08-08T00:02Z", "2024-08-07T23:58Z:2024-08-08"),
    ],
    ids=["two files have it", "a file has a part of it"],
)
async def test_a_hole_is_looked_for_in_all_files_that_have_some_of_it(
    world: World, span: str, hole: str, looked_for: str
) -> None:
    wanted, lacking = parse_time_range(span), parse_time_range(hole)
    exchange_of(world).opens = [one for one in OPENS if one not in lacking]
    workflow = await running(world, time_range=span)
    assert [source for _, source in parts(workflow)] == ["rest"]
    store_bars(world, workflow, [one for one in OPENS if one in wanted and one not in lacking])
    all_end(world, workflow)
    await world.turns(3)
    second = await again(world, workflow.queue_id)
    found = parse_time_range(hole if looked_for == "the hole" else looked_for)
    assert launched_with(world, TARGET)["STREAMFORGE_RANGES"] == str(found)
    store_bars(world, second, list(range(found.start_ms, found.end_ms, MINUTE_MS)))
    all_end(world, second)
    done = await finished(world, workflow.queue_id)
    verdicts = {one.verdict: (one.start_ms, one.end_ms) for one in the_proof(done).segments}
    assert verdicts.get(Verdict.EXCHANGE) == (None if found == lacking else (found.end_ms, lacking.end_ms))


@pytest.mark.parametrize("answers", [True, False])
async def test_a_hole_about_which_the_archive_is_silent_is_asked_about_again_and_is_not_the_exchanges(
    world: World, answers: bool
) -> None:
    assert isinstance(world.archive, MemoryArchive)
    lacking = DAY_START + 5 * MINUTE_MS
    exchange_of(world).opens.remove(lacking)
    workflow = await running(world, time_range="2024-08-01")
    queue_id = workflow.queue_id
    store_bars(world, workflow, [one for one in OPENS[:1440] if one != lacking])
    world.archive.failing = RetryableError("HTTP 503")
    all_end(world, workflow)
    told: list[Workflow] = []
    for _ in range(
        3
    ):  # not looked at once alone: while it asks again, a moment that depends on its id, it does not wait
        await world.turns()
        told.append(await world.workflow(queue_id))
    assert {one.status for one in told} == {Status.RUNNING}
    assert any("HTTP 503; with source=rest" in one.waiting_for for one in told)
    if answers:
        world.archive.failing = None
        await world.turns(3, seconds=70)
        await again(world, queue_id)
        assert launched_with(world, TARGET)["STREAMFORGE_RANGES"] == str(TimeRange(lacking, lacking + MINUTE_MS))
    else:
        failed = await turns_until_ended(world, queue_id)
        assert (failed.status, failed.failure and "HTTP 503" in failed.failure.reason) == (Status.ERROR, True)
        known = (await world.manager.coverage(queue_id)).segments
        assert [one.verdict for one in known] == [Verdict.STORED, Verdict.UNKNOWN, Verdict.STORED]


@pytest.mark.parametrize("comes", ["with it", "without it", "never"])
async def test_a_hole_of_which_no_file_is_there_yet_is_looked_for_again(world: World, comes: str) -> None:
    assert isinstance(world.archive, MemoryArchive)
    lacking = DAY_START + 8 * DAY_MS + 5 * MINUTE_MS
    day = replace(REQUEST, time_range="2024-08-09")
    exchange_of(world).opens.remove(lacking)
    first = await running(world, time_range=day.time_range)
    store_bars(world, first, [one for one in OPENS[8 * 1440 :] if one != lacking])
    all_end(world, first)
    await finished(world, first.queue_id)
    known = (await world.manager.coverage(first.queue_id)).segments
    assert [(one.verdict, one.cause) for one in known] == [
        (Verdict.STORED, ""),
        (Verdict.EXCHANGE, FILE_AWAITED),
        (Verdict.STORED, ""),
    ]
    hole = TimeRange(lacking, lacking + MINUTE_MS)
    # Of one source alone there is nothing new to ask, and the file is awaited as before.
    for source in (SourceChoice.REST, SourceChoice.ARCHIVE):
        alone = await running(world, time_range=day.time_range, source=source)
        assert parts(await finished(world, alone.queue_id)) == []
    assert (await world.manager.coverage(first.queue_id)).segments == known
    if comes == "never":
        exchange_of(world).now_ms += 4 * DAY_MS
    else:
        world.archive.published.append(published("2024-08-09"))
    second = await running(world, time_range=day.time_range)
    assert parts(second) == [(str(hole), "rest")]
    all_end(world, second)
    if comes != "never":
        await world.turns(3)
        third = await again(world, second.queue_id)
        assert launched_with(world, TARGET)["STREAMFORGE_RANGES"] == str(hole)
        store_bars(world, third, [lacking] if comes == "with it" else [])
        all_end(world, third)
    await finished(world, second.queue_id)
    now = (await world.manager.coverage(first.queue_id)).segments
    told = [(one.verdict, one.cause) for one in now if one.start_ms <= lacking < one.end_ms]
    assert told == [(Verdict.STORED if comes == "with it" else Verdict.EXCHANGE, "")]
    last = await running(world, time_range=day.time_range)
    assert parts(await finished(world, last.queue_id)) == [], "no more than once"


async def hole_left(world: World, day: int) -> tuple[Workflow, int]:
    """A workflow of that day that has ended its first round, and the minute that its exchange does not give."""
    lacking = DAY_START + (day - 1) * DAY_MS + 5 * MINUTE_MS
    exchange_of(world).opens.remove(lacking)
    first = await running(world, time_range=f"2024-08-{day:02}")
    store_bars(world, first, [one for one in OPENS[(day - 1) * 1440 : day * 1440] if one != lacking])
    all_end(world, first)
    await world.turns(3)
    return await again(world, first.queue_id), lacking


async def test_a_hole_whose_file_was_not_read_yet_is_looked_for_by_a_retry(world: World) -> None:
    second, lacking = await hole_left(world, 1)
    hole = str(TimeRange(lacking, lacking + MINUTE_MS))
    assert launched_with(world, TARGET)["STREAMFORGE_RANGES"] == hole
    await world.manager.stop(second.queue_id)
    await world.turns()
    for one in second.steps:
        if one.status is StepStatus.RUNNING:
            world.say(said(second, one.target, "interrupted"))
            world.launcher.end(attempt(second, one.target).job, exit_code=0)
    assert (await turns_until_ended(world, second.queue_id)).status is Status.INTERRUPTED
    await world.manager.retry(second.queue_id)
    third = await again(world, second.queue_id)
    assert parts(third) == [(hole, "rest")]
    all_end(world, third)
    await world.turns(3)
    fourth = await again(world, second.queue_id)
    assert launched_with(world, TARGET)["STREAMFORGE_RANGES"] == hole
    store_bars(world, fourth, [lacking])
    all_end(world, fourth)
    await finished(world, second.queue_id)
    known = (await world.manager.coverage(second.queue_id)).segments
    assert [one.verdict for one in known] == [Verdict.STORED]


async def test_a_hole_whose_file_could_not_be_read_is_looked_for_again(world: World) -> None:
    workflow, lacking = await hole_left(world, 1)
    queue_id = workflow.queue_id
    for _ in range(world.policy.max_failures):
        world.say(said(workflow, TARGET, "error", error="the archive does not answer"))
        world.launcher.end(attempt(workflow, TARGET).job, exit_code=1)
        await world.turns(3, seconds=70)
        workflow = await again(world, queue_id)
    for _ in range(4):
        all_end(world, workflow)
        workflow = await again(world, queue_id)
    await finished(world, queue_id)
    known = (await world.manager.coverage(queue_id)).segments
    assert [one.cause for one in known if one.verdict is Verdict.EXCHANGE] == [FILE_AWAITED]
    later = await running(world, time_range="2024-08-01")
    assert parts(later) == [(str(TimeRange(lacking, lacking + MINUTE_MS)), "rest")]


async def test_a_hole_of_today_is_not_asked_for_before_there_can_be_a_file(world: World) -> None:
    exchange_of(world).now_ms = DAY_START + 8 * DAY_MS + 60 * MINUTE_MS
    lacking = DAY_START + 8 * DAY_MS + 5 * MINUTE_MS
    exchange_of(world).opens.remove(lacking)
    first = await running(world, time_range="2024-08-09T00:00Z:2024-08-09T01:00Z")
    store_bars(world, first, [one for one in OPENS[8 * 1440 : 8 * 1440 + 60] if one != lacking])
    all_end(world, first)
    await finished(world, first.queue_id)
    second = await running(world, time_range="2024-08-09T00:00Z:2024-08-09T01:00Z")
    assert parts(await finished(world, second.queue_id)) == []
    exchange_of(world).now_ms = DAY_START + 9 * DAY_MS
    third = await running(world, time_range="2024-08-09T00:00Z:2024-08-09T01:00Z")
    assert parts(third) == [(str(TimeRange(lacking, lacking + MINUTE_MS)), "rest")]


@pytest.mark.parametrize(
    ("reason", "awaited"),
    [
        ("2024-08-01.zip lacks it", False),
        (f"{UNSERVED}HTTP 503", True),
        ("2024-08-01.zip: the checksum is not that of the file", False),
    ],
)
async def test_a_hole_is_the_exchanges_where_its_file_was_read_or_refused(
    world: World, reason: str, awaited: bool
) -> None:
    workflow, lacking = await hole_left(world, 1)  # of a day so long ago that no other file comes
    hole = str(TimeRange(lacking, lacking + MINUTE_MS))
    all_end(world, workflow, unloaded=[{"range": hole, "reason": reason}])
    await world.turns(3)
    all_end(world, await again(world, workflow.queue_id))
    await finished(world, workflow.queue_id)
    known = (await world.manager.coverage(workflow.queue_id)).segments
    assert [one.cause == FILE_AWAITED for one in known if one.verdict is Verdict.EXCHANGE] == [awaited]
