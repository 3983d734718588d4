"""When each series is verified by itself, what is counted of it, and which lost ranges are loaded again."""

from __future__ import annotations

from typing import Any

import pytest

from streamforge.manager.execution import verifier
from streamforge.manager.execution.record_count import counted
from streamforge.manager.execution.verifier import LOOK_EVERY_S, Verifier, verify
from streamforge.manager.persistence.coverage_store import KIND, SeriesCoverage
from streamforge.manager.service import Gap
from streamforge.manager.workflow import Status, Workflow
from streamforge_utils.model.coverage import Segment, Verdict
from streamforge_utils.model.errors import RetryableError
from streamforge_utils.model.kinds.candles import candle_key
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.ports.store import Document
from tests.doubles.manualclock import ManualClock
from tests.manager.support import DAY_START, MINUTE_MS, NOW, POLICY, World, accepted, replace

C = "collection"
SERIES = Series("BTCUSDT", "candles", "1m")
ETH = Series("ETHUSDT", "candles", "1m")
DAY_S = 86_400.0


def minute(number: int) -> int:
    return DAY_START + number * MINUTE_MS


def said(first: int, last: int, verdict: Verdict = Verdict.STORED, records: int = 0) -> Segment:
    collection = C if verdict is Verdict.STORED else None
    return Segment(start_ms=minute(first), end_ms=minute(last), verdict=verdict, collection=collection, records=records)


async def a_world(*, repairs: bool = False, every_s: float = DAY_S, **policy: Any) -> World:
    world = World(
        clock=ManualClock(NOW), policy=replace(POLICY, verify_every_s=every_s, verify_repairs=repairs, **policy)
    )
    await world.start()
    return world


async def hold(world: World, *minutes: int, series: Series = SERIES, known: int = 10) -> None:
    """Coverage knows ten minutes as stored, and these are."""
    for number in minutes:
        key = candle_key(series.symbol, series.interval, minute(number))
        world.store.documents.setdefault(C, {})[key] = Document(key, 1, b"{}")
    await world.deps.coverage.lay_over(series, [said(0, known)])


async def look(world: World, looking: Verifier, seconds: float = LOOK_EVERY_S) -> None:
    assert isinstance(world.clock, ManualClock)
    world.clock.advance(seconds)
    await looking.look()


async def verified_ms(world: World, series: Series = SERIES) -> int | None:
    return (await world.deps.coverage.known(series)).verified_ms


async def test_what_is_counted_and_what_is_missing_add_up() -> None:
    world = await a_world()
    await hold(world, 0, 1, 4, 5, 6, 7, 8, 9)
    found = await verify(world.deps, SERIES, TimeRange(minute(1), minute(7)))
    assert (found.counted, found.gaps) == (
        4,
        (Gap(start_ms=minute(2), end_ms=minute(4), collection=C, records=2),),
    )
    assert list(found.segments) == [said(1, 2), said(2, 4, Verdict.OURS), said(4, 7)]
    assert await world.deps.coverage.of(SERIES) == (
        said(0, 2),
        said(2, 4, Verdict.OURS),
        said(4, 10),
    )
    assert (world.observer.counts["verified_records_total"], world.observer.counts["missing_records_total"]) == (6, 2)
    assert await verified_ms(world) is None, "a part of it is not all of it"
    assert (await verify(world.deps, SERIES)).counted == 8
    assert await verified_ms(world) == NOW
    assert (world.observer.counts["verified_records_total"], world.observer.counts["missing_records_total"]) == (14, 2)


@pytest.mark.parametrize(("every_s", "first_s"), [(DAY_S, LOOK_EVERY_S), (60.0, 60.0)])
async def test_it_looks_every_ten_minutes_or_as_often_as_it_verifies(every_s: float, first_s: float) -> None:
    world = await a_world(every_s=every_s)
    await hold(world, *range(10))
    looking = Verifier(world.deps)
    await look(world, looking, first_s - 1)
    assert await verified_ms(world) is None
    await look(world, looking, 1)
    assert await verified_ms(world) == world.clock.now_ms()


@pytest.mark.parametrize(("younger_ms", "due"), [(0, True), (1, False)])
async def test_a_series_is_verified_when_its_last_verification_is_old_enough(younger_ms: int, due: bool) -> None:
    world = await a_world()
    await hold(world, *range(10))
    before_ms = NOW + int(LOOK_EVERY_S * 1000) - int(DAY_S * 1000) + younger_ms
    await world.deps.coverage.verified(SERIES, before_ms)
    await look(world, Verifier(world.deps))
    assert (await verified_ms(world) != before_ms) is due


async def test_one_that_cannot_be_verified_holds_up_no_other_and_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    world = await a_world()
    for series in (SERIES, ETH):
        await hold(world, *range(10), series=series)
    await world.deps.coverage.verified(ETH, 5)  # after the other, which never was

    async def fail(store: Any, known: SeriesCoverage, *args: Any, **more: Any) -> Any:
        if known.series == SERIES:
            raise RetryableError("it does not answer")
        return await counted(store, known, *args, **more)

    monkeypatch.setattr(verifier, "counted", fail)
    await look(world, Verifier(world.deps))
    assert await verified_ms(world) is None
    assert await verified_ms(world, ETH) == world.clock.now_ms()
    assert world.observer.counts["action_failures_total{action=Verify}"] == 1


