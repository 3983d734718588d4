"""Records that wait to be written, first in, first out: in memory, then on disk."""

from __future__ import annotations

from collections import deque
from pathlib import Path

from streamforge_utils.model.kinds.paging import Page
from streamforge_utils.runtime.live.id_order import RECORD_BYTES
from streamforge_utils.runtime.live.spill import Spill


class PageQueue:
    """Takes all that it is given; who gives must look whether it is `full`, and give no more until it is not."""

    def __init__(self, folder: Path, memory_bytes: int, disk_bytes: int) -> None:
        self._memory: deque[Page] = deque()
        self._held = 0
        self._limit = memory_bytes
        self._spill = Spill(folder, disk_bytes)
        self._over: deque[Page] = deque()

    @property
    def bytes(self) -> int:
        """What waits takes so much, about."""
        return self._held + self._spill.bytes

    @property
    def full(self) -> bool:
        """Whether there is no room left; then there is none until nearly all was given back."""
        return bool(self._over)

    def put(self, page: Page) -> None:
        """Keep a page behind the others."""
        if not page:
            return
        if not self._over and not self._spill.bytes and self._held <= self._limit:
            self._held += _size(page)
            self._memory.append(page)
        elif self._over or not self._spill.put(page):
            self._over.append(page)

    def get(self) -> Page | None:
        """The page that has waited longest; None: there is none. Raises OSError."""
        if self._memory:
            page = self._memory.popleft()
            self._held -= _size(page)
            return page
        spilled = self._spill.get()
        return self._over.popleft() if spilled is None and self._over else spilled

    def close(self) -> None:
        """Remove its files."""
        self._spill.close()


def _size(page: Page) -> int:
    return sum(map(len, page.values)) + len(page) * RECORD_BYTES
