from __future__ import annotations

from collections.abc import Sequence

import pytest

from streamforge.manager.execution.planner import prepare
from streamforge.manager.lifecycle.rounds import MAX_RANGES, joined
from streamforge.manager.workflow import Plan
from streamforge_utils.model.coverage import Segment, Verdict
from streamforge_utils.model.errors import PermanentError, RetryableError
from streamforge_utils.model.kinds.candles import Candle, Interval
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange, parse_time_range
from tests.doubles.candles import candle
from tests.doubles.scriptedexchange import Question, ScriptedExchange
from tests.manager.support import DAY_MS, DAY_START, HOUR_MS, MINUTE_MS, NOW

H1, M1 = Interval.H1, Interval.M1


def hours(first: int, last: int) -> range:
    """Open times of hourly bars, counted from the day's start."""
    return range(DAY_START + first * HOUR_MS, DAY_START + last * HOUR_MS, HOUR_MS)


def exchange(opens: Sequence[int] = hours(-48, 240), *, interval: Interval = H1, now_ms: int = NOW) -> ScriptedExchange:
    return ScriptedExchange(interval, opens, now_ms=now_ms)


async def plan_of(there: ScriptedExchange, text: str, known: tuple[Segment, ...] = (), *, again: bool = False) -> Plan:
    span = parse_time_range(text)
    return await prepare(
        there,
        Series("BTCUSDT", "candles", there.interval.value),
        span,
        known,
        exchange_now_ms=there.now_ms,
        again=again,
    )


def settled(plan: Plan) -> list[tuple[str, str]]:
    return [(str(segment.span), segment.verdict.value) for segment in plan.settled]


def known_as(text: str, verdict: Verdict) -> Segment:
    span = parse_time_range(text)
    return Segment(start_ms=span.start_ms, end_ms=span.end_ms, verdict=verdict, collection="c")


async def test_all_of_a_range_that_exists_and_is_over_is_to_be_loaded() -> None:
    plan = await plan_of(exchange(), "2024-08-01")
    assert (plan.load, settled(plan), plan.expected) == (("2024-08-01:2024-08-02",), [], 24)
    assert plan.exchange_now_ms == NOW


async def test_what_is_before_the_listing_is_closed_and_what_is_not_over_is_no_part_of_it() -> None:
    there = exchange(hours(12, 999), now_ms=DAY_START + 36 * HOUR_MS + 5 * MINUTE_MS)
    plan = await plan_of(there, "2024-08-01:2024-08-03")
    assert plan.load == ("2024-08-01T12:00Z:2024-08-02T12:00Z",)
    assert settled(plan) == [("2024-08-01:2024-08-01T12:00Z", "closed")]
    assert plan.until_ms == DAY_START + 36 * HOUR_MS
    assert plan.expected == 24


async def test_what_is_after_a_delisting_is_closed() -> None:
    there = exchange(hours(-48, 6))
    there.status = "BREAK"
    plan = await plan_of(there, "2024-08-01")
    assert plan.load == ("2024-08-01:2024-08-01T06:00Z",)
    assert settled(plan) == [("2024-08-01T06:00Z:2024-08-02", "closed")]


@pytest.mark.parametrize(
    ("opens", "status", "text", "closed"),
    [
        (hours(100, 240), "TRADING", "2024-08-01", True),
        (hours(-48, -24), "BREAK", "2024-08-01", True),
        (hours(-48, 240), "TRADING", "2024-08-11T00:00Z:2024-08-11T00:30Z", False),
    ],
)
async def test_where_nothing_is_to_be_had_nothing_is_loaded(opens: range, status: str, text: str, closed: bool) -> None:
    there = exchange(opens, now_ms=NOW + 40 * MINUTE_MS)
    there.status = status
    plan = await plan_of(there, text)
    assert (plan.load, plan.expected) == ((), 0)
    span = parse_time_range(text)
    assert settled(plan) == ([(str(span), "closed")] if closed else [])
    assert plan.until_ms == (span.end_ms if closed else span.start_ms), "nothing of the bar that is open is over"


