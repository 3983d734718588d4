"""Verification: what is gone is found by counting, marked, reported, and loaded again once, each series in its time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from streamforge.manager.coverage.record_count import counted
from streamforge.manager.coverage.store import KIND, SeriesCoverage
from streamforge.manager.engine.document import Status, Workflow
from streamforge.manager.execution import verifier
from streamforge.manager.execution.verifier import LOOK_EVERY_S, Verifier, verify
from streamforge.manager.workflows.history.model import History
from streamforge_utils.model.coverage import Segment, Verdict
from streamforge_utils.model.errors import RetryableError
from streamforge_utils.model.kinds.candles import Interval
from streamforge_utils.model.series import Series
from streamforge_utils.ports import store
from tests.doubles.candles import candle_key
from tests.doubles.manualclock import ManualClock
from tests.manager.execution.world import SERIES, C, hold, minute, segment, span, stored
from tests.manager.support import DAY_MS, DAY_START, NOW, POLICY, World, accepted, changed, put, replace

ETH = Series("ETHUSDT", "candles", "1m")
DAY_S = 86_400.0
OURS = Verdict.OURS


async def a_world(*, repairs: bool = False, every_s: float = DAY_S, held: int = 30, **policy: Any) -> World:
    """A manager whose coverage calls the first `held` minutes of the day stored, as they are."""
    policy_ = replace(POLICY, verify_every_s=every_s, verify_repairs=repairs, **policy)
    world = World(clock=ManualClock(NOW), policy=policy_)
    await world.start()
    if held:
        await add(world, SERIES, held)
    return world


async def add(world: World, series: Series, held: int) -> None:
    hold(world.store, *map(minute, range(held)), series=series)
    await world.deps.coverage.lay_over(series, [stored(0, held, held)])


def lose(world: World, *numbers: int) -> None:
    for number in numbers:
        del world.store.documents[C][candle_key("BTCUSDT", "1m", minute(number))]


async def look(world: World, looking: Verifier | None = None, seconds: float = LOOK_EVERY_S) -> None:
    assert isinstance(world.clock, ManualClock)
    looking = looking or Verifier(world.deps)
    world.clock.advance(seconds)
    await looking.look()


async def verified_ms(world: World, series: Series = SERIES) -> int | None:
    return (await world.deps.coverage.known(series)).verified_ms


def count(world: World, name: str) -> float:
    return world.observer.counts[name]


@pytest.mark.parametrize("piece", [7, 500_000])
async def test_what_is_gone_is_counted_and_marked_to_the_bar_of_a_part_or_of_all(
    piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verifier, "_PIECE_RECORDS", piece)
    world = await a_world()
    whole = await verify(world.deps, SERIES)
    assert (whole.counted, whole.gaps, await verified_ms(world)) == (30, (), NOW)
    lose(world, 0, 12, 13, 29)
    await world.deps.coverage.verified(SERIES, 5)
    found = await verify(world.deps, SERIES, span(2, 15))
    gap = segment(12, 14, OURS, C, 2)
    assert (found.counted, found.gaps, await verified_ms(world)) == (11, (gap,), 5), "a part of it is not all of it"
    assert (count(world, "verified_records_total"), count(world, "missing_records_total")) == (43, 2)
    found = await verify(world.deps, SERIES)
    assert (found.counted, sum(gap.records for gap in found.gaps)) == (26, 2)
    assert [(s.verdict, s.span) for s in await world.deps.coverage.of(SERIES)] == [
        (OURS, span(0, 1)),
        (Verdict.STORED, span(1, 12)),
        (OURS, span(12, 14)),
        (Verdict.STORED, span(14, 29)),
        (OURS, span(29, 30)),
    ]
    again = await verify(world.deps, SERIES)
    assert (again.counted, again.gaps) == (26, ()), "what was told is not told again"
    assert (count(world, "verified_records_total"), count(world, "missing_records_total")) == (97, 4)


@pytest.mark.parametrize("gone", [0, 2, 4])
async def test_bars_of_three_days_are_counted_on_their_own_grid(gone: int) -> None:
    world = await a_world()
    series = Series("BTCUSDT", "candles", Interval.D3.value)
    opens = [DAY_START - 99 * DAY_MS + n * 3 * DAY_MS for n in range(5)]
    hold(world.store, *opens, series=series)
    held = Segment(
        start_ms=opens[0] - DAY_MS, end_ms=opens[-1] + 2 * DAY_MS, verdict=Verdict.STORED, collection=C, records=5
    )
    await world.deps.coverage.prove(series, [held], opens[0], NOW)
    assert (await verify(world.deps, series)).gaps == ()
    del world.store.documents[C][candle_key("BTCUSDT", "3d", opens[gone])]
    found = await verify(world.deps, series)
    assert (found.counted, [gap.records for gap in found.gaps]) == (4, [1])
    for time in opens:
        world.store.documents[C].pop(candle_key("BTCUSDT", "3d", time), None)
    found = await verify(world.deps, series)
    assert found.counted == 0
    assert all(s.verdict is OURS for s in await world.deps.coverage.of(series))


async def test_how_many_bars_of_three_days_are_gone_is_not_guessed_where_not_one_is_there() -> None:
    world = await a_world(held=0)
    series = Series("BTCUSDT", "candles", "3d")
    await world.deps.coverage.lay_over(series, [stored(0, 14_400)])
    found = await verify(world.deps, series)
    assert (found.counted, [(gap.start_ms, gap.end_ms, gap.records) for gap in found.gaps]) == (
        0,
        [(minute(0), minute(14_400), 0)],
    )


@pytest.mark.parametrize(("every_s", "first_s"), [(DAY_S, LOOK_EVERY_S), (60.0, 60.0), (0.0, None)])
async def test_the_first_look_comes_after_a_while_unless_it_is_switched_off(
    every_s: float, first_s: float | None
) -> None:
    world = await a_world(every_s=every_s)
    lose(world, 3)
    looking = Verifier(world.deps)
    await look(world, looking, 99 * LOOK_EVERY_S if first_s is None else first_s - 1)
    assert await verified_ms(world) is None
    if first_s is not None:
        await look(world, looking, 1)
        assert await verified_ms(world) == world.clock.now_ms()
        assert [s.verdict.value for s in await world.deps.coverage.of(SERIES)] == ["stored", "ours", "stored"]
        assert world.deps.workflows.live == {}, "nobody asked for repair"


async def test_what_the_exchange_never_had_stays_as_it_is_between_what_is_counted() -> None:
    world = await a_world()
    settled = (
        stored(0, 10, 10),
        segment(10, 12, Verdict.EXCHANGE),
        stored(12, 20, 8),
        segment(20, 22, Verdict.CLOSED),
        segment(22, 24, Verdict.UNKNOWN),
        stored(24, 30, 6),
    )
    await world.deps.coverage.lay_over(SERIES, settled)
    lose(world, 15)
    await look(world)
    known = await world.deps.coverage.known(SERIES)
    assert known.segments == (
        *settled[:2],
        stored(12, 15, 3),
        segment(15, 16, OURS),
        stored(16, 20, 4),
        *settled[3:],
    )


@pytest.mark.parametrize(("younger_ms", "due"), [(0, True), (1, False)])
async def test_a_series_is_verified_when_its_last_verification_is_old_enough(younger_ms: int, due: bool) -> None:
    world = await a_world()
    before_ms = NOW + int(LOOK_EVERY_S * 1000) - int(DAY_S * 1000) + younger_ms
    await world.deps.coverage.verified(SERIES, before_ms)
    await look(world)
    assert (await verified_ms(world) != before_ms) is due


async def test_one_that_cannot_be_verified_holds_up_no_other_and_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    world = await a_world()
    await add(world, ETH, 10)
    await world.deps.coverage.verified(ETH, 5)  # after the other, which never was

    async def fail(store: Any, known: SeriesCoverage, *args: Any, **more: Any) -> Any:
        if known.series == SERIES:
            raise RetryableError("it does not answer")
        return await counted(store, known, *args, **more)

    monkeypatch.setattr(verifier, "counted", fail)
    await look(world)
    assert await verified_ms(world) is None
    assert await verified_ms(world, ETH) == world.clock.now_ms()
    assert world.observer.counts["action_failures_total{action=Verify}"] == 1


@pytest.mark.parametrize("of_its_kind", [False, True])
async def test_a_series_that_cannot_be_read_holds_up_no_other(of_its_kind: bool) -> None:
    world = await a_world()
    await add(world, ETH, 10)
    body = world.store.states[KIND, SERIES.id].body
    damaged = body.replace(b'"candles"', b'"nobodys"') if of_its_kind else body[:-9]
    world.store.damage(KIND, SERIES.id, damaged)
    await look(world)
    assert await verified_ms(world, ETH) == world.clock.now_ms()
    assert list(world.deps.coverage.unreadable) == ([] if of_its_kind else [SERIES.id])
    assert world.observer.counts["action_failures_total{action=Verify}"] == int(of_its_kind), "a plugin is not named"


async def test_an_error_that_nobody_foresaw_holds_up_no_other_series(monkeypatch: pytest.MonkeyPatch) -> None:
    world = await a_world()
    await add(world, ETH, 10)

    async def fail(store: Any, known: SeriesCoverage, *args: Any, **more: Any) -> Any:
        if known.series == SERIES:
            raise msgspec.DecodeError("a record is damaged")
        return await counted(store, known, *args, **more)

    monkeypatch.setattr(verifier, "counted", fail)
    await look(world)
    assert await verified_ms(world, ETH) == world.clock.now_ms()
    assert world.observer.counts["action_failures_total{action=Verify}"] == 1


async def test_before_each_series_it_is_asked_whether_the_store_is_ours_still() -> None:
    world = await a_world()
    await add(world, ETH, 10)
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


def repairs(world: World) -> Sequence[Workflow]:
    return [one.workflow for one in world.deps.workflows.live.values()]


def spans(world: World) -> list[str]:
    return sorted(str(workflow.span) for workflow in repairs(world))


async def end(world: World, workflow: Workflow, status: Status) -> None:
    await world.deps.workflows.change(
        workflow.queue_id, lambda w: replace(w, status=status, ended_ms=world.clock.now_ms())
    )


async def test_what_is_lost_is_loaded_again_once() -> None:
    world = await a_world(repairs=True)
    looking = Verifier(world.deps)
    lose(world, 3, 4, 20)
    for _ in range(3):
        await look(world, looking)
    (repair,) = repairs(world)
    assert (repair.part(History).verification, repair.span) == (True, span(3, 21))
    assert count(world, "verification_repairs_total") == 1
    # It worked; then the same is lost once more.
    await end(world, repair, Status.FINISHED)
    await look(world, looking)
    assert len(repairs(world)) == 1


async def test_a_repair_that_failed_is_tried_again_after_each_verification() -> None:
    world = await a_world(repairs=True)
    looking = Verifier(world.deps)
    lose(world, 3)
    await look(world, looking)
    begun = 0
    for status in (Status.ERROR, Status.INTERRUPTED, Status.ERROR):
        (repair,) = repairs(world)
        begun += 1
        await end(world, repair, status)
        for _ in range(3):
            await look(world, looking)
        assert repairs(world) == [], "not before the next verification"
        await look(world, looking, 86_400)
    assert len(repairs(world)) == 1
    assert count(world, "verification_repairs_total") == begun + 1


async def test_a_repair_is_found_among_any_number_of_other_workflows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "STATES_A_PAGE", 2)
    world = await a_world(repairs=True)
    looking = Verifier(world.deps)
    lose(world, 3)
    await look(world, looking)
    (repair,) = repairs(world)
    await end(world, repair, Status.ERROR)
    for number in range(5):
        other = replace(accepted(code=f"abc00{number}"), status=Status.FINISHED, ended_ms=world.clock.now_ms())
        await world.deps.workflows.create(replace(other, created_ms=world.clock.now_ms() + number))
    await look(world, looking)
    assert repairs(world) == []


@pytest.mark.parametrize(("data", "loaded_again"), [(True, 0), (False, 1)])
async def test_what_was_lost_of_data_that_are_removed_is_not_loaded_again(data: bool, loaded_again: int) -> None:
    world = await a_world(repairs=True)
    owner = await put(world, accepted(collection=C), status=Status.FINISHED, ended_ms=NOW)
    lose(world, 3, 4)
    await verify(world.deps, SERIES)
    await world.manager.remove(owner, data=data)
    await look(world)
    assert len(repairs(world)) == loaded_again
    left = [s.verdict.value for s in await world.deps.coverage.of(SERIES)]
    assert left == ([] if data else ["stored", "ours", "stored"])


LOST = [segment(400, 402, OURS), segment(500, 501, OURS), segment(600, 601, OURS)]


async def lost(*segments: Segment, **policy: Any) -> World:
    """A manager whose coverage says this of a series of which nothing is stored."""
    world = await a_world(repairs=True, held=0, **policy)
    await world.deps.coverage.lay_over(SERIES, segments or LOST)
    return world


async def earlier(world: World, code: str, span: str, **fields: Any) -> Workflow:
    """A workflow that a verification started, and that failed just now."""
    request = {name: fields.pop(name) for name in ("symbol", "type") if name in fields}
    workflow = accepted(code, time_range=span, **request)
    state = {"verification": True, "status": Status.ERROR, "ended_ms": NOW + 10**9, **fields}
    return (await world.deps.workflows.create(changed(workflow, **state))).workflow


async def test_each_lost_range_is_loaded_again_whatever_became_of_the_others() -> None:
    world = await lost()
    await earlier(world, "aaaaaa", str(span(399, 401)))
    await earlier(world, "bbbbbb", str(span(500, 501)), status=Status.RUNNING, ended_ms=None)
    await look(world)
    assert spans(world) == [str(span(500, 501)), str(span(600, 601))]
    assert count(world, "verification_repairs_total") == 1


@pytest.mark.parametrize(
    "other",
    [{"symbol": "ETHUSDT"}, {"type": "api_candles_5m"}, {"verification": False}, {"status": Status.FINISHED}],
)
async def test_what_another_workflow_failed_to_load_says_nothing_of_this_range(other: dict[str, Any]) -> None:
    world = await lost(LOST[0])
    await earlier(world, "aaaaaa", "2024-08-01", **other)
    await look(world)
    assert spans(world) == [str(span(400, 402))]


@pytest.mark.parametrize(("max_live", "begun"), [(0, 0), (1, 0), (2, 1), (3, 2), (9, 3)])
async def test_repairs_take_no_place_that_there_is_not(max_live: int, begun: int) -> None:
    world = await lost(max_live=max_live)
    await earlier(world, "aaaaaa", "2024-08-05", status=Status.RUNNING, ended_ms=None)
    await look(world)
    assert len(spans(world)) == 1 + begun


async def test_ten_repairs_of_a_series_begin_at_once() -> None:
    world = await lost(*(segment(n, n + 1, OURS) for n in range(400, 520, 10)))
    await look(world)
    assert len(spans(world)) == 10


@pytest.mark.parametrize(
    ("between", "joined"),
    [
        (segment(401, 403, Verdict.EXCHANGE), True),
        (segment(401, 403, Verdict.CLOSED), True),
        (stored(401, 403), True),
        (segment(401, 403, Verdict.UNKNOWN), False),
        (segment(401, 403, Verdict.PENDING), False),
        (stored(401, 402), False),
        (None, False),
    ],
)
async def test_lost_ranges_are_loaded_as_one_where_all_between_them_was_asked_for(
    between: Segment | None, joined: bool
) -> None:
    world = await lost(segment(400, 401, OURS), *([between] if between else []), segment(403, 404, OURS))
    await world.deps.coverage.verified(SERIES, NOW + 10**9)  # it is not counted again
    await look(world)
    assert spans(world) == ([str(span(400, 404))] if joined else [str(span(400, 401)), str(span(403, 404))])
