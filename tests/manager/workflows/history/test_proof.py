"""Proofs: what is counted, written to coverage and stored of a range."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from streamforge.manager.coverage.store import SeriesCoverage
from streamforge.manager.engine.document import Workflow
from streamforge.manager.engine.refusals import ExchangeFailed
from streamforge.manager.workflows.history.proof import prove
from streamforge.manager.workflows.series.model import Plan, SeriesProof, loaded_series
from streamforge_utils.model.coverage import Segment, Verdict
from streamforge_utils.model.errors import PermanentError, RetryableError
from streamforge_utils.model.kinds.candles import Candle, Interval
from streamforge_utils.model.timeranges import TimeRange
from tests.doubles.manualclock import ManualClock
from tests.doubles.scriptedexchange import ScriptedExchange
from tests.manager.execution.world import SERIES, C, exchange_of, hold, minute, segment, span, stored
from tests.manager.support import DAY_MS, DAY_START, NOW, World, accepted, changed, replace, rest
from tests.runtime.rig import until

M1 = Interval.M1
OTHER = "other"


def of_ten(**fields: Any) -> Workflow:
    return changed(accepted(time_range=str(span(0, 10)), collection=C), **fields)


def plan_of(*load: TimeRange, settled: Sequence[Segment] = (), until_ms: int | None = None) -> Plan:
    return Plan(exchange_now_ms=NOW, until_ms=until_ms, parts=rest(*load), settled=tuple(settled))


async def a_world(
    there: dict[str, Sequence[float]], known: Sequence[Segment] = (), opens: Sequence[int] = range(10)
) -> World:
    """there: the minutes stored in each collection. opens: those that the exchange has."""
    world = World(clock=ManualClock(NOW), exchange=ScriptedExchange(M1, [minute(n) for n in opens], now_ms=NOW))
    await world.start()
    for collection, numbers in there.items():
        hold(world.store, *map(minute, numbers), collection=collection)
    await world.deps.coverage.lay_over(SERIES, known)
    await world.deps.workflows.create(of_ten())
    return world


async def test_a_proof_says_its_round_its_time_and_counts_what_the_exchange_ever_had() -> None:
    settled = [segment(0, 2, Verdict.CLOSED), segment(2, 3, Verdict.EXCHANGE)]
    world = await a_world({C: (3, 4, 5)}, opens=(3, 4, 5, 6))
    plan = plan_of(span(3, 9), settled=settled, until_ms=minute(9))
    proof = await prove(world.deps, of_ten(repairs=2, plan=plan), plan, ask=True)
    assert proof == SeriesProof(
        round=3,
        checked_ms=NOW,
        expected=7,
        stored=3,
        segments=(
            segment(0, 2, Verdict.CLOSED),
            segment(2, 3, Verdict.EXCHANGE),
            stored(3, 6, 3),
            segment(6, 7, Verdict.OURS),
            segment(7, 9, Verdict.EXCHANGE),
        ),
    )
    known = await world.deps.coverage.known(SERIES)
    assert known.segments == proof.segments[1:]
    assert known.verified_ms == NOW
    assert world.store.flushed == [C], "what is called stored is on the disk"


async def test_what_was_not_to_be_loaded_is_counted_where_it_lies_or_repaired_here() -> None:
    """Of the other collection two are gone: the workflow has stored one of them since."""
    known = [stored(0, 4, 4, OTHER), segment(4, 5, Verdict.CLOSED), segment(5, 6, Verdict.OURS), stored(6, 7, 1, None)]
    world = await a_world({OTHER: (0, 3), C: (1, 8, 9)}, known, opens=(0, 1, 2, 3, 5, 6, 8, 9))
    proof = await prove(world.deps, of_ten(), plan_of(span(8, 10)), ask=True)
    assert proof.segments == (
        stored(0, 1, 1, OTHER),
        stored(1, 2, 1),
        segment(2, 3, Verdict.OURS),
        stored(3, 4, 1, OTHER),
        segment(4, 5, Verdict.CLOSED),
        segment(5, 7, Verdict.OURS),
        segment(7, 8, Verdict.EXCHANGE),
        stored(8, 10, 2),
    )
    assert (proof.expected, proof.stored) == (10, 5)


async def test_a_bar_that_the_exchange_was_said_to_lack_is_stored_where_the_own_collection_has_it() -> None:
    known = [stored(0, 2), segment(2, 4, Verdict.EXCHANGE), segment(4, 6, Verdict.CLOSED), stored(6, 10, 4, OTHER)]
    world = await a_world({C: (0, 1, 2, 4), OTHER: (3, 5, 6, 7, 8, 9)}, known)
    assert (await prove(world.deps, of_ten(), plan_of(), ask=True)).segments == (
        stored(0, 3, 3),
        segment(3, 4, Verdict.EXCHANGE),
        stored(4, 5, 1),
        segment(5, 6, Verdict.CLOSED),
        stored(6, 10, 4, OTHER),
    )


async def test_many_holes_that_the_exchange_is_known_to_lack_cost_no_question_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known = [
        one for n in range(0, 10, 2) for one in (stored(n, n + 1, 1, OTHER), segment(n + 1, n + 2, Verdict.EXCHANGE))
    ]
    world = await a_world({OTHER: range(0, 10, 2)}, known)
    keys, asked = world.store.keys, list[str]()

    async def counted(collection: str, **more: Any) -> Sequence[str]:
        asked.append(collection)
        return await keys(collection, **more)

    monkeypatch.setattr(world.store, "keys", counted)
    assert (await prove(world.deps, of_ten(), plan_of(), ask=True)).stored == 5
    assert asked == [OTHER, C]
    assert exchange_of(world).asked == []


async def test_a_hole_is_filled_by_what_coverage_names_in_another_collection_only_if_it_is_there() -> None:
    known = [stored(0, 4, 4, OTHER), stored(4, 6, 2, None), stored(6, 8, 2, "third")]
    world = await a_world({C: (9,), OTHER: (0, 1, 3), "third": (6, 7)}, known)
    proof = await prove(world.deps, of_ten(), plan_of(span(0, 10)), ask=True)
    assert proof.segments == (
        stored(0, 2, 2, OTHER),
        segment(2, 3, Verdict.OURS),
        stored(3, 4, 1, OTHER),
        segment(4, 6, Verdict.OURS),
        stored(6, 8, 2, "third"),
        segment(8, 9, Verdict.OURS),
        stored(9, 10, 1),
    )


async def test_what_another_workflow_stored_meanwhile_fills_a_hole_and_is_not_kept_twice() -> None:
    world = await a_world({OTHER: range(10), C: range(5)}, [stored(0, 10, 10, OTHER)])
    proof = await prove(world.deps, of_ten(), plan_of(span(0, 10)), ask=True)
    assert proof.segments == (stored(0, 5, 5), stored(5, 10, 5, OTHER))
    assert len(world.store.documents[OTHER]) == 5


async def test_a_proof_that_asks_nothing_teaches_what_is_stored_and_what_is_gone() -> None:
    known = [stored(0, 2, 2, OTHER), segment(2, 3, Verdict.EXCHANGE), segment(3, 4, Verdict.UNKNOWN)]
    world = await a_world({OTHER: (0,), C: (5,)}, known)
    proof = await prove(world.deps, of_ten(), plan_of(span(3, 10)), ask=False)
    unknown = Verdict.UNKNOWN
    assert proof.segments == (
        stored(0, 1, 1, OTHER),
        segment(1, 2, unknown),
        segment(2, 3, Verdict.EXCHANGE),
        segment(3, 5, unknown),
        stored(5, 6, 1),
        segment(6, 10, unknown),
    )
    assert await world.deps.coverage.of(SERIES) == (
        stored(0, 1, 1, OTHER),
        segment(1, 2, Verdict.OURS),
        segment(2, 3, Verdict.EXCHANGE),
        segment(3, 4, unknown),
        stored(5, 6, 1),
    )
    assert exchange_of(world).asked == []


@pytest.mark.parametrize("loaded", [span(0.5, 2), span(1, 2)], ids=["loaded", "left out"])
async def test_a_part_in_which_no_bar_opens_is_no_hole(loaded: TimeRange) -> None:
    world = await a_world({C: (1,)})
    proof = await prove(world.deps, of_ten(span=span(0.5, 2)), plan_of(loaded), ask=True)
    assert proof.segments == await world.deps.coverage.of(SERIES) == (stored(1, 2, 1),)
    assert exchange_of(world).asked == []


async def test_of_a_range_that_begins_and_ends_in_a_bar_the_bars_that_open_in_it_are_proven() -> None:
    world = await a_world({C: (1, 3)}, opens=(1, 3))
    wanted = TimeRange(DAY_START + 1000, minute(4) + 1000)
    proof = await prove(world.deps, of_ten(span=wanted), plan_of(wanted), ask=True)
    assert (proof.expected, proof.stored) == (4, 2)
    exchange = Verdict.EXCHANGE
    assert proof.segments == (stored(1, 2, 1), segment(2, 3, exchange), stored(3, 4, 1), segment(4, 5, exchange))


async def test_each_range_that_was_loaded_is_counted() -> None:
    known = [segment(3, 5, Verdict.EXCHANGE), stored(7, 9, 2, OTHER)]
    world = await a_world({C: (0, 1, 2, 5, 6, 9), OTHER: (7, 8)}, known)
    proof = await prove(world.deps, of_ten(), plan_of(span(0, 3), span(5, 7), span(9, 10)), ask=True)
    assert proof.segments == (
        stored(0, 3, 3),
        segment(3, 5, Verdict.EXCHANGE),
        stored(5, 7, 2),
        stored(7, 9, 2, OTHER),
        stored(9, 10, 1),
    )


@pytest.mark.parametrize("error", [RetryableError("no answer"), PermanentError("blocked")])
async def test_a_question_without_an_answer_is_told_apart_from_a_store_that_fails(
    error: RetryableError | PermanentError,
) -> None:
    world = await a_world({})
    exchange_of(world).failing = error
    with pytest.raises(ExchangeFailed, match=str(error)) as raised:
        await prove(world.deps, of_ten(), plan_of(span(0, 10)), ask=True)
    assert type(raised.value.error) is type(error)
    if isinstance(error, PermanentError):
        assert str(raised.value) == f"the hole {span(0, 10)} could not be asked for: blocked"
    assert await world.deps.coverage.of(SERIES) == ()
    world.store.failing = RetryableError("the store")
    with pytest.raises(RetryableError, match="the store"):
        await prove(world.deps, of_ten(), plan_of(span(0, 10)), ask=True)


async def test_what_others_learn_meanwhile_is_counted_again_and_the_fifth_time_they_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = await a_world({C: range(10)})
    series, coverage = SERIES, world.deps.coverage
    looks, known = list[bool](), coverage.known

    async def changing(of: Any) -> SeriesCoverage:
        """After each look somebody learns something of a far day, unless the series is held."""
        found = await known(of)
        looks.append(series.id in coverage.locks._held)
        if not looks[-1]:
            await coverage.lay_over(of, [segment(1440 * len(looks), 1440 * len(looks) + 1, Verdict.EXCHANGE)])
        return found

    monkeypatch.setattr(coverage, "known", changing)
    proof = await prove(world.deps, of_ten(), plan_of(span(0, 10)), ask=True)
    assert (proof.stored, proof.segments) == (10, (stored(0, 10, 10),))
    assert looks[:10] == [*[False, True] * 4, True, True]


async def test_a_hole_that_grows_to_the_left_is_asked_for_where_it_was_not_yet() -> None:
    world = await a_world({C: (0, 1, 2)}, opens=(2, 9))
    there = exchange_of(world)
    candles = there.candles

    async def losing(*args: Any, **fields: Any) -> Sequence[Candle]:
        """While the exchange is asked for the hole, the record before it goes."""
        world.store.documents[C].pop(f"BTCUSDT_1m_{minute(2)}", None)
        await world.deps.coverage.lay_over(SERIES, [segment(1440, 1441, Verdict.EXCHANGE)])
        return await candles(*args, **fields)

    there.candles = losing  # type: ignore[method-assign]
    proof = await prove(world.deps, of_ten(), plan_of(span(0, 10)), ask=True)
    assert proof.segments == (
        stored(0, 2, 2),
        segment(2, 3, Verdict.OURS),
        segment(3, 9, Verdict.EXCHANGE),
        segment(9, 10, Verdict.OURS),
    )


async def test_what_changes_every_time_is_an_error_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    world = await a_world({C: range(10)})
    looks = 0

    async def changing(of: Any) -> SeriesCoverage:
        nonlocal looks
        looks += 1
        return SeriesCoverage(series=of, clock_ahead_ms=looks)

    monkeypatch.setattr(world.deps.coverage, "known", changing)
    with pytest.raises(RetryableError) as told:
        await prove(world.deps, of_ten(), plan_of(span(0, 10)), ask=True)
    series = SERIES
    assert str(told.value) == f"{series.id}: what is stored of it changed 5 times while it was being proven"
    assert looks == 10, "twice each time"


async def test_who_removes_from_the_series_is_waited_for_before_anything_is_learnt() -> None:
    world = await a_world({C: range(10)})
    series, locks = SERIES, world.deps.coverage.locks
    async with locks.hold(series.id):
        proving = asyncio.create_task(prove(world.deps, of_ten(), plan_of(span(0, 10)), ask=True))
        await until(lambda: locks._held[series.id].users == 2 or proving.done())
        assert await world.deps.coverage.of(series) == ()
    assert (await proving).stored == 10


async def test_a_hole_that_is_known_beyond_the_end_of_the_range_is_not_asked_for_again() -> None:
    world = await a_world({C: (0, 1)}, [segment(2, 3, Verdict.EXCHANGE)])
    proof = await prove(world.deps, of_ten(span=span(0, 2.5)), plan_of(span(0, 2)), ask=True)
    assert proof.segments == (stored(0, 2, 2), segment(2, 3, Verdict.EXCHANGE))
    assert exchange_of(world).asked == []


async def three_days(opens: Sequence[int], there: dict[str, Sequence[int]]) -> tuple[World, Workflow]:
    """A workflow for all bars of three days that the exchange has. there: those in each collection."""
    exchange = ScriptedExchange(Interval.D3, opens, now_ms=NOW)
    world = World(clock=ManualClock(NOW), exchange=exchange)
    await world.start()
    wanted = TimeRange(opens[0] - DAY_MS, opens[-1] + 3 * DAY_MS)
    workflow = replace(accepted(type="api_candles_3d", time_range=str(wanted), collection=C), span=wanted)
    await world.deps.workflows.create(workflow)
    for collection, numbers in there.items():
        hold(world.store, *(opens[number] for number in numbers), series=loaded_series(workflow), collection=collection)
    return world, workflow


@pytest.mark.parametrize("in_plan", [True, False])
async def test_bars_of_three_days_are_proven_on_the_grid_of_the_plan_or_of_what_is_known(in_plan: bool) -> None:
    opens = [DAY_START - 30 * DAY_MS + n * 3 * DAY_MS for n in range(4)]
    world, workflow = await three_days(opens, {C: (0, 1, 2)})
    if not in_plan:
        await world.deps.coverage.prove(loaded_series(workflow), [], opens[2], NOW)
    plan = replace(plan_of(workflow.span), phase_ms=opens[1] if in_plan else None)
    proof = await prove(world.deps, workflow, plan, ask=True)
    assert (proof.expected, proof.stored) == (4, 3)
    assert proof.segments[-1].span == TimeRange(opens[3], workflow.span.end_ms)
    assert (await world.deps.coverage.known(loaded_series(workflow))).phase_ms == (opens[1] if in_plan else opens[2])


async def test_bars_of_three_days_in_other_collections_are_counted_on_their_grid_too() -> None:
    """Four are known elsewhere; of the two that are gone there the workflow has stored one."""
    opens = [DAY_START - 30 * DAY_MS + n * 3 * DAY_MS for n in range(6)]
    world, workflow = await three_days(opens, {OTHER: (0, 3, 5), C: (1, 4)})
    wanted = workflow.span
    held = Segment(start_ms=wanted.start_ms, end_ms=wanted.end_ms, verdict=Verdict.STORED, collection=OTHER)
    await world.deps.coverage.lay_over(loaded_series(workflow), [held])
    plan = replace(plan_of(TimeRange(opens[4], wanted.end_ms)), phase_ms=opens[0])
    proof = await prove(world.deps, workflow, plan, ask=True)
    assert [(s.verdict, s.collection, s.records) for s in proof.segments] == [
        (Verdict.STORED, OTHER, 1),
        (Verdict.STORED, C, 1),
        (Verdict.OURS, None, 0),
        (Verdict.STORED, OTHER, 1),
        (Verdict.STORED, C, 1),
        (Verdict.STORED, OTHER, 1),
    ]
    assert (proof.expected, proof.stored) == (6, 5)