async def test_a_symbol_without_any_candle_yet_is_closed_until_now_and_may_still_come() -> None:
    plan = await plan_of(exchange([], now_ms=DAY_START + 90 * MINUTE_MS), "2024-08-01")
    assert settled(plan) == [("2024-08-01:2024-08-01T01:00Z", "closed")]
    assert plan.until_ms == DAY_START + 60 * MINUTE_MS
    three = await plan_of(exchange([], interval=Interval.D3, now_ms=DAY_START + DAY_MS), "2024-07-30:2024-08-02")
    assert (settled(three), three.until_ms) == ([], DAY_START - 2 * DAY_MS), "where its bars begin is not known yet"


@pytest.mark.parametrize("interval", [H1, Interval.D3])
async def test_borders_are_whole_seconds_as_ranges_are_written(interval: Interval) -> None:
    plan = await plan_of(exchange((), interval=interval, now_ms=NOW + 1_400), "2024-08-01:2024-09-01")
    assert [(one.start_ms % 1000, one.end_ms % 1000) for one in plan.settled] == [(0, 0)]
    assert plan.until_ms == plan.settled[0].end_ms


async def test_what_is_covered_is_left_out_and_again_loads_it_all() -> None:
    known = (
        known_as("2024-07-01:2024-08-01T06:00Z", Verdict.STORED),
        known_as("2024-08-01T06:00Z:2024-08-01T07:00Z", Verdict.EXCHANGE),
        known_as("2024-08-01T07:00Z:2024-08-01T08:00Z", Verdict.PENDING),
        known_as("2024-08-01T20:00Z:2024-08-01T21:00Z", Verdict.STORED),
    )
    plan = await plan_of(exchange(), "2024-08-01", known)
    assert plan.load == ("2024-08-01T07:00Z:2024-08-01T20:00Z", "2024-08-01T21:00Z:2024-08-02")
    assert (plan.expected, plan.there) == (16, 7), "of the range alone, and nothing where the exchange has nothing"
    plan = await plan_of(exchange(), "2024-08-01", known, again=True)
    assert (plan.load, plan.expected, plan.there) == (("2024-08-01:2024-08-02",), 24, 0)
    plan = await plan_of(exchange(), "2024-08-01", (known_as("2024", Verdict.STORED),))
    assert (plan.load, plan.settled, plan.there) == ((), (), 24)


@pytest.mark.parametrize("text", ["2024-08-01T12:10Z:2024-08-01T12:20Z", "2024-08-01T12:00:01Z:2024-08-01T13:00Z"])
@pytest.mark.parametrize("opens", [hours(-48, 240), hours(-48, -24), hours(0, 0)])
async def test_of_a_range_in_which_no_bar_opens_nothing_is_planned_nor_learnt(text: str, opens: range) -> None:
    there = exchange(opens)
    there.status = "TRADING" if len(opens) == 288 else "BREAK"
    plan = await plan_of(there, text)
    assert (plan.load, plan.settled, plan.expected) == ((), (), 0)
    assert plan.until_ms == parse_time_range(text).start_ms


async def test_a_range_that_cuts_its_first_and_last_bar_expects_those_that_open_in_it() -> None:
    plan = await plan_of(exchange(), "2024-08-01T12:10Z:2024-08-01T15:20Z")
    assert plan.load == ("2024-08-01T13:00Z:2024-08-01T16:00Z",)
    assert plan.expected == 3


async def test_very_many_lacking_ranges_become_one() -> None:
    there = exchange(range(DAY_START - DAY_MS, NOW, MINUTE_MS), interval=M1)
    known = tuple(
        Segment(start_ms=t, end_ms=t + MINUTE_MS, verdict=Verdict.STORED)
        for t in range(DAY_START + MINUTE_MS, DAY_START + (2 * MAX_RANGES + 1) * MINUTE_MS, 2 * MINUTE_MS)
    )
    plan = await plan_of(there, "2024-08-01", known)
    assert plan.load == ("2024-08-01:2024-08-02",)
    assert plan.expected == 1440
    few = [TimeRange(n, n + 1) for n in range(MAX_RANGES)]
    assert joined(few) == few
    assert joined([*few, TimeRange(500, 501)]) == [TimeRange(0, 501)]


