"""A live workflow whose records lie in a collection of each day: compared over midnight, repaired, removed, expired."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamforge.manager.engine.document import Status, Workflow
from streamforge.manager.policy import RetentionRule
from streamforge.manager.retention.driver import CollectionRetention
from streamforge.manager.workflows.live.comparison import Comparison
from streamforge.manager.workflows.live.model import Ledger, ledger_of
from streamforge.manager.workflows.series.model import loaded_series
from streamforge_utils.adapters.object_storage.object_folder import ObjectFolder
from streamforge_utils.model.coverage import Verdict
from streamforge_utils.model.daily_collections import DAY_MS
from streamforge_utils.model.kinds.registry import kind_named
from tests.doubles import ticks
from tests.doubles.manualclock import ManualClock
from tests.manager.execution.world import hold
from tests.manager.live_world import (
    SERIES,
    begun,
    end_jobs,
    live_world,
    load,
    minutes,
    pass_time,
    supplement_of,
    wanted,
)
from tests.manager.support import World, changed, replace, the_ledger
from tests.manager.workflows.live.live_rig import Rig, a_rig

MIDNIGHT = ticks.NOW
"""Where 2 August 2024 begins."""
BETWEEN = [(1, 1), (1, 0), (1, -1)]
"""Of a hole of a millisecond beside midnight: its length, and how long before midnight it ends."""


def put(rig: Rig, market: list[tuple[int, int]]) -> None:
    """Store ticks as its sink does."""
    for tick in market:
        ticks.hold(rig.world.store, [tick], rig.workflow.placement.at(tick[1]))


async def daily_rig(market: list[tuple[int, int]], from_ms: int) -> Rig:
    """A live workflow of ticks that listens from then on."""
    rig = await a_rig(Ledger(stream_ms=from_ms), clock=ManualClock(market[-1][1] + 1000))
    rig.workflow = replace(rig.workflow, collection="t", daily=True)
    exchange = rig.world.exchange
    assert isinstance(exchange, ticks.TickExchange)
    exchange.ticks, exchange.now_ms = market, rig.world.clock.now_ms()
    return rig


async def segments(rig: Rig) -> list[tuple[str | None, str, int | None, int | None]]:
    return [
        (one.collection, one.verdict.value, one.first_id, one.last_id)
        for one in await rig.world.deps.coverage.of(loaded_series(rig.workflow))
    ]


@pytest.mark.usefixtures("ticks")
@pytest.mark.parametrize("behind_s", [0, 5], ids=["by one clock", "by a clock ahead of the manager's"])
async def test_a_step_goes_over_midnight_and_each_segment_names_its_day(behind_s: int) -> None:
    market = [(n, MIDNIGHT - 3000 + n * 1000) for n in range(7)]
    rig = await daily_rig(market, market[0][1])
    rig.wait(-behind_s)
    put(rig, market)
    ledger = await rig.step()
    assert (ledger.proven_id, ledger.open_holes) == (5, 0)
    assert await segments(rig) == [("t_20240801", "stored", 0, 2), ("t_20240802", "stored", 3, 5)]
    assert set(rig.world.store.flushed) == {"t_20240801", "t_20240802"}


@pytest.mark.usefixtures("ticks")
async def test_a_hole_over_midnight_is_one_hole_and_filled_late_it_is_none() -> None:
    market = [(n, MIDNIGHT - 3000 + n * 1000) for n in range(7)]
    rig = await daily_rig(market, market[0][1])
    put(rig, [market[0], market[1], market[5], market[6]])
    rig.wait(60)
    ledger = await rig.step()
    assert [(one.first_id, one.last_id) for one in ledger.holes] == [(2, 4)]
    put(rig, market)
    ledger = await rig.step()
    assert (ledger.proven_id, ledger.open_holes) == (5, 0)
    assert await segments(rig) == [("t_20240801", "stored", 0, 2), ("t_20240802", "stored", 3, 5)]


@pytest.mark.usefixtures("ticks")
@pytest.mark.parametrize("close", [False, True])
async def test_days_in_which_nothing_happened_are_passed_over(close: bool) -> None:
    """Both where the manager's clock tells that days have passed, and where only the stop does."""
    market = [(1, MIDNIGHT - 2000), (2, MIDNIGHT - 1000), (3, MIDNIGHT + 5 * DAY_MS), (4, MIDNIGHT + 5 * DAY_MS + 1)]
    rig = await daily_rig(market, market[0][1])
    if close:
        rig.world.clock = ManualClock(MIDNIGHT)
        rig.world.deps = replace(rig.world.deps, clock=rig.world.clock)
    put(rig, market)
    comparison = Comparison(rig.world.deps, rig.workflow, rig.ledger, close=close)
    for _ in range(4):
        await comparison.step()
        if not comparison.ledger.behind:
            break
    assert comparison.ledger.proven_id == (4 if close else 3)
    assert await segments(rig) == [
        ("t_20240801", "stored", 1, 2),
        ("t_20240807", "stored", 3, comparison.ledger.proven_id),
    ]


