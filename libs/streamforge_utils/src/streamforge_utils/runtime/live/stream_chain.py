"""Compares records of streams whose ids follow each other, of a kind whose records tell which one follows them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from streamforge_utils.model.errors import PermanentError
from streamforge_utils.model.kinds.kind import RecordKind
from streamforge_utils.model.kinds.paging import ById, Page
from streamforge_utils.ports.bus import Received
from streamforge_utils.ports.clock import Clock
from streamforge_utils.runtime.live.backfill import Backfill

ANSWERS = 3
"""How often both records beside a break are asked for."""
_AGAIN_S = 1.0

_Row = tuple[int, int, bytes, bytes]


class StreamChain:
    """Pages in the order of their ids. What requests say counts where two records do not follow each other.

    The last record of a page does not wait for the one behind it: where that shows it to be wrong, it is written again.
    A kind that is not `chained` is passed through.
    """

    def __init__(self, kind: RecordKind, backfill: Backfill, clock: Clock) -> None:
        self._kind = kind
        self._backfill = backfill
        self._clock = clock
        self._last: list[_Row] = []

    def begin(self, last_id: int, record: Received) -> None:
        """What comes follows this one, which was written; one that is no record of the kind tells nothing."""
        with suppress(PermanentError):
            self._kind.document(record.key, record.value)
            self._last = [(last_id, 0, record.key or b"", record.value)]

    async def mended(self, page: Page) -> tuple[Page, Sequence[str]]:
        """What is to be written in the place of a page, and why records of it are left out, one reason each.

        A record is left out that does not follow the one before it, also as requests give them. Raises PermanentError.
        """
        if not self._kind.chained:
            return page, ()
        if self._kind.break_in([*(row[3] for row in self._last), *page.values]) is None:
            self._last = _rows(page)[-1:]
            return page, ()
        rows, begin, asked, reasons = self._last + _rows(page), len(self._last), set[int](), list[str]()
        while broken := self._kind.break_in([row[3] for row in rows]):
            place, reason = broken
            before, after = rows[place - 1], rows[place]
            answer = () if {before[0], after[0]} <= asked else await self._asked(before[0])
            if not answer:
                reasons.append(reason)
                del rows[place]
                continue
            if place == begin and self._kind.break_between(before[3], answer[1][3]):
                begin = 0  # what was written was wrong
            rows[place - 1 : place + 1] = answer
            asked |= {before[0], after[0]}
        self._last = rows[-1:]
        return _page(rows[begin:]), reasons

    async def _asked(self, first: int) -> Sequence[_Row]:
        """Two records that follow each other, as requests give them; empty: they never do.

        Each is asked for alone: an answer that has both, and contradicts itself, would be refused for ever.
        """
        for tries in range(ANSWERS):
            await self._clock.sleep(_AGAIN_S * tries)
            pages = [await self._backfill.page(ById(one, limit=1)) for one in (first, first + 1)]
            found = [row for page in pages for row in _rows(page)]
            if [row[0] for row in found] == [first, first + 1] and not self._kind.break_between(
                found[0][3], found[1][3]
            ):
                return found
        return ()


def _rows(page: Page) -> list[_Row]:
    return [*zip(page.positions, page.times, page.keys, page.values, strict=True)]


def _page(rows: Sequence[_Row]) -> Page:
    return Page([row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows], [row[3] for row in rows])
