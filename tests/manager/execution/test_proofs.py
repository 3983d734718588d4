"""Proofs whole: what they ask, count, teach and store, and what they do while others change the same series."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from streamforge.manager.execution.proof import HoleUnanswered, ask_again, prove
from streamforge.manager.execution.record_count import verdict_of
from streamforge.manager.persistence.coverage_store import SeriesCoverage
from streamforge.manager.workflow import Plan, Proof, Workflow
from streamforge_utils.model.coverage import Segment, Verdict
from streamforge_utils.model.errors import PermanentError, RetryableError
from streamforge_utils.model.kinds.candles import Candle, Interval, candle_key
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.ports.store import Document
from tests.doubles.manualclock import ManualClock
from tests.doubles.scriptedexchange import Question, ScriptedExchange
from tests.manager.execution.world import exchange_of
from tests.manager.support import DAY_MS, DAY_START, MINUTE_MS, NOW, World, accepted, replace, rest
from tests.runtime.rig import until

M1 = Interval.M1
SERIES = Series("BTCUSDT", "candles", "1m")
C, OTHER = "own", "other"


def minute(number: float) -> int:
    return DAY_START + int(number * MINUTE_MS)


def span(first: float, last: float) -> TimeRange:
    return TimeRange(minute(first), minute(last))


def said(first: float, last: float, verdict: Verdict, collection: str | None = None, records: int = 0) -> Segment:
    return Segment(start_ms=minute(first), end_ms=minute(last), verdict=verdict, collection=collection, records=records)


def stored(first: float, last: float, records: int = 0, collection: str | None = C) -> Segment:
    return said(first, last, Verdict.STORED, collection, records)


def of_ten(**fields: Any) -> Workflow:
    return replace(accepted(time_range=str(span(0, 10)), collection=C), **fields)


def plan_of(*load: TimeRange, settled: Sequence[Segment] = (), until_ms: int | None = None) -> Plan:
    return Plan(exchange_now_ms=NOW, until_ms=until_ms, parts=rest(*load), settled=tuple(settled))


async def a_world(
    there: dict[str, Sequence[float]], known: Sequence[Segment] = (), opens: Sequence[int] = range(10)
) -> World:
    """there: the minutes stored in each collection. opens: those that the exchange has."""
    world = World(clock=ManualClock(NOW), exchange=ScriptedExchange(M1, [minute(n) for n in opens], now_ms=NOW))
    await world.start()
    for collection, numbers in there.items():
        keys = [candle_key("BTCUSDT", "1m", minute(number)) for number in numbers]
        world.store.documents[collection] = {key: Document(key, 1, b"{}") for key in keys}
    await world.deps.coverage.lay_over(of_ten().series, known)
    await world.deps.workflows.create(of_ten())
    return world


async def test_a_proof_says_its_round_its_time_and_counts_what_the_exchange_ever_had() -> None:
    settled = [said(0, 2, Verdict.CLOSED), said(2, 3, Verdict.EXCHANGE)]
    world = await a_world({C: (3, 4, 5)}, opens=(3, 4, 5, 6))
    plan = plan_of(span(3, 9), settled=settled, until_ms=minute(9))
    proof = await prove(world.deps, of_ten(repairs=2, plan=plan), plan, ask=True)
    assert proof == Proof(
        round=3,
        checked_ms=NOW,
        expected=7,
        stored=3,
        segments=(
            said(0, 2, Verdict.CLOSED),
            said(2, 3, Verdict.EXCHANGE),
            stored(3, 6, 3),
            said(6, 7, Verdict.OURS),
            said(7, 9, Verdict.EXCHANGE),
        ),
    )
    known = await world.deps.coverage.known(of_ten().series)
    assert known.segments == proof.segments[2:5]
    assert known.verified_ms == NOW
    assert world.store.flushed == [C], "what is called stored is on the disk"


async def test_what_was_not_to_be_loaded_is_counted_where_it_lies_or_repaired_here() -> None:
    """Of the other collection two are gone: the workflow has stored one of them since."""
    known = [stored(0, 4, 4, OTHER), said(4, 5, Verdict.CLOSED), said(5, 6, Verdict.OURS), stored(6, 7, 1, None)]
    world = await a_world({OTHER: (0, 3), C: (1, 8, 9)}, known, opens=(0, 1, 2, 3, 5, 6, 8, 9))
    proof = await prove(world.deps, of_ten(), plan_of(span(8, 10)), ask=True)
    assert proof.segments == (
        stored(0, 1, 1, OTHER),
        stored(1, 2, 1),
        said(2, 3, Verdict.OURS),
        stored(3, 4, 1, OTHER),
        said(4, 5, Verdict.CLOSED),
        said(5, 7, Verdict.OURS),
        said(7, 8, Verdict.EXCHANGE),
        stored(8, 10, 2),
    )
    assert (proof.expected, proof.stored) == (10, 5)


async def test_a_hole_is_filled_by_what_coverage_names_in_another_collection_only_if_it_is_there() -> None:
    known = [stored(0, 4, 4, OTHER), stored(4, 6, 2, None), stored(6, 8, 2, "third")]
    world = await a_world({C: (9,), OTHER: (0, 1, 3), "third": (6, 7)}, known)
    proof = await prove(world.deps, of_ten(), plan_of(span(0, 10)), ask=True)
    assert proof.segments == (
        stored(0, 2, 2, OTHER),
        said(2, 3, Verdict.OURS),
        stored(3, 4, 1, OTHER),
        said(4, 6, Verdict.OURS),
        stored(6, 8, 2, "third"),
        said(8, 9, Verdict.OURS),
        stored(9, 10, 1),
    )


async def test_a_proof_that_asks_nothing_teaches_what_is_stored_and_what_is_gone() -> None:
    known = [stored(0, 2, 2, OTHER), said(2, 3, Verdict.EXCHANGE), said(3, 4, Verdict.UNKNOWN)]
    world = await a_world({OTHER: (0,), C: (5,)}, known)
    proof = await prove(world.deps, of_ten(), plan_of(span(3, 10)), ask=False)
    unknown = Verdict.UNKNOWN
    assert proof.segments == (
        stored(0, 1, 1, OTHER),
        said(1, 2, unknown),
        said(2, 3, Verdict.EXCHANGE),
        said(3, 5, unknown),
        stored(5, 6, 1),
        said(6, 10, unknown),
    )
    assert await world.deps.coverage.of(of_ten().series) == (
        stored(0, 1, 1, OTHER),
        said(1, 2, Verdict.OURS),
        said(2, 3, Verdict.EXCHANGE),
        said(3, 4, unknown),
        stored(5, 6, 1),
    )
    assert exchange_of(world).asked == []


async def test_a_part_in_which_no_bar_opens_is_no_hole() -> None:
    world = await a_world({C: (1,)})
    workflow = of_ten(span=span(0.5, 2))
    proof = await prove(world.deps, workflow, plan_of(span(0.5, 2)), ask=True)
    assert proof.segments == (stored(1, 2, 1),)
    assert await world.deps.coverage.of(workflow.series) == (stored(1, 2, 1),)
    assert exchange_of(world).asked == []


async def test_a_part_that_was_left_out_and_in_which_no_bar_opens_has_no_verdict() -> None:
    world = await a_world({C: (1,)})
    proof = await prove(world.deps, of_ten(span=span(0.5, 2)), plan_of(span(1, 2)), ask=True)
    assert proof.segments == (stored(1, 2, 1),)
    assert exchange_of(world).asked == []


async def test_each_range_that_was_loaded_is_counted() -> None:
    world = await a_world({C: (0, 1, 2, 5, 6, 9)}, [said(3, 5, Verdict.EXCHANGE), stored(7, 9, 2, OTHER)])
    world.store.documents[OTHER] = {
        key: Document(key, 1, b"{}") for key in (candle_key("BTCUSDT", "1m", minute(n)) for n in (7, 8))
    }
    proof = await prove(world.deps, of_ten(), plan_of(span(0, 3), span(5, 7), span(9, 10)), ask=True)
    assert proof.segments == (
        stored(0, 3, 3),
        said(3, 5, Verdict.EXCHANGE),
        stored(5, 7, 2),
        stored(7, 9, 2, OTHER),
        stored(9, 10, 1),
    )


@pytest.mark.parametrize("error", [RetryableError("no answer"), PermanentError("blocked")])
async def test_a_question_without_an_answer_is_told_with_its_cause(error: RetryableError | PermanentError) -> None:
    world = await a_world({})
    exchange_of(world).failing = error
    with pytest.raises(HoleUnanswered, match=str(error)) as told:
        await prove(world.deps, of_ten(), plan_of(span(0, 10)), ask=True)
    assert type(told.value.error) is type(error)
    assert await world.deps.coverage.of(of_ten().series) == ()


async def test_the_same_hole_is_asked_for_by_two_questions_twice_until_it_is_filled() -> None:
    there = ScriptedExchange(M1, [minute(n) for n in (3, 5)], now_ms=NOW)
    newest, longer = Question(span(3, 6), 1000, True), Question(span(3, 7), 1000, False)
    assert await ask_again(there, SERIES, verdict_of(span(3, 6), Verdict.UNKNOWN), None) == [
        said(3, 4, Verdict.OURS),
        said(4, 5, Verdict.EXCHANGE),
        said(5, 6, Verdict.OURS),
    ]
    assert there.asked == [newest, longer, newest, longer]
    there = ScriptedExchange(M1, [minute(n) for n in range(3, 6)], now_ms=NOW)
    assert await ask_again(there, SERIES, verdict_of(span(3, 6), Verdict.UNKNOWN), None) == [said(3, 6, Verdict.OURS)]
    assert there.asked == [newest]
    there = ScriptedExchange(M1, [], now_ms=NOW)
    assert await ask_again(there, SERIES, verdict_of(span(3.25, 3.75), Verdict.UNKNOWN), None) == []
    assert there.asked == []


async def test_a_hole_of_more_bars_than_a_question_has_is_asked_for_in_parts() -> None:
    there = ScriptedExchange(M1, [], now_ms=NOW)
    assert await ask_again(there, SERIES, verdict_of(span(0, 901), Verdict.UNKNOWN), None) == [
        said(0, 901, Verdict.EXCHANGE)
    ]
    first, last = Question(span(0, 900), 1000, True), Question(span(900, 901), 1000, True)
    assert (there.asked[0], there.asked[4], len(there.asked)) == (first, last, 8)


async def test_what_others_learn_meanwhile_is_counted_again_and_the_fifth_time_they_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = await a_world({C: range(10)})
    series, coverage = of_ten().series, world.deps.coverage
    looks, known = list[bool](), coverage.known

    async def changing(of: Any) -> SeriesCoverage:
        """After each look somebody learns something of a far day, unless the series is held."""
        found = await known(of)
        looks.append(series.id in coverage.locks._held)
        if not looks[-1]:
            await coverage.lay_over(of, [said(1440 * len(looks), 1440 * len(looks) + 1, Verdict.EXCHANGE)])
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
        world.store.documents[C].pop(candle_key("BTCUSDT", "1m", minute(2)), None)
        await world.deps.coverage.lay_over(of_ten().series, [said(1440, 1441, Verdict.EXCHANGE)])
        return await candles(*args, **fields)

    there.candles = losing  # type: ignore[method-assign]
    proof = await prove(world.deps, of_ten(), plan_of(span(0, 10)), ask=True)
    assert proof.segments == (
        stored(0, 2, 2),
        said(2, 3, Verdict.OURS),
        said(3, 9, Verdict.EXCHANGE),
        said(9, 10, Verdict.OURS),
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
    series = of_ten().series
    assert str(told.value) == f"{series.id}: what is stored of it changed 5 times while it was being proven"
    assert looks == 10, "twice each time"


async def test_who_removes_from_the_series_is_waited_for_before_anything_is_learnt() -> None:
    world = await a_world({C: range(10)})
    series, locks = of_ten().series, world.deps.coverage.locks
    async with locks.hold(series.id):
        proving = asyncio.create_task(prove(world.deps, of_ten(), plan_of(span(0, 10)), ask=True))
        await until(lambda: locks._held[series.id].users == 2 or proving.done())
        assert await world.deps.coverage.of(series) == ()
    assert (await proving).stored == 10


@pytest.mark.parametrize("in_plan", [True, False])
async def test_bars_of_three_days_are_proven_on_the_grid_of_the_plan_or_of_what_is_known(in_plan: bool) -> None:
    interval, opens = Interval.D3, [DAY_START - 30 * DAY_MS + n * 3 * DAY_MS for n in range(4)]
    world = World(clock=ManualClock(NOW), exchange=ScriptedExchange(interval, opens, now_ms=NOW))
    await world.start()
    wanted = TimeRange(opens[0] - DAY_MS, opens[-1] + 3 * DAY_MS)
    workflow = replace(accepted(type="api_candles_3d", time_range=str(wanted), collection=C), span=wanted)
    await world.deps.workflows.create(workflow)
    keys = [candle_key("BTCUSDT", "3d", time) for time in opens[:3]]
    world.store.documents[C] = {key: Document(key, 1, b"{}") for key in keys}
    phase = opens[1] if in_plan else None
    if not in_plan:
        await world.deps.coverage.prove(workflow.series, [], opens[2], NOW)
    proof = await prove(world.deps, workflow, replace(plan_of(wanted), phase_ms=phase), ask=True)
    assert (proof.expected, proof.stored) == (4, 3)
    assert proof.segments[-1].span == TimeRange(opens[3], wanted.end_ms)
    assert (await world.deps.coverage.known(workflow.series)).phase_ms == (opens[1] if in_plan else opens[2])


async def test_bars_of_three_days_in_other_collections_are_counted_on_their_grid_too() -> None:
    """Four are known elsewhere; of the two that are gone there the workflow has stored one."""
    interval, opens = Interval.D3, [DAY_START - 30 * DAY_MS + n * 3 * DAY_MS for n in range(6)]
    world = World(clock=ManualClock(NOW), exchange=ScriptedExchange(interval, opens, now_ms=NOW))
    await world.start()
    wanted = TimeRange(opens[0] - DAY_MS, opens[-1] + 3 * DAY_MS)
    workflow = replace(accepted(type="api_candles_3d", time_range=str(wanted), collection=C), span=wanted)
    await world.deps.workflows.create(workflow)
    there = {OTHER: (0, 3, 5), C: (1, 4)}
    for collection, numbers in there.items():
        keys = [candle_key("BTCUSDT", "3d", opens[number]) for number in numbers]
        world.store.documents[collection] = {key: Document(key, 1, b"{}") for key in keys}
    held = Segment(start_ms=wanted.start_ms, end_ms=wanted.end_ms, verdict=Verdict.STORED, collection=OTHER)
    await world.deps.coverage.lay_over(workflow.series, [held])
    load = TimeRange(opens[4], wanted.end_ms)
    proof = await prove(world.deps, workflow, replace(plan_of(load), phase_ms=opens[0]), ask=True)
    assert [(s.verdict, s.collection, s.records) for s in proof.segments] == [
        (Verdict.STORED, OTHER, 1),
        (Verdict.STORED, C, 1),
        (Verdict.OURS, None, 0),
        (Verdict.STORED, OTHER, 1),
        (Verdict.STORED, C, 1),
        (Verdict.STORED, OTHER, 1),
    ]
    assert (proof.expected, proof.stored) == (6, 5)
