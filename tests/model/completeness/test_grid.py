"""A calendar grid: what lacks of it, compared with a look at every step."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from streamforge_utils.model.completeness import Grid
from streamforge_utils.model.completeness.rule import missing
from streamforge_utils.model.coverage import Segment, Verdict, outside, verdict_of
from streamforge_utils.model.kinds.paging import ByTime
from streamforge_utils.model.timeranges import TimeRange

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
    for part, questions in grid.questions(hole, phase, 1000):
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


class Looked(list[Segment]):
    """times: how often one of its segments was looked at."""

    times = 0

    def __getitem__(self, index: Any) -> Any:
        found = super().__getitem__(index)
        self.times += len(found) if isinstance(index, slice) else 1
        return found

    def __iter__(self) -> Iterator[Segment]:
        for number in range(len(self)):
            yield self[number]


def test_each_of_many_holes_looks_at_the_answers_about_it_alone() -> None:
    spans = [TimeRange(20 * n, 20 * n + 10) for n in range(1000)]
    answers = Looked(verdict_of(span, Verdict.EXCHANGE) for span in spans)
    holes = [verdict_of(span, Verdict.UNKNOWN) for span in spans]
    assert Grid(LENGTH).with_answers(holes, answers) == answers
    answers.times = 0
    Grid(LENGTH).with_answers(holes, answers)
    assert answers.times < 30 * len(holes)
    cuts = Looked(verdict_of(TimeRange(span.start_ms + 5, span.end_ms), Verdict.OURS) for span in spans)
    assert outside(holes, cuts) == [verdict_of(TimeRange(s.start_ms, s.start_ms + 5), Verdict.UNKNOWN) for s in spans]
    assert cuts.times < 30 * len(holes)
    crossing = [cuts[3], cuts[1], verdict_of(TimeRange(0, 30), Verdict.OURS)]
    assert [one.start_ms for one in outside(holes[:4], crossing)] == [40, 60], "in any order"
