"""Proofs of records with ids, several of which share a millisecond: which collection's records count, and which go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from streamforge.manager.engine.document import Status
from streamforge.manager.workflows.history.proof import prove
from streamforge.manager.workflows.series.model import Plan, SeriesProof
from streamforge_utils.model.coverage import Segment, Verdict
from streamforge_utils.model.timeranges import TimeRange
from tests.doubles import ticks
from tests.doubles.manualclock import ManualClock
from tests.manager.execution.world import C
from tests.manager.support import World, accepted, replace, rest

pytestmark = pytest.mark.usefixtures("ticks")

OTHER = "other"
MARKET = {1: 0, 2: 1000, 3: 2000, 4: 2000, 5: 2000, 6: 4000}
"""When each record happened, milliseconds after `START`."""


def span(start: int, end: int) -> TimeRange:
    return TimeRange(ticks.START + start, ticks.START + end)


WHOLE = span(0, 5000)


def stored(start: int, end: int, collection: str, first: int | None, last: int | None) -> Segment:
    whole = span(start, end)
    return Segment(
        start_ms=whole.start_ms,
        end_ms=whole.end_ms,
        verdict=Verdict.STORED,
        collection=collection,
        first_id=first,
        last_id=last,
    )


KNOWN = (stored(0, 3000, C, 1, 5), stored(3000, 5000, OTHER, 6, 6))
MIRRORED = (stored(0, 3000, OTHER, 1, 5), stored(3000, 5000, C, 6, 6))


def ids(world: World, collection: str) -> list[int]:
    return sorted(int(key[-12:]) for key in world.store.documents.get(collection, {}))


async def a_world(
    there: Mapping[str, Sequence[int]], known: Sequence[Segment], records: Mapping[int, int] = MARKET
) -> World:
    """there: the ids in each collection. records: what the exchange has, as `MARKET`."""
    market = [(number, ticks.START + ms) for number, ms in records.items()]
    world = World(clock=ManualClock(ticks.NOW), exchange=ticks.TickExchange(market, now_ms=ticks.NOW))
    await world.start()
    for collection, numbers in there.items():
        ticks.hold(world.store, [tick for tick in market if tick[0] in numbers], collection)
    await world.deps.coverage.lay_over(ticks.SERIES, known)
    return world


async def proven(
    world: World, *load: TimeRange, ask: bool = True, expected: int = 0, whole: TimeRange = WHOLE
) -> SeriesProof:
    workflow = replace(accepted(time_range=str(whole), collection=C), type="api_ticks")
    created = await world.deps.workflows.create(workflow)
    plan = Plan(exchange_now_ms=ticks.NOW, parts=rest(*load), expected=expected)
    proof = await prove(world.deps, workflow, plan, ask=ask)
    await world.deps.workflows.replace(created, replace(workflow, status=Status.FINISHED, ended_ms=ticks.NOW))
    await world.deps.removal.finish_all()
    return proof


def told(proof: SeriesProof) -> list[tuple[str, str | None, int | None, int | None]]:
    return [(one.verdict.value, one.collection, one.first_id, one.last_id) for one in proof.segments]


@pytest.mark.parametrize("ask", [True, False])
@pytest.mark.parametrize(
    "copies", [(4,), (4, 5), (3, 5), (1, 2, 3, 4)], ids=["a stray one", "some", "others", "of a load that was stopped"]
)
async def test_copies_that_the_coverage_does_not_name_change_nothing(copies: tuple[int, ...], ask: bool) -> None:
    world = await a_world({C: range(1, 6), OTHER: [*copies, 6]}, KNOWN)
    proof = await proven(world, ask=ask)
    behind = [] if ask else [("unknown", None, None, None)]  # the exchange alone tells that nothing happened there
    assert told(proof) == [("stored", C, 1, 5), ("stored", OTHER, 6, 6), *behind]
    assert (proof.expected, proof.stored) == (6, 6)
    assert ids(world, C) == [1, 2, 3, 4, 5]
    assert ids(world, OTHER) == sorted([*copies, 6])


@pytest.mark.parametrize("copies", [(4,), (4, 5), (1, 2, 3, 4)])
async def test_own_copies_of_what_the_coverage_names_elsewhere_change_nothing(copies: tuple[int, ...]) -> None:
    world = await a_world({C: [*copies, 6], OTHER: range(1, 6)}, MIRRORED)
    assert told(await proven(world)) == [("stored", OTHER, 1, 5), ("stored", C, 6, 6)]
    assert ids(world, OTHER) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("known", [MIRRORED, (stored(0, 3000, OTHER, None, None), stored(3000, 5000, C, None, None))])
async def test_what_was_loaded_again_counts_where_it_was_loaded_and_no_only_copy_goes(known: Sequence[Segment]) -> None:
    """The records 3, 4 and 5 share a millisecond, and the load had only two of them."""
    world = await a_world({C: [4, 5, 6], OTHER: range(1, 6)}, known)
    assert told(await proven(world, span(2000, 3000))) == [("stored", OTHER, 1, 3), ("stored", C, 4, 6)]
    assert {1, 2, 3} <= set(ids(world, OTHER)), "the only copies"
    world = await a_world({C: range(1, 7), OTHER: range(1, 6)}, known)
    assert told(await proven(world, span(0, 5000))) == [("stored", C, 1, 6)]
    assert (ids(world, C), ids(world, OTHER)) == ([1, 2, 3, 4, 5, 6], [])


async def test_a_load_that_was_stopped_keeps_the_total_that_was_planned_until_another_one_is_proven() -> None:
    for ask, total in ((False, 9), (True, 6)):
        proof = await proven(await a_world({C: [1, 2, 3]}, ()), span(0, 5000), ask=ask, expected=9)
        assert (proof.expected, proof.stored) == (total, 3)
    settled = replace(stored(4001, 5000, "", None, None), verdict=Verdict.EXCHANGE)
    world = await a_world({C: range(1, 7)}, (stored(0, 4001, C, 1, 6), settled))
    proof = await proven(world, ask=False, expected=9)
    assert (proof.expected, proof.stored) == (6, 6), "all of it is known"


async def test_a_hole_is_looked_for_everywhere_and_first_in_the_own_collection() -> None:
    known = (stored(0, 1000, C, 1, 1), stored(3000, 5000, OTHER, 6, 6))
    world = await a_world({C: [1, 2, 3], OTHER: [2, 3, 4, 5, 6]}, known)
    assert told(await proven(world)) == [("stored", C, 1, 3), ("stored", OTHER, 4, 6)]


@pytest.mark.parametrize(
    ("records", "there", "verdict"),
    [
        ({1: 0, 2: 1000, 6: 4000}, [], ("exchange", None, 3, 5)),
        ({1: 0, 2: 1000, 3: 1500, 6: 4000}, [], ("ours", None, 3, 5)),
        ({1: 0, 2: 1000, 3: 1499, 6: 4000}, [], ("ours", None, 3, 5)),
        ({1: 0, 2: 1000, 3: 1499, 4: 1499, 5: 3000, 6: 4000}, [3, 4, 5], ("stored", C, 3, 5)),
    ],
    ids=["the exchange lacks them", "it has one", "a moment before the range", "which are stored"],
)
async def test_the_ids_between_what_is_stored_beside_a_range_are_looked_for_whenever_they_happened(
    records: Mapping[int, int], there: Sequence[int], verdict: tuple[str, str | None, int, int]
) -> None:
    known = (stored(0, 1500, OTHER, 1, 2), stored(3000, 5000, OTHER, 6, 6))
    world = await a_world({OTHER: [1, 2, 6], C: there}, known, records)
    proof = await proven(world, span(1500, 3000), whole=span(1500, 3000))
    assert told(proof) == [verdict]
    assert (await world.deps.coverage.of(ticks.SERIES))[1] == proof.segments[0]


async def test_a_removal_leaves_what_shares_a_millisecond_with_its_range_but_is_stored() -> None:
    for kept, left in (
        ((stored(0, 2000, C, 1, 3), stored(2500, 5000, C, 6, 6)), [1, 2, 3, 6]),
        ((stored(0, 2000, C, 1, 5), stored(2500, 5000, C, 6, 6)), [1, 2, 3, 4, 5, 6]),
        ((stored(0, 2000, C, 1, 2), stored(2001, 5000, C, 5, 6)), [1, 2, 5, 6]),
        ((stored(0, 2000, OTHER, 1, 3), stored(2500, 5000, C, 6, 6)), [1, 2, 6]),
    ):
        world = await a_world({C: range(1, 7)}, kept)
        await world.deps.removal.remove(ticks.SERIES, C, span(2000, kept[1].start_ms - ticks.START))
        assert ids(world, C) == left
        known = await world.deps.coverage.known(ticks.SERIES)
        assert (known.segments, known.leftovers) == (kept, ())


@pytest.mark.parametrize(
    ("there", "lost"),
    [
        (range(1, 6), []),
        (range(1, 5), [(2001, 3000)]),
        ((1, 2, 4, 5), [(1001, 2000)]),
        (range(2, 6), [(0, 1000)]),
        ((), [(0, 3000)]),
    ],
    ids=["none", "the last", "an inner one", "the first", "all"],
)
async def test_without_questions_the_coverage_loses_what_is_gone_and_nothing_else(
    there: Sequence[int], lost: Sequence[tuple[int, int]]
) -> None:
    world = await a_world({C: there, OTHER: [6]}, KNOWN)
    await proven(world, ask=False)
    segments = (await world.deps.coverage.known(ticks.SERIES)).segments
    assert [one.span for one in segments if one.verdict is not Verdict.STORED] == [span(*part) for part in lost]
    assert {one.verdict for one in segments} <= {Verdict.STORED, Verdict.OURS}
    assert (segments[0].start_ms, segments[-1].end_ms) == (span(0, 5000).start_ms, span(0, 5000).end_ms)


@pytest.fixture
def _chained(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks.chain(monkeypatch)


PARTS = (span(0, 2500), span(2500, 5000))


@pytest.mark.usefixtures("_chained")
@pytest.mark.parametrize(
    ("torn", "parts", "found"),
    [
        (5, PARTS, [("stored", C, 1, 4), ("ours", None, 5, 6)]),
        (5, (span(0, 5000),), [("stored", C, 1, 6)]),  # who loads a part compares what is in it
        (3, (span(0, 2000), span(2000, 5000)), [("stored", C, 1, 2), ("ours", None, 3, 4), ("stored", C, 5, 6)]),
        (3, (span(0, 1999), span(1999, 5000)), [("stored", C, 1, 6)]),
        (2, (span(0, 2001), span(2001, 5000)), [("stored", C, 1, 1), ("ours", None, 2, 3), ("stored", C, 4, 6)]),
    ],
)
@pytest.mark.parametrize("ask", [True, False])
async def test_records_that_contradict_each_other_where_parts_meet_are_ours(
    torn: int, parts: Sequence[TimeRange], found: list[tuple[str, str | None, int, int]], ask: bool
) -> None:
    world = await a_world({C: range(1, 7)}, ())
    ticks.tear(world.store, C, torn)
    proof = await proven(world, *parts, ask=ask)
    assert [one for one in told(proof) if one[0] != "unknown"] == found
    assert {one.cause for one in proof.segments if one.verdict is Verdict.OURS} <= {"torn"}
    known = (await world.deps.coverage.known(ticks.SERIES)).segments
    kept = [(one.first_id, one.last_id) for one in known if one.verdict is Verdict.STORED]
    assert kept == [one[2:] for one in found if one[0] == "stored"]


@pytest.mark.usefixtures("_chained")
@pytest.mark.parametrize(
    ("torn", "whole", "found"),
    [
        (5, span(0, 5000), [("stored", OTHER, 1, 4), ("ours", None, 5, 6)]),
        (5, span(3000, 5000), [("ours", None, 6, 6)]),
        (4, span(3000, 5000), [("stored", C, 6, 6)]),
    ],
    ids=["in the range", "beside it", "further away"],
)
async def test_what_another_load_has_stored_is_compared_where_it_meets(
    torn: int, whole: TimeRange, found: list[tuple[str, str | None, int, int]]
) -> None:
    world = await a_world({OTHER: range(1, 6), C: [6]}, MIRRORED[:1])
    ticks.tear(world.store, OTHER, torn)
    assert told(await proven(world, span(3000, 5000), whole=whole)) == found