@pytest.mark.usefixtures("ticks")
async def test_a_record_that_comes_late_on_the_day_before_is_found() -> None:
    """The exchange called the time until after midnight quiet, and then gave a record of before."""
    market = [(1, MIDNIGHT - 3000), (2, MIDNIGHT - 2000), (3, MIDNIGHT - 10), (4, MIDNIGHT + 90_000)]
    rig = await daily_rig(market[:2], market[0][1])
    put(rig, market[:2])
    rig.wait(62)
    exchange = rig.world.exchange
    assert isinstance(exchange, ticks.TickExchange)
    exchange.now_ms = MIDNIGHT + 2000
    assert (await rig.step(quiet=True)).proven_ms == MIDNIGHT + 1000
    put(rig, market)
    assert (await rig.step()).proven_id == 3


@given(st.data())
def test_whatever_comes_when_the_comparison_over_days_is_that_of_brute_force(data: st.DataObject) -> None:
    """Ticks over some days, stored in waves: each that lacks is named, none that lacks is called stored."""
    steps = data.draw(st.lists(st.sampled_from([0, 1, 1000, DAY_MS // 3, DAY_MS, 3 * DAY_MS]), min_size=2, max_size=14))
    market, at_ms = list[tuple[int, int]](), MIDNIGHT - 2
    for number, step in enumerate(steps, data.draw(st.integers(0, 9))):
        at_ms += step
        market.append((number, at_ms))
    waves = data.draw(st.lists(st.sets(st.integers(0, len(market) - 1)), max_size=5))

    async def scenario() -> None:
        rig = await daily_rig(market, market[0][1])
        there, stop = set[int](), 0
        for wave in [{0}, *waves, set(range(len(market)))]:
            there |= wave
            put(rig, [market[n] for n in sorted(wave)])
            rig.wait(120)
            for _ in range(len(market) + 2):
                ledger = await rig.step()
                if not ledger.behind:
                    break
            last_ms = market[max(there)][1]
            stop = max(stop, min(n for n in there if market[n][1] == last_ms))
            assert {market[n][0] for n in range(stop) if n not in there} == {
                number
                for one in await rig.world.deps.coverage.of(loaded_series(rig.workflow))
                if one.verdict is Verdict.UNKNOWN
                for number in range(one.first_id or 0, (one.last_id or 0) + 1)
            } - {market[n][0] for n in there}
            for one in await rig.world.deps.coverage.of(loaded_series(rig.workflow)):
                if one.verdict is Verdict.STORED:
                    held = rig.world.store.documents[one.collection or ""]
                    ids = range(one.first_id or 0, (one.last_id or 0) + 1)
                    assert {
                        kind_named("ticks").key(loaded_series(rig.workflow), number) for number in ids
                    } <= held.keys()
        ledger, found = await Comparison(rig.world.deps, rig.workflow, rig.ledger, close=True).closed()
        if lacking := [one for one in found if one.verdict is not Verdict.STORED]:
            # Records of two days, and no time between the records beside them: a supplement tells them apart.
            assert [(one.end_ms - one.start_ms, MIDNIGHT - one.end_ms) in BETWEEN for one in lacking] == [True]
            return
        assert (ledger.proven_id, sum(one.records for one in found)) == (market[-1][0], len(market))

    with ticks.registered():
        asyncio.run(scenario())


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = await live_world(first=-2880)
    yield world
    await world.die()


def a_live_one(since: int | None = None) -> Workflow:
    return replace(wanted(since=since), collection="live", daily=True)


def fill(world: World, workflow: Workflow, opens: list[int]) -> None:
    for open_ms in opens:
        hold(world.store, open_ms, collection=workflow.placement.at(open_ms))


async def test_a_supplement_stores_what_lacks_in_the_days_it_belongs_to(world: World) -> None:
    live = await begun(world, a_live_one(since=0))
    await pass_time(world, 10, alive=[live.queue_id])
    history = await supplement_of(world, live)
    assert (history.collection, history.daily) == ("live", True)
    await world.turns(3)
    fill(world, history, minutes(*range(100)))
    assert (await load(world, history)).status is Status.FINISHED
    fill(world, live, minutes(100, 101))
    await pass_time(world, 130, alive=[live.queue_id])
    (one,) = await world.deps.coverage.of(SERIES)
    assert (one.collection, one.records, one.end_ms) == ("live_20240801", 102, minutes(102)[0])


async def test_a_history_of_more_than_a_month_has_one_collection(world: World) -> None:
    live = await begun(world, a_live_one(since=-32 * 1440))
    await pass_time(world, 10, alive=[live.queue_id])
    history = await supplement_of(world, live)
    assert (history.collection, history.daily) == ("btcusdt_api_candles_1m_2024_06_30", False)


async def three_days(world: World, *lacking: int) -> Workflow:
    """A live workflow that has stored the two days before its own, and a part of that; some bars lack."""
    live = await begun(world, a_live_one())
    ledger = replace(the_ledger(live), from_ms=minutes(-2880)[0])
    await world.deps.workflows.change(live.queue_id, lambda one: changed(one, ledger=ledger))
    fill(world, live, [one for one in minutes(*range(-2880, 102)) if one not in lacking])
    await pass_time(world, 130, alive=[live.queue_id])
    return await world.workflow(live.queue_id)


async def days(world: World) -> list[tuple[str, str | None]]:
    return [(one.verdict.value, one.collection) for one in await world.deps.coverage.of(SERIES)]


async def retain(world: World, tmp_path: Path) -> None:
    """Retention of a day, as it is applied now."""
    policy = replace(world.deps.policy, retention=(RetentionRule("live_*", 1),))
    deps = replace(world.deps, policy=policy, retained=ObjectFolder(tmp_path / "kept"))
    await CollectionRetention(deps).apply()


async def test_an_old_day_of_what_is_live_expires_and_is_not_loaded_again(world: World, tmp_path: Path) -> None:
    live = await three_days(world)
    assert await days(world) == [("stored", f"live_{day}") for day in (20240730, 20240731, 20240801)]
    await retain(world, tmp_path)
    expired = [("expired", None), ("stored", "live_20240731"), ("stored", "live_20240801")]
    assert await days(world) == expired
    assert "live_20240730" not in await world.store.names()
    await pass_time(world, 60, alive=[live.queue_id])
    ledger = ledger_of(await world.workflow(live.queue_id))
    assert ledger is not None
    assert (ledger.proven_ms, ledger.open_holes, ledger.supplements) == (minutes(102)[0], 0, 0)
    await world.manager.stop(live.queue_id)
    await world.turns()
    await end_jobs(world, live.queue_id, "interrupted")
    assert (await world.workflow(live.queue_id)).status is Status.FINISHED
    assert await days(world) == expired


async def test_an_old_day_stays_while_something_before_its_end_is_not_proven(world: World, tmp_path: Path) -> None:
    await three_days(world, *minutes(-2000))
    await retain(world, tmp_path)
    assert "live_20240730" in await world.store.names()
    assert "expired" not in [verdict for verdict, _ in await days(world)]


async def test_the_days_are_removed_with_their_workflow(world: World) -> None:
    live = await three_days(world)
    await world.manager.stop(live.queue_id)
    await world.turns()
    await end_jobs(world, live.queue_id, "interrupted")
    removed = await world.manager.remove(live.queue_id, data=True)
    assert (removed.records_removed, removed.records_staying) == (2982, 0)
    assert [name for name in await world.store.names() if name.startswith("live")] == []


async def test_all_days_are_read_by_their_base_page_by_page(world: World) -> None:
    live = await three_days(world)
    found, after = list[str](), None
    while True:
        batches = world.manager.records("live", after=after, limit=700)
        page = [key async for batch in batches for key, _ in batch]
        if not page:
            break
        assert len(page) <= 700
        found, after = found + page, page[-1]
    kind = kind_named("candles")
    assert found == [kind.key(loaded_series(live), open_ms) for open_ms in minutes(*range(-2880, 102))]
