"""Bars made from stored records: of a range at once, read page by page, added up beside the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from streamforge.manager.coverage.record_count import stored_positions
from streamforge.manager.coverage.store import SeriesCoverage
from streamforge_utils.model.bar_sums import BarSum, fields_of, merged, sums_of
from streamforge_utils.model.completeness.grid import Grid
from streamforge_utils.model.coverage import Verdict, touching
from streamforge_utils.model.kinds.registry import kind_of
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.ports.store import Store

PAGE = 2600
"""Records that are added up at once: a quarter of a week of minutes. More would not fit into a cache; between two pages
each thread waits for the others."""
_FIELDS = 6
"""What counts of a record for a bar."""


async def bars_from_records(store: Store, known: SeriesCoverage, span: TimeRange, grid: Grid) -> list[BarSum]:
    """The bars of `span`, whole bars of `grid`, of the records that the coverage calls stored, and of no others.

    Raises RetryableError, or PermanentError for what is no record.
    """
    found = list[BarSum]()
    pages = _pages(store, known, span)
    following = asyncio.ensure_future(anext(pages, None))
    try:
        while (records := await following) is not None:
            following = asyncio.ensure_future(anext(pages, None))  # is read meanwhile
            found += await asyncio.to_thread(sums_of, records, grid, span)
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await pages.aclose()
    return merged(found, grid)


async def first_price(store: Store, known: SeriesCoverage, span: TimeRange) -> tuple[int, float] | None:
    """Time and price of the first record in `span` that the coverage calls stored: of a candle its open price.

    None: there is none. Raises RetryableError, or PermanentError for what is no record.
    """
    pages = _pages(store, known, span, 1)
    try:
        records = await anext(pages, None)
    finally:
        await pages.aclose()
    if records is None:
        return None
    [found] = sums_of(records, Grid(1, 0), span)
    return found.time, found.open


async def _pages(
    store: Store, known: SeriesCoverage, span: TimeRange, many: int = PAGE
) -> AsyncGenerator[Sequence[tuple[Any, ...]], None]:
    series, kind = known.series, kind_of(known.series)
    names = fields_of(kind)
    names = names if kind.position in names else (*names, kind.position)
    for segment in touching(known.segments, span):
        within = segment.span.intersection(span)
        if within is None or segment.verdict is not Verdict.STORED or segment.collection is None:
            continue
        left = await stored_positions(store, segment.collection, series, within)
        while left:
            page = await store.values(segment.collection, series, left, names, limit=many)
            if page:
                yield [one[:_FIELDS] for one in page] if len(names) > _FIELDS else page
            if len(page) < many:
                break
            left = range(page[-1][names.index(kind.position)] + 1, left.stop)
