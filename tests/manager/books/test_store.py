"""Which collections have the books of a symbol, and what is told of a moment without one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from streamforge.manager.books.store import BookReader
from streamforge.manager.coverage.store import CoverageStore
from streamforge.manager.engine.persistence.workflow_store import WorkflowStore
from streamforge.manager.engine.refusals import NotFound
from streamforge_utils.model.books.trust import Trust
from streamforge_utils.model.coverage import Segment, Verdict
from streamforge_utils.model.errors import InvalidInput
from streamforge_utils.model.series import Series
from tests.doubles.memorystore import MemoryStore
from tests.doubles.stored_books import SERIES, StoredBooks, at_ms

NOW = at_ms(100_000)
OTHER = "books_of_mine"


class Reading:
    """A reader and what it reads."""

    def __init__(self, folder: Path) -> None:
        self.store = MemoryStore()
        self.stored = StoredBooks(self.store, folder)
        self.coverage = CoverageStore(self.store)
        self.reader = BookReader(self.store, self.stored.objects, self.coverage, WorkflowStore(self.store))

    async def told(self, at: int, symbol: str = "BTCUSDT") -> str:
        """Why there is no book."""
        with pytest.raises(NotFound) as error:
            await self.reader.at(symbol, at, NOW)
        return str(error.value)

    async def know(self, verdict: Verdict, first_id: int, last_id: int, **more: Any) -> None:
        one = Segment(start_ms=at_ms(first_id), end_ms=at_ms(last_id), verdict=verdict, **more)
        await self.coverage.lay_over(SERIES, [one])


@pytest.fixture
async def reading(tmp_path: Path) -> Reading:
    found = Reading(tmp_path)
    await found.stored.checkpoint(10)
    await found.stored.segment(11, 100)
    await found.stored.entry(1, 100, cause="stopped")
    return found


async def test_collections_are_found_by_name_and_by_the_coverage(reading: Reading) -> None:
    found = await reading.reader.at("btcusdt", at_ms(60), NOW)
    assert (found.symbol, found.book.book.last_id, found.book.trust) == ("BTCUSDT", 60, Trust.VERIFIED)
    assert found.verdict is None
    await reading.stored.checkpoint(50, OTHER)
    assert (await reading.reader.at("BTCUSDT", at_ms(60), NOW)).book.whole_id == 10
    await reading.know(Verdict.STORED, 40, 70, collection=OTHER)
    found = await reading.reader.at("BTCUSDT", at_ms(60), NOW)
    assert (found.book.whole_id, found.book.collection, found.verdict) == (50, OTHER, Verdict.STORED)


async def test_what_the_coverage_says_of_the_moment_is_told(reading: Reading) -> None:
    await reading.stored.entry(111, 120)
    await reading.know(Verdict.LOST, 100, 110, cause="disconnect")
    found = await reading.reader.at("BTCUSDT", at_ms(105), NOW)
    assert (found.book.trust, found.book.why) == (None, "stopped")
    assert (found.verdict, found.cause) == (Verdict.LOST, "disconnect")


async def test_a_moment_without_a_book_is_answered_with_what_there_is(reading: Reading) -> None:
    between = "there are books of BTCUSDT from 2024-08-09T00:00:01Z to 2024-08-09T00:00:10.001Z, where the recording "
    assert f"; {between}ended (stopped): choose a moment between" in await reading.told(at_ms(5))
    assert f"end before 2024-08-09T00:00:20Z: stopped; {between}" in await reading.told(at_ms(200))
    await reading.know(Verdict.EXPIRED, 0, 8, cause="retention")
    assert (await reading.told(at_ms(5))).endswith("what was stored of that moment is expired (retention)")


async def test_a_symbol_without_books_is_told_with_what_may_be_meant(reading: Reading) -> None:
    assert await reading.told(at_ms(5), "ETHUSDT") == (
        "no order books of ETHUSDT are stored: record them with the type ws_orderbook"
    )
    await reading.coverage.lay_over(Series("ETHBTC", "depth"), [Segment(start_ms=0, end_ms=1, verdict=Verdict.UNKNOWN)])
    assert "did you mean ETHBTC?" in await reading.told(at_ms(5), "ETHBTX")


async def test_a_moment_that_is_not_over_is_refused(reading: Reading) -> None:
    with pytest.raises(InvalidInput, match="lies in the future"):
        await reading.reader.at("BTCUSDT", NOW, NOW)


async def test_a_collection_for_each_day_is_known_by_its_name(reading: Reading) -> None:
    day = "btcusdt_ws_orderbook_20240809"
    await reading.stored.checkpoint(50, day)
    await reading.stored.checkpoint(55, "btcusdt_ws_orderbook_20240810")
    found = await reading.reader.at("BTCUSDT", at_ms(60), NOW)
    assert (found.book.collection, found.book.whole_id, found.book.trust) == (day, 50, Trust.VERIFIED)


async def test_the_ledger_beside_the_days_is_known_by_its_name(tmp_path: Path) -> None:
    reading = Reading(tmp_path)
    await reading.stored.checkpoint(50, "btcusdt_ws_orderbook_20240809")
    await reading.stored.segment(11, 100)
    await reading.stored.entry(1, 100, cause="stopped", collection="btcusdt_ws_orderbook_ledger")
    found = await reading.reader.at("BTCUSDT", at_ms(60), NOW)
    assert (found.book.book.last_id, found.book.trust) == (60, Trust.VERIFIED)
    assert "where the recording ended (stopped)" in await reading.told(at_ms(200))
