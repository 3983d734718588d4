"""The order book at a past moment: a whole book taken before it, led on by the diffs behind that."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from streamforge_utils.model.books.messages import DepthDiff
from streamforge_utils.model.books.order_book import OrderBook
from streamforge_utils.model.books.trust import BookInterval, Cause, Trust

UNKNOWN = "what came behind it is not stored yet"
"""Why a book is not verified whose diffs end before the moment; a segment is stored once it is closed."""


class PastBook(msgspec.Struct, frozen=True):
    """The book right after its last diff at or before a moment. verified: that it is that of the exchange is known.

    why: it is not verified; empty if it is. time_ms: of its last diff, unix milliseconds.
    """

    book: OrderBook
    time_ms: int
    verified: bool
    why: str


def book_at(
    book: OrderBook, time_ms: int, diffs: Iterable[DepthDiff], intervals: Iterable[BookInterval], at_ms: int
) -> PastBook:
    """Lead a checkpoint's book, of the moment `time_ms`, on to `at_ms`; it is changed.

    diffs: those behind it, by id, and the first one behind `at_ms` if there is any; what comes twice or overlaps is
    harmless. intervals: of the ledger, from the checkpoint on.
    """
    first_id, ledger = book.last_id, sorted(intervals, key=lambda one: (one.first_id, one.last_id))
    broken = goes_on = False
    for diff in diffs:
        if diff.last_id <= book.last_id:
            continue
        broken = diff.first_id > book.last_id + 1
        goes_on = not broken and diff.time_ms > at_ms
        if broken or goes_on:
            break
        book.apply(diff)
        time_ms = diff.time_ms
    why = _doubt(ledger, first_id, book.last_id)
    if not why and not goes_on and not _is_last(ledger, book.last_id, at_ms):
        why = _end(ledger, book.last_id) or (Cause.GAP if broken else UNKNOWN)
    if not why and (book.is_crossed or book.is_lost):
        why = Cause.CROSSED if book.is_crossed else Cause.OUT_OF_BAND
    return PastBook(book, time_ms, not why, why)


def _doubt(ledger: Sequence[BookInterval], first_id: int, last_id: int) -> str:
    """Why a chain of ids, both included, is not verified throughout; empty: it is."""
    reached = first_id - 1
    for one in ledger:
        if one.last_id <= reached or one.first_id > last_id:
            continue
        if one.first_id > reached + 1:
            return Cause.GAP
        if one.trust is not Trust.VERIFIED:
            return one.why or one.trust
        reached = one.last_id
    return "" if reached >= last_id else "the ledger does not tell"


def _is_last(ledger: Sequence[BookInterval], last_id: int, at_ms: int) -> bool:
    """Whether an entry says that there was nothing behind an update up to the moment."""
    return any(one.last_id == last_id and at_ms < one.end_ms for one in ledger)


def _end(ledger: Sequence[BookInterval], last_id: int) -> str:
    """Why the chain ended at an id; empty: it did not."""
    return next((one.cause for one in ledger if one.last_id == last_id and one.cause), "")
