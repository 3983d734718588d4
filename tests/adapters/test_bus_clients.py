"""Messages are cut into portions."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streamforge_utils.adapters.bus_clients import cuts


@given(st.lists(st.integers(1, 2000), max_size=200), st.integers(1, 5000))
def test_portions_hold_everything_once_in_order_and_fit(sizes: list[int], most: int) -> None:
    found = list(cuts(sizes, most, 20))
    assert [at for first, last in found for at in range(first, last)] == list(range(len(sizes)))
    for first, last in found:
        assert last - first == 1 or sum(sizes[first:last]) <= most
        assert 0 < last - first <= 20
