"""Rollups in the store: the bars of a series by UTC day and level, each with a mark of the records they were made of.

What a mark says follows from the coverage alone. So a rollup is out of date by itself once something of its day was
repaired, replaced or removed, also where the process that did it was killed then. What is removed for good is removed
here, too, to make room.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from hashlib import blake2b
from urllib.parse import quote, unquote

import msgspec

from streamforge.manager.coverage.store import SeriesCoverage
from streamforge_utils.model.bar_sums import BarSum
from streamforge_utils.model.coverage import Verdict, touching
from streamforge_utils.model.daily_collections import DAY_MS
from streamforge_utils.model.detail_levels import Levels
from streamforge_utils.model.kinds.kind import KEY_SAFE
from streamforge_utils.model.messages import DECODE_ERRORS
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.ports.store import Document, Store

COLLECTION = "streamforge-rollups"
_FORMAT = 1
_A_PAGE = 5000
_LONGEST_MARK = 64
_LAST_MS = 10**13 - 1
"""The last time that a key can hold."""
_SWEPT = 500


class _Rollup(msgspec.Struct, frozen=True):
    mark: str
    bars: list[BarSum]


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Rollup).decode


def marks_of(known: SeriesCoverage, span: TimeRange, length_ms: int) -> dict[int, str]:
    """By the start of each part of `span` of this length in which something is stored, which records that are.

    span: some whole parts, which begin at multiples of the length.
    """
    found: dict[int, list[str]] = {}
    for segment in touching(known.segments, span):
        if segment.verdict is Verdict.STORED and segment.collection is not None:
            for start_ms in _parts(segment.span, span, length_ms):
                within = (max(segment.start_ms - start_ms, 0), min(segment.end_ms - start_ms, length_ms))
                found.setdefault(start_ms, [f"{_FORMAT}"]).append(f"{within[0]}-{within[1]}@{segment.collection}")
    for one in known.rewritten:
        for start_ms in _parts(TimeRange(one.start_ms, one.end_ms), span, length_ms):
            if start_ms in found:
                found[start_ms].append(f"again {one.number}")
    return {start_ms: _mark(parts) for start_ms, parts in found.items()}


class Rollups:
    """The bars by day. Every method raises RetryableError."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def read(self, series: Series, level: str, marks: Mapping[int, str]) -> dict[int, list[BarSum]]:
        """The bars of each day that are kept and not out of date. marks: by day, ascending."""
        found = dict[int, list[BarSum]]()
        if not marks:
            return found
        days = list(marks)
        first, last = _key(series, level, days[0]), _key(series, level, days[-1]) + "\x00"
        while True:
            page = await self._store.read(COLLECTION, first=first, last=last, limit=_A_PAGE)
            for document in page:
                try:
                    rollup = _decode(document.body)
                except DECODE_ERRORS:
                    continue  # of another version
                day_ms = int(document.key.rpartition("_")[2])
                if marks.get(day_ms) == rollup.mark:
                    found[day_ms] = rollup.bars
            if len(page) < _A_PAGE:
                return found
            first = page[-1].key + "\x00"

    async def write(self, series: Series, bars: Sequence[tuple[str, int, str, list[BarSum]]]) -> None:
        """Keep bars, each with level, day and mark, in the place of what was kept of the same day."""
        documents = [
            Document(_key(series, level, day_ms), 0, _encode(_Rollup(mark, some))) for level, day_ms, mark, some in bars
        ]
        if documents:
            await self._store.upsert(COLLECTION, documents)

    async def forget(self, known: SeriesCoverage, span: TimeRange) -> None:
        """Remove what is kept of the days of `span` of which nothing is stored any more."""
        start_ms, end_ms = span.start_ms - span.start_ms % DAY_MS, -(-min(span.end_ms, _LAST_MS) // DAY_MS) * DAY_MS
        days = sorted(marks_of(known, TimeRange(start_ms, end_ms), DAY_MS))
        for level in Levels.of(known.series, known.grid_ms).rolled:
            for from_ms, to_ms in zip([start_ms, *(one + DAY_MS for one in days)], [*days, end_ms], strict=True):
                first, last = (_key(known.series, level.text, min(one, _LAST_MS)) for one in (from_ms, to_ms))
                if first < last and await self._store.keys(COLLECTION, first=first, last=last, limit=1):
                    await self._store.delete(COLLECTION, first=first, last=last)

    async def sweep(self, is_stored: Callable[[str], Awaitable[bool]], after: str = "", most: int = _SWEPT) -> str:
        """Remove what is left of series of which nothing is stored: a manager that died may have written it last.

        is_stored: whether something of the series of this id is. Looks at so many levels of series behind `after`;
        returns where to go on, empty at the end.
        """
        for _ in range(most):
            found = await self._store.keys(COLLECTION, first=after, limit=1)
            if not found:
                return ""
            level = found[0].rpartition("_")[0]
            first, after = f"{level}_", f"{level}`"  # the character behind _
            if not await is_stored(unquote(level.rpartition("_")[0])):
                await self._store.delete(COLLECTION, first=first, last=after)
        return after


def _parts(some: TimeRange, span: TimeRange, length_ms: int) -> range:
    start_ms, end_ms = max(some.start_ms, span.start_ms), min(some.end_ms, span.end_ms)
    return range(start_ms - start_ms % length_ms, end_ms, length_ms)


def _mark(parts: Sequence[str]) -> str:
    text = " ".join(parts)
    return text if len(text) <= _LONGEST_MARK else blake2b(text.encode(), digest_size=16).hexdigest()


def _key(series: Series, level: str, day_ms: int) -> str:
    return f"{quote(series.id, safe=KEY_SAFE)}_{level}_{day_ms:013}"
