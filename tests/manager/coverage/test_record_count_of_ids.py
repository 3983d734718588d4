"""What the store holds of records with ids where a segment does not name both of its own, and what it costs to tell."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from streamforge.manager.coverage.record_count import counted, positions_of, survey
from streamforge.manager.coverage.store import SeriesCoverage
from streamforge.manager.execution.verifier import verify
from streamforge.manager.exports.records import RecordReader
from streamforge.manager.use_cases import Incomplete
from streamforge.manager.workflows.history.planner import verified
from streamforge_utils.model.coverage import Segment, Verdict
from streamforge_utils.model.timeranges import TimeRange
from tests.doubles import ticks
from tests.doubles.manualclock import ManualClock
from tests.doubles.memorystore import MemoryStore
from tests.doubles.ticks import SERIES, START
from tests.manager.support import World, accepted, replace

pytestmark = pytest.mark.usefixtures("ticks")

MARKET = [(number, START + 1000 * (number - 10)) for number in range(5, 30)]
"""Ids, one a second."""


def span(first: int, end: int) -> TimeRange:
    """From when one record happened to when another one did."""
    return TimeRange(START + 1000 * (first - 10), START + 1000 * (end - 10))


def stored(within: TimeRange, first_id: int | None = None, last_id: int | None = None) -> Segment:
    return Segment(
        start_ms=within.start_ms,
        end_ms=within.end_ms,
        verdict=Verdict.STORED,
        collection="c",
        first_id=first_id,
        last_id=last_id,
    )


def store_of(*numbers: int) -> MemoryStore:
    return ticks.hold(MemoryStore(), [tick for tick in MARKET if tick[0] in numbers])


@pytest.mark.parametrize("others", [(), (10, 11), (17,), (25, 26), (10, 11, 25, 26)])
@pytest.mark.parametrize("ids", [(18, None), (None, None), (None, 19), (18, 19)])
@pytest.mark.parametrize("every_key", [True, False])
async def test_a_segment_of_which_all_records_are_gone_is_ours(
    every_key: bool, ids: tuple[int | None, int | None], others: Sequence[int]
) -> None:
    segment = stored(span(18, 20), *ids)
    known = SeriesCoverage(series=SERIES, segments=(segment,))
    found = await counted(store_of(*others), known, segment.span, every_key=every_key)
    assert [(one.span, one.verdict) for one in found] == [(segment.span, Verdict.OURS)]
    part = TimeRange(segment.start_ms + 200, segment.end_ms - 1500)
    found = await counted(store_of(*others), known, part, every_key=every_key)
    assert [(one.span, one.verdict) for one in found] == [(part, Verdict.OURS)]


@pytest.mark.parametrize(
    ("ids", "there", "within", "expected"),
    [
        ((10, 29), (17, 18), TimeRange(START + 7200, START + 7500), range(18, 18)),
        ((10, 29), (17,), TimeRange(START + 7200, START + 7500), None),
        ((10, 29), (18,), TimeRange(START + 7200, START + 7500), None),
        ((None, None), (17, 18), TimeRange(START + 7200, START + 7500), range(18, 18)),
        ((None, None), (16, 18), TimeRange(START + 7200, START + 7500), None),
        # Before the first and behind the last record of the segment.
        ((12, 29), (12,), TimeRange(START, START + 1500), range(12, 12)),
        ((12, 29), (13,), TimeRange(START, START + 1500), None),
        ((12, 15), (15,), TimeRange(START + 9000, START + 9500), range(16, 16)),
        ((12, None), (12, 15), TimeRange(START + 9000, START + 9500), None),
        # An id that is named lies beyond what is there.
        ((None, 12), (15, 16), span(10, 30), None),
        ((28, None), (15, 16), span(10, 30), None),
        ((14, 17), (15, 16), span(10, 30), range(14, 18)),
        ((14, None), (15, 16), span(10, 30), range(14, 17)),
        ((None, 17), (8, 15, 16), span(10, 30), range(9, 18)),
    ],
)
async def test_a_part_is_quiet_only_if_the_records_on_both_sides_prove_it(
    ids: tuple[int | None, int | None], there: Sequence[int], within: TimeRange, expected: range | None
) -> None:
    assert await positions_of(store_of(*there), SERIES, stored(span(10, 30), *ids), within, None) == expected


async def test_verification_planning_and_export_notice_a_cut_segment_that_is_empty() -> None:
    segment = stored(span(18, 20), 18, None)
    world = World(clock=ManualClock(ticks.NOW), exchange=ticks.TickExchange(MARKET, now_ms=ticks.NOW))
    await world.start()
    world.store.documents["c"] = {}
    coverage = world.deps.coverage
    await coverage.lay_over(SERIES, [segment])
    with pytest.raises(Incomplete, match="is all gone"):
        await anext(
            RecordReader(world.store, coverage).read(
                "c", span=segment.span, after=None, limit=9, whole=True, series=SERIES
            )
        )
    found = await verify(world.deps, SERIES)
    assert [(gap.span, gap.collection) for gap in found.gaps] == [(segment.span, "c")]
    assert [one.verdict for one in await coverage.of(SERIES)] == [Verdict.OURS]
    await coverage.lay_over(SERIES, [segment])
    workflow = replace(accepted(time_range=str(segment.span), collection="c"), type="api_ticks")
    await world.deps.workflows.create(workflow)
    assert [one.verdict for one in (await verified(world.deps, workflow)).segments] == [Verdict.OURS]


class Asked(MemoryStore):
    """limits: how many keys were asked for each time, at most."""

    def __init__(self) -> None:
        super().__init__()
        self.limits: list[object] = []

    async def keys(self, *args: object, **more: object) -> Sequence[str]:
        self.limits.append(more["limit"])
        return await super().keys(*args, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("known", [True, False])
async def test_a_collection_is_asked_once_for_all_holes(known: bool) -> None:
    """Every second tick is there, and of the others one, elsewhere."""
    market = [(number, START + 10 * number) for number in range(1000)]
    store = Asked()
    ticks.hold(store, market[::2], "c")
    ticks.hold(store, [market[501]], "other")
    whole = TimeRange(START, START + 10_000)
    own = stored(whole)
    places = [own, replace(own, collection="other", first_id=501, last_id=501), own, replace(own, collection="other")]
    found = await survey(store, SERIES, whole, range(1000) if known else None, places, None)
    assert sum(one.records for one in found if one.verdict is Verdict.STORED) == 501
    assert sum(one.verdict is Verdict.UNKNOWN for one in found) == 499
    ends = [] if known else [1, 1]
    assert store.limits == [*ends, 50_000, 50_000, 50_000], "the own one, what the coverage names, and what is left"


async def test_what_lies_far_between_two_places_is_not_read() -> None:
    market = [(number, START + number) for number in range(9000)]
    store = Asked()
    ticks.hold(store, market, "c")
    ticks.hold(store, market, "other")
    whole = TimeRange(START, START + 9000)
    ends = [stored(TimeRange(START, START + 5), 0, 4), stored(TimeRange(START + 8995, START + 9000), 8995, 8999)]
    near = stored(TimeRange(START + 1000, START + 1005), 1000, 1004)
    places = [*(replace(one, collection="other") for one in (ends[0], near, ends[1])), stored(whole)]
    found = await survey(store, SERIES, whole, range(9000), places, None)
    assert [(one.collection, one.records) for one in found] == [
        ("other", 5),
        ("c", 995),
        ("other", 5),
        ("c", 7990),
        ("other", 5),
    ]
    assert len(store.limits) == 3, (
        "of the one the two places near each other at once, and the far one; of the other all"
    )
