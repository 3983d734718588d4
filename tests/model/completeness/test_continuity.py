"""An unbroken chain: what a loader's own record says of a range, compared with a look at every millisecond."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamforge_utils.model.completeness.continuity import Continuity, Unbroken, chains
from streamforge_utils.model.completeness.rule import Rule
from streamforge_utils.model.completeness.sequence import Sequence
from streamforge_utils.model.coverage import Segment, Verdict
from streamforge_utils.model.errors import PermanentError
from streamforge_utils.model.kinds.candles import Interval
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange
from tests.doubles.scriptedexchange import ScriptedExchange

RULE = Continuity()
END = 60


@st.composite
def connections(draw: st.DrawFn) -> list[Unbroken]:
    """What several connections received, each of the same stream, in which the update `n` happens at the time `2 n`."""
    spans = draw(st.lists(st.tuples(st.integers(0, 25), st.integers(1, 8)), max_size=6))
    received = [
        Unbroken(first_id=first, last_id=first + count - 1, start_ms=2 * first, end_ms=2 * (first + count), cause="cut")
        for first, count in spans
    ]
    return draw(st.permutations(received))


@given(connections(), st.integers(0, 20), st.integers(1, 40))
def test_stored_is_what_was_received_and_lost_what_was_not(received: list[Unbroken], start: int, length: int) -> None:
    span = TimeRange(start, start + length)
    found = RULE.segments(span, received, "c")
    told = [s.verdict for s in found for _ in range(s.start_ms, s.end_ms)]
    assert len(told) == length
    assert all(left.end_ms == right.start_ms for left, right in pairwise(found))
    ends = max((one.end_ms for one in received), default=0)
    for time, verdict in zip(range(start, start + length), told, strict=True):
        if any(one.start_ms <= time < one.end_ms for one in received):
            assert verdict is Verdict.STORED
        else:
            assert verdict is (Verdict.LOST if time < ends else Verdict.UNKNOWN)
    assert all(bool(s.cause) == (s.verdict is Verdict.LOST) for s in found)


@given(connections())
def test_chains_hold_each_update_that_was_received_and_break_where_one_lacks(received: list[Unbroken]) -> None:
    updates = {number for one in received for number in range(one.first_id, one.last_id + 1)}
    found = chains(received)
    assert [n for one in found for n in range(one.first_id, one.last_id + 1)] == sorted(updates)
    assert all(left.last_id + 1 < right.first_id for left, right in pairwise(found))


def test_the_end_of_a_chain_says_why_the_next_part_is_lost() -> None:
    first = Unbroken(first_id=1, last_id=4, start_ms=10, end_ms=20, cause="disconnect")
    second = Unbroken(first_id=9, last_id=12, start_ms=30, end_ms=40)
    found = RULE.segments(TimeRange(0, 50), [second, first], "c")
    assert [(s.start_ms, s.end_ms, s.verdict.value, s.cause, s.first_id, s.last_id) for s in found] == [
        (0, 10, "lost", "nobody received it", None, None),
        (10, 20, "stored", "", 1, 4),
        (20, 30, "lost", "disconnect", None, None),
        (30, 40, "stored", "", 9, 12),
        (40, 50, "unknown", "", None, None),
    ]


def test_what_was_not_heard_is_not_asked_for() -> None:
    hole = Segment(start_ms=0, end_ms=5, verdict=Verdict.UNKNOWN)
    assert list(RULE.questions(hole, None, 1000)) == []
    assert [s.verdict for s in RULE.answered(hole, set(), None)] == [Verdict.LOST]


async def test_who_asks_for_the_past_is_told_that_there_is_no_answer() -> None:
    exchange, series = ScriptedExchange(Interval.M1, [], now_ms=END), Series("BTCUSDT", "depth")
    with pytest.raises(PermanentError, match="does not answer questions about the past"):
        await RULE.bounds(exchange, series, END, trading=True)
    with pytest.raises(PermanentError, match="does not answer questions about the past"):
        await RULE.existing(exchange, series, TimeRange(0, END), END, None)


def test_a_rule_that_lacks_a_method_fails_at_its_definition() -> None:
    fields = {name: getattr(Continuity, name) for name in ("bounds", "existing", "whole", "expected", "questions")}
    with pytest.raises(TypeError, match="the completeness rule Half lacks survey, counted, answered"):
        msgspec.defstruct("Half", [], bases=(Rule,), namespace=fields, frozen=True)


def test_what_is_stored_does_not_tell_what_lacks() -> None:
    assert not Continuity().is_counted
    assert Sequence().is_counted
