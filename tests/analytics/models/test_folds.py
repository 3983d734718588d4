"""Folds never let a target of what is learnt from reach into a test."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamforge.analytics.models.folds import FoldRules, folds
from streamforge_utils.model.errors import InvalidInput
from tests.analytics.models.markets import DAY_MS, START_MS, definition

counts = st.integers(1, 30)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(["1h", "1d"]),
    st.integers(1, 8),
    st.integers(1, 40),
    counts,
    counts,
    st.none() | counts,
    st.none() | st.integers(0, 20),
    st.integers(1, 5),
    st.integers(1, 150),
    st.sets(st.integers(1, 150), max_size=9),
)
def test_no_target_that_is_learnt_from_overlaps_a_test(
    interval: str,
    step: int,
    horizon: int,
    test: int,
    least_train: int,
    train: int | None,
    more: int | None,
    embargo: int,
    moments: int,
    missing: set[int],
) -> None:
    made = definition(horizon, interval=interval, step=step)
    graph = made.graph
    purge = None if more is None else horizon + more
    rules = FoldRules(test=test, least_train=least_train, train=train, purge=purge, embargo=embargo)
    times = [START_MS + at * graph.step_ms for at in range(moments) if at not in missing]
    gap_ms = (horizon + (more or 0)) * graph.bar_ms + embargo * graph.step_ms
    if len(times) < least_train or times[least_train - 1] + gap_ms > times[-1]:
        with pytest.raises(InvalidInput, match="too few"):
            folds(made, rules, times)
        return
    found = folds(made, rules, times)
    tested = [at for fold in found for at in fold.test]
    assert tested == [*range(tested[0], len(times))], "each once, without a hole"
    assert [fold.number for fold in found] == [*range(len(found))]
    for fold in found:
        learnt, first = [times[at] for at in fold.train], times[fold.test[0]]
        assert len(learnt) >= min(least_train, train or least_train)
        assert len(learnt) <= (train or len(times))
        assert len(fold.test) <= test
        assert all(time + made.span_ms <= first and time + gap_ms <= first for time in learnt)
        if train is None:
            assert sum(time + gap_ms <= first for time in times) == len(learnt), "no more is left out than has to be"


def test_folds_of_a_small_case() -> None:
    times = [START_MS + day * DAY_MS for day in range(21)]
    found = folds(definition(3), FoldRules(test=4, least_train=5, train=6), times)
    assert [(fold.train, fold.test) for fold in found] == [
        (range(5), range(8, 12)),  # the target of day 4 ends at the open of day 8
        (range(3, 9), range(12, 16)),
        (range(7, 13), range(16, 20)),
        (range(11, 17), range(20, 21)),
    ]


def test_a_purge_shorter_than_the_horizon_and_too_few_moments_are_refused() -> None:
    with pytest.raises(InvalidInput, match="targets last 5, choose 5 or more") as caught:
        folds(definition(5), FoldRules(test=1, least_train=1, purge=4), [START_MS])
    assert caught.value.field == "purge"
    with pytest.raises(InvalidInput, match="0 moments are too few"):
        folds(definition(5), FoldRules(test=1, least_train=1), [])
