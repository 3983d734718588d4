"""Bars that are kept by day, and what is computed of them behind an answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import msgspec
import pytest

from streamforge.manager.bars import driver as rollup_queue
from streamforge.manager.bars import service as bar_service
from streamforge.manager.bars.driver import in_coarse_order
from streamforge.manager.bars.store import COLLECTION as ROLLUPS
from streamforge.manager.bars.store import Rollups
from streamforge_utils.model.coverage import Verdict
from streamforge_utils.model.errors import RetryableError
from streamforge_utils.model.kinds.registry import series_of
from streamforge_utils.model.timeranges import TimeRange
from tests.limits import LIMIT_S
from tests.manager.bars.stored_bars import (
    DAY_MS,
    START_MS,
    SYMBOL,
    cut,
    document,
    drawn,
    picture,
    store,
    whole,
)
from tests.manager.execution.world import retain
from tests.manager.memory_service import NOW_MS, MemoryService


@pytest.fixture
async def service() -> MemoryService:
    return await MemoryService.made()


HOURS = series_of(SYMBOL, "api_candles_1h")
WEEK = drawn(HOURS, 7, [(1000, Verdict.STORED)], 1)


async def test_kept_days_are_not_read_again_until_something_of_them_changes(
    service: MemoryService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Repaired, replaced or removed: the day is made again, and no other one."""
    monkeypatch.setattr(bar_service, "KEPT", 0)
    await store(service, WEEK)
    documents = service.world.store.documents
    first = await whole(service, WEEK, most=7)
    assert [one.rpartition("_")[2] for one in documents[ROLLUPS] if "_1d_" in one] == [
        f"{START_MS + day * DAY_MS}" for day in range(7)
    ]
    name, held = WEEK.segments[2].collection or "", dict(documents[WEEK.segments[2].collection or ""])
    for other in [other for other in documents if other.startswith("day") and other != name]:
        del documents[other]
    assert await whole(service, WEEK, most=7) == first, "the records of no day were read"

    day = WEEK.segments[2].span
    records = [(one[0], 1.0, 9.0, 0.5, 2.0, 3.0) if one[0] in day else one for one in WEEK.records]
    again = WEEK._replace(records=records)
    await service.world.store.upsert(name, [document(HOURS, one, 2) for one in records if one[0] in day])
    await service.world.deps.coverage.prove(HOURS, [WEEK.segments[2]], None, NOW_MS, loaded=[day])
    assert (await whole(service, again, most=7)).high[2] == 9.0, "it was loaded again"

    await service.world.deps.coverage.forget(HOURS, name, day)
    gone = again._replace(
        segments=[one for one in WEEK.segments if one.span != day],
        records=[one for one in records if one[0] not in day],
    )
    found = await whole(service, gone, most=7)
    assert (found.n[2], found.open[2], found.verdict[2]) == (0, None, "unknown")

    documents[name] = held
    await service.world.deps.coverage.lay_over(HOURS, [WEEK.segments[2]])
    assert await whole(service, WEEK, most=7) == first, "what was stored there before is not what is kept of it"


