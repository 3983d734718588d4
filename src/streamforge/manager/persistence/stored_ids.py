"""Records with consecutive ids in a collection: where those of a range of time lie."""

from __future__ import annotations

from streamforge_utils.model.coverage import Segment
from streamforge_utils.model.kinds.registry import kind_of
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.ports.store import DocumentStore


async def first_stored_from(store: DocumentStore, collection: str, series: Series, ids: range, time_ms: int) -> int:
    """The first of `ids` of which none that is stored before it happened at `time_ms` or later, and none behind it
    earlier; the end of `ids` where all that are stored are earlier. Raises RetryableError."""
    kind, low, high = kind_of(series), ids.start, ids.stop
    while low < high:
        middle = (low + high) // 2
        found = await store.read(collection, first=kind.key(series, middle), last=kind.key(series, high), limit=1)
        position = kind.positions(series, [found[0].key])[0] if found else None
        if position is None or kind.time_of(found[0].body) >= time_ms:
            high = middle
        else:
            low = position + 1
    return low


async def stored_ids(store: DocumentStore, collection: str, series: Series, span: TimeRange) -> range:
    """Between which ids the records of `span` lie that are stored in `collection`. Raises RetryableError."""
    ids = range(10 ** kind_of(series).digits - 1)
    first = await first_stored_from(store, collection, series, ids, span.start_ms)
    return range(first, await first_stored_from(store, collection, series, range(first, ids.stop), span.end_ms))


async def key_range(store: DocumentStore, collection: str, series: Series, span: TimeRange) -> tuple[str, str]:
    """The first key of the records of `span` in `collection`, and the first one behind them. Raises RetryableError."""
    kind = kind_of(series)
    if not kind.rule(series).by_id:
        return kind.key_range(series, span)
    ids = await stored_ids(store, collection, series, span)
    return kind.key(series, ids.start), kind.key(series, ids.stop)


async def time_of(store: DocumentStore, collection: str, series: Series, position: int) -> int | None:
    """When the stored record happened; None: it is not stored. Raises RetryableError."""
    kind = kind_of(series)
    key = kind.key(series, position)
    found = await store.read(collection, first=key, last=key + "\x00", limit=1)
    return kind.time_of(found[0].body) if found else None


async def ids_of(store: DocumentStore, series: Series, segment: Segment, within: TimeRange) -> range:
    """The ids that `within`, a part of a stored segment, must have."""
    collection = segment.collection or ""
    first, end = segment.first_id, None if segment.last_id is None else segment.last_id + 1
    if first is None or end is None:
        there = await stored_ids(store, collection, series, segment.span)
        first, end = there.start if first is None else first, there.stop if end is None else end
    start = first
    if within.start_ms > segment.start_ms:
        start = await first_stored_from(store, collection, series, range(first, end), within.start_ms)
    if within.end_ms < segment.end_ms:
        end = await first_stored_from(store, collection, series, range(start, end), within.end_ms)
    return range(start, max(start, end))
