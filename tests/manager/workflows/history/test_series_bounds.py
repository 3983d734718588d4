"""Where a series begins and ends: what the exchange is asked, and what of its answers is believed."""

from __future__ import annotations

import pytest

from streamforge_utils.model.coverage import Verdict
from streamforge_utils.model.errors import RetryableError
from streamforge_utils.model.timeranges import TimeRange
from tests.doubles.scriptedexchange import Question
from tests.manager.support import NOW
from tests.manager.workflows.history.test_planner import exchange, hour, parts_of, plan_of, said


async def test_the_first_bar_is_asked_for_twice_and_the_last_one_of_what_trades_no_more() -> None:
    there = exchange(2, 20)
    await plan_of(there, 0, 24)
    first = [Question(TimeRange(0, NOW), 1, False), Question(TimeRange(0, hour(2)), 1000, True)]
    assert there.asked == first
    there = exchange(2, 20, status="BREAK")
    await plan_of(there, 0, 24)
    last = [Question(TimeRange(hour(2), NOW), 1, True), Question(TimeRange(hour(20), NOW), 1000, False)]
    assert there.asked == first + last


async def test_behind_a_bar_that_ends_just_now_nothing_is_asked_for() -> None:
    there = exchange(2, 30, now_ms=hour(30), status="BREAK")
    assert (await plan_of(there, 0, 24)).last_ms == hour(29)
    assert [(question.limit, question.newest) for question in there.asked] == [(1, False), (1000, True), (1, True)]


async def test_that_there_is_none_is_asked_for_four_times() -> None:
    there = exchange(0, 0)
    await plan_of(there, 0, 24)
    one, other = Question(TimeRange(0, NOW), 1, False), Question(TimeRange(0, NOW), 1000, True)
    assert there.asked == [one, other, one, other]


async def test_a_series_that_had_a_bar_is_not_believed_to_have_none() -> None:
    with pytest.raises(RetryableError, match="has no record, though it had some from 2024-"):
        await plan_of(exchange(0, 0), 0, 24, begins_ms=hour(-240))


async def test_a_series_that_began_earlier_is_planned_from_there_and_the_proof_asks_for_what_lacks() -> None:
    plan = await plan_of(exchange(10, 240), -2, 24, begins_ms=hour(2))
    assert (plan.settled, plan.parts) == ((said(-2, 2, Verdict.CLOSED),), parts_of((2, 24)))
    assert plan.first_ms == hour(2)
    earlier = await plan_of(exchange(0, 240), -2, 24, begins_ms=hour(2))
    assert (earlier.settled, earlier.first_ms) == ((said(-2, 0, Verdict.CLOSED),), hour(0))


async def test_who_contradicts_itself_is_asked_five_times() -> None:
    there = exchange(-48, 240)
    there.lie = lambda number, question, page: [] if question.limit == 1 else page
    with pytest.raises(RetryableError) as told:
        await plan_of(there, 0, 24)
    assert str(told.value) == (
        "BTCUSDT/candles/1h: the exchange contradicted itself 5 times about where the series begins or ends"
    )
    assert len(there.asked) == 10
