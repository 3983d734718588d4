"""Which ranges are known to hold other records than before."""

from __future__ import annotations

from streamforge.manager.coverage.rewrites import MOST, Rewrite, with_rewritten
from streamforge.manager.coverage.store import CoverageStore
from streamforge.manager.workflows.history.proof import prove
from streamforge.manager.workflows.series.model import Plan
from streamforge_utils.model.coverage import Segment, Verdict
from streamforge_utils.model.kinds.candles import Interval
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange
from tests.doubles.manualclock import ManualClock
from tests.doubles.memorystore import MemoryStore
from tests.doubles.scriptedexchange import ScriptedExchange
from tests.manager.execution.world import SERIES, hold, minute, span, stored
from tests.manager.support import NOW, World, accepted, changed, rest

Told = list[tuple[int, int, int]]


async def told(coverage: CoverageStore, series: Series = SERIES) -> Told:
    """Minutes, and the number."""
    found = (await coverage.known(series)).rewritten
    return [((one.start_ms - minute(0)) // 60_000, (one.end_ms - minute(0)) // 60_000, one.number) for one in found]


async def test_only_what_was_stored_and_is_gone_or_loaded_again_is_noted() -> None:
    coverage = CoverageStore(MemoryStore())
    await coverage.lay_over(SERIES, [stored(0, 60)])
    await coverage.prove(SERIES, [stored(60, 90)], None, 0, loaded=[span(60, 90)])
    assert await told(coverage) == [], "it is new"
    await coverage.prove(SERIES, [stored(0, 90)], None, 0, loaded=[span(10, 20)])
    assert await told(coverage) == [(10, 20, 1)]
    await coverage.forget(SERIES, "collection", span(50, 55))
    assert await told(coverage) == [(10, 20, 1), (50, 55, 2)]
    await coverage.lay_over(SERIES, [stored(50, 55)])
    assert await told(coverage) == [(10, 20, 1), (50, 55, 2)], "what comes again is not what was there"
    await coverage.lay_over(SERIES, [stored(15, 30, collection="other")])
    assert await told(coverage) == [(10, 30, 3), (50, 55, 2)], "a copy elsewhere"


async def test_a_series_that_grows_is_not_rewritten() -> None:
    coverage = CoverageStore(MemoryStore())
    for end in range(10, 50, 10):
        await coverage.prove(SERIES, [stored(end - 10, end)], None, 0)
    assert await told(coverage) == []


def test_of_very_many_ranges_neighbours_become_one() -> None:
    found: tuple[Rewrite, ...] = ()
    for number in range(3 * MOST):
        found = with_rewritten(found, [TimeRange(number * 10, number * 10 + 1)])
    assert len(found) <= MOST
    assert all(any(one.start_ms <= at * 10 < one.end_ms for one in found) for at in range(3 * MOST))
    assert max(one.number for one in found) == 3 * MOST


async def test_what_was_never_stored_cannot_be_gone() -> None:
    coverage = CoverageStore(MemoryStore())
    hole = Segment(start_ms=minute(0), end_ms=minute(9), verdict=Verdict.OURS)
    await coverage.lay_over(SERIES, [hole])
    await coverage.lay_over(SERIES, [stored(0, 9)])
    assert await told(coverage) == []


async def test_a_proof_notes_what_its_workflow_has_loaded_a_second_time() -> None:
    opens = [minute(number) for number in range(10)]
    world = World(clock=ManualClock(NOW), exchange=ScriptedExchange(Interval.M1, opens, now_ms=NOW))
    await world.start()
    hold(world.store, *opens)
    await world.deps.coverage.lay_over(SERIES, [stored(0, 5)])
    plan = Plan(exchange_now_ms=NOW, parts=rest(span(3, 4), span(5, 10)))
    workflow = changed(accepted(time_range=str(span(0, 10)), collection="collection"), plan=plan)
    await world.deps.workflows.create(workflow)
    await prove(world.deps, workflow, plan, ask=True)
    assert [one.verdict for one in await world.deps.coverage.of(SERIES)] == [Verdict.STORED]
    assert await told(world.deps.coverage) == [(3, 4, 1)]
