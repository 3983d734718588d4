"""GET /books/{symbol}: the book, its limits, and every refusal."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from streamforge.manager.books.store import BookReader
from tests.doubles.stored_books import COLLECTION, StoredBooks, at_ms
from tests.manager.api.support import problem
from tests.manager.memory_service import NOW_MS, MemoryService

PATH = "/books/BTCUSDT"


@pytest.fixture
async def books(service: MemoryService, tmp_path: Path) -> StoredBooks:
    deps = service.world.deps
    stored = StoredBooks(deps.store, tmp_path)
    service.books = BookReader(deps.store, stored.objects, deps.coverage, deps.workflows)
    service.clock.advance((at_ms(100_000) - NOW_MS) / 1000)
    await stored.checkpoint(10)
    await stored.segment(11, 100)
    await stored.entry(1, 100)
    return stored


async def test_a_book_is_answered_with_its_trust_and_what_it_was_made_of(
    client: httpx.AsyncClient, books: StoredBooks
) -> None:
    at = "2024-08-09T00:00:06.050Z"
    body = (await client.get(PATH, params={"at": at, "limit": 2})).json()
    bids, asks = books.market.book(60)
    assert body["bids"] == [[f"{one}.00000000", f"{bids[one]}.00000000"] for one in sorted(bids, reverse=True)[:2]]
    assert body["asks"] == [[f"{one}.00000000", f"{asks[one]}.00000000"] for one in sorted(asks)[:2]]
    del body["bids"], body["asks"]
    assert body == {
        "symbol": "BTCUSDT",
        "at": at,
        "at_ms": at_ms(60) + 50,
        "trust": "verified",
        "why": None,
        "verdict": None,
        "cause": None,
        "last_update_id": 60,
        "time": "2024-08-09T00:00:06Z",
        "time_ms": at_ms(60),
        "known_low": None,
        "known_high": None,
        "bids_known": len(bids),
        "asks_known": len(asks),
        "checkpoint": {
            "collection": COLLECTION,
            "last_update_id": 10,
            "time": "2024-08-09T00:00:01Z",
            "time_ms": at_ms(10),
        },
        "diffs": 10,
    }
    whole = (await client.get(PATH, params={"at": at, "limit": "all"})).json()
    assert (len(whole["bids"]), len(whole["asks"])) == (len(bids), len(asks))


async def test_a_book_that_goes_on_elsewhere_is_not_called_known(client: httpx.AsyncClient, books: StoredBooks) -> None:
    body = (await client.get(PATH, params={"at": "2024-08-09T00:01Z"})).json()
    assert (body["trust"], body["why"]) == ("not known", "what came behind it is not stored yet")
    assert (body["last_update_id"], body["time_ms"]) == (100, at_ms(100))


@pytest.mark.parametrize(
    ("path", "query", "status", "kind", "words"),
    [
        (PATH, {"at": "2024-08-08"}, 404, "not-found", "there are books of BTCUSDT from 2024-08-09T00:00:01Z to "),
        ("/books/BTCUSD", {"at": "2024-08-09T00:00:06Z"}, 404, "not-found", "no order books of BTCUSD are stored"),
        (PATH, {"at": "2030"}, 422, "invalid-input", "at '2030' is no instant before now"),
        (PATH, {"at": "2024-08-09 00:06"}, 422, "invalid-input", "did you mean 2024-08-09T00:06Z?"),
        (PATH, {"at": "noon"}, 422, "invalid-input", "write 2024-08-01T12:30:15Z"),
        (PATH, {}, 422, "invalid-input", "at"),
        (PATH, {"at": "2024-08-09", "limit": "0"}, 422, "invalid-input", "limit"),
        (PATH, {"at": "2024-08-09", "limit": "10001"}, 422, "invalid-input", "limit"),
    ],
)
async def test_what_cannot_be_answered_says_why(
    client: httpx.AsyncClient,
    books: StoredBooks,
    path: str,
    query: dict[str, str],
    status: int,
    kind: str,
    words: str,
) -> None:
    assert words in problem(await client.get(path, params=query), status, kind)["detail"]
