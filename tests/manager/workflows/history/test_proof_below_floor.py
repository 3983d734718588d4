"""Proofs of what only files have: ids are consecutive up to the first record that requests give, and silence below it
proves nothing. What the loader told to have read there does.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from streamforge.manager.engine.document import Remark, Status, StepStatus
from streamforge.manager.engine.lifecycle.rounds import next_round
from streamforge.manager.workflows.history.proof import prove
from streamforge.manager.workflows.series.model import Part, Plan, SeriesProof
from streamforge_utils.model.coverage import IdsRead, Segment, Verdict, verdict_of
from streamforge_utils.model.kinds.paging import ById
from streamforge_utils.model.timeranges import TimeRange, parse_time_range
from streamforge_utils.runtime.life.worker_definition import Source
from tests.doubles import ticks
from tests.doubles.manualclock import ManualClock
from tests.doubles.memoryarchive import TARGET, with_files
from tests.manager.execution.world import C, create
from tests.manager.support import LOADER, POLICY, SINK, World, accepted, attempt, changed, replace, said, step

pytestmark = pytest.mark.usefixtures("ticks")

ALL = {number: ticks.START + number * 1000 for number in range(1, 21)}
"""When each id happened."""
FLOOR = 11
FLOOR_MS = ALL[FLOOR]
CAUSE = "the exchange gives no record before id 11"
UNTOLD = f"{CAUSE}; no loader has told what it read there"


def span(first: int, end: int) -> TimeRange:
    """From a second to another one."""
    return TimeRange(ticks.START + first * 1000, ticks.START + end * 1000)


def read(whole: TimeRange, ids: Collection[int] = ALL, market: Mapping[int, int] = ALL) -> IdsRead:
    """What a loader tells of a range in which files have these ids."""
    numbers = [number for number in ids if market[number] in whole]
    return IdsRead(
        start_ms=whole.start_ms,
        end_ms=whole.end_ms,
        first_id=min(numbers, default=None),
        last_id=max(numbers, default=None),
    )


def stored_beside(where: TimeRange, first: int, last: int) -> Segment:
    return Segment(
        start_ms=where.start_ms,
        end_ms=where.end_ms,
        verdict=Verdict.STORED,
        collection="other",
        records=last - first + 1,
        first_id=first,
        last_id=last,
    )


async def proven(
    stored: Collection[int],
    whole: TimeRange,
    *,
    lost: Collection[int] = (),
    disputed: tuple[Remark, ...] = (),
    known: Sequence[Segment] = (),
    reads: Sequence[IdsRead] | None = None,
    settled: tuple[Segment, ...] = (),
    market: Mapping[int, int] = ALL,
    floor: int = FLOOR,
) -> tuple[SeriesProof, World]:
    """What is proven of files that gave the ids `stored`. lost: ids that the exchange has lost, too.

    known: what the coverage has before. reads: what the loader has told; None: that it has read everything.
    """
    requested = [(number, time) for number, time in market.items() if number >= floor and number not in lost]
    world = World(clock=ManualClock(ticks.NOW), exchange=ticks.TickExchange(requested, now_ms=ticks.NOW))
    await world.start()
    await world.deps.coverage.prove(ticks.SERIES, known, None, ticks.NOW)
    ticks.hold(world.store, [(number, market[number]) for number in sorted(stored)], C)
    workflow = changed(accepted(time_range=str(whole), collection=C), type="api_ticks", disputed=disputed)
    workflow = changed(workflow, read=(read(whole),) if reads is None else tuple(reads))
    await world.deps.workflows.create(workflow)
    plan = Plan(
        exchange_now_ms=ticks.NOW,
        parts=(Part(span=whole, source=Source.ARCHIVE),),
        settled=settled,
        floor_ms=market[floor],
        floor_id=floor,
    )
    return await prove(world.deps, workflow, plan, ask=True), world


def told(segments: Collection[Segment]) -> list[tuple[str, int | None, int | None, str]]:
    return [(one.verdict.value, one.first_id, one.last_id, one.cause) for one in segments]


async def test_ids_without_a_hole_are_proven_across_the_floor() -> None:
    proof, world = await proven(ALL, span(0, 21))
    assert told(proof.segments) == [("stored", 1, 20, "")]
    assert (proof.expected, proof.stored) == (20, 20)
    assert told((await world.deps.coverage.known(ticks.SERIES)).segments) == [("stored", 1, 20, "")]


@pytest.mark.parametrize("number", [5, 10])
@pytest.mark.parametrize("in_file", [True, False])
async def test_a_hole_below_the_floor_is_ours_if_a_file_has_it_and_is_not_asked_for(number: int, in_file: bool) -> None:
    reads = [read(span(0, 21))] if in_file else [read(span(0, number)), read(span(number + 1, 21))]
    proof, world = await proven(set(ALL) - {number}, span(0, 21), reads=reads)
    assert told(proof.segments) == [
        ("stored", 1, number - 1, ""),
        ("ours", number, number, "") if in_file else ("unknown", number, number, CAUSE),
        ("stored", number + 1, 20, ""),
    ]
    assert isinstance(world.exchange, ticks.TickExchange)
    assert ById(number, 1) not in world.exchange.asked


@pytest.mark.parametrize(("lost", "verdict"), [((), "ours"), ((15,), "exchange")])
async def test_a_hole_above_the_floor_is_asked_for_as_ever(lost: tuple[int, ...], verdict: str) -> None:
    proof, _ = await proven(set(ALL) - {15}, span(0, 21), lost=lost)
    assert told(proof.segments) == [("stored", 1, 14, ""), (verdict, 15, 15, ""), ("stored", 16, 20, "")]


@pytest.mark.parametrize(
    ("stored", "there", "whole", "found"),
    [
        (range(1, 5), ALL, (0, 5), [("stored", 1, 4, "")]),
        (range(1, 11), ALL, (0, 11), [("stored", 1, 10, "")]),
        (range(1, 10), ALL, (0, 11), [("stored", 1, 9, ""), ("ours", 10, 10, "")]),
        (range(1, 10), range(1, 10), (0, 11), [("stored", 1, 9, ""), ("unknown", 10, 10, CAUSE)]),
        (range(3, 5), ALL, (0, 5), [("ours", 1, 2, ""), ("stored", 3, 4, "")]),
        (range(3, 5), range(3, 5), (0, 5), [("stored", 3, 4, "")]),
        (range(3, 21), ALL, (0, 21), [("ours", 1, 2, ""), ("stored", 3, 20, "")]),
        (range(1, 3), ALL, (0, 5), [("stored", 1, 2, ""), ("ours", 3, 4, "")]),
        ((), ALL, (0, 5), [("ours", 1, 4, "")]),
        ((), (), (0, 5), [("unknown", None, None, CAUSE)]),
        (range(11, 21), ALL, (0, 21), [("ours", 1, 10, ""), ("stored", 11, 20, "")]),
        (range(11, 21), (), (0, 21), [("unknown", 10, 10, CAUSE), ("stored", 11, 20, "")]),
        (range(12, 21), (), (0, 21), [("ours", 10, 11, ""), ("stored", 12, 20, "")]),
    ],
)
async def test_what_lies_before_the_floor_reaches_to_its_first_id_and_to_all_that_was_read(
    stored: Collection[int],
    there: Collection[int],
    whole: tuple[int, int],
    found: list[tuple[str, int | None, int | None, str]],
) -> None:
    proof, _ = await proven(stored, span(*whole), reads=[read(span(*whole), there)])
    assert told(proof.segments) == found


async def test_an_edge_of_which_nothing_tells_is_unknown_unless_what_lies_beside_it_is() -> None:
    """As in a document of an older version."""
    edges = ("unknown", 2, 2, UNTOLD), ("stored", 3, 4, ""), ("unknown", 5, 5, UNTOLD)
    proof, world = await proven((3, 4), span(0, 6), reads=())
    assert told(proof.segments) == list(edges)
    assert told((await world.deps.coverage.known(ticks.SERIES)).segments) == list(edges)
    at_once, _ = await proven((3, 4), span(3, 5), reads=())
    assert told(at_once.segments) == list(edges)
    refused = [replace(verdict_of(span(*one), Verdict.UNKNOWN), cause="its file is cut") for one in ((0, 3), (5, 6))]
    beside, _ = await proven((3, 4), span(0, 6), reads=(), settled=tuple(refused))
    assert told(beside.segments) == [
        ("unknown", None, None, "its file is cut"),
        ("stored", 3, 4, ""),
        ("unknown", None, None, "its file is cut"),
    ]


@pytest.mark.parametrize("asked", [0, 1])
async def test_what_has_no_record_leads_to_what_is_stored_behind_it(asked: int) -> None:
    """As in the retry of a load of which the edges were unknown. asked: before, while it could be, seconds of either
    edge.
    """
    silent = [verdict_of(span(*one), Verdict.EXCHANGE) for one in ((0, 1), (7, 8)) if asked]
    known = sorted([stored_beside(span(3, 5), 3, 4), *silent], key=lambda one: one.start_ms)
    reads = [read(span(asked, 3), ()), read(span(5, 8 - asked), ())]
    proof, _ = await proven((3, 4), span(0, 8), known=known, reads=reads)
    assert told(proof.segments) == [("stored", 3, 4, "")]


@given(market=ticks.ticks_of_a_market(), data=st.data())
async def test_a_proof_below_the_floor_is_right_about_every_record_that_was_read(
    market: list[tuple[int, int]], data: st.DataObject
) -> None:
    times = dict(market)
    floor = data.draw(st.sampled_from([number for number in times if number > 1] or [2]))
    assume(floor in times)
    start_ms = data.draw(st.integers(ticks.START - 2, times[floor] - 1))
    whole = TimeRange(start_ms, data.draw(st.integers(start_ms + 1, market[-1][1] + 2)))
    inside = [number for number, time in market if time in whole]
    there = data.draw(st.sets(st.sampled_from(inside))) if inside else set()
    if data.draw(st.booleans()):
        there = set(inside)
    older = TimeRange(start_ms, min(whole.end_ms, times[floor]))
    reads = [read(older, times, times)]
    proof, _ = await proven(there, whole, reads=reads, market=times, floor=floor)
    verdicts = {one.verdict for one in proof.segments}
    if there != set(inside):
        assert verdicts & {Verdict.OURS, Verdict.UNKNOWN}
        assert all(
            number in there
            for one in proof.segments
            if one.verdict is Verdict.STORED
            for number in range(one.first_id or 0, (one.last_id or 0) + 1)
        )
    elif reads[0].ids and (whole.end_ms != times[floor] or times.get(floor - 1) != times[floor]):
        assert (verdicts, proof.stored) == ({Verdict.STORED}, len(inside))


async def test_a_record_that_lacks_in_the_millisecond_of_the_floor_is_noticed() -> None:
    """Where files have nothing older: nobody tells what they have of that millisecond."""
    times, whole = dict.fromkeys(range(3), FLOOR_MS), TimeRange(FLOOR_MS - 2, FLOOR_MS + 1)
    reads = [read(TimeRange(whole.start_ms, FLOOR_MS), times, times)]
    proof, _ = await proven({1, 2}, whole, reads=reads, market=times, floor=2)
    assert {one.verdict for one in proof.segments} & {Verdict.OURS, Verdict.UNKNOWN}


@pytest.mark.parametrize(
    ("stored", "found"),
    [
        ((4, 5, 6), [("stored", 4, 6, "")]),
        ((5, 6), [("unknown", 4, 4, UNTOLD), ("stored", 5, 6, "")]),
        ((4, 5), [("stored", 4, 5, ""), ("unknown", 6, 6, UNTOLD)]),
    ],
    ids=["meet", "lacks its first one", "lacks its last one"],
)
async def test_what_lies_below_the_floor_reaches_up_to_what_is_stored_beside_it(
    stored: Collection[int], found: list[tuple[str, int | None, int | None, str]]
) -> None:
    beside = [(span(1, 4), 1, 3), (span(7, 9), 7, 8)]
    known = [stored_beside(*one) for one in beside]
    proof, _ = await proven(stored, span(4, 7), known=known, reads=())
    assert told(proof.segments) == found


@pytest.mark.parametrize(
    ("first", "later", "status", "rounds"),
    [
        ((1, 2, 3, 4), (), Status.FINISHED, 1),
        ((3, 4), (1, 2), Status.FINISHED, 2),
        ((1, 2), (3, 4), Status.FINISHED, 2),
        ((), (1, 2, 3, 4), Status.FINISHED, 2),
        ((3, 4), (), Status.ERROR, 1 + POLICY.max_repairs),
    ],
)
@pytest.mark.parametrize("dies", ["nobody", "loader", "manager"])
async def test_what_was_read_of_files_and_did_not_come_to_the_store_is_loaded_again(
    first: Sequence[int], later: Sequence[int], status: Status, rounds: int, dies: str
) -> None:
    whole = span(0, 5)
    plan = Plan(
        exchange_now_ms=ticks.NOW, parts=(Part(span=whole, source=Source.ARCHIVE),), floor_ms=FLOOR_MS, floor_id=FLOOR
    )
    fresh = changed(accepted(time_range=str(whole)), type="api_ticks", status=Status.RUNNING, plan=plan)
    loader = replace(step(fresh, LOADER), target=TARGET, source=Source.ARCHIVE)
    fresh = next_round(replace(fresh, steps=(step(fresh, SINK), loader)), plan.ranges)
    exchange = ticks.TickExchange(list(ALL.items())[FLOOR - 1 :], now_ms=ticks.NOW)
    world = World(clock=ManualClock(ticks.NOW), exchange=exchange)
    await world.start()
    workflow, queue_id, loaded = fresh, await create(world, fresh), list[tuple[str, ...]]()
    with with_files(ticks.SERIES):
        for _ in range(100):
            await world.turns(2, seconds=70)
            workflow = await world.workflow(queue_id)
            if workflow.ended:
                break
            for one in workflow.steps:
                if one.status is not StepStatus.RUNNING or attempt(workflow, one.target).ended_ms is not None:
                    continue
                number = attempt(workflow, one.target).number
                if one.target == TARGET and (number, dies) == (1, "loader"):
                    world.say(said(workflow, TARGET, "started"))
                    world.launcher.end(attempt(workflow, TARGET).job, exit_code=None, signal=9)
                    continue
                if one.target == TARGET:
                    loaded.append(attempt(workflow, TARGET).ranges)
                    ticks.hold(
                        world.store,
                        [(number, ALL[number]) for number in (first if len(loaded) == 1 else later)],
                        workflow.collection,
                    )
                    spans = [parse_time_range(text) for text in loaded[-1]]
                    reads = [msgspec.to_builtins(read(part)) for part in spans]
                    world.say(said(workflow, TARGET, "finished", extra={"read": reads}))
                else:
                    world.say(said(workflow, one.target, "finished"))
                world.launcher.end(attempt(workflow, one.target).job, exit_code=0)
            if dies == "manager":
                await world.die()
                await world.start()
    assert (workflow.status, len(loaded)) == (status, rounds), workflow.failure
    lost = status is Status.ERROR
    known = (await world.deps.coverage.known(ticks.SERIES)).segments
    assert told(known) == ([("ours", 1, 2, ""), ("stored", 3, 4, "")] if lost else [("stored", 1, 4, "")])
    assert lost == (workflow.failure is not None)
    await world.die()


async def test_the_doubt_about_a_file_is_cut_by_ids() -> None:
    doubts = (Remark(span(4, 8), "published 12, read 34"), Remark(TimeRange(FLOOR_MS + 1, FLOOR_MS + 2), "no record"))
    proof, _ = await proven(ALL, span(0, 21), disputed=doubts)
    assert [(*one, part.records) for one, part in zip(told(proof.segments), proof.segments, strict=True)][:2] == [
        ("stored", 1, 3, "", 3),
        ("stored", 4, 7, "checksum-disputed: published 12, read 34", 4),
    ]
    assert sum(part.records for part in proof.segments) == 20
    assert {part.verdict for part in proof.segments} == {Verdict.STORED}
