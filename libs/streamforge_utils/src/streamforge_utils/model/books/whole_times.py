"""When the best levels of an order book, and all that are known, are taken. Times are those of its messages, in ms."""

from __future__ import annotations

from streamforge_utils.model.books.book_settings import BookSettings

_BACK_MS = 1_000
"""What is verified and has no whole book in the store is not called verified in the end. So a book that is verified
again is taken soon, but no sooner behind the whole before it: it may be lost and found with every other message."""


class WholeTimes:
    """due_ms: nothing is taken of a message before it."""

    def __init__(self, settings: BookSettings) -> None:
        self.due_ms = 0
        self._every_top_ms, self._every_whole_ms = settings.top_every_ms, settings.checkpoint_every_ms
        self._top_ms = self._whole_ms = self._back_ms = 0

    def begin(self) -> None:
        """Both are taken of the next message."""
        self.due_ms = self._top_ms = self._whole_ms = 0

    def come_back(self) -> None:
        """A book is verified again: both are taken soon."""
        self._top_ms, self._whole_ms = min(self._top_ms, self._back_ms), min(self._whole_ms, self._back_ms)
        self.due_ms = min(self._top_ms, self._whole_ms)

    def take(self, time_ms: int) -> tuple[bool, bool]:
        """Whether the best levels, and all, are taken of a message of this time."""
        top, whole = time_ms >= self._top_ms, time_ms >= self._whole_ms
        if top:
            self._top_ms = _next(time_ms, self._every_top_ms)
        if whole:
            self._whole_ms = _next(time_ms, self._every_whole_ms)
            self._back_ms = time_ms + _BACK_MS
        self.due_ms = min(self._top_ms, self._whole_ms)
        return top, whole


def _next(time_ms: int, every_ms: int) -> int:
    return time_ms - time_ms % every_ms + every_ms
