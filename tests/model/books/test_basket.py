"""The books of many symbols on the same connections."""

from __future__ import annotations

from collections.abc import Sequence

from streamforge_utils.model.books.basket import Basket
from streamforge_utils.model.books.snapshot_requests import Importance
from streamforge_utils.model.books.synchroniser import Synchroniser
from tests.doubles.bookfollower import LIMIT, WORLD
from tests.doubles.market import START_MS, SYMBOL


def test_a_basket_hands_messages_to_their_books_and_serves_the_most_important_first() -> None:
    books = [Synchroniser(symbol) for symbol in (SYMBOL, "ETHUSDT")]
    basket = Basket(books)
    eth = WORLD.diff(1, 5).replace(b"BTCUSDT", b"ETHUSDT")
    other, broken = b'{"stream":"x@trade","data":{}}', WORLD.diff(6, 9)[:-4]
    payloads: Sequence[bytes] = [eth, WORLD.diff(1, 5), other, broken, eth.replace(b"ETHUSDT", b"DOTUSDT")]
    left = basket.hear(payloads, START_MS * 1000, 1)
    assert [(payload, bool(reason)) for payload, reason in left] == [
        (other, False),
        (broken, True),
        (payloads[-1], False),
    ]
    ticker = WORLD.ticker(100)
    assert ticker is not None
    assert basket.hear([ticker], START_MS * 1000, 1) == []
    assert [book.ledger.next_id for book in books] == [6, 6]
    found = basket.next_wanted(START_MS)
    assert found is not None
    assert found[0].symbol == SYMBOL
    books[0].hear_snapshot(WORLD.snapshot(3, LIMIT), LIMIT, START_MS)
    found = basket.next_wanted(START_MS)
    assert found is not None
    assert (found[0].symbol, found[1].importance) == ("ETHUSDT", Importance.MISSING)
    books[1].asked()
    assert basket.next_wanted(START_MS) is None


def test_of_equals_the_book_that_waits_longest_is_served_first() -> None:
    basket = Basket([Synchroniser(symbol) for symbol in ("AUSDT", "BUSDT", "CUSDT")])
    for since, symbol in ((3, "AUSDT"), (1, "BUSDT"), (2, "CUSDT")):
        basket.books[symbol].hear_snapshot(WORLD.snapshot(5, LIMIT), LIMIT, START_MS)
        jump = WORLD.diff(8, 9).replace(SYMBOL.encode(), symbol.encode())
        assert basket.hear([jump], (START_MS + since) * 1000, 1) == []
    served = []
    while (found := basket.next_wanted(START_MS)) is not None:
        served.append((found[0].symbol, found[1].since_ms))
        found[0].asked()
    assert served == [("BUSDT", START_MS + 1), ("CUSDT", START_MS + 2), ("AUSDT", START_MS + 3)]
