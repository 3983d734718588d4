"""A workflow with two sources: both loaders in one round, and REST where the files fail, whenever the manager dies."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from streamforge.manager import presentation
from streamforge.manager.engine.document import Status, StepStatus
from streamforge.manager.engine.stored_document import decode_workflow, encode_workflow
from streamforge.manager.note_codes import Note
from streamforge.manager.workflows.series.model import SourceChoice
from streamforge_utils.model.errors import InvalidInput
from tests.doubles.manualclock import ManualClock
from tests.doubles.memoryarchive import TARGET, MemoryArchive, with_files
from tests.manager.execution.world import SERIES, exchange_of, store_bars, turns_until_ended
from tests.manager.support import (
    DAY_MS,
    DAY_START,
    LOADER,
    NOW,
    SINK,
    World,
    attempt,
    replace,
    said,
    step,
    the_plan,
    the_proof,
)
from tests.manager.workflows.history.source_rig import (
    OPENS,
    REQUEST,
    again,
    all_end,
    ends,
    finished,
    launched_with,
    parts,
    running,
    world_with_files,
)

REFUSED = {"range": "2024-08-03:2024-08-04", "reason": "the zip is cut off"}


@pytest.fixture(autouse=True)
def _files() -> Iterator[None]:
    with with_files(SERIES):
        yield


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with world_with_files() as world:
        yield world


async def test_both_loaders_run_in_one_round_and_the_sink_waits_for_both(world: World) -> None:
    workflow = await running(world)
    assert parts(workflow) == [("2024-08-01:2024-08-08", "archive"), ("2024-08-08:2024-08-10", "rest")]
    assert launched_with(world, TARGET)["STREAMFORGE_RANGES"] == "2024-08-01:2024-08-08"
    assert launched_with(world, LOADER)["STREAMFORGE_RANGES"] == "2024-08-08:2024-08-10"
    code = workflow.queue_id[-6:]
    assert set(launched_with(world, SINK)["STREAMFORGE_UPSTREAM"].split(",")) == {
        f"{TARGET}__{code}:1",
        f"{LOADER}__{code}:1",
    }
    joined = await world.manager.start(REQUEST)
    assert (joined.joined, joined.workflow.queue_id) == (True, workflow.queue_id), "though the plan has added a step"
    store_bars(world, workflow, OPENS)
    all_end(world, workflow)
    assert (await finished(world, workflow.queue_id)).repairs == 0


@pytest.mark.parametrize("source", [SourceChoice.AUTO, SourceChoice.REST])
async def test_a_workflow_without_a_part_of_the_archive_has_no_step_for_it(world: World, source: SourceChoice) -> None:
    assert isinstance(world.archive, MemoryArchive)
    world.archive.published.clear()
    workflow = await running(world, source=source)
    assert [one.target for one in workflow.steps] == [SINK, LOADER]
    assert parts(workflow) == [("2024-08-01:2024-08-10", "rest")]
    assert len(world.archive.asked) == (1 if source is SourceChoice.AUTO else 0)


@pytest.mark.parametrize("dies_after", range(6))
async def test_what_no_file_gave_is_loaded_over_rest_by_itself(world: World, dies_after: int) -> None:
    workflow = await running(world)
    queue_id = workflow.queue_id
    store_bars(world, workflow, [one for one in OPENS if not DAY_START + 2 * DAY_MS <= one < DAY_START + 3 * DAY_MS])
    ends(world, workflow, TARGET, unloaded=[REFUSED])
    if dies_after == 0:
        await killed(world)
    await world.turns()
    if dies_after == 1:
        await killed(world)
    asked = len(exchange_of(world).asked)
    ends(world, workflow, LOADER)
    ends(world, workflow, SINK)
    for number in range(2, 6):
        if dies_after == number:
            await killed(world)
        await world.turns()
    second = await again(world, queue_id)
    assert len(exchange_of(world).asked) == asked, "REST was not asked about what is known to lack"
    assert [(one.target, one.status.value) for one in second.steps] == [
        (SINK, "running"),
        (LOADER, "running"),
        (TARGET, "finished"),
    ]
    job = launched_with(world, LOADER)
    assert (job["STREAMFORGE_RANGES"], job["STREAMFORGE_ATTEMPT"]) == ("2024-08-03:2024-08-04", "2")
    assert parts(second)[:3] == [
        ("2024-08-01:2024-08-03", "archive"),
        ("2024-08-03:2024-08-04", "rest"),
        ("2024-08-04:2024-08-08", "archive"),
    ]
    shown = presentation.workflow_answer(second)
    assert shown.remarks == ["2024-08-03:2024-08-04: its file was not loaded: the zip is cut off"]
    at, detail = DAY_START + 2 * DAY_MS, "its file was not loaded: the zip is cut off"
    assert shown.remark_codes == [Note("requests-instead", {"start_ms": at, "end_ms": at + DAY_MS, "detail": detail})]
    store_bars(world, second, OPENS)
    all_end(world, second)
    done = await finished(world, queue_id)
    assert (done.repairs, step(done, TARGET).attempts[-1].number) == (0, 1)


async def killed(world: World) -> None:
    """The manager is killed, and another takes its place."""
    await world.die()
    await world.start()


async def test_where_files_alone_are_wanted_a_refused_one_ends_it_in_error_with_the_cause(world: World) -> None:
    workflow = await running(world, source=SourceChoice.ARCHIVE)
    assert [one.target for one in workflow.steps] == [SINK, TARGET]
    store_bars(world, workflow, OPENS[: 2 * 1440])
    store_bars(world, workflow, OPENS[3 * 1440 : 7 * 1440])
    all_end(world, workflow, unloaded=[REFUSED])
    failed = await turns_until_ended(world, workflow.queue_id)
    assert failed.failure is not None
    assert failed.failure.reason == (
        "2 holes are still there after 0 rounds of repair: 2024-08-03:2024-08-04 (the zip is cut off), "
        "2024-08-08:2024-08-10 (it was wanted from files alone: no file of 2024-08-08 to 2024-08-09 yet)"
    )
    assert failed.failure.next_step.startswith("load it again without naming a source")
    known = (await world.manager.coverage(workflow.queue_id)).segments
    assert [(one.verdict.value, one.cause) for one in known] == [
        ("stored", ""),
        ("unknown", "the zip is cut off"),
        ("stored", ""),
        ("unknown", "it was wanted from files alone: no file of 2024-08-08 to 2024-08-09 yet"),
    ]


async def test_what_a_file_with_a_wrong_checksum_gave_is_marked_until_it_is_loaded_otherwise(world: World) -> None:
    disputed = {"range": "2024-08-03:2024-08-04", "reason": "published 12ab, read 34cd"}
    workflow = await running(world)
    store_bars(world, workflow, OPENS)
    all_end(world, workflow, disputed=[disputed])
    done = await finished(world, workflow.queue_id)
    known = (await world.manager.coverage(workflow.queue_id)).segments
    mark = "checksum-disputed: published 12ab, read 34cd"
    assert [(one.records, one.cause) for one in known] == [(2880, ""), (1440, mark), (6 * 1440, "")]
    assert [one.cause for one in the_proof(done).segments] == ["", mark, ""]
    shown = presentation.workflow_answer(done)
    assert shown.remarks == [f"2024-08-03:2024-08-04: {mark}"]
    assert [one.code for one in shown.remark_codes] == ["checksum-disputed"]
    await world.manager.verify("BTCUSDT", "api_candles_1m")
    part = await running(world, time_range="2024-08-02:2024-08-05")
    await finished(world, part.queue_id)
    known = (await world.manager.coverage(workflow.queue_id)).segments
    assert [one.cause for one in known] == ["", mark, ""], "neither counting nor another load forgets it"
    once_more = await running(world, time_range="2024-08-03", again=True, source=SourceChoice.REST)
    store_bars(world, once_more, OPENS[2 * 1440 : 3 * 1440])
    all_end(world, once_more)
    await finished(world, once_more.queue_id)
    known = (await world.manager.coverage(workflow.queue_id)).segments
    assert {one.cause for one in known} == {""}


async def test_the_doubt_about_a_file_stays_where_a_load_again_is_stopped_at_once(world: World) -> None:
    workflow = await running(world)
    store_bars(world, workflow, OPENS)
    all_end(world, workflow, disputed=[{"range": "2024-08-03:2024-08-04", "reason": "published 12ab, read 34cd"}])
    await finished(world, workflow.queue_id)
    other = await running(world, time_range="2024-08-03", again=True, source=SourceChoice.REST)
    await world.manager.stop(other.queue_id)
    await world.turns()
    for one in other.steps:
        if one.status is StepStatus.RUNNING:
            world.say(said(other, one.target, "interrupted"))
            world.launcher.end(attempt(other, one.target).job, exit_code=0)
    assert (await turns_until_ended(world, other.queue_id)).status is Status.INTERRUPTED
    known = (await world.manager.coverage(workflow.queue_id)).segments
    assert [one.cause for one in known] == ["", "checksum-disputed: published 12ab, read 34cd", ""]


async def test_an_archive_that_fails_while_it_is_read_is_done_without(world: World) -> None:
    workflow = await running(world)
    queue_id = workflow.queue_id
    for _ in range(world.policy.max_failures):
        world.say(said(workflow, TARGET, "error", error="the archive does not answer"))
        world.launcher.end(attempt(workflow, TARGET).job, exit_code=1)
        await world.turns(3, seconds=70)
        workflow = await again(world, queue_id)
    for target in (LOADER, SINK):
        if step(workflow, target).status is StepStatus.RUNNING:
            world.say(said(workflow, target, "interrupted"))
            world.launcher.end(attempt(workflow, target).job, exit_code=0)
    for _ in range(4):
        workflow = await again(world, queue_id)
    assert parts(workflow) == [("2024-08-01:2024-08-10", "rest")]
    assert the_plan(workflow).parts[0].reason == (
        "loader-producer: 3 attempts failed; the last one: the archive does not answer"
    )
    assert (workflow.status, workflow.failure) == (Status.RUNNING, None)
    store_bars(world, workflow, OPENS)
    all_end(world, workflow)
    await finished(world, queue_id)


async def test_a_source_that_is_not_there_is_refused_at_once() -> None:
    world = World(clock=ManualClock(NOW))
    await world.start()
    with pytest.raises(InvalidInput, match="there is no archive here"):
        await world.manager.start(replace(REQUEST, source=SourceChoice.ARCHIVE))
    await world.die()


async def test_documents_of_the_form_before_are_read(world: World) -> None:
    workflow = await running(world)
    body = encode_workflow(workflow).replace(b'"format":3', b'"format":2').replace(b'"source":"auto",', b"")
    assert decode_workflow(body) == workflow
