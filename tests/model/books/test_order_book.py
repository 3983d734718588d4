"""The order book of one symbol, compared with one that looks through everything each time."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamforge_utils.model.books import order_book
from streamforge_utils.model.books.book_messages import DepthDiff, read_message, read_snapshot
from streamforge_utils.model.books.order_book import OrderBook
from streamforge_utils.model.books.records import StoredDepthCheckpoint, book_of, checkpoint_of, top_of
from streamforge_utils.model.kinds.registry import kind_named
from tests.doubles import market
from tests.doubles.market import START_MS, SYMBOL, Market, text


@pytest.fixture(autouse=True)
def few_near(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few levels are enough for some to be moved."""
    monkeypatch.setattr(order_book, "_NEAR", 2)
    monkeypatch.setattr(order_book, "_MOST_NEAR", 4)


def diff(*levels: tuple[int, int, int], first_id: int = 2, last_id: int = 2) -> DepthDiff:
    sides = [[(text(price), text(quantity)) for side, price, quantity in levels if side == one] for one in (0, 1)]
    found = read_message(market.message(first_id, last_id, *sides))
    assert isinstance(found, DepthDiff)
    return found


def begun(world: Market, last_id: int, limit: int) -> OrderBook:
    return OrderBook.of_snapshot(read_snapshot(world.snapshot(last_id, limit), limit))


def known(world: Market, last_id: int, book: OrderBook) -> tuple[object, object]:
    """What the market has of the book's band."""
    bids, asks = world.book(last_id)
    low, high = book.known_low or 0, book.known_high or float("inf")
    return (
        market.texts(sorted(((p, q) for p, q in bids.items() if p >= low), reverse=True)),
        market.texts(sorted((p, q) for p, q in asks.items() if p <= high)),
    )


@given(st.integers(0, 10**6), st.integers(0, 60), st.integers(1, 12))
def test_a_book_has_the_levels_of_its_band_after_each_diff(seed: int, begin: int, limit: int) -> None:
    world = Market(seed, 160)
    book = begun(world, begin, limit)
    for first_id, last_id in world.batches(seed):
        if last_id <= book.last_id:
            continue
        message = read_message(world.diff(first_id, last_id))
        assert isinstance(message, DepthDiff)
        book.apply(message)
        bids, asks = known(world, last_id, book)
        assert book.last_id == last_id
        assert book.levels() == (bids, asks)
        assert book.top(3) == (bids[:3], asks[:3])  # type: ignore[index]
        best = world.best(last_id)
        assert book.bids.best == (best[0] if bids else 0.0)
        assert book.asks.best == (best[1] if asks else float("inf"))
        assert not book.is_crossed
        assert book.is_lost == ((not bids and book.known_low is not None) or (not asks and book.known_high is not None))


@given(st.integers(0, 10**6), st.integers(1, 100), st.integers(1, 12))
def test_a_checkpoint_rebuilds_an_equal_book(seed: int, last_id: int, limit: int) -> None:
    world = Market(seed, 160)
    book = begun(world, last_id, limit)
    record = checkpoint_of(book, SYMBOL, START_MS, START_MS + 5)
    kind = kind_named("depth_checkpoint")
    key, version, stored = kind.document(record.key.encode(), msgspec.json.encode(record))
    assert (key, version) == (f"BTCUSDT_checkpoint_{last_id:012}", START_MS + 5)
    for again in (book_of(record), book_of(msgspec.json.decode(stored, type=StoredDepthCheckpoint))):
        later = world.diff(last_id + 1, last_id + 40)
        for one in (book, again):
            message = read_message(later)
            assert isinstance(message, DepthDiff)
            one.apply(message)
        assert again.levels() == book.levels()
        assert (again.last_id, again.known_low, again.known_high) == (book.last_id, book.known_low, book.known_high)
        assert not book.differs(again)
        book = book_of(record)


def test_the_best_levels_are_a_record_with_the_texts_of_the_exchange() -> None:
    body = market.snapshot(7, [("0.30000001", "9223372036854.75"), ("0.2", "1.50000000")], [("9000001.5", "3")])
    book = OrderBook.of_snapshot(read_snapshot(body, 5))
    top = top_of(book, "1INCH-%", START_MS, 1, 1)
    assert top.key == f"1INCH-%25_orderbook_{START_MS}"
    assert (top.bids, top.asks) == (
        [("0.30000001", "9223372036854.75000000")],
        [("9000001.50000000", "3.00000000")],
    )
    assert (book.known_low, book.known_high) == (None, None)


def test_prices_beyond_the_band_are_no_levels_and_nearing_its_end_is_told() -> None:
    levels = [(text(100 - n), text(1)) for n in range(1, 10)], [(text(100 + n), text(1)) for n in range(1, 10)]
    book = OrderBook.of_snapshot(read_snapshot(market.snapshot(1, *levels), 9))
    assert (book.known_low, book.known_high) == (91.0, 109.0)
    book.apply(diff((0, 90, 5), (1, 110, 5)))
    assert len(book.levels()[0]) == len(book.levels()[1]) == 9
    assert not book.is_due
    book.apply(diff(*((0, price, 0) for price in range(93, 100))))
    assert (book.bids.best, book.is_due, book.is_lost) == (92.0, True, False)
    book.apply(diff((0, 92, 0), (0, 91, 0)))
    assert (book.bids.best, book.is_lost) == (0.0, True)
    book.apply(diff((0, 91, 2)))
    assert (book.top(2)[0], book.is_lost) == ([(text(91), text(2))], False)


def test_a_side_that_is_shorter_than_asked_for_is_known_whole() -> None:
    book = OrderBook.of_snapshot(read_snapshot(market.snapshot(1, [(text(9), text(1))], []), 2))
    book.apply(diff((0, 1, 3), (1, 50, 4)))
    assert book.levels() == ([(text(9), text(1)), (text(1), text(3))], [(text(50), text(4))])
    book.apply(diff((0, 9, 0), (0, 1, 0), (1, 50, 0)))
    assert (book.levels(), book.is_lost, book.is_crossed) == (([], []), False, False)


@pytest.mark.parametrize(("asked", "known"), [(1000, 9.0), (1001, None)])
def test_a_side_of_another_limit_is_not_taken_for_whole(asked: int, known: float | None) -> None:
    levels = [(text(9 + n), text(1)) for n in range(100)], [(text(200), text(1))]
    book = OrderBook.of_snapshot(read_snapshot(market.snapshot(1, *levels), asked))
    assert (book.known_low, book.known_high) == (known, None)


def test_a_crossed_book_says_so() -> None:
    book = OrderBook.of_snapshot(read_snapshot(market.snapshot(1, [(text(9), text(1))], [(text(10), text(1))]), 2))
    book.apply(diff((0, 10, 1)))
    assert book.is_crossed


def test_books_are_compared_in_what_both_know() -> None:
    bids = [(text(9), text(1)), (text(8), text(2)), (text(7), text(3))]

    def book(limit: int, best: str = "1.0") -> OrderBook:
        return OrderBook.of_snapshot(read_snapshot(market.snapshot(1, [(text(9), best), *bids[1:limit]], []), limit))

    assert not book(2).differs(book(3))
    assert not book(3).differs(book(2))
    assert not book(3).differs(book(3, "1.00000"))
    assert book(3).differs(book(2, "1.5"))