def kept_days(service: MemoryService, level: str = "_1d_") -> list[int]:
    keys = sorted(key for key in service.world.store.documents[ROLLUPS] if HOURS.symbol in key and level in key)
    return [(int(key.rpartition("_")[2]) - START_MS) // DAY_MS for key in keys]


async def test_what_is_kept_of_a_day_goes_with_the_last_of_its_records(
    service: MemoryService, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store(service, WEEK)
    await whole(service, WEEK, most=7)
    removal, day = service.world.deps.removal, [one.span for one in WEEK.segments]
    assert len(WEEK.segments) == 7
    await removal.remove(HOURS, WEEK.segments[2].collection or "", day[2])
    half = TimeRange(day[3].start_ms, day[3].start_ms + DAY_MS // 2)
    await removal.remove(HOURS, WEEK.segments[3].collection or "", half)
    assert kept_days(service) == [0, 1, 3, 4, 5, 6]

    delete = service.world.store.delete

    async def dying(collection: str, **range: str) -> int:
        if collection == ROLLUPS:
            raise RetryableError("the manager is killed")
        return await delete(collection, **range)

    monkeypatch.setattr(service.world.store, "delete", dying)
    with pytest.raises(RetryableError):
        await removal.remove(HOURS, WEEK.segments[5].collection or "", day[5])
    monkeypatch.setattr(service.world.store, "delete", delete)
    assert kept_days(service) == [0, 1, 3, 4, 5, 6]
    await retain(service.world.manager.upkeep.retention)
    assert kept_days(service) == [0, 1, 3, 4, 6]
    assert (await whole(service, cut(WEEK, [day[2], half, day[5]]), most=7)).n == [24, 24, 0, 12, 24, 0, 24]


async def test_what_was_kept_after_a_series_was_removed_is_found(service: MemoryService) -> None:
    other = msgspec.structs.replace(HOURS, symbol="BTCUSDT_240927")
    for series in (HOURS, other):
        await store(service, WEEK._replace(series=series))
    deps, rollups = service.world.deps, Rollups(service.world.store)
    for one in WEEK.segments:
        await deps.removal.remove(HOURS, one.collection or "", one.span)
    for series in (HOURS, other):  # of the first one: a picture that was computed meanwhile
        await rollups.write(series, [(level, START_MS, "mark", []) for level in ("1d", "4h")])
    left = await rollups.sweep(deps.coverage.is_stored, most=1)
    assert (left, len(service.world.store.documents[ROLLUPS])) == (f"{quote(HOURS.id, safe='')}_1d`", 3)
    await retain(service.world.manager.upkeep.retention)
    assert list(service.world.store.documents[ROLLUPS]) == [
        f"{quote(other.id, safe='')}_{level}_{START_MS}" for level in ("1d", "4h")
    ]
    assert await rollups.sweep(deps.coverage.is_stored) == ""


async def test_what_is_computed_behind_the_answer_comes_spread_over_the_range_and_ends_with_who_asked(
    service: MemoryService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bar_service, "AT_ONCE", 0)
    await store(service, WEEK)
    found = (await picture(service, WEEK, most=7)).bars
    assert (found.computing, found.n, found.open) == (7, [None] * 7, [None] * 7)
    assert found.verdict == ["stored"] * 7, "what the coverage says is told at once"
    service.clock.advance(rollup_queue.PATIENCE_S + 1)
    await service.bars.queue.idle()
    assert (await picture(service, WEEK, most=7)).bars.computing == 7, "nobody asked any more"
    await service.bars.queue.idle()
    assert not (await picture(service, WEEK, most=7)).bars.computing
    assert in_coarse_order([TimeRange(at, at + 1) for at in range(6)]) == [
        TimeRange(at, at + 1) for at in (0, 4, 2, 1, 5, 3)
    ]
    assert len(in_coarse_order([TimeRange(0, 1)])) == 1


async def test_some_of_one_bar_is_read_while_another_is_added_up(
    service: MemoryService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bar_service, "AT_ONCE", 0)
    await store(service, WEEK)
    reads, under_way, most = service.world.store.values, 0, 0

    async def slow(*given: Any, **more: Any) -> Sequence[tuple[Any, ...]]:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        for _ in range(100):
            await asyncio.sleep(0)
        under_way -= 1
        return await reads(*given, **more)

    monkeypatch.setattr(service.world.store, "values", slow)
    await whole(service, WEEK, most=7)
    assert most == rollup_queue.TOGETHER == 2


async def test_a_day_that_takes_long_holds_up_no_other_one_and_is_not_made_twice(
    service: MemoryService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the picture is asked for again meanwhile."""
    monkeypatch.setattr(bar_service, "AT_ONCE", 0)
    await store(service, WEEK)
    reads, begun, going_on = service.world.store.values, list[str](), asyncio.Event()
    third, last = asyncio.Event(), asyncio.Event()

    async def held(name: str, *given: Any, **more: Any) -> Sequence[tuple[Any, ...]]:
        begun.append(name)
        if len(begun) == 2:
            await going_on.wait()
        elif len(begun) == 3:
            third.set()
            await last.wait()
        return await reads(name, *given, **more)

    monkeypatch.setattr(service.world.store, "values", held)
    await picture(service, WEEK, most=7)
    async with asyncio.timeout(LIMIT_S):
        await third.wait()
        assert (await picture(service, WEEK, most=7)).bars.computing == 6
        last.set()
        while (await picture(service, WEEK, most=7)).bars.computing > 1:  # noqa: ASYNC110 - the answers are the signal
            await asyncio.sleep(0.01)
    going_on.set()
    await service.bars.queue.idle()
    assert len(begun) == len({*begun}) == 7


async def test_a_bar_of_which_a_part_is_computed_has_no_price_yet(
    service: MemoryService, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store(service, WEEK)
    await whole(service, WEEK, TimeRange(START_MS, START_MS + 3 * DAY_MS), most=3)
    monkeypatch.setattr(bar_service, "AT_ONCE", 0)
    found = (await picture(service, WEEK, most=1)).bars
    assert (found.interval, found.computing, found.n, found.open, found.volume) == ("1w", 1, [None], [None], [None])
    assert (await whole(service, WEEK, most=1)).n == [168]


async def test_who_asks_for_too_many_pictures_asks_again_later(
    service: MemoryService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bar_service, "AT_ONCE", 0)
    monkeypatch.setattr(rollup_queue, "MOST_JOBS", 1)
    quarters = drawn(series_of(SYMBOL, "api_candles_15m"), 7, [(1000, Verdict.STORED)], 2)
    for stored in (WEEK, quarters):
        await store(service, stored)
    for stored in (WEEK, quarters):
        assert (await picture(service, stored, most=7)).bars.computing == 7
    await service.bars.queue.idle()
    assert [(await picture(service, one, most=7)).bars.computing for one in (WEEK, quarters)] == [0, 7]
    await service.bars.close()
    for _ in range(2):
        assert (await picture(service, quarters, most=7)).bars.computing == 7, (
            "a manager that has ended computes nothing"
        )
        await service.bars.queue.idle()
    await service.bars.close()


async def test_what_went_wrong_behind_the_answer_is_told_to_who_asks_again(
    service: MemoryService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bar_service, "AT_ONCE", 0)
    await store(service, WEEK)
    await picture(service, WEEK, most=7)
    service.world.store.failing = RetryableError("the store is away")
    await service.bars.queue.idle()
    service.world.store.failing = None
    with pytest.raises(RetryableError, match="away"):
        await picture(service, WEEK, most=7)
    await whole(service, WEEK, most=7)