async def test_before_each_series_it_is_asked_whether_the_store_is_ours_still() -> None:
    world = await a_world()
    for series in (SERIES, ETH):
        await hold(world, *range(10), series=series)
    nothing = Series("NOBODY", "candles", "1m")
    await world.deps.coverage.prove(nothing, [], 7, NOW)
    assert len(await world.store.find(KIND)) == 3
    asked = []
    looking = Verifier(replace(world.deps, fence=lambda: asked.append(1)))
    await look(world, looking)
    assert len(asked) == 2, "of the third nothing is known"
    await look(world, looking, LOOK_EVERY_S - 1)
    assert len(asked) == 2, "it has just looked"
    await look(world, looking, 1)
    assert len(asked) == 4


def spans(world: World) -> list[str]:
    return sorted(str(stored.workflow.span) for stored in world.deps.workflows.live.values())


def range_of(first: int, last: int) -> str:
    return str(TimeRange(minute(first), minute(last)))


LOST = [said(400, 402, Verdict.OURS), said(500, 501, Verdict.OURS), said(600, 601, Verdict.OURS)]


async def lost(world: World) -> None:
    await world.deps.coverage.lay_over(SERIES, LOST)


async def earlier(world: World, code: str, span: str, **fields: Any) -> Workflow:
    """A workflow that a verification started, and that failed just now."""
    request = {name: fields.pop(name) for name in ("symbol", "type") if name in fields}
    workflow = accepted(code, time_range=span, **request)
    state = {"verification": True, "status": Status.ERROR, "ended_ms": NOW + 10**9, **fields}
    return (await world.deps.workflows.create(replace(workflow, **state))).workflow


async def test_each_lost_range_is_loaded_again_whatever_became_of_the_others() -> None:
    world = await a_world(repairs=True)
    await lost(world)
    await earlier(world, "aaaaaa", range_of(399, 401))
    await earlier(world, "bbbbbb", range_of(500, 501), status=Status.RUNNING, ended_ms=None)
    await look(world, Verifier(world.deps))
    assert spans(world) == [range_of(500, 501), range_of(600, 601)]
    assert world.observer.counts["verification_repairs_total"] == 1


@pytest.mark.parametrize(
    "other",
    [
        {"symbol": "ETHUSDT"},
        {"type": "api_candles_5m"},
        {"verification": False},
        {"status": Status.FINISHED},
    ],
)
async def test_what_another_workflow_failed_to_load_says_nothing_of_this_range(other: dict[str, Any]) -> None:
    world = await a_world(repairs=True)
    await world.deps.coverage.lay_over(SERIES, LOST[:1])
    await earlier(world, "aaaaaa", "2024-08-01", **other)
    await look(world, Verifier(world.deps))
    assert spans(world) == [range_of(400, 402)]


async def test_a_repair_is_found_behind_more_workflows_than_one_answer_has() -> None:
    world = await a_world(repairs=True)
    await world.deps.coverage.lay_over(SERIES, LOST[:1])
    await earlier(world, "zzzzzz", range_of(400, 402))
    for number in range(101):
        code = f"{number:06d}".translate(str.maketrans("0123456789", "abcdefghjk"))
        await earlier(world, code, "2024-08-02", created_ms=NOW + 1 + number)
    await look(world, Verifier(world.deps))
    assert spans(world) == []


@pytest.mark.parametrize(("max_live", "begun"), [(0, 0), (1, 0), (2, 1), (3, 2), (9, 3)])
async def test_repairs_take_no_place_that_there_is_not(max_live: int, begun: int) -> None:
    world = await a_world(repairs=True, max_live=max_live)
    await lost(world)
    await earlier(world, "aaaaaa", "2024-08-05", status=Status.RUNNING, ended_ms=None)
    await look(world, Verifier(world.deps))
    assert len(spans(world)) == 1 + begun


async def test_ten_repairs_of_a_series_begin_at_once() -> None:
    world = await a_world(repairs=True)
    await world.deps.coverage.lay_over(SERIES, [said(n, n + 1, Verdict.OURS) for n in range(400, 520, 10)])
    await look(world, Verifier(world.deps))
    assert len(spans(world)) == 10


@pytest.mark.parametrize(
    ("between", "repairs"),
    [
        ([said(401, 403, Verdict.EXCHANGE)], [range_of(400, 404)]),
        ([said(401, 403, Verdict.CLOSED)], [range_of(400, 404)]),
        ([said(401, 403)], [range_of(400, 404)]),
        ([said(401, 403, Verdict.UNKNOWN)], [range_of(400, 401), range_of(403, 404)]),
        ([said(401, 403, Verdict.PENDING)], [range_of(400, 401), range_of(403, 404)]),
        ([said(401, 402)], [range_of(400, 401), range_of(403, 404)]),
        ([], [range_of(400, 401), range_of(403, 404)]),
    ],
)
async def test_lost_ranges_are_loaded_as_one_where_all_between_them_was_asked_for(
    between: list[Segment], repairs: list[str]
) -> None:
    world = await a_world(repairs=True)
    ours = [said(400, 401, Verdict.OURS), said(403, 404, Verdict.OURS)]
    await world.deps.coverage.lay_over(SERIES, sorted([*ours, *between], key=lambda segment: segment.start_ms))
    await world.deps.coverage.verified(SERIES, NOW + 10**9)  # it is not counted again
    await look(world, Verifier(world.deps))
    assert spans(world) == repairs


async def test_how_many_bars_of_three_days_are_gone_is_not_guessed_where_not_one_is_there() -> None:
    world = await a_world()
    series = Series("BTCUSDT", "candles", "3d")
    await world.deps.coverage.lay_over(series, [said(0, 14_400)])
    found = await verify(world.deps, series)
    assert (found.counted, [(gap.start_ms, gap.end_ms, gap.records) for gap in found.gaps]) == (
        0,
        [(minute(0), minute(14_400), 0)],
    )
