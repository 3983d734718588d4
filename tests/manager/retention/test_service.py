"""Records that are to be removed: who is waited for, whose stay, and what a removal leaves alone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from streamforge.manager.coverage.leftovers import Leftover
from streamforge.manager.engine.document import Status
from streamforge.manager.engine.refusals import NotNow
from streamforge.manager.retention.service import RecordRemoval
from streamforge_utils.model.coverage import Segment, Verdict
from streamforge_utils.model.errors import RetryableError
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange
from tests.doubles.candles import candle_key
from tests.manager.execution.world import SERIES, C, create, hold, minute
from tests.manager.support import DAY_MS, DAY_START, NOW, World, accepted, replace
from tests.runtime.rig import until

DAY = TimeRange(DAY_START, DAY_START + DAY_MS)


def fill(world: World, *minutes: int, collection: str = C, series: Series = SERIES) -> None:
    """Records of these minutes of the day."""
    hold(world.store, *map(minute, minutes), series=series, collection=collection)


async def covered(world: World, collection: str = C, span: TimeRange = DAY) -> None:
    stored = Segment(start_ms=span.start_ms, end_ms=span.end_ms, verdict=Verdict.STORED, collection=collection)
    await world.deps.coverage.lay_over(SERIES, [stored])


async def left(world: World) -> tuple[Leftover, ...]:
    return (await world.deps.coverage.known(SERIES)).leftovers


def leftover(collection: str = C, span: TimeRange = DAY, *, whole: bool = False) -> Leftover:
    return Leftover(collection=collection, start_ms=span.start_ms, end_ms=span.end_ms, whole=whole)


async def remove(world: World) -> None:
    await world.deps.removal.remove(SERIES, C, DAY)


async def finish(world: World) -> None:
    await world.deps.removal.finish_all()


@pytest.mark.parametrize("act", [remove, finish])
@pytest.mark.parametrize("name", [C, SERIES.id])
async def test_who_counts_the_series_or_uses_the_collection_is_waited_for(
    name: str, act: Callable[[World], Awaitable[None]], world: World
) -> None:
    fill(world, 0, 1, 2)
    await covered(world)
    if act is finish:
        await world.deps.coverage.forget(SERIES, C, DAY)
    locks = world.deps.coverage.locks
    async with locks.hold(name):
        acting = asyncio.ensure_future(act(world))
        await until(lambda: locks._held[name].users == 2 or acting.done())
        assert len(world.store.documents[C]) == 3
    await acting
    assert world.store.documents == {}
    assert (await left(world), await world.deps.coverage.of(SERIES)) == ((), ())
    assert world.observer.counts["removed_records_total"] == 3


async def test_a_request_waits_for_its_own_time_only(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RecordRemoval, "ASKED_WAIT_S", 0.01)
    async with world.deps.coverage.locks.hold(SERIES.id):
        with pytest.raises(RetryableError, match=r"for more than 0.01 s"):
            await remove(world)


async def test_what_lies_beside_the_range_stays_and_who_relies_on_the_range_keeps_its_coverage(world: World) -> None:
    fill(world, -1, 1440)
    await covered(world)
    other = accepted(collection="another")
    await create(world, other)
    with pytest.raises(NotNow, match=f"workflow {other.queue_id} is pending and relies on records"):
        await remove(world)
    assert len(await world.deps.coverage.of(SERIES)) == 1
    await world.deps.workflows.change(
        other.queue_id, lambda workflow: replace(workflow, status=Status.FINISHED, ended_ms=NOW)
    )
    fill(world, 0, 1439)
    assert await world.deps.removal.remove(SERIES, C, DAY) == 2
    assert len(world.store.documents[C]) == 2
    assert await world.deps.coverage.of(SERIES) == ()


async def test_what_retention_began_to_remove_is_left_to_retention(world: World) -> None:
    """It is exported first."""
    for collection in (C, "other"):
        fill(world, 0, collection=collection)
    await world.deps.coverage.forget(SERIES, C, DAY, whole=True)
    await world.deps.coverage.forget(SERIES, "other", DAY)
    await finish(world)
    assert list(world.store.documents) == [C]
    assert await left(world) == (leftover(whole=True),)


async def test_what_a_live_workflow_writes_again_stays_for_now(world: World) -> None:
    fill(world, 0)
    await world.deps.coverage.forget(SERIES, C, DAY)
    await create(world, accepted(collection=C))
    await finish(world)
    assert len(world.store.documents[C]) == 1
    assert await left(world) == (leftover(),)


@pytest.mark.parametrize(
    "fields",
    [
        {"collection": C, "symbol": "ETHUSDT"},
        {"collection": C, "time_range": "2024-08-02"},
        {"collection": "another"},
    ],
)
async def test_what_no_live_workflow_writes_goes(fields: dict[str, Any], world: World) -> None:
    fill(world, 0)
    fill(world, 0, series=Series("ETHUSDT", "candles", "1m"))
    await world.deps.coverage.forget(SERIES, C, DAY)
    await create(world, accepted(**fields))
    await finish(world)
    assert list(world.store.documents[C]) == [candle_key("ETHUSDT", "1m", DAY_START)]
    assert await left(world) == ()
