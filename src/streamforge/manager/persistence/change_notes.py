"""Which stored documents have changed, for who follows all of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

MOST_CHANGED = 5000
"""Documents of which it is kept that they changed; of more it is only known that some did."""
WORKFLOW, BATCH, SCHEDULE = "workflow", "batch", "schedule"


class Changed(NamedTuple):
    """A document that was written, noted or removed. kind: `WORKFLOW`, `BATCH` or `SCHEDULE`."""

    kind: str
    id: str


class ChangeNotes:
    """Each document once, however often it has changed since the last `take`, the latest change last."""

    def __init__(self) -> None:
        self._changed: dict[Changed, None] = {}
        self._lost = False

    def add(self, kind: str, id: str) -> None:
        """The document has changed."""
        changed = Changed(kind, id)
        self._changed.pop(changed, None)
        self._changed[changed] = None
        if len(self._changed) > MOST_CHANGED:
            self._changed.clear()
            self._lost = True

    def take(self) -> tuple[Sequence[Changed], bool]:
        """What has changed since the last call, and whether more did than could be kept. One alone may call it."""
        found, lost = list(self._changed), self._lost
        self._changed, self._lost = {}, False
        return found, lost

    def give_back(self, changed: Iterable[Changed]) -> None:
        """These are to be taken again."""
        for one in changed:
            self.add(*one)
