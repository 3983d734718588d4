"""A calendar grid: what lacks of it, compared with a look at every step."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from streamforge_utils.model.completeness import Grid
from streamforge_utils.model.completeness.rule import missing
from streamforge_utils.model.coverage import Segment, Verdict
from streamforge_utils.model.kinds.paging import ByTime

LENGTH = 10


@st.composite
def grids(draw: st.DrawFn) -> tuple[Grid, int | None]:
    offset = draw(st.integers(0, LENGTH - 1))
    return draw(st.sampled_from([(Grid(LENGTH, offset), None), (Grid(LENGTH, None), offset)]))


@given(st.sets(st.integers(0, 60)), st.sets(st.integers(-5, 65)))
def test_what_lacks_is_what_is_expected_and_not_stored(expected: set[int], stored: set[int]) -> None:
    wanted = sorted(expected)
    runs = list(missing(wanted, sorted(stored)))
    found = [position for first, last in runs for position in wanted if first <= position <= last]
    assert found == [position for position in wanted if position not in stored]


@given(grids(), st.integers(0, 300), st.integers(1, 300))
def test_the_expected_positions_are_the_steps_that_begin_in_the_range(
    chosen: tuple[Grid, int | None], start: int, length: int
) -> None:
    grid, phase = chosen
    offset = phase if grid.offset_ms is None else grid.offset_ms
    span = Segment(start_ms=start, end_ms=start + length, verdict=Verdict.UNKNOWN)
    assert list(grid.expected(span, phase) or ()) == [
        time for time in range(start, start + length) if (time - (offset or 0)) % LENGTH == 0
    ]


@given(grids(), st.integers(0, 5), st.integers(1, 2000), st.data())
def test_each_step_of_a_hole_gets_the_verdict_of_the_answers(
    chosen: tuple[Grid, int | None], first: int, count: int, data: st.DataObject
) -> None:
    grid, phase = chosen
    start = grid.ceil(first * LENGTH, phase)
    hole = Segment(start_ms=start, end_ms=start + count * LENGTH, verdict=Verdict.UNKNOWN)
    steps = range(start, start + count * LENGTH, LENGTH)
    asked: list[int] = []
    for part, questions in grid.questions(hole, phase):
        asked += part
        assert len({str(question) for question in questions}) == len(questions) == 2
        for question in questions:
            assert isinstance(question, ByTime)
            assert all(step in question.span for step in part)
    assert asked == list(steps)
    found = set(data.draw(st.lists(st.sampled_from(steps), max_size=20)))
    verdicts = grid.answered(hole, found, phase)
    told = {t: s.verdict for s in verdicts for t in steps if s.start_ms <= t < s.end_ms}
    assert told == {step: Verdict.OURS if step in found else Verdict.EXCHANGE for step in steps}
    assert all(left.end_ms == right.start_ms for left, right in pairwise(verdicts))
