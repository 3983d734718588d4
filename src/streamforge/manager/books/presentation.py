"""Makes the API's answer about the order book of a past moment. Pure."""

from __future__ import annotations

from streamforge.manager.books.answers import NOT_KNOWN, Book, Checkpoint
from streamforge.manager.books.store import FoundBook
from streamforge.manager.presentation import moment
from streamforge_utils.model.decimal_texts import text_of


def book_answer(found: FoundBook, limit: int | None) -> Book:
    """The answer with so many levels a side; None: all."""
    past, book = found.book, found.book.book
    bids, asks = book.levels()
    return Book(
        symbol=found.symbol,
        at=moment(found.at_ms),
        at_ms=found.at_ms,
        trust=past.trust or NOT_KNOWN,
        why=past.why or None,
        verdict=found.verdict,
        cause=found.cause or None,
        last_update_id=book.last_id,
        time=moment(past.time_ms),
        time_ms=past.time_ms,
        known_low=None if book.known_low is None else text_of(book.known_low),
        known_high=None if book.known_high is None else text_of(book.known_high),
        bids=bids[:limit],
        asks=asks[:limit],
        bids_known=len(bids),
        asks_known=len(asks),
        checkpoint=Checkpoint(
            collection=past.collection,
            last_update_id=past.whole_id,
            time=moment(past.whole_ms),
            time_ms=past.whole_ms,
        ),
        diffs=past.diffs,
    )
