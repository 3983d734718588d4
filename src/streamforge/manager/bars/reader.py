"""Bars made from stored records: of a range at once, read page by page, added up beside the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from streamforge.manager.coverage.record_count import key_range
from streamforge.manager.coverage.store import SeriesCoverage
from streamforge_utils.model.bar_sums import BarSum, merged, sums_of
from streamforge_utils.model.completeness.grid import Grid
from streamforge_utils.model.coverage import Verdict, touching
from streamforge_utils.model.kinds.registry import kind_of
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.ports.store import DocumentStore

PAGE = 2600
"""Records that are added up at once: a quarter of a week of minutes. More would not fit into a cache; between two pages
each thread waits for the others."""


async def bars_from_records(store: DocumentStore, known: SeriesCoverage, span: TimeRange, grid: Grid) -> list[BarSum]:
    """The bars of `span`, whole bars of `grid`, of the records that the coverage calls stored, and of no others.

    Raises RetryableError, or PermanentError for what is no record.
    """
    kind, found = kind_of(known.series), list[BarSum]()
    pages = _pages(store, known, span)
    following = asyncio.ensure_future(anext(pages, None))
    try:
        while (bodies := await following) is not None:
            following = asyncio.ensure_future(anext(pages, None))  # is read meanwhile
            found += await asyncio.to_thread(sums_of, kind, bodies, grid, span)
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await pages.aclose()
    return merged(found, grid)


async def first_price(store: DocumentStore, known: SeriesCoverage, span: TimeRange) -> tuple[int, float] | None:
    """Time and price of the first record in `span` that the coverage calls stored: of a candle its open price.

    None: there is none. Raises RetryableError, or PermanentError for what is no record.
    """
    pages = _pages(store, known, span, 1)
    try:
        body = await anext(pages, None)
    finally:
        await pages.aclose()
    if body is None:
        return None
    [found] = sums_of(kind_of(known.series), body, Grid(1, 0), span)
    return found.time, found.open


async def _pages(
    store: DocumentStore, known: SeriesCoverage, span: TimeRange, many: int = PAGE
) -> AsyncGenerator[bytes, None]:
    series = known.series
    for segment in touching(known.segments, span):
        within = segment.span.intersection(span)
        if within is None or segment.verdict is not Verdict.STORED or segment.collection is None:
            continue
        first, last = await key_range(store, segment.collection, series, within)
        while first < last:
            page = await store.bodies(segment.collection, first=first, last=last, limit=many)
            if page.count:
                yield page.array
            if page.count < many:
                break
            first = page.last + "\x00"
