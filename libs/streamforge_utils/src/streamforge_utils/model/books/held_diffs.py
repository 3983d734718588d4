"""The diffs of an order book that are held for a whole book that is on its way."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from streamforge_utils.model.books.book_messages import DepthDiff
from streamforge_utils.model.books.order_book import OrderBook
from streamforge_utils.model.books.trust import Mark


class _Held(msgspec.Struct, frozen=True, gc=False):
    """A diff that is held. mark: the place right before it. size: of its message, bytes."""

    diff: DepthDiff
    mark: Mark
    size: int


class HeldDiffs:
    """The newest of a chain, at most `most`, of `most_bytes` together. forgotten: so many are held no longer."""

    def __init__(self, most: int, most_bytes: int) -> None:
        self.forgotten = 0
        self._most, self._most_bytes = most, most_bytes
        self._held: list[_Held] = []
        self._bytes = 0

    def add(self, diff: DepthDiff, mark: Mark, size: int) -> None:
        """Hold one more. mark: the place right before it. size: of its message, bytes."""
        held = self._held
        held.append(_Held(diff, mark, size))
        self._bytes += size
        if len(held) > self._most or self._bytes > self._most_bytes:
            oldest = len(held) // 2 + 1
            self.forgotten += oldest
            self._bytes -= sum(one.size for one in held[:oldest])
            del held[:oldest]

    def clear(self) -> None:
        """Hold none."""
        self._held, self._bytes = [], 0

    def first_id(self, next_id: int) -> int:
        """Of the oldest one; `next_id` if none is held."""
        return self._held[0].diff.first_id if self._held else next_id

    def reach(self, book: OrderBook, diffs: Iterable[DepthDiff], next_id: int) -> None:
        """Lead a book on by diffs from elsewhere to where the oldest one follows, as far as they follow each other."""
        for diff in diffs:
            if book.last_id + 1 >= self.first_id(next_id) or diff.first_id > book.last_id + 1:
                return
            if diff.last_id > book.last_id:
                book.apply(diff)

    def lead(self, book: OrderBook, here: Mark) -> tuple[Mark, Mark] | None:
        """Lead a book on to this place: the places since which it is led, and since which its best prices are known.

        None: it is crossed on the way.
        """
        behind = [held for held in self._held if held.diff.last_id > book.last_id]
        places = [*(held.mark for held in behind), here]
        known = places[0]
        for held, place in zip(behind, places[1:], strict=True):
            book.apply(held.diff)
            if book.is_crossed:
                return None
            if book.is_lost:
                known = place
        return places[0], known
