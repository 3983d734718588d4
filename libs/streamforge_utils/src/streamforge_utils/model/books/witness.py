"""Whether the exchange's best prices come, and are compared with a book, where its own best levels change.

The book is looked at once a second: nothing is done for each diff. Where no best level changes no best prices are due.
"""

from __future__ import annotations

from streamforge_utils.model.books.synchroniser import Synchroniser
from streamforge_utils.model.books.trust import Trust

ENOUGH = 20
"""So many looks at which a best level had changed: in the recordings at most 4 are between two comparisons."""


class Witness:
    """Times are monotonic seconds; None: there is none.

    agreed_at: of the last comparison that agreed, as it was seen. due_since: a best level changed then, and no best
    prices of that or a later update came.
    """

    def __init__(self) -> None:
        self.agreed_at: float | None = None
        self.due_since: float | None = None
        self._agreed = self._due_id = self._looked_id = 0
        self._best: tuple[tuple[float, float], tuple[float, float]] | None = None
        self._changes = 0
        self._changed_at: tuple[float, float] = (0.0, 0.0)

    @property
    def unchecked_s(self) -> float:
        """For so long best levels changed again and again, and no comparison agreed; 0: too few did."""
        first, last = self._changed_at
        return last - first if self._changes >= ENOUGH else 0.0

    def interrupted(self) -> None:
        """Best prices may be lost: those that were due are not waited for."""
        self.due_since = self._best = None

    def look(self, kept: Synchroniser, ticker_id: int, now: float) -> None:
        """Compare the best levels with those of the last look. ticker_id: of the newest best prices that came."""
        if kept.agreed != self._agreed:
            self._agreed, self.agreed_at, self._changes = kept.agreed, now, 0
        if ticker_id > self._due_id:
            self.due_since = None
        book, before, before_id = kept.book, self._best, self._looked_id
        if book is None or kept.standing.trust is not Trust.VERIFIED:
            self._best = None
            return
        self._best, self._looked_id = book.best(), book.last_id
        if before is None or before == self._best:
            return
        self._changes += 1
        self._changed_at = self._changed_at[0] if self._changes > 1 else now, now
        if self.due_since is None and ticker_id <= before_id:
            self.due_since, self._due_id = now, before_id
