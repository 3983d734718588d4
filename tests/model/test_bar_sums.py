"""What records add up to, compared with a plain computation over all of them, however they are cut."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamforge_utils.model.bar_sums import BarSum, fields_of, merged, sums_of
from streamforge_utils.model.completeness.grid import Grid
from streamforge_utils.model.errors import PermanentError
from streamforge_utils.model.kinds.registry import kind_named
from streamforge_utils.model.timeranges import TimeRange

START, STEP = 1_722_470_400_000, 1000
FINE, COARSE = Grid(STEP), Grid(4 * STEP)
WITHIN = TimeRange(START, START + 12 * STEP)
prices = st.integers(1, 10**7).map(lambda number: number / 1000)
sizes = [
    prices,
    st.integers(0, 10**9).map(lambda number: number / 10**8),
    st.integers(10**9, 10**12).map(lambda number: number / 10),
    st.integers(10**11, 10**14).map(float),
    st.integers(0, 10**17).map(lambda number: number / 1000),
]
"""Of the trades of a list: with some digits behind the point, with 8, few or none, and with too many of them."""
trades = st.sampled_from(sizes).flatmap(
    lambda size: st.lists(st.tuples(st.integers(0, 12 * STEP - 1), prices, size), max_size=40)
)
Trade = tuple[int, float, float]


def records(some: list[Trade]) -> list[tuple[Any, ...]]:
    return [(START + time, price, price, price, price, size) for time, price, size in some]


def plain(some: list[Trade], step: int) -> list[BarSum]:
    bars: dict[int, list[Trade]] = {}
    for one in some:
        bars.setdefault(START + one[0] // step * step, []).append(one)
    return [
        BarSum(
            time,
            len(held),
            held[0][1],
            max(price for _, price, _ in held),
            min(price for _, price, _ in held),
            held[-1][1],
            sum((Decimal(repr(size)) for _, _, size in held), Decimal(0)),
        )
        for time, held in sorted(bars.items())
    ]


@given(trades, st.integers(1, 50))
def test_bars_are_those_of_all_records_however_these_are_read_and_merged(some: list[Trade], page: int) -> None:
    """Out of the order of time, too: then each record counts for its own bar, in the order of the keys."""
    cut = list[BarSum]()
    assert sums_of(records(some), FINE, WITHIN) == plain(some, STEP)
    some = sorted(some, key=lambda one: one[0])
    for first in range(0, len(some), page):
        cut += sums_of(records(some[first : first + page]), FINE, WITHIN)
    assert merged(cut, FINE) == plain(some, STEP)
    assert merged(cut, COARSE) == plain(some, 4 * STEP)


def test_a_record_beyond_the_range_counts_for_the_nearest_bar() -> None:
    some = [(-5, 1.0, 1.0), (20 * STEP, 3.0, 2.0)]
    found = sums_of(records(some), FINE, WITHIN)
    assert [(one.time - START, one.records, one.close) for one in found] == [(0, 1, 1.0), (11 * STEP, 1, 3.0)]


def test_of_what_has_no_price_no_bars_are_made() -> None:
    with pytest.raises(PermanentError, match="depth"):
        fields_of(kind_named("depth"))


@pytest.mark.parametrize("name", ["candles", "trades", "agg_trades"])
def test_the_fields_of_a_bar_are_fields_of_the_stored_record(name: str) -> None:
    kind: Any = kind_named(name)
    assert kind.bar_fields is not None
    assert {*kind.bar_fields} <= {*kind.columns}
