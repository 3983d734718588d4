"""The store as a worker sees it: the port, measured."""

from __future__ import annotations

import time
from collections.abc import Sequence

from streamforge_utils.ports.store import Answer, Document, DocumentStore, Outcome, count_outcomes
from streamforge_utils.runtime.instruments import Instruments


class MeasuredStore:
    """A `DocumentStore` that times `upsert` and tallies its answers.

    A refused document is counted elsewhere: once it is a dead letter.
    """

    def __init__(self, store: DocumentStore, instruments: Instruments) -> None:
        self._store = store
        self._progress, self._metrics = instruments.progress, instruments.metrics

    @property
    def upserts_at_once(self) -> int:
        return self._store.upserts_at_once

    async def upsert(self, collection: str, documents: Sequence[Document]) -> Sequence[Answer]:
        """As the port says."""
        start = time.perf_counter()
        answers = await self._store.upsert(collection, documents)
        self._metrics.observe("store_seconds", time.perf_counter() - start)
        counts = count_outcomes(answers)
        kept = len(answers) - counts.get(Outcome.REFUSED, 0)
        self._progress.records += kept
        self._progress.unchanged += counts.get(Outcome.UNCHANGED, 0)
        self._progress.stale += counts.get(Outcome.STALE, 0)
        self._metrics.count("records", kept)
        return answers

    async def read(
        self, collection: str, *, first: str = "", last: str | None = None, limit: int = 1000
    ) -> Sequence[Document]:
        """As the port says."""
        return await self._store.read(collection, first=first, last=last, limit=limit)

    async def keys(
        self, collection: str, *, first: str = "", last: str | None = None, limit: int = 100_000
    ) -> Sequence[str]:
        """As the port says."""
        return await self._store.keys(collection, first=first, last=last, limit=limit)

    async def count(self, collection: str, *, first: str = "", last: str | None = None) -> int:
        """As the port says."""
        return await self._store.count(collection, first=first, last=last)
