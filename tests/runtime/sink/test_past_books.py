"""Books of past moments, of what is stored in one or more collections and in segments."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from streamforge_utils.model.books.book_reconstruction import UNKNOWN
from streamforge_utils.model.books.segments import CONTENT, MANIFEST
from streamforge_utils.model.books.trust import Trust
from streamforge_utils.model.errors import DamagedFile
from streamforge_utils.runtime.sink.past_books import NoBook, PastBooks, RebuiltBook
from tests.doubles.market import SYMBOL
from tests.doubles.memorystore import MemoryStore
from tests.doubles.stored_books import COLLECTION, StoredBooks, at_ms

NEXT_DAY = "btcusdt_ws_orderbook_2024_08_10"


class CountingStore(MemoryStore):
    """Counts the documents and keys that it gives."""

    def __init__(self) -> None:
        super().__init__()
        self.given: Counter[str] = Counter()

    async def read(self, *args: Any, **named: Any) -> Any:
        found = await super().read(*args, **named)
        self.given["documents"] += len(found)
        return found

    async def keys(self, *args: Any, **named: Any) -> Any:
        found = await super().keys(*args, **named)
        self.given["keys"] += len(found)
        return found


@pytest.fixture
def stored(tmp_path: Path) -> StoredBooks:
    return StoredBooks(CountingStore(), tmp_path)


def past(stored: StoredBooks, *collections: str) -> PastBooks:
    return PastBooks(stored.store, stored.objects, [(one, 0) for one in collections or (COLLECTION,)], SYMBOL)


def check(stored: StoredBooks, found: RebuiltBook) -> None:
    """The book is the market's."""
    true = stored.market.book(found.book.last_id)
    for told, side in zip(found.book.levels(), true, strict=True):
        assert {int(float(price)): int(float(quantity)) for price, quantity in told} == side


async def test_a_book_is_rebuilt_of_the_last_checkpoint_and_the_diffs_of_segments(stored: StoredBooks) -> None:
    for last_id in (5, 50, 100):
        await stored.checkpoint(last_id)
    for first_id in (1, 61, 121):
        await stored.segment(first_id, first_id + 59)
    await stored.entry(1, 180)
    found = await past(stored).at(at_ms(90) + 99)
    assert (found.book.last_id, found.time_ms, found.trust, found.why) == (90, at_ms(90), Trust.VERIFIED, "")
    assert (found.collection, found.whole_id, found.whole_ms, found.diffs) == (COLLECTION, 50, at_ms(50), 8)
    check(stored, found)
    assert (await past(stored).at(at_ms(100))).diffs == 0
    live = await past(stored).at(at_ms(190))
    assert (live.book.last_id, live.trust, live.why) == (180, None, UNKNOWN)


async def test_the_checkpoint_may_lie_in_another_collection_than_the_rest(stored: StoredBooks) -> None:
    """A collection for each day: the first whole book of a day comes some time after midnight."""
    await stored.checkpoint(50)
    await stored.checkpoint(120, NEXT_DAY)
    await stored.segment(1, 200)
    await stored.entry(1, 80)
    await stored.entry(81, 200, collection=NEXT_DAY)
    found = await past(stored, NEXT_DAY, COLLECTION).at(at_ms(100))
    assert (found.collection, found.whole_id, found.trust) == (COLLECTION, 50, Trust.VERIFIED)
    check(stored, found)
    assert (await past(stored, NEXT_DAY, COLLECTION).at(at_ms(150))).collection == NEXT_DAY


