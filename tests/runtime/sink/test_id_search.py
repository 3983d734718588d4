"""Looking for entries by id: the right ones, in few answers, however they are spread."""

from __future__ import annotations

from bisect import bisect_left

from hypothesis import given
from hypothesis import strategies as st

from streamforge_utils.runtime.sink.id_search import MOST, last_before, last_that

IDS = st.lists(st.one_of(st.integers(0, 5000), st.integers(0, 10**12 - 1)), unique=True, max_size=50).map(sorted)
CLUSTERS = st.lists(st.tuples(st.integers(0, 10**11), st.integers(1, 3000)), min_size=1, max_size=3)


def _of(clusters: list[tuple[int, int]]) -> list[int]:
    return sorted({one for first, count in clusters for one in range(first, first + count)})


@given(st.one_of(IDS, CLUSTERS.map(_of)), st.integers(0, 10**12), st.integers(1, 30))
async def test_the_last_entries_before_an_id_are_found(ids: list[int], end_id: int, count: int) -> None:
    asked = 0

    async def fetch(first_id: int) -> list[int]:
        nonlocal asked
        asked += 1
        return [one for one in ids[bisect_left(ids, first_id) :] if one < end_id][:MOST]

    before = [one for one in ids if one < end_id]
    assert list(await last_before(fetch, end_id, count)) == before[-count:]
    assert asked <= 80  # two for each bit of an id: one widens, one halves


@given(IDS, st.integers(0, 10**12))
async def test_the_last_entry_that_fits_is_found(ids: list[int], limit: int) -> None:
    asked = 0

    async def fetch(first_id: int) -> tuple[int, int] | None:
        nonlocal asked
        asked += 1
        found = ids[bisect_left(ids, first_id) :]
        return (found[0], found[0]) if found else None

    fitting = [one for one in ids if one <= limit]
    assert await last_that(fetch, lambda one: one <= limit) == (fitting[-1] if fitting else None)
    assert asked <= 41
