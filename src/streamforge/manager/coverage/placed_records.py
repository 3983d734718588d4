"""The records of a series where a placement says that they lie: in one collection, or in those of its days."""

from __future__ import annotations

from typing import NamedTuple

from streamforge.manager.coverage.record_count import first_stored_from, time_of
from streamforge_utils.model.daily_collections import DAY_MS, Placement, base_and_day
from streamforge_utils.model.kinds.registry import kind_of, type_of
from streamforge_utils.model.names import collection_base
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.ports.store import Store

LATE_MS = 60_000
"""A record may come so long after a time that the exchange has called quiet, and then lie in the day before."""
_AT_ONCE = 3
"""Collections with records that are looked at together."""


def day_of(collection: str, series: Series) -> TimeRange | None:
    """The day of which records of the series lie in a collection; None: it is not a day's."""
    found = base_and_day(collection)
    if found is None or found[0] != collection_base(series.symbol, type_of(series)):
        return None
    return TimeRange(found[1], found[1] + DAY_MS)


class Behind(NamedTuple):
    """Positions, ascending, and the collections in which they lie, in the order of time. more: of the same there may
    be more."""

    positions: list[int]
    collections: list[str]
    more: bool


class PlacedRecords:
    """Every method raises RetryableError. latest_ms: nothing is stored that happened later; it costs less to know."""

    def __init__(self, store: Store, series: Series, placement: Placement) -> None:
        self._store = store
        self._series = series
        self._placement = placement

    async def behind(self, at_ms: int, first: int, most: int, latest_ms: int) -> Behind:
        """Of what happened at that time or later, the positions from `first` on, `most` at most."""
        kind = kind_of(self._series)
        begin, end = kind.key_range(self._series, range(first, 10**kind.digits - 1))
        positions, collections = list[int](), list[str]()
        for name in await self.names(at_ms, latest_ms):
            if len(positions) == most or len(collections) == _AT_ONCE:
                return Behind(sorted(positions), collections, more=True)
            keys = await self._store.keys(name, first=begin, last=end, limit=most - len(positions))
            if keys:
                positions += kind.positions(self._series, keys)
                collections.append(name)
        return Behind(sorted(positions), collections, more=len(positions) == most)

    async def first_from(self, at_ms: int, latest_ms: int) -> tuple[int, int] | None:
        """The position and the time of the first record that happened at that time or later."""
        kind = kind_of(self._series)
        every = range(10**kind.digits - 1)
        for name in await self.names(at_ms, latest_ms):
            first = await first_stored_from(self._store, name, self._series, every, at_ms)
            begin, end = kind.key_range(self._series, range(first, every.stop))
            for position in kind.positions(self._series, await self._store.keys(name, first=begin, last=end, limit=1)):
                return position, await self.time_of(position, [name])
        return None

    async def time_of(self, position: int, collections: list[str]) -> int:
        """When the record happened that lies in one of these; 0: it is gone."""
        for name in collections:
            if (found := await time_of(self._store, name, self._series, position)) is not None:
                return found
        return 0

    async def within(self, span: TimeRange) -> list[str]:
        """The collections in which records of `span` may lie."""
        names = self._of(span)
        if len(names) <= _AT_ONCE:
            return names
        there = {*await self._store.names()}
        return [name for name in names if name in there]

    def _of(self, span: TimeRange) -> list[str]:
        return [name for name, _ in self._placement.of(span)]

    async def names(self, at_ms: int, latest_ms: int) -> list[str]:
        """Where records may lie that happened at that time or later: of the days soon after it all, then those that
        there are."""
        near = self._of(TimeRange(at_ms - LATE_MS, at_ms + DAY_MS + 1))
        if not self._placement.daily or self._placement.at(latest_ms) <= near[-1]:
            return near
        later = (name for name in await self._store.names() if name > near[-1] and self._placement.holds(name))
        return [*near, *later]
