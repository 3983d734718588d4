"""The order book at a past moment: a whole book taken before it, led on by the diffs behind that."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from streamforge_utils.model.books.book_messages import DepthDiff
from streamforge_utils.model.books.order_book import OrderBook
from streamforge_utils.model.books.trust import BookInterval, Cause, Trust

UNKNOWN: Final = "what came behind it is not stored yet"
"""Why a book is not verified whose diffs end before the moment; a segment is stored once it is closed."""
UNTOLD: Final = "the ledger does not tell"
TOO_FAR: Final = "too many diffs lie between the whole book before the moment and the moment"
MOST_DIFFS = 100_000
"""So many lead a book on at most: those of some three hours, where a whole book comes every few minutes."""
_MOST_AHEAD = 1000


class PastBook(msgspec.Struct, frozen=True):
    """The book right after its last diff at or before a moment.

    time_ms: of that diff, unix milliseconds. trust: in the book as that of the moment; None: it is not known what came
    between the two. why: it is not verified; empty if it is. diffs: how many have led it on.
    """

    book: OrderBook
    time_ms: int
    trust: Trust | None
    why: str
    diffs: int = 0

    @property
    def verified(self) -> bool:
        """Whether it is known to be that of the exchange."""
        return self.trust is Trust.VERIFIED


class Leading:
    """Leads a whole book, of the moment `time_ms`, on to `at_ms`; the book is changed.

    first_id: its last update at the beginning. is_done: no more diffs are needed. is_stuck: those of this source have
    a gap.
    """

    def __init__(self, book: OrderBook, time_ms: int, at_ms: int) -> None:
        self.book, self.time_ms, self.at_ms = book, time_ms, at_ms
        self.first_id = book.last_id
        self.diffs = self._held = 0
        self._goes_on = False
        self._ahead: list[tuple[int, int, DepthDiff]] = []
        self._seen_id = 0

    @property
    def is_done(self) -> bool:
        return self._goes_on or self.diffs >= MOST_DIFFS

    @property
    def is_stuck(self) -> bool:
        return len(self._ahead) >= _MOST_AHEAD

    def begin_source(self) -> None:
        """What is heard now comes from elsewhere: it may have what lacked."""
        self._ahead.clear()

    def hear(self, diffs: Iterable[DepthDiff]) -> None:
        """Take diffs nearly in the order of their ids, until it is done or stuck.

        What repeats or overlaps is harmless; some are held that come before one that they follow.
        """
        for diff in diffs:
            if diff.first_id > self.book.last_id + 1:
                self._held += 1  # where two have the same ids, this tells which is the less
                self._seen_id = max(self._seen_id, diff.first_id)
                heapq.heappush(self._ahead, (diff.first_id, self._held, diff))
            else:
                self._apply(diff)
                while self._ahead and not self.is_done and self._ahead[0][0] <= self.book.last_id + 1:
                    self._apply(heapq.heappop(self._ahead)[2])
            if self.is_done or self.is_stuck:
                return

    def _apply(self, diff: DepthDiff) -> None:
        if diff.last_id <= self.book.last_id:
            return
        if diff.time_ms > self.at_ms:
            self._goes_on = True
            return
        self.book.apply(diff)
        self.time_ms = diff.time_ms
        self.diffs += 1

    def judged(self, intervals: Iterable[BookInterval]) -> PastBook:
        """The book, by the entries of the ledger from its first update on."""
        ledger, last_id = sorted(intervals, key=lambda one: (one.first_id, one.last_id)), self.book.last_id
        trust, why = _doubt(ledger, self.first_id, last_id)
        is_there = self._goes_on or self.time_ms == self.at_ms or _is_last(ledger, last_id, self.at_ms)
        if trust is not None and not is_there:
            trust, why = None, _end(ledger, last_id)
            if not why and self.diffs >= MOST_DIFFS:
                why = TOO_FAR
            elif not why:
                why = Cause.GAP if self._seen_id > last_id + 1 else UNKNOWN
        if trust is Trust.VERIFIED and self.book.is_crossed:
            trust, why = Trust.SUSPECT, Cause.CROSSED
        elif trust is Trust.VERIFIED and self.book.is_lost:
            trust, why = Trust.UNVERIFIABLE, Cause.OUT_OF_BAND
        return PastBook(self.book, self.time_ms, trust, why, self.diffs)


def _doubt(ledger: Sequence[BookInterval], first_id: int, last_id: int) -> tuple[Trust | None, str]:
    """The least trust in a chain of ids, both included, and why; None: it is not known for all of them."""
    reached, trust, why = first_id - 1, Trust.VERIFIED, ""
    for one in ledger:
        if one.last_id <= reached or one.first_id > last_id:
            continue
        if one.first_id > reached + 1:
            return None, Cause.GAP
        if one.trust is not Trust.VERIFIED and trust is not Trust.SUSPECT and one.trust is not trust:
            trust, why = one.trust, one.why or one.trust
        reached = one.last_id
    return (trust, why) if reached >= last_id else (None, UNTOLD)


def _is_last(ledger: Sequence[BookInterval], last_id: int, at_ms: int) -> bool:
    """Whether an entry says that there was nothing behind an update up to the moment."""
    return any(one.last_id == last_id and at_ms < one.end_ms for one in ledger)


def _end(ledger: Sequence[BookInterval], last_id: int) -> str:
    """Why the chain ended at an id; empty: it did not."""
    return next((one.cause for one in ledger if one.last_id == last_id and one.cause), "")
