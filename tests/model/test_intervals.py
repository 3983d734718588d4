from __future__ import annotations

import itertools
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamforge_utils.model.kinds.candles import Interval
from tests.model.strategies import intervals, times

PHASE = 1_502_928_000_000  # 2017-08-17, a known open time for 3d


@given(intervals, times)
def test_floor_is_the_bar_that_holds_the_instant(interval: Interval, time_ms: int) -> None:
    opened = interval.rule.floor(time_ms, PHASE)
    assert opened <= time_ms <= interval.close_time(opened)
    assert interval.rule.floor(opened, PHASE) == opened
    assert interval.rule.floor(interval.close_time(opened), PHASE) == opened
    assert interval.rule.floor(interval.rule.next(opened), PHASE) == interval.close_time(opened) + 1


@given(intervals, times, st.integers(0, 300), st.integers(0, 1000))
def test_the_grid_holds_every_open_time_of_the_range_and_no_other(
    interval: Interval, start: int, bars: int, rest: int
) -> None:
    end = start + bars * (interval.step_ms or 30 * 86_400_000) + rest
    grid = interval.rule.times(start, end, PHASE)
    assert all(start <= opened < end for opened in grid)
    assert all(interval.rule.floor(opened, PHASE) == opened for opened in grid)
    assert all(interval.rule.next(left) == right for left, right in itertools.pairwise(grid))
    before = interval.rule.floor(start, PHASE)
    first = before if before == start else interval.rule.next(before)
    assert list(grid[:1]) == ([first] if first < end else [])
    if grid:
        assert interval.rule.next(grid[-1]) >= end


@given(intervals, times, st.lists(st.integers(0, 10**10), min_size=2, max_size=6))
def test_grids_of_adjacent_ranges_join(interval: Interval, start: int, lengths: list[int]) -> None:
    step = interval.step_ms or 30 * 86_400_000
    cuts = sorted(start + length % (step * 50) for length in lengths)
    whole = list(interval.rule.times(cuts[0], cuts[-1], PHASE))
    parts = [t for left, right in itertools.pairwise(cuts) for t in interval.rule.times(left, right, PHASE)]
    assert parts == whole


@given(times)
def test_weeks_open_on_monday_and_months_on_the_first(time_ms: int) -> None:
    week = datetime.fromtimestamp(Interval.W1.rule.floor(time_ms) // 1000, UTC) if time_ms >= 4 * 86_400_000 else None
    month = datetime.fromtimestamp(Interval.MO1.rule.floor(time_ms) // 1000, UTC)
    now = datetime.fromtimestamp(time_ms // 1000, UTC)
    assert week is None or (week.weekday(), week.hour, week.minute, week.second) == (0, 0, 0, 0)
    assert (month.year, month.month, month.day, month.hour) == (now.year, now.month, 1, 0)


def test_a_year_of_seconds_costs_nothing() -> None:
    grid = Interval.S1.rule.times(0, 10**12)
    assert len(grid) == 10**9
    assert isinstance(grid, range)


def test_an_empty_range_has_an_empty_grid() -> None:
    for interval in Interval:
        assert list(interval.rule.times(PHASE + 1, PHASE + 1, PHASE)) == []
        assert list(interval.rule.times(PHASE + 1, PHASE + 2, PHASE)) == []


def test_three_days_need_a_known_open_time() -> None:
    with pytest.raises(ValueError, match="known position"):
        Interval.D3.rule.times(0, 10**12)
    assert [i for i in Interval if not i.rule.is_fixed(None)] == [Interval.D3]


def test_the_exchange_s_spelling_and_the_archive_s() -> None:
    spelled = ["1s", "1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d", "1w", "1M"]
    assert [i.value for i in Interval] == spelled
    for interval in Interval:
        assert Interval.parse(interval.value) is Interval.parse(interval.lower) is interval
    assert len({i.lower.lower() for i in Interval}) == 16
    for text in ("", "1", "1D", "2m", "1MO", "m1", "1m "):
        with pytest.raises(ValueError, match="1s, 1m, 3m"):
            Interval.parse(text)
