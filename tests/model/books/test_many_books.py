"""The books of many symbols on the same connections."""

from __future__ import annotations

from collections.abc import Sequence

from streamforge_utils.model.books.synchroniser import Synchroniser
from tests.doubles.bookbasket import Basket
from tests.doubles.bookfollower import WORLD
from tests.doubles.market import START_MS, SYMBOL


def test_a_basket_hands_messages_to_their_books() -> None:
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