async def test_an_entry_of_the_ledger_lies_where_it_began_however_long_it_goes_on(stored: StoredBooks) -> None:
    days = [f"btcusdt_ws_orderbook_202408{day:02}" for day in range(30, 9, -1)]
    await stored.entry(1, 200, collection=days[-1])
    for last_id in range(10, 200, 10):
        await stored.checkpoint(last_id, days[-last_id // 10])
    await stored.segment(1, 200)
    begun = [(name, at_ms(10 * place)) for place, name in zip(range(len(days), 0, -1), days, strict=True)]
    books = PastBooks(stored.store, stored.objects, begun, SYMBOL)
    found = await books.at(at_ms(185))
    assert (found.book.last_id, found.whole_id, found.trust) == (185, 180, Trust.VERIFIED)
    check(stored, found)
    recorded = await books.recorded()
    assert recorded is not None
    assert (recorded.start_ms, recorded.end_ms) == (at_ms(10), at_ms(200) + 1)
    await stored.entry(1, 201, collection="btcusdt_ws_orderbook_ledger")
    books = PastBooks(stored.store, stored.objects, [*begun, ("btcusdt_ws_orderbook_ledger", 0)], SYMBOL)
    recorded = await books.recorded()
    assert recorded is not None
    assert (recorded.start_ms, recorded.end_ms) == (at_ms(10), at_ms(201) + 1), "that of the ledger counts"


async def test_diffs_of_the_collection_and_of_segments_complete_each_other(stored: StoredBooks) -> None:
    await stored.checkpoint(10)
    await stored.entry(1, 200)
    await stored.stored_diffs(stored.diffs(11, 40) + stored.diffs(61, 200))
    await stored.segment(36, 65)
    found = await past(stored).at(at_ms(60))
    assert (found.book.last_id, found.trust) == (60, Trust.VERIFIED)
    check(stored, found)


async def test_behind_a_hole_and_in_it_the_book_is_told_for_what_it_is(stored: StoredBooks) -> None:
    await stored.checkpoint(10)
    await stored.segment(11, 50)
    await stored.entry(1, 50, cause="disconnect")
    await stored.segment(101, 150)
    await stored.entry(101, 120, trust=Trust.UNVERIFIABLE)
    await stored.entry(121, 150, cause="stopped")
    inside = await past(stored).at(at_ms(80))
    assert (inside.book.last_id, inside.trust, inside.why) == (50, None, "disconnect")
    behind = await past(stored).at(at_ms(110))
    assert (behind.book.last_id, behind.trust, behind.why) == (50, None, "disconnect")
    await stored.checkpoint(130)
    again = await past(stored).at(at_ms(140))
    assert (again.book.last_id, again.trust) == (140, Trust.VERIFIED)
    check(stored, again)


async def test_outside_of_what_is_recorded_there_is_no_book_and_what_there_is_is_told(stored: StoredBooks) -> None:
    assert await past(stored).recorded() is None
    await stored.checkpoint(10)
    await stored.entry(1, 50, cause="stopped")
    await stored.segment(1, 50)
    with pytest.raises(NoBook, match=r"no whole order book of BTCUSDT is stored of 2024-08-09T00:00:00.900Z or before"):
        await past(stored).at(at_ms(9))
    assert (await past(stored).at(at_ms(50))).verified
    with pytest.raises(NoBook, match=r"end before 2024-08-09T00:00:05.100Z: stopped"):
        await past(stored).at(at_ms(51))
    recorded = await past(stored).recorded()
    assert recorded is not None
    assert (recorded.start_ms, recorded.end_ms, recorded.cause) == (at_ms(10), at_ms(50) + 1, "stopped")


async def test_a_damaged_segment_is_named(stored: StoredBooks) -> None:
    await stored.checkpoint(10)
    name = await stored.segment(11, 50)
    file = name.removesuffix(MANIFEST) + CONTENT
    await stored.objects.put(file, b"something else")
    with pytest.raises(DamagedFile, match=f"the segment {name} of BTCUSDT is damaged"):
        await past(stored).at(at_ms(30))


async def test_what_is_read_does_not_grow_with_what_is_stored(tmp_path: Path) -> None:
    for count in (100, 400):
        store = CountingStore()
        stored = StoredBooks(store, tmp_path / str(count), count)
        for last_id in range(5, count, 5):
            await stored.checkpoint(last_id)
            await stored.entry(last_id - 4, last_id)
        await stored.segment(1, count)
        older = [f"older_{number}" for number in range(count // 10)]
        for number, name in enumerate(older):
            await stored.entry(1, 2 + number % 3, collection=name)
            store.given.clear()
        found = await past(stored, COLLECTION, *older).at(at_ms(60) + 50)
        assert (found.book.last_id, found.diffs, found.trust) == (60, 0, Trust.VERIFIED)
        assert store.given["documents"] < 60
        assert store.given["keys"] < 40
