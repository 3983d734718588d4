"""An unbroken chain: which updates it holds, and that nothing of it can be asked for again."""

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


@given(connections())
def test_chains_hold_each_update_that_was_received_and_break_where_one_lacks(received: list[Unbroken]) -> None:
    updates = {number for one in received for number in range(one.first_id, one.last_id + 1)}
    found = chains(received)
    assert [n for one in found for n in range(one.first_id, one.last_id + 1)] == sorted(updates)
    assert all(left.last_id + 1 < right.first_id for left, right in pairwise(found))


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
