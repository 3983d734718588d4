"""Which records of a range a collection holds: its keys against the grid, page by page."""

from __future__ import annotations

import msgspec

from streamforge_utils.model.completeness.grid import Grid
from streamforge_utils.model.completeness.rule import missing
from streamforge_utils.model.kinds.registry import kind_of
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.ports.store import DocumentStore

_KEYS_A_PAGE = 50_000


class Survey(msgspec.Struct, frozen=True, kw_only=True):
    """Which bars of a range are stored. holes: ranges without a record, sorted. stored: number of records."""

    span: TimeRange
    expected: int
    stored: int
    holes: tuple[TimeRange, ...]


async def survey(
    store: DocumentStore, collection: str, series: Series, grid: Grid, span: TimeRange, phase_ms: int | None
) -> Survey:
    """Compare the keys in `collection` with the grid of `span`. Raises RetryableError."""
    kind = kind_of(series)
    first, last = kind.key_range(series, span)
    holes: list[tuple[int, int]] = []
    stored = 0
    cursor_ms = span.start_ms
    while True:
        keys = await store.keys(collection, first=first, last=last, limit=_KEYS_A_PAGE)
        times = kind.positions(series, keys)
        stored += len(times)
        full = len(keys) == _KEYS_A_PAGE
        until_ms = times[-1] + 1 if full else span.end_ms
        holes += missing(grid.times(cursor_ms, until_ms, phase_ms), times)
        if not full:
            break
        cursor_ms = until_ms
        first = keys[-1] + "\x00"
    expected = len(grid.times(span.start_ms, span.end_ms, phase_ms))
    return Survey(span=span, expected=expected, stored=stored, holes=tuple(grid.spans(holes)))
