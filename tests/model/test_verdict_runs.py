"""Runs of verdicts, compared with a verdict for each single millisecond."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from streamforge_utils.model.coverage import Verdict, verdict_of
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.model.verdict_runs import (
    BEST_FIRST,
    HOLES,
    VerdictRun,
    figures_of,
    on_bins,
    parts_of,
    runs_of,
    worst,
)

START = 1000
verdicts = st.lists(st.sampled_from(Verdict), min_size=1, max_size=60)


def runs(units: list[Verdict]) -> list[VerdictRun]:
    """A unit for each millisecond from `START` on."""
    return runs_of(verdict_of(TimeRange(START + at, START + at + 1), one) for at, one in enumerate(units))


def units(found: list[VerdictRun]) -> list[Verdict]:
    return [one.verdict for one in found for _ in range(one.start_ms, one.end_ms)]


def test_every_verdict_has_its_rank() -> None:
    assert {*BEST_FIRST} == {*Verdict}
    assert worst(Verdict) is Verdict.OURS
    assert worst([Verdict.STORED, Verdict.EXCHANGE]) is Verdict.EXCHANGE
    assert worst([]) is Verdict.UNKNOWN


@given(verdicts)
def test_neighbours_of_one_verdict_are_one_run(some: list[Verdict]) -> None:
    found = runs(some)
    assert units(found) == some
    assert all(one.verdict is not other.verdict for one, other in pairwise(found))


@given(verdicts, st.integers(1, 70))
def test_of_more_runs_than_bins_the_worst_of_each_bin_counts(some: list[Verdict], bins: int) -> None:
    span = TimeRange(START, START + len(some))
    found = on_bins(runs(some), span, bins)
    assert len(found) <= bins
    assert (found[0].start_ms, found[-1].end_ms) == (span.start_ms, span.end_ms)
    if len(runs(some)) <= bins:
        assert units(found) == some, "nothing is made coarser than it must be"
        return
    length = -(-len(some) // bins)
    each = [some[at : at + length] for at in range(0, len(some), length)]
    assert units(found) == [max(one, key=BEST_FIRST.index) for one in each for _ in one]
    assert all(one.verdict is not other.verdict for one, other in pairwise(found))


@given(verdicts, st.integers(1, 20))
def test_the_parts_of_runs_are_all_that_lies_between_two_edges(some: list[Verdict], step: int) -> None:
    edges = [*range(START - 3, START + len(some) + 5, step)]
    parts = list(parts_of(runs(some), edges))
    told = {START + at: one for at, one in enumerate(some)}
    assert [units(one) for one in parts] == [
        [told[at] for at in range(start, end) if at in told] for start, end in pairwise(edges)
    ]


@given(st.lists(st.sampled_from(Verdict), max_size=30))
def test_the_figures_of_runs_are_those_of_each_moment(some: list[Verdict]) -> None:
    share, hole, proven_end_ms = figures_of(runs(some))
    stored = [at for at, one in enumerate(some) if one is Verdict.STORED]
    lacking = [at for at, one in enumerate(some) if one in HOLES]
    assert share == (len(stored) / len(stored + lacking) if stored + lacking else None)
    assert proven_end_ms == (START + stored[-1] + 1 if stored else None)
    holes = [
        (begin - end, begin, end)
        for begin in range(len(some))
        for end in range(begin + 1, len(some) + 1)
        if HOLES.issuperset(some[begin:end])
    ]
    longest = min(holes, default=None)
    assert hole == (None if longest is None else TimeRange(START + longest[1], START + longest[2]))
