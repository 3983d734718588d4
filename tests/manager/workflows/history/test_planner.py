"""Plans, and the questions that they are made of: each edge is asked for twice, cut differently."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from streamforge.manager.engine.lifecycle.rounds import MAX_RANGES
from streamforge.manager.engine.persistence.workflow_store import OutOfDate
from streamforge.manager.workflows.history.planner import prepare, verified
from streamforge.manager.workflows.history.source_plan import file_due_ms
from streamforge.manager.workflows.series.model import Part, Plan, loaded_series
from streamforge_utils.model.coverage import Segment, Verdict
from streamforge_utils.model.errors import PermanentError
from streamforge_utils.model.kinds.candles import Candle, Interval
from streamforge_utils.model.kinds.registry import series_of
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange, parse_time_range
from tests.doubles import ticks
from tests.doubles.candles import candle, candle_key
from tests.doubles.scriptedexchange import Question, ScriptedExchange
from tests.manager.execution.world import hold, minute, segment
from tests.manager.support import DAY_MS, DAY_START, HOUR_MS, MINUTE_MS, NOW, World, accepted, rest_alone
from tests.runtime.rig import until

H1, D3 = Interval.H1, Interval.D3


def hour(number: float) -> int:
    return DAY_START + int(number * HOUR_MS)


def exchange(first: int, last: int, *, now_ms: int = NOW, status: str = "TRADING") -> ScriptedExchange:
    """Hourly bars from hour `first` of the day until before `last`."""
    return ScriptedExchange(H1, range(hour(first), hour(last), HOUR_MS), now_ms=now_ms, status=status)


async def plan_of(there: ScriptedExchange, first: float, last: float, *known: Any, **how: Any) -> Plan:
    return await plan_span(there, TimeRange(hour(first), hour(last)), *known, **how)


async def plan_span(there: ScriptedExchange, span: TimeRange, known: Sequence[Segment] = (), **how: Any) -> Plan:
    series = Series("BTCUSDT", "candles", there.interval.value)
    return await prepare(there, series, span, tuple(known), exchange_now_ms=there.now_ms, **{"again": False} | how)


def said(first: float, last: float, verdict: Verdict) -> Segment:
    return Segment(start_ms=hour(first), end_ms=hour(last), verdict=verdict)


def stored(first: float, last: float) -> Segment:
    return Segment(start_ms=hour(first), end_ms=hour(last), verdict=Verdict.STORED, collection="c")


def parts_of(*parts: tuple[float, float], again: bool = False) -> tuple[Part, ...]:
    return rest_alone(*load(*parts), again=again)


def load(*parts: tuple[float, float]) -> tuple[str, ...]:
    return tuple(str(TimeRange(hour(first), hour(last))) for first, last in parts)


async def test_bars_of_three_days_are_planned_on_their_own_grid() -> None:
    opens = [hour(-240 + 72 * n) for n in range(3)]
    there = ScriptedExchange(D3, opens, now_ms=hour(0))
    known = [stored(-240, -168)]
    plan = await plan_of(there, -320, 24, known)
    assert plan == Plan(
        exchange_now_ms=hour(0),
        until_ms=hour(-24),
        parts=parts_of((-168, -24)),
        settled=(said(-312, -240, Verdict.CLOSED),),
        phase_ms=opens[0],
        expected=2,
        there=1,
        bars=3,
        first_ms=opens[0],
    )
    nothing = await plan_of(there, -250, -244)
    assert (nothing.phase_ms, nothing.settled) == (opens[0], ()), "no bar opens in it"


async def test_a_plan_of_a_range_over_listing_delisting_and_now() -> None:
    """Hours 2 to 20 exist; it is half past nine, ten hours after the last."""
    there = exchange(2, 20, now_ms=hour(30.5), status="BREAK")
    known = [stored(3, 5), said(5, 6, Verdict.EXCHANGE), stored(10, 12)]
    assert await plan_of(there, 0, 48, known) == Plan(
        exchange_now_ms=hour(30.5),
        until_ms=hour(30),
        parts=parts_of((2, 3), (6, 10), (12, 20)),
        settled=(said(0, 2, Verdict.CLOSED), said(20, 30, Verdict.CLOSED)),
        expected=13,
        there=4,
        bars=18,
        first_ms=hour(2),
        last_ms=hour(19),
    )
    assert await plan_of(there, 4, 11, known, again=True) == Plan(
        exchange_now_ms=hour(30.5),
        until_ms=hour(11),
        parts=parts_of((4, 11), again=True),
        expected=7,
        there=0,
        bars=7,
        first_ms=hour(2),
        last_ms=hour(19),
    )


@pytest.mark.parametrize(
    ("first", "last", "until", "settled"),
    [
        (0, 1, 1, [said(0, 1, Verdict.CLOSED)]),
        (0, 2, 2, [said(0, 2, Verdict.CLOSED)]),
        (21, 25, 25, [said(21, 25, Verdict.CLOSED)]),
        (20, 25, 25, [said(20, 25, Verdict.CLOSED)]),
        (31, 40, 30, []),
        (30, 40, 30, []),
        (25, 40, 30, [said(25, 30, Verdict.CLOSED)]),
    ],
)
async def test_a_plan_of_a_range_in_which_there_is_nothing(
    first: int, last: int, until: int, settled: list[Segment]
) -> None:
    plan = await plan_of(exchange(2, 20, now_ms=hour(30.5), status="BREAK"), first, last)
    assert sorted(plan.settled, key=lambda segment: segment.start_ms) == settled
    assert (plan.load, plan.bars, plan.expected, plan.there) == ((), 0, 0, 0)
    assert plan.until_ms == hour(until), "not after the range's start where nothing of it is over"
    assert (plan.first_ms, plan.last_ms, plan.exchange_now_ms) == (hour(2), hour(19), hour(30.5))


@pytest.mark.parametrize(
    ("first", "last", "until"),
    [(0, 24, 1), (-24, 0, 0), (-24, 1, 1), (1, 24, 1), (2, 24, 1)],
)
async def test_a_plan_of_a_series_without_a_bar(first: int, last: int, until: int) -> None:
    plan = await plan_of(exchange(0, 0, now_ms=hour(1.5)), first, last)
    settled = (said(first, until, Verdict.CLOSED),) if until > first else ()
    assert plan == Plan(exchange_now_ms=hour(1.5), until_ms=hour(until), bars=0, settled=settled)


async def test_a_series_of_three_days_without_a_bar_may_have_begun_three_days_ago() -> None:
    there = ScriptedExchange(D3, (), now_ms=DAY_START + 1_500)
    plan = await plan_of(there, -240, 24)
    until_ms = DAY_START - 3 * DAY_MS + 1000
    assert plan.until_ms == until_ms
    assert plan.settled == (Segment(start_ms=hour(-240), end_ms=until_ms, verdict=Verdict.CLOSED),)


async def test_parts_in_which_no_bar_opens_are_left_out_between_the_others() -> None:
    known = [stored(1, 2), stored(2.5, 4), said(4, 4.25, Verdict.OURS)]
    plan = await plan_of(exchange(0, 240), 0.25, 5, known)
    assert plan.load == load((2, 3), (4, 5))
    assert plan.settled == (), "of the first bar nothing opens in the range"
    assert (plan.expected, plan.bars, plan.there) == (2, 4, 2)


async def test_what_is_not_over_is_no_part_of_a_series_that_goes_on() -> None:
    plan = await plan_of(exchange(12, 999, now_ms=hour(36.1)), 0, 48)
    assert plan == Plan(
        exchange_now_ms=hour(36.1),
        until_ms=hour(36),
        parts=parts_of((12, 36)),
        settled=(said(0, 12, Verdict.CLOSED),),
        expected=24,
        bars=24,
        first_ms=hour(12),
    )


@pytest.mark.parametrize("interval", [H1, D3])
async def test_borders_are_whole_seconds_as_ranges_are_written(interval: Interval) -> None:
    plan = await plan_span(
        ScriptedExchange(interval, (), now_ms=NOW + 1_400), parse_time_range("2024-08-01:2024-09-01")
    )
    assert [(one.start_ms % 1000, one.end_ms % 1000) for one in plan.settled] == [(0, 0)]
    assert plan.until_ms == plan.settled[0].end_ms


async def test_what_is_covered_is_left_out_but_for_what_was_pending() -> None:
    known = (
        stored(-700, 6),
        said(6, 7, Verdict.EXCHANGE),
        said(7, 8, Verdict.PENDING),
        stored(20, 21),
    )
    plan = await plan_of(exchange(-48, 240), 0, 24, known)
    assert (plan.load, plan.expected, plan.there) == (load((7, 20), (21, 24)), 16, 7)
    plan = await plan_of(exchange(-48, 240), 0, 24, [stored(-5000, 5000)])
    assert (plan.load, plan.settled, plan.there) == ((), (), 24)


@pytest.mark.parametrize(("first", "last"), [(12.25, 12.5), (12.25, 13)])
@pytest.mark.parametrize("opens", [(-48, 240, "TRADING"), (-48, -24, "BREAK"), (0, 0, "BREAK")])
async def test_of_a_range_in_which_no_bar_opens_nothing_is_planned_nor_learnt(
    first: float, last: float, opens: tuple[int, int, str]
) -> None:
    plan = await plan_of(exchange(*opens[:2], status=opens[2]), first, last)
    assert (plan.load, plan.settled, plan.expected, plan.until_ms) == ((), (), 0, hour(first))


async def test_very_many_lacking_ranges_become_one() -> None:
    there = ScriptedExchange(Interval.M1, range(DAY_START - DAY_MS, NOW, MINUTE_MS), now_ms=NOW)
    known = [segment(n, n + 1, Verdict.STORED) for n in range(1, 2 * MAX_RANGES + 1, 2)]
    plan = await plan_of(there, 0, 24, known)
    assert (plan.load, plan.expected) == (load((0, 24)), 1440)


@pytest.mark.parametrize(
    ("interval", "first", "text", "parts", "expected"),
    [
        (Interval.W1, 1_704_067_200_000, "2024-02", ("2024-02-05:2024-03-04",), 4),
        (Interval.MO1, 1_704_067_200_000, "2024", ("2024-01-01:2024-08-01",), 7),
        (D3, 1_704_067_200_000 + DAY_MS, "2024-01", ("2024-01-02:2024-02-01",), 10),
    ],
)
async def test_grids_of_days_and_more(
    interval: Interval, first: int, text: str, parts: tuple[str, ...], expected: int
) -> None:
    opens = interval.rule.times(first, NOW, first)
    plan = await plan_span(ScriptedExchange(interval, opens, now_ms=NOW), parse_time_range(text))
    assert plan.load == tuple(str(parse_time_range(part)) for part in parts)
    assert plan.expected == expected
    assert plan.phase_ms == (first if interval is D3 else None)


async def test_what_is_known_of_parts_of_bars_of_three_days_counts_once_their_grid_is_known() -> None:
    """As the coverage has it where the grid was not noted."""
    first = parse_time_range("2024-01-02").start_ms
    there = ScriptedExchange(D3, D3.rule.times(first, NOW, first), now_ms=NOW)
    held = parse_time_range("2024-01-04:2024-01-07")
    known = Segment(start_ms=held.start_ms, end_ms=held.end_ms, verdict=Verdict.STORED, collection="c")
    plan = await plan_span(there, parse_time_range("2024-01-02:2024-01-11"), [known])
    assert plan.load == ("2024-01-02:2024-01-05", "2024-01-08:2024-01-11")
    assert (plan.expected, plan.there) == (2, 1)


@pytest.mark.parametrize("lies", [{0}, {1}, {0, 1}, {2}, {3}])
async def test_one_empty_answer_does_not_close_the_series(lies: set[int]) -> None:
    there = exchange(-48, 240)
    there.lie = lambda number, question, page: [] if number in lies else page
    assert (await plan_of(there, 0, 24)).load == load((0, 24))


@pytest.mark.parametrize("liar", range(4))
@pytest.mark.parametrize(("status", "end"), [("TRADING", 24), ("BREAK", 20)])
async def test_one_shifted_answer_does_not_move_the_edge(status: str, end: int, liar: int) -> None:
    wrong = {newest: candle(hour(0 if newest else 9), interval=H1) for newest in (False, True)}

    def lie(number: int, question: Question, page: Sequence[Candle]) -> Sequence[Candle]:
        shifted = wrong[question.newest]
        lies = number == liar and question.limit == 1 and shifted.open_time in question.span
        return [shifted] if lies else page

    there = exchange(2, 20, status=status)
    there.lie = lie
    assert (await plan_of(there, 0, 24)).load == load((2, end))


async def test_errors_are_passed_on() -> None:
    series, span = Series("NOSUCH", "candles", "1h"), TimeRange(hour(0), hour(24))
    with pytest.raises(PermanentError, match="NOSUCH"):
        await prepare(exchange(-48, 240), series, span, (), exchange_now_ms=NOW, again=False)


C = "btcusdt_api_candles_1m_2024_08_01"


def of_minutes(first: int, last: int, verdict: Verdict = Verdict.STORED) -> Segment:
    return segment(first, last, verdict, C if verdict is Verdict.STORED else None)


async def a_world() -> World:
    """Five minutes are stored and known."""
    world = World()
    await world.start()
    hold(world.store, *map(minute, range(5)), collection=C)
    await world.deps.coverage.lay_over(loaded_series(accepted()), [of_minutes(0, 5), of_minutes(1440, 1445)])
    await world.deps.workflows.create(accepted())
    return world


async def test_what_is_gone_of_the_range_is_ours_and_the_rest_stays_as_it_is_known() -> None:
    world = await a_world()
    before = await world.deps.coverage.known(loaded_series(accepted()))
    assert await verified(world.deps, accepted()) == before
    del world.store.documents[C][candle_key("BTCUSDT", "1m", DAY_START + 2 * MINUTE_MS)]
    after = await verified(world.deps, accepted())
    assert after.segments == (
        of_minutes(0, 2),
        of_minutes(2, 3, Verdict.OURS),
        of_minutes(3, 5),
        of_minutes(1440, 1445),  # not of the range, and not counted
    )
    assert await world.deps.coverage.known(loaded_series(accepted())) == after


async def test_what_is_found_gone_in_an_epoch_that_is_over_is_not_learnt() -> None:
    world = await a_world()
    before = await world.deps.coverage.known(loaded_series(accepted()))
    world.store.documents[C].clear()
    with pytest.raises(OutOfDate):
        await verified(world.deps, accepted().next_epoch())
    assert await world.deps.coverage.known(loaded_series(accepted())) == before


async def test_where_the_number_is_right_no_key_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    world = await a_world()

    async def looked(*_: object, **__: object) -> Sequence[str]:
        raise AssertionError("a plan waits for this")

    monkeypatch.setattr(world.store, "keys", looked)
    assert (await verified(world.deps, accepted())).segments[0] == of_minutes(0, 5)


@pytest.mark.parametrize("name", [C, loaded_series(accepted()).id])
async def test_who_removes_meanwhile_is_waited_for(name: str) -> None:
    world = await a_world()
    locks = world.deps.coverage.locks
    async with locks.hold(name):
        verifying = asyncio.create_task(verified(world.deps, accepted()))
        await until(lambda: locks._held[name].users == 2 or verifying.done())
        world.store.documents[C].clear()
    assert (await verifying).segments[0] == of_minutes(0, 5, Verdict.OURS)


async def test_texts_of_a_plan_are_ranges_that_can_be_read_again() -> None:
    plan = await plan_of(exchange(-48, 240), 0.5, 3.25)
    assert [parse_time_range(text) for text in plan.load] == [TimeRange(hour(1), hour(4))]
    assert plan.expected == 3, "the bars that open in it"


@pytest.mark.parametrize(
    ("first_id", "before", "cause"),
    [(0, Verdict.CLOSED, ""), (100, Verdict.UNKNOWN, "the exchange gives no record before id 100")],
)
@pytest.mark.usefixtures("ticks")
async def test_a_plan_says_what_there_is_by_time_and_how_much_by_id(first_id: int, before: Verdict, cause: str) -> None:
    start = ticks.START
    market = [(first_id + number, start + (100 + number) * 100) for number in range(100)]
    there = ticks.TickExchange(market, now_ms=ticks.NOW)
    span = TimeRange(start, start + 15_000)
    plan = await prepare(there, ticks.SERIES, span, (), exchange_now_ms=ticks.NOW, again=False)
    assert [part.span for part in plan.parts] == [TimeRange(start + 10_000, start + 15_000)]
    assert (plan.bars, plan.expected, plan.there, plan.first_ms, plan.last_ms) == (50, 50, 0, start + 10_000, None)
    assert plan.settled == (Segment(start_ms=start, end_ms=start + 10_000, verdict=before, cause=cause),)
    known = Segment(
        start_ms=start + 10_000,
        end_ms=start + 12_000,
        verdict=Verdict.STORED,
        collection="c",
        records=20,
        first_id=first_id,
        last_id=first_id + 19,
    )
    plan = await prepare(there, ticks.SERIES, span, (known,), exchange_now_ms=ticks.NOW, again=False)
    assert [(one.span, one.first_id) for one in plan.parts] == [(TimeRange(start + 12_000, span.end_ms), first_id + 20)]
    assert (plan.bars, plan.expected, plan.there) == (50, 30, 20)


@pytest.mark.parametrize(
    ("interval", "hole", "due"),
    [
        ("1m", "2024-08-01T05:00Z:2024-08-01T06:00Z", "2024-08-06"),
        ("1m", "2024-08-01T05:00Z:2024-08-02", "2024-08-06"),
        ("1w", "2024-07-29:2024-08-05", "2024-09-12"),
        ("1w", "2024-12-23:2024-12-30", "2025-01-12"),
    ],
)
def test_until_when_a_file_may_come(interval: str, hole: str, due: str) -> None:
    series = series_of("BTCUSDT", f"api_candles_{interval}")
    assert file_due_ms(series, parse_time_range(hole)) == parse_time_range(due).start_ms
