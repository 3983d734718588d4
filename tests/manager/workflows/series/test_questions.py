"""How the exchange is asked again for a hole, by time and by id."""

from __future__ import annotations

import pytest

from streamforge.manager.workflows.series.questions import ask_again
from streamforge_utils.model.coverage import Segment, Verdict, verdict_of
from streamforge_utils.model.kinds.candles import Interval
from streamforge_utils.model.timeranges import TimeRange
from tests.doubles import ticks
from tests.doubles.scriptedexchange import Question, ScriptedExchange
from tests.manager.execution.world import SERIES, minute, segment, span
from tests.manager.support import NOW

M1 = Interval.M1


def minutes_exchange(*numbers: int) -> ScriptedExchange:
    return ScriptedExchange(M1, [minute(n) for n in numbers], now_ms=NOW)


async def answers(there: ScriptedExchange, hole: TimeRange) -> list[Segment]:
    return await ask_again(there, SERIES, verdict_of(hole, Verdict.UNKNOWN), None)


@pytest.mark.parametrize("liar", range(4))
async def test_a_hole_is_the_exchanges_only_if_no_answer_fills_it(liar: int) -> None:
    there = minutes_exchange(*range(100))
    there.lie = lambda number, question, page: page if number == liar else []
    assert await answers(there, span(3, 9)) == [segment(3, 9, Verdict.OURS)]


async def test_the_same_hole_is_asked_for_by_two_questions_twice_until_it_is_filled() -> None:
    """Of the answers what lies beyond the hole does not count."""
    newest, longer = Question(span(3, 6), 1000, True), Question(span(3, 7), 1000, False)
    there = minutes_exchange(2, 3, 5, 6)
    assert await answers(there, span(3, 6)) == [
        segment(3, 4, Verdict.OURS),
        segment(4, 5, Verdict.EXCHANGE),
        segment(5, 6, Verdict.OURS),
    ]
    assert there.asked == [newest, longer, newest, longer]
    there = minutes_exchange(3, 4, 5)
    assert await answers(there, span(3, 6)) == [segment(3, 6, Verdict.OURS)]
    assert there.asked == [newest]
    there = minutes_exchange()
    assert await answers(there, span(3.25, 3.75)) == []
    assert there.asked == []


async def test_a_hole_of_more_bars_than_a_question_has_is_asked_for_in_parts() -> None:
    there = minutes_exchange(*range(950), 1805)
    assert await answers(there, span(100, 1900)) == [
        segment(100, 950, Verdict.OURS),
        segment(950, 1805, Verdict.EXCHANGE),
        segment(1805, 1806, Verdict.OURS),
        segment(1806, 1900, Verdict.EXCHANGE),
    ]
    parts = {question.span for question in there.asked if question.newest}
    assert parts == {span(100, 1000), span(1000, 1900)}
    assert len(there.asked) == 8


@pytest.mark.usefixtures("ticks")
async def test_a_hole_is_asked_for_by_id() -> None:
    market = [(number, ticks.START + number) for number in range(20) if number not in (7, 8, 9)]
    there = ticks.TickExchange(market, now_ms=ticks.NOW)

    def hole(first: int, last: int) -> Segment:
        return Segment(
            start_ms=ticks.START, end_ms=ticks.START + 1, verdict=Verdict.UNKNOWN, first_id=first, last_id=last
        )

    assert [s.verdict for s in await ask_again(there, ticks.SERIES, hole(7, 9), None)] == [Verdict.EXCHANGE]
    assert len(there.asked) == 4
    assert [s.verdict for s in await ask_again(there, ticks.SERIES, hole(8, 11), None)] == [Verdict.OURS]
    assert [s.verdict for s in await ask_again(there, ticks.SERIES, hole(3, 3), None)] == [Verdict.OURS]
    endless = ticks.TickExchange([*market, (1_000_000, ticks.START + 20)], now_ms=ticks.NOW)
    assert [s.verdict for s in await ask_again(endless, ticks.SERIES, hole(20, 999_999), None)] == [Verdict.EXCHANGE]
    assert len(endless.asked) == 4
