"""Diffs in segments, read as the records of a collection are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from streamforge.manager.coverage.store import CoverageStore
from streamforge.manager.exports.records import RecordReader
from streamforge_utils.model.books.segments import CONTENT, MANIFEST
from streamforge_utils.model.errors import DamagedFile
from streamforge_utils.model.timeranges import TimeRange
from tests.doubles.memorystore import MemoryStore
from tests.doubles.stored_books import COLLECTION, SERIES, StoredBooks, at_ms


@pytest.fixture
async def books(tmp_path: Path) -> StoredBooks:
    stored = StoredBooks(MemoryStore(), tmp_path, 300)
    for first_id in (1, 51, 101):
        await stored.segment(first_id, first_id + 49)
    return stored


async def read(books: StoredBooks, **how: Any) -> list[int]:
    """The last ids of the diffs that are read."""
    reader = RecordReader(books.store, CoverageStore(MemoryStore()), books.objects)
    asked = {"span": None, "after": None, "limit": 10_000, "whole": False, "series": SERIES, **how}
    found: list[int] = []
    async for batch in reader.read(COLLECTION, **asked):
        for key, body in batch:
            record = msgspec.json.decode(body)
            assert key == f"BTCUSDT_{record['last_update_id']:012}"
            found.append(record["last_update_id"])
    return found


def ids(first: int, last: int) -> list[int]:
    return list(range(first, last + 1, 5))


async def test_all_of_a_range_comes_once_and_in_order(books: StoredBooks) -> None:
    assert await read(books) == ids(5, 150)
    assert await read(books, span=TimeRange(at_ms(30), at_ms(120))) == ids(30, 115)
    assert await read(books, span=TimeRange(at_ms(500), at_ms(600))) == []
    await books.segment_of(books.diffs(136, 150) + books.diffs(151, 170))
    assert await read(books, span=TimeRange(at_ms(60), at_ms(160))) == ids(60, 155)


async def test_pages_follow_each_other(books: StoredBooks) -> None:
    assert await read(books, limit=15) == ids(5, 75)
    assert await read(books, limit=15, after="BTCUSDT_000000000075") == ids(80, 150)
    span = TimeRange(at_ms(0), at_ms(120))
    assert await read(books, span=span, after="BTCUSDT_000000000075") == ids(80, 115)


async def test_the_record_is_as_it_is_exported(books: StoredBooks) -> None:
    await books.stored_diffs(books.diffs(1, 5))
    (document,) = await books.store.read(COLLECTION)
    reader = RecordReader(books.store, CoverageStore(MemoryStore()), books.objects)
    source = reader.read(COLLECTION, span=None, after=None, limit=1, whole=False, series=SERIES)
    assert [one async for one in source] == [[(document.key, document.body)]]


async def test_a_damaged_segment_is_refused_by_name(books: StoredBooks) -> None:
    name = "depth/BTCUSDT/000000000051" + MANIFEST
    await books.objects.put(name.removesuffix(MANIFEST) + CONTENT, b"")
    with pytest.raises(DamagedFile, match=name):
        await read(books)
    assert await read(books, span=TimeRange(at_ms(0), at_ms(55))) == ids(5, 50), (
        "what lies behind the range is not read"
    )
