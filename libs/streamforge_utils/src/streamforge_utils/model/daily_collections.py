"""The collections of what goes on for months: one for each UTC day, named by the day after a base they have in common.

A record's own time decides in which it lies: a late one, and one that is stored again, come to where it belongs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import lru_cache
from itertools import pairwise

import msgspec

from streamforge_utils.model.timeranges import TimeRange

DAY_MS = 86_400_000
LEDGER = "_ledger"
"""Ends the name of the collection of what belongs to no day."""
_NAME = re.compile(r"(.+)_(\d{8})", re.ASCII)


@lru_cache(maxsize=1024)
def _name(base: str, day: int) -> str:
    return f"{base}_{datetime.fromtimestamp(day * DAY_MS // 1000, UTC):%Y%m%d}"


@lru_cache(maxsize=4096)
def base_and_day(collection: str) -> tuple[str, int] | None:
    """The base of the name of a day's collection, and when the day begins, unix milliseconds; None: it names no day."""
    found = _NAME.fullmatch(collection)
    if found is None:
        return None
    try:
        day = datetime.strptime(found[2], "%Y%m%d").replace(tzinfo=UTC)
    except ValueError:
        return None
    return found[1], int(day.timestamp()) * 1000


class Placement(msgspec.Struct, frozen=True):
    """Where records lie: all in `collection`; or, `daily`, each in that of its day, of whose name it is the base."""

    collection: str
    daily: bool = False

    def at(self, time_ms: int) -> str:
        """The collection of a record that happened then, unix milliseconds."""
        return _name(self.collection, time_ms // DAY_MS) if self.daily else self.collection

    @property
    def ledger(self) -> str:
        """The collection of what tells of records, and may go on for weeks; where not `daily`, it lies with them."""
        return f"{self.collection}{LEDGER}" if self.daily else self.collection

    def holds(self, collection: str) -> bool:
        """Whether it is one of those."""
        if not self.daily:
            return collection == self.collection
        if not collection.startswith(self.collection):
            return False  # at once: thousands are asked about
        found = base_and_day(collection)
        return found is not None and found[0] == self.collection

    def of(self, span: TimeRange) -> list[tuple[str, TimeRange]]:
        """The collections of the records of `span`, each with its part of it, in the order of time."""
        if not self.daily:
            return [(self.collection, span)]
        first_ms = (span.start_ms // DAY_MS + 1) * DAY_MS
        cuts = [span.start_ms, *range(first_ms, span.end_ms, DAY_MS), span.end_ms]
        return [(self.at(start_ms), TimeRange(start_ms, end_ms)) for start_ms, end_ms in pairwise(cuts)]


def days_of(base: str, collections: Iterable[str]) -> list[str]:
    """Those of the collections that are days' of this base, in their order."""
    placement = Placement(base, daily=True)
    return [name for name in collections if placement.holds(name)]


def by_base(collections: Iterable[str]) -> list[str]:
    """Names for a person, sorted: several days of one base are told once, with their number."""
    days: dict[str, list[str]] = {}
    for name in sorted(set(collections)):
        found = base_and_day(name)
        days.setdefault(name if found is None else found[0], []).append(name)
    return [names[0] if len(names) == 1 else f"{base} ({len(names)} days)" for base, names in days.items()]
