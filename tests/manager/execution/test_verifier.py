"""Verification: what is gone is found by counting, marked, told, and loaded again once."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from streamforge.manager.execution import verifier
from streamforge.manager.execution.verifier import LOOK_EVERY_S, Verifier, verify
from streamforge.manager.workflow import Status, Workflow
from streamforge_utils.model.coverage import Segment, Verdict
from streamforge_utils.model.kinds.candles import Interval, candle_key
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.ports.store import Document
from tests.doubles.manualclock import ManualClock
from tests.manager.stored import put
from tests.manager.support import DAY_MS, DAY_START, MINUTE_MS, NOW, POLICY, World, accepted, replace

C = "btcusdt_api_candles_1m_2024_08_01"
SERIES = Series("BTCUSDT", "candles", "1m")
MINUTES = 300


def minute(number: int) -> int:
    return DAY_START + number * MINUTE_MS


async def a_world(*, repairs: bool = False, hours: float = 24) -> World:
    world = World(clock=ManualClock(NOW), policy=replace(POLICY, verify_every_s=hours * 3600, verify_repairs=repairs))
    await world.start()
    keys = [candle_key("BTCUSDT", "1m", minute(n)) for n in range(MINUTES)]
    world.store.documents[C] = {key: Document(key, 1, b"{}") for key in keys}
    await world.deps.coverage.lay_over(SERIES, [segment(0, MINUTES)])
    return world


def segment(first: int, last: int, verdict: Verdict = Verdict.STORED) -> Segment:
    stored = verdict is Verdict.STORED
    return Segment(
        start_ms=minute(first),
        end_ms=minute(last),
        verdict=verdict,
        collection=C if stored else None,
        records=last - first if stored else 0,
    )


def lose(world: World, *numbers: int) -> None:
    for number in numbers:
        del world.store.documents[C][candle_key("BTCUSDT", "1m", minute(number))]


async def verdicts(world: World) -> list[tuple[str, int, int]]:
    return [
        (s.verdict.value, (s.start_ms - DAY_START) // MINUTE_MS, (s.end_ms - DAY_START) // MINUTE_MS)
        for s in await world.deps.coverage.of(SERIES)
    ]


@pytest.fixture(params=[7, 500_000])
def _pieces(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifier, "_PIECE_RECORDS", request.param)


@pytest.mark.usefixtures("_pieces")
async def test_what_is_gone_is_counted_and_marked_to_the_bar() -> None:
    world = await a_world()
    whole = await verify(world.deps, SERIES)
    assert (whole.counted, whole.gaps) == (300, ())
    lose(world, 0, 20, 21, 299)
    found = await verify(world.deps, SERIES)
    assert found.counted == 296
    assert [((g.start_ms - DAY_START) // MINUTE_MS, g.collection) for g in found.gaps][:1] == [(0, C)]
    assert sum(gap.records for gap in found.gaps) == 4
    assert list(found.segments) == list(await world.deps.coverage.of(SERIES))
    assert await verdicts(world) == [
        ("ours", 0, 1),
        ("stored", 1, 20),
        ("ours", 20, 22),
        ("stored", 22, 299),
        ("ours", 299, 300),
    ]
    again = await verify(world.deps, SERIES)
    assert (again.counted, again.gaps) == (296, ()), "what was told is not told again"
    assert world.observer.counts["missing_records_total"] == 4


async def test_a_range_alone_is_verified() -> None:
    world = await a_world()
    lose(world, 5, 50)
    found = await verify(world.deps, SERIES, TimeRange(minute(40), minute(60)))
    assert (found.counted, [gap.records for gap in found.gaps]) == (19, [1])
    assert [s.verdict.value for s in found.segments] == ["stored", "ours", "stored"]
    assert await verdicts(world) == [("stored", 0, 50), ("ours", 50, 51), ("stored", 51, 300)]


async def test_records_beside_the_grid_make_up_for_none() -> None:
    world = await a_world()
    lose(world, 7)
    key = candle_key("BTCUSDT", "1m", minute(9) + 1)
    world.store.documents[C][key] = Document(key, 1, b"{}")
    found = await verify(world.deps, SERIES)
    assert (found.counted, [gap.records for gap in found.gaps]) == (299, [1])


@pytest.mark.parametrize("gone", [0, 2, 4])
async def test_bars_of_three_days_are_counted_on_their_own_grid(gone: int) -> None:
    world = await a_world()
    series = Series("BTCUSDT", "candles", Interval.D3.value)
    opens = [DAY_START - 99 * DAY_MS + n * 3 * DAY_MS for n in range(5)]
    keys = [candle_key("BTCUSDT", "3d", time) for time in opens]
    world.store.documents[C] |= {key: Document(key, 1, b"{}") for key in keys}
    stored = Segment(
        start_ms=opens[0] - DAY_MS, end_ms=opens[-1] + 2 * DAY_MS, verdict=Verdict.STORED, collection=C, records=5
    )
    await world.deps.coverage.prove(series, [stored], opens[0], NOW)
    assert (await verify(world.deps, series)).gaps == ()
    del world.store.documents[C][keys[gone]]
    found = await verify(world.deps, series)
    assert (found.counted, [gap.records for gap in found.gaps]) == (4, [1])
    for key in keys:
        world.store.documents[C].pop(key, None)
    found = await verify(world.deps, series)
    assert found.counted == 0
    assert all(s.verdict is Verdict.OURS for s in found.segments)


async def look(world: World, looking: Verifier, seconds: float = LOOK_EVERY_S) -> None:
    assert isinstance(world.clock, ManualClock)
    world.clock.advance(seconds)
    await looking.look()


async def test_decay_is_found_by_itself_when_its_time_has_come() -> None:
    world = await a_world()
    await world.deps.coverage.verified(SERIES, NOW)
    looking = Verifier(world.deps)
    lose(world, 3)
    await look(world, looking)
    assert await verdicts(world) == [("stored", 0, 300)], "not yet"
    await look(world, looking, 86_400)
    assert await verdicts(world) == [("stored", 0, 3), ("ours", 3, 4), ("stored", 4, 300)]
    assert world.deps.workflows.live == {}, "nobody asked for repair"
    assert (await world.deps.coverage.known(SERIES)).verified_ms == world.clock.now_ms()


async def test_it_can_be_switched_off_and_does_not_begin_at_once() -> None:
    for hours, lives in ((0, 99 * LOOK_EVERY_S), (24, LOOK_EVERY_S / 2)):
        world = await a_world(hours=hours)
        lose(world, 3)
        await look(world, Verifier(world.deps), lives)
        assert await verdicts(world) == [("stored", 0, 300)]


def repairs(world: World) -> Sequence[Workflow]:
    return [stored.workflow for stored in world.deps.workflows.live.values()]


async def end(world: World, workflow: Workflow, status: Status) -> None:
    await world.deps.workflows.change(
        workflow.queue_id, lambda w: replace(w, status=status, ended_ms=world.clock.now_ms())
    )


async def test_what_is_lost_is_loaded_again_once() -> None:
    world = await a_world(repairs=True)
    looking = Verifier(world.deps)
    lose(world, 3, 4, 90)
    for _ in range(3):
        await look(world, looking)
    (repair,) = repairs(world)
    assert (repair.verification, str(repair.span)) == (True, "2024-08-01T00:03Z:2024-08-01T01:31Z")
    assert world.observer.counts["verification_repairs_total"] == 1
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
    assert world.observer.counts["verification_repairs_total"] == begun + 1


async def test_a_repair_is_found_among_any_number_of_other_workflows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifier, "_WORKFLOWS_A_PAGE", 2)
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


async def test_what_nobody_asked_for_is_not_loaded_by_a_repair() -> None:
    world = await a_world(repairs=True)
    ours = [segment(10, 11, Verdict.OURS), segment(500, 501, Verdict.OURS), segment(600, 602, Verdict.OURS)]
    await world.deps.coverage.lay_over(SERIES, [*ours, segment(501, 600, Verdict.EXCHANGE)])
    await look(world, Verifier(world.deps))
    assert sorted(str(w.span) for w in repairs(world)) == [
        "2024-08-01T00:10Z:2024-08-01T00:11Z",
        "2024-08-01T08:20Z:2024-08-01T10:02Z",
    ]


async def test_repairs_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifier, "_REPAIRS_A_SERIES", 2)
    world = await a_world(repairs=True)
    await world.deps.coverage.lay_over(SERIES, [segment(n, n + 1, Verdict.OURS) for n in range(400, 500, 10)])
    looking = Verifier(world.deps)
    await look(world, looking)
    assert len(repairs(world)) == 2
    world = await a_world(repairs=True)
    world.deps = replace(world.deps, policy=replace(world.policy, max_live=0))
    lose(world, 3)
    await look(world, Verifier(world.deps))
    assert repairs(world) == []


@pytest.mark.parametrize(("data", "loaded_again"), [(True, 0), (False, 1)])
async def test_what_was_lost_of_data_that_are_removed_is_not_loaded_again(data: bool, loaded_again: int) -> None:
    world = await a_world(repairs=True)
    owner = await put(world, accepted(), status=Status.FINISHED, ended_ms=NOW)
    lose(world, 3, 4)
    await verify(world.deps, SERIES)
    await world.manager.remove(owner, data=data)
    await look(world, Verifier(world.deps))
    assert len(repairs(world)) == loaded_again
    assert await verdicts(world) == ([] if data else [("stored", 0, 3), ("ours", 3, 5), ("stored", 5, 300)])
