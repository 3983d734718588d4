"""A workflow with two sources: both loaders in one round, and REST where the files fail, whenever the manager dies."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import pytest

from streamforge.manager import presentation
from streamforge.manager.note_codes import Note
from streamforge.manager.use_cases import StartRequest
from streamforge.manager.workflow import SourceChoice, Status, StepStatus, Workflow
from streamforge.manager.workflow_document import decode_workflow, encode_workflow
from streamforge_utils.model.coverage import FILE_AWAITED, Verdict
from streamforge_utils.model.errors import InvalidInput, RetryableError
from streamforge_utils.model.kinds.candles import Interval
from streamforge_utils.model.timeranges import TimeRange, parse_time_range
from tests.doubles.manualclock import ManualClock
from tests.doubles.memoryarchive import TARGET, MemoryArchive, published, with_files
from tests.doubles.scriptedexchange import ScriptedExchange
from tests.manager.execution.world import SERIES, exchange_of, store_bars, turns_until_ended
from tests.manager.support import (
    DAY_MS,
    DAY_START,
    LOADER,
    MINUTE_MS,
    NOW,
    SINK,
    World,
    attempt,
    replace,
    said,
    step,
)

DAYS = 9
OPENS = range(DAY_START, DAY_START + DAYS * DAY_MS, MINUTE_MS)
REQUEST = StartRequest(symbol="BTCUSDT", type="api_candles_1m", time_range="2024-08-01:2024-08-10")
REFUSED = {"range": "2024-08-03:2024-08-04", "reason": "the zip is cut off"}
"""Files are there of the first seven days."""


@pytest.fixture(autouse=True)
def _files() -> Iterator[None]:
    with with_files(SERIES):
        yield


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World(
        clock=ManualClock(NOW),
        exchange=ScriptedExchange(Interval.M1, OPENS, now_ms=NOW),
        archive=MemoryArchive([published(f"2024-08-{day:02}") for day in range(1, 8)]),
    )
    await world.start()
    yield world
    await world.die()


async def running(world: World, **fields: Any) -> Workflow:
    """The workflow, once its workers have started."""
    queue_id = (await world.manager.start(replace(REQUEST, **fields))).workflow.queue_id
    return await again(world, queue_id)


async def again(world: World, queue_id: str) -> Workflow:
    """The workflow, once the workers of its round have started."""
    await world.turns(4)
    workflow = await world.workflow(queue_id)
    for one in workflow.steps:
        if one.status is StepStatus.RUNNING:
            world.say(said(workflow, one.target, "started"))
    await world.turns()
    return await world.workflow(queue_id)


def ends(world: World, workflow: Workflow, target: str, **extra: object) -> None:
    """The worker has done all there is to do."""
    world.say(said(workflow, target, "finished", extra=dict(extra)))
    world.launcher.end(attempt(workflow, target).job, exit_code=0)


def all_end(world: World, workflow: Workflow, **extra: object) -> None:
    """Those that run end; extra: what the loader of files has to report."""
    for one in workflow.steps:
        if one.status is StepStatus.RUNNING:
            ends(world, workflow, one.target, **(extra if one.target == TARGET else {}))


def launched_with(world: World, target: str) -> Mapping[str, str]:
    """The environment of the latest job of a target."""
    return [spec.environment for spec in world.launcher.specs.values() if spec.target == target][-1]


async def finished(world: World, queue_id: str) -> Workflow:
    workflow = await turns_until_ended(world, queue_id)
    assert workflow.status is Status.FINISHED, workflow.failure
    return workflow


def parts(workflow: Workflow) -> list[tuple[str, str]]:
    assert workflow.plan is not None
    return [(str(part.span), part.source.value) for part in workflow.plan.parts]


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
    assert done.proof is not None
    assert [one.cause for one in done.proof.segments] == ["", mark, ""]
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
    assert workflow.plan is not None
    assert workflow.plan.parts[0].reason == (
        "loader-producer: 3 attempts failed; the last one: the archive does not answer"
    )
    assert (workflow.status, workflow.failure) == (Status.RUNNING, None)
    store_bars(world, workflow, OPENS)
    all_end(world, workflow)
    await finished(world, queue_id)


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
    assert done.proof is not None
    found = [one.verdict for one in done.proof.segments if one.start_ms <= lacking < one.end_ms]
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
    assert done.proof is not None
    verdicts = {one.verdict: (one.start_ms, one.end_ms) for one in done.proof.segments}
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
    # By requests alone there is nothing new to ask, and the file is awaited as before.
    alone = await running(world, time_range=day.time_range, source=SourceChoice.REST)
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
