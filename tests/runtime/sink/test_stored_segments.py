"""Segments are read whole, as their manifests say, or refused by name."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import msgspec
import pytest

from streamforge_utils.model.books.segments import CONTENT, MANIFEST
from streamforge_utils.model.errors import DamagedFile
from streamforge_utils.runtime.sink.stored_segments import StoredSegments
from tests.doubles.memorystore import MemoryStore
from tests.doubles.stored_books import StoredBooks, at_ms

PREFIX = "depth/BTCUSDT/"


@pytest.fixture
async def books(tmp_path: Path) -> StoredBooks:
    """Four segments of ten diffs each."""
    stored = StoredBooks(MemoryStore(), tmp_path, 300)
    for first_id in (1, 51, 101, 151):
        await stored.segment(first_id, first_id + 49)
    return stored


async def _firsts(found: Any) -> list[int]:
    return [one.manifest.first_u async for one in found]


@pytest.mark.parametrize(
    ("behind_id", "firsts"), [(0, [1, 51, 101, 151]), (50, [51, 101, 151]), (177, [151]), (200, [])]
)
async def test_the_segments_behind_an_update_are_those_that_have_later_ones(
    books: StoredBooks, behind_id: int, firsts: list[int]
) -> None:
    assert await _firsts(StoredSegments(books.objects, PREFIX).behind(behind_id)) == firsts


async def test_a_late_diff_is_found_in_a_segment_that_begins_later(books: StoredBooks) -> None:
    await books.segment_of([books.market.diff(201, 205), books.market.diff(180, 186)])
    found = StoredSegments(books.objects, PREFIX).behind(179)
    assert await _firsts(found) == [151, 180]


async def test_a_segment_whose_first_diff_reaches_back_is_read_behind_those_within_it(books: StoredBooks) -> None:
    """Nobody has seen a diff that says more than it has; what came before it in the topic is read before it."""
    reaching = books.market.diff(241, 245).replace(b'"U":241', b'"U":206')
    await books.segment_of([reaching, *books.diffs(246, 250)])
    for first_id in (201, 221, 231):
        await books.segment_of(books.diffs(first_id, first_id + (19 if first_id == 201 else 9)))
    found = StoredSegments(books.objects, PREFIX).behind(200)
    assert await _firsts(found) == [201, 221, 231, 206]


async def test_a_segment_with_a_diff_that_is_ahead_is_read_before_those_behind_it(books: StoredBooks) -> None:
    ahead = books.market.diff(211, 215).replace(b'"u":215', b'"u":245')
    await books.segment_of([*books.diffs(201, 210), ahead])
    for first_id in (216, 226, 236):
        await books.segment_of(books.diffs(first_id, first_id + 9))
    found = StoredSegments(books.objects, PREFIX).behind(200)
    assert await _firsts(found) == [201, 216, 226, 236]


async def test_before_a_manifest_that_is_damaged_segments_are_read(books: StoredBooks) -> None:
    await books.objects.put(f"{PREFIX}{101:012}{MANIFEST}", b"{")
    found = StoredSegments(books.objects, PREFIX).behind(0)
    assert [(await anext(found)).manifest.first_u for _ in range(2)] == [1, 51]
    with pytest.raises(DamagedFile, match=r"the manifest .* is damaged"):
        await anext(found)


async def test_of_segments_that_begin_with_the_same_update_each_is_read(books: StoredBooks) -> None:
    segments = StoredSegments(books.objects, PREFIX)
    for ending in (MANIFEST, CONTENT):
        content = b"".join([block async for block in books.objects.get(f"{PREFIX}{51:012}{ending}")])
        for number in (1, 2, 3):
            await books.objects.put(f"{PREFIX}{51:012}_{number}{ending}", content)
    assert await _firsts(segments.behind(50)) == [51, 51, 51, 51, 101, 151]
    assert await _firsts(segments.behind(10)) == [1, 51, 51, 51, 51, 101, 151]
    assert await _firsts(segments.since(at_ms(51))) == [51, 51, 51, 51, 101, 151]
    assert await _firsts(segments.behind(110)) == [101, 151]


async def test_a_segment_holds_other_diffs_where_a_line_differs_that_both_have(books: StoredBooks) -> None:
    segments = StoredSegments(books.objects, PREFIX)
    name = f"{PREFIX}{51:012}{MANIFEST}"
    read = await segments.read(name)
    assert read is not None
    lines = [*read.lines()]
    for same in (lines, lines[:3], [*lines, b"more\n"]):
        assert not await segments.holds_other(name, gzip.compress(b"".join(same)))
    for other in (lines[1:], [*lines[:3], *lines[4:]]):
        assert await segments.holds_other(name, gzip.compress(b"".join(other)))
    assert not await segments.holds_other(f"{PREFIX}{52:012}{MANIFEST}", b"")
    await books.objects.put(name.removesuffix(MANIFEST) + CONTENT, b"")
    assert await segments.holds_other(name, gzip.compress(b"".join(lines[:1])))


@pytest.mark.parametrize(
    ("since_id", "firsts"),
    [(0, [1, 51, 101, 151]), (50, [1, 51, 101, 151]), (51, [51, 101, 151]), (300, [])],
)
async def test_the_segments_since_a_moment_are_those_that_end_behind_it(
    books: StoredBooks, since_id: int, firsts: list[int]
) -> None:
    assert await _firsts(StoredSegments(books.objects, PREFIX).since(at_ms(since_id))) == firsts


async def test_what_is_not_as_the_manifest_says_is_refused_by_name(books: StoredBooks) -> None:
    segments = StoredSegments(books.objects, PREFIX)
    name = "depth/BTCUSDT/000000000051.json"
    file = name.removesuffix(MANIFEST) + CONTENT
    good = await segments.read(name)
    assert good is not None
    assert len([*good.diffs()]) == 10

    await books.objects.put(file, gzip.compress(b"".join([*good.lines()][:-1])))
    spoilt = await segments.read(name)
    assert spoilt is not None
    with pytest.raises(DamagedFile, match=f"the segment {name} of BTCUSDT is damaged: it differs from the checksum"):
        [*spoilt.diffs()]

    lacking = msgspec.structs.replace(good.manifest, count=11)
    await books.objects.put(file, good.content)
    await books.objects.put(name, msgspec.json.encode(lacking))
    short = await segments.read(name)
    assert short is not None
    with pytest.raises(DamagedFile, match="it has 10 diffs, its manifest says 11"):
        [*short.diffs()]

    await books.objects.delete([file])
    with pytest.raises(DamagedFile, match=f"the segment {name} lacks its file"):
        await segments.read(name)
    await books.objects.put(name, b"{}")
    with pytest.raises(DamagedFile, match=f"the manifest {name} of a segment is damaged"):
        await segments.read(name)
    await books.objects.delete([name])
    assert await segments.read(name) is None


async def test_a_segment_that_is_put_again_meanwhile_is_read_again(books: StoredBooks) -> None:
    name = "depth/BTCUSDT/000000000051.json"
    get, gets = books.objects.get, 0

    async def changing(asked: str) -> Any:
        nonlocal gets
        gets += 1
        if gets == 2:  # between the manifest and the file
            await books.segment(51, 70)
        async for block in get(asked):
            yield block

    books.objects.get = changing  # type: ignore[method-assign, assignment]
    found = await StoredSegments(books.objects, PREFIX).read(name)
    assert found is not None
    assert [one.last_id for one in found.diffs()] == [55, 60, 65, 70]


async def test_what_lies_in_a_segment_before_the_last_one_is_not_passed_over(books: StoredBooks) -> None:
    await books.segment_of([books.market.diff(190, 194), books.market.diff(211, 215)])
    assert await _firsts(StoredSegments(books.objects, PREFIX).behind(194)) == [151, 190]


async def test_a_segment_of_one_update_is_found_by_its_moment(books: StoredBooks) -> None:
    await books.segment_of([books.market.diff(201, 201)])
    assert await _firsts(StoredSegments(books.objects, PREFIX).since(at_ms(201))) == [201]
