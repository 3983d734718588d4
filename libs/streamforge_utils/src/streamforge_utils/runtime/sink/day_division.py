"""Divides documents among the collections in which a worker stores them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from streamforge_utils.model.daily_collections import DAY_MS, Placement
from streamforge_utils.model.kinds.kind import RecordKind
from streamforge_utils.model.kinds.registry import kind_of_document
from streamforge_utils.ports.columns import DocumentColumns, RecordColumns


class DayDivision:
    """By the time at which the record of each document happened, where there is a collection a day.

    What a ledger tells of records lies beside the days, and is stored behind them.
    """

    def __init__(self, placement: Placement, kind: Callable[[], RecordKind]) -> None:
        """kind: gives that of the worker's type; what its records are not is known by the form of key and body."""
        self._placement = placement
        self._kind = kind
        self._kinds: dict[str, RecordKind] = {}
        """By what stands before the position in a key."""

    def divide(self, documents: DocumentColumns) -> Sequence[tuple[str, Sequence[int]]]:
        """The collections of the documents, each with the places of those that belong there, ascending.

        Blocks, for about a microsecond a document. Raises PermanentError for a document of no kind.
        """
        if not self._placement.daily:
            return [(self._placement.collection, range(len(documents)))]
        if isinstance(documents, RecordColumns) and not documents.kind.is_ledger:
            return self._by_day(documents)
        days, ledger = dict[int, list[int]](), list[int]()
        for at, (key, body) in enumerate(zip(documents.keys, documents.bodies, strict=True)):
            prefix = key.rpartition("_")[0]
            kind = self._kinds.get(prefix) or self._kinds.setdefault(prefix, self._kind_of(key, body))
            places = ledger if kind.is_ledger else days.setdefault(kind.time_of(body) // DAY_MS, [])
            places.append(at)
        parts = [(self._placement.at(day * DAY_MS), places) for day, places in sorted(days.items())]
        return [*parts, (self._placement.ledger, ledger)] if ledger else parts

    def _by_day(self, records: RecordColumns) -> Sequence[tuple[str, Sequence[int]]]:
        days: dict[int, list[int]] = {}
        for at, record in enumerate(records.records):
            days.setdefault(getattr(record, records.kind.time) // DAY_MS, []).append(at)
        return [(self._placement.at(day * DAY_MS), places) for day, places in sorted(days.items())]

    def _kind_of(self, key: str, body: bytes) -> RecordKind:
        usual = self._kind()
        if usual.position_of(key) is not None and usual.holds(body):
            return usual
        return kind_of_document(key, body) or usual