@pytest.mark.parametrize(
    ("interval", "first", "text", "load", "expected"),
    [
        (Interval.W1, 1_704_067_200_000, "2024-02", ("2024-02-05:2024-03-04",), 4),
        (Interval.MO1, 1_704_067_200_000, "2024", ("2024-01-01:2024-08-01",), 7),
        (Interval.D3, 1_704_067_200_000 + DAY_MS, "2024-01", ("2024-01-02:2024-02-01",), 10),
    ],
)
async def test_grids_of_days_and_more(
    interval: Interval, first: int, text: str, load: tuple[str, ...], expected: int
) -> None:
    opens = interval.rule.times(first, NOW, first)
    plan = await plan_of(exchange(opens, interval=interval), text)
    assert plan.load == tuple(str(parse_time_range(part)) for part in load)
    assert plan.expected == expected
    assert plan.phase_ms == (first if interval is Interval.D3 else None)


async def test_what_is_known_of_parts_of_bars_of_three_days_counts_once_their_grid_is_known() -> None:
    """As an older version kept it, which did not note the grid."""
    first = parse_time_range("2024-01-02").start_ms
    there = exchange(Interval.D3.rule.times(first, NOW, first), interval=Interval.D3)
    plan = await plan_of(there, "2024-01-02:2024-01-11", (known_as("2024-01-04:2024-01-07", Verdict.STORED),))
    assert plan.load == ("2024-01-02:2024-01-05", "2024-01-08:2024-01-11")
    assert (plan.expected, plan.there) == (2, 1)


async def test_one_empty_answer_does_not_close_the_series() -> None:
    for lies in ({0}, {1}, {0, 1}, {2}, {3}):

        def lie(number: int, question: Question, page: Sequence[Candle], lies: set[int] = lies) -> Sequence[Candle]:
            return [] if number in lies else page

        there = exchange()
        there.lie = lie
        assert (await plan_of(there, "2024-08-01")).load == ("2024-08-01:2024-08-02",), lies


SHIFTED = {False: candle(DAY_START + 9 * HOUR_MS, interval=H1), True: candle(DAY_START, interval=H1)}
"""A wrong first candle, and a wrong last one."""


@pytest.mark.parametrize("status", ["TRADING", "BREAK"])
async def test_one_shifted_answer_does_not_move_the_edge(status: str) -> None:
    for liar in range(4):

        def lie(number: int, question: Question, page: Sequence[Candle], liar: int = liar) -> Sequence[Candle]:
            if number == liar and question.limit == 1:
                return [SHIFTED[question.newest]] if SHIFTED[question.newest].open_time in question.span else page
            return page

        there = exchange(hours(2, 20))
        there.status, there.lie = status, lie
        plan = await plan_of(there, "2024-08-01")
        end = "2024-08-01T20:00Z" if status == "BREAK" else "2024-08-02"
        assert plan.load == (f"2024-08-01T02:00Z:{end}",), liar


async def test_an_exchange_that_contradicts_itself_again_and_again_is_asked_later() -> None:
    there = exchange()
    there.lie = lambda number, question, page: [] if question.limit == 1 else page
    with pytest.raises(RetryableError, match="contradicted itself"):
        await plan_of(there, "2024-08-01")


async def test_errors_are_passed_on() -> None:
    with pytest.raises(PermanentError, match="NOSUCH"):
        await prepare(
            exchange(),
            Series("NOSUCH", "candles", "1h"),
            parse_time_range("2024-08-01"),
            (),
            exchange_now_ms=NOW,
            again=False,
        )
