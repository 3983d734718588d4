"""Proofs of what only files have: ids are consecutive up to the first record that requests give, and silence below it
proves nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import pytest

from streamforge.manager.execution.proof import prove
from streamforge.manager.workflow import Part, Plan, Proof, Remark
from streamforge_utils.model.coverage import Segment, Verdict
from streamforge_utils.model.kinds.paging import ById
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.runtime.worker_definition import Source
from tests.doubles import ticks
from tests.doubles.manualclock import ManualClock
from tests.manager.execution.world import C
from tests.manager.support import World, accepted, replace

pytestmark = pytest.mark.usefixtures("ticks")

ALL = range(1, 21)
"""Ids; the one numbered `n` happened `n` seconds after `START`."""
FLOOR = 11
FLOOR_MS = ticks.START + FLOOR * 1000
CAUSE = "the exchange gives no record before id 11"


def span(first: int, end: int) -> TimeRange:
    """From a second to another one."""
    return TimeRange(ticks.START + first * 1000, ticks.START + end * 1000)


async def proven(
    stored: Collection[int],
    whole: TimeRange,
    *,
    lost: Collection[int] = (),
    disputed: tuple[Remark, ...] = (),
    known: Sequence[Segment] = (),
) -> tuple[Proof, World]:
    """What is proven of files that gave the ids `stored`. lost: ids that the exchange has lost, too.

    known: what the coverage has before.
    """
    given = [(number, ticks.START + number * 1000) for number in ALL if number >= FLOOR and number not in lost]
    world = World(clock=ManualClock(ticks.NOW), exchange=ticks.TickExchange(given, now_ms=ticks.NOW))
    await world.start()
    await world.deps.coverage.prove(ticks.SERIES, known, None, ticks.NOW)
    ticks.hold(world.store, [(number, ticks.START + number * 1000) for number in sorted(stored)], C)
    workflow = replace(accepted(time_range=str(whole), collection=C), type="api_ticks", disputed=disputed)
    await world.deps.workflows.create(workflow)
    plan = Plan(
        exchange_now_ms=ticks.NOW,
        parts=(Part(span=whole, source=Source.ARCHIVE),),
        floor_ms=FLOOR_MS,
        floor_id=FLOOR,
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
async def test_a_hole_below_the_floor_is_unknown_and_is_not_asked_for(number: int) -> None:
    proof, world = await proven(set(ALL) - {number}, span(0, 21))
    assert told(proof.segments) == [
        ("stored", 1, number - 1, ""),
        ("unknown", number, number, CAUSE),
        ("stored", number + 1, 20, ""),
    ]
    assert isinstance(world.exchange, ticks.TickExchange)
    assert ById(number, 1) not in world.exchange.asked


@pytest.mark.parametrize(("lost", "verdict"), [((), "ours"), ((15,), "exchange")])
async def test_a_hole_above_the_floor_is_asked_for_as_ever(lost: tuple[int, ...], verdict: str) -> None:
    proof, _ = await proven(set(ALL) - {15}, span(0, 21), lost=lost)
    assert told(proof.segments) == [("stored", 1, 14, ""), (verdict, 15, 15, ""), ("stored", 16, 20, "")]


@pytest.mark.parametrize(
    ("stored", "whole", "found"),
    [
        (range(1, 5), (0, 5), [("stored", 1, 4, "")]),
        (range(1, 11), (0, 11), [("stored", 1, 10, "")]),
        (range(1, 10), (0, 11), [("stored", 1, 9, ""), ("unknown", 10, 10, CAUSE)]),
        ((), (0, 5), [("unknown", None, None, CAUSE)]),
        (range(11, 21), (0, 21), [("unknown", None, None, CAUSE), ("stored", 11, 20, "")]),
    ],
    ids=["before it", "up to it", "not quite up to it", "nothing", "nothing before it"],
)
async def test_what_lies_before_the_floor_reaches_up_to_its_first_id(
    stored: Collection[int], whole: tuple[int, int], found: list[tuple[str, int | None, int | None, str]]
) -> None:
    proof, _ = await proven(stored, span(*whole))
    assert told(proof.segments) == found


@pytest.mark.parametrize(
    ("stored", "found"),
    [
        ((4, 5, 6), [("stored", 4, 6, "")]),
        ((5, 6), [("unknown", 4, 4, CAUSE), ("stored", 5, 6, "")]),
        ((4, 5), [("stored", 4, 5, ""), ("unknown", 6, 6, CAUSE)]),
    ],
    ids=["meet", "lacks its first one", "lacks its last one"],
)
async def test_what_lies_below_the_floor_reaches_up_to_what_is_stored_beside_it(
    stored: Collection[int], found: list[tuple[str, int | None, int | None, str]]
) -> None:
    beside = [(span(1, 4), 1, 3), (span(7, 9), 7, 8)]
    known = [
        Segment(
            start_ms=where.start_ms,
            end_ms=where.end_ms,
            verdict=Verdict.STORED,
            collection="other",
            records=last - first + 1,
            first_id=first,
            last_id=last,
        )
        for where, first, last in beside
    ]
    proof, _ = await proven(stored, span(4, 7), known=known)
    assert told(proof.segments) == found


async def test_the_doubt_about_a_file_is_cut_by_ids() -> None:
    doubts = (Remark(span(4, 8), "published 12, read 34"), Remark(TimeRange(FLOOR_MS + 1, FLOOR_MS + 2), "no record"))
    proof, _ = await proven(ALL, span(0, 21), disputed=doubts)
    assert [(*one, part.records) for one, part in zip(told(proof.segments), proof.segments, strict=True)][:2] == [
        ("stored", 1, 3, "", 3),
        ("stored", 4, 7, "checksum-disputed: published 12, read 34", 4),
    ]
    assert sum(part.records for part in proof.segments) == 20
    assert {part.verdict for part in proof.segments} == {Verdict.STORED}
