"""The small picture of a series."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tools.demo.chart import chart, picture


def test_a_rise_goes_from_the_lower_left_to_the_upper_right() -> None:
    assert picture([0, 1, 2, 3], width=4, height=4, plain=True) == ["   *", "  **", " **", "**"]
    assert picture([0.0, 1.0, 2.0, 3.0], width=2, height=1) == ["⣠⠞"]


def test_no_peak_is_lost_in_a_narrow_picture() -> None:
    values = [1.0] * 500 + [9.0] + [1.0] * 500
    drawn = picture(values, width=10, height=5, plain=True)
    assert "*" in drawn[0]
    assert "*" in drawn[-1]


def test_a_flat_series_is_a_line_and_an_empty_one_nothing() -> None:
    assert picture([5.0, 5.0], width=3, height=3, plain=True) == ["", "", "***"]
    assert picture([]) == []
    assert chart([], left="a", right="b") == []


def test_the_chart_names_high_low_and_its_ends() -> None:
    lines = chart([1000.5, 999.25, 1234.0], left="2024-08-01", right="2024-08-02", width=30, plain=True)
    assert lines[0].startswith("1,234.00  ")
    assert lines[-2].startswith("  999.25  ")
    assert lines[-1] == " " * 10 + "2024-08-01          2024-08-02"


@given(
    st.lists(st.floats(-1e12, 1e12, allow_nan=False), min_size=1, max_size=50),
    st.integers(1, 30),
    st.integers(1, 8),
    st.booleans(),
)
def test_every_picture_keeps_to_its_size(values: list[float], width: int, height: int, plain: bool) -> None:
    lines = picture(values, width=width, height=height, plain=plain)
    assert len(lines) == height
    assert all(len(line) <= width for line in lines)
    # For all values, every column is drawn.
    columns = {index for line in lines for index, sign in enumerate(line) if sign not in " \u2800"}
    assert columns == set(range(width))
