"""The records of diffs that lie in segments, as those of a collection are read: in batches, oldest first, each once."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence

from streamforge_utils.model.books.segments import segment_prefix
from streamforge_utils.model.kinds.registry import kind_of
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.ports.object_store import ObjectStore
from streamforge_utils.runtime.sink.stored_segments import StoredSegment, StoredSegments

_BATCH = 1000
_KEPT = 3
"""What overlaps, or comes late, lies in neighbouring segments."""

Records = list[tuple[str, bytes]]


async def diffs_in_segments(
    objects: ObjectStore, series: Series, span: TimeRange | None, after: str | None, limit: int
) -> AsyncIterator[Sequence[tuple[str, bytes]]]:
    """Records (key, JSON) of a series of diffs in batches, `limit` in all; of those that happened in `span`.

    after: continue behind this key. One segment is held at a time. A diff that came late comes behind later ones.
    Raises RetryableError or DamagedFile.
    """
    found = StoredSegments(objects, segment_prefix(series.symbol))
    last_id = 0 if after is None else kind_of(series).position_of(after) or 0
    segments = found.behind(last_id) if after is not None or span is None else found.since(span.start_ms)
    known: deque[set[str]] = deque(maxlen=_KEPT)
    async for segment in segments:
        if span is not None and segment.manifest.start_ms >= span.end_ms:
            return
        records = await asyncio.to_thread(_records, segment, series, span, last_id)
        new = [one for one in records if not any(one[0] in keys for keys in known)]
        known.append({key for key, _ in records})
        for first in range(0, min(len(new), limit), _BATCH):
            yield new[first : min(first + _BATCH, limit)]
        limit -= len(new)
        if limit <= 0:
            return


def _records(segment: StoredSegment, series: Series, span: TimeRange | None, behind_id: int) -> Records:
    """Those of one segment, by id."""
    kind = kind_of(series)
    found: dict[int, tuple[str, bytes]] = {}
    for line in segment.lines():
        key, _, body = kind.document(None, line)
        position = kind.position_of(key) or 0
        if position > behind_id and (span is None or kind.time_of(body) in span):
            found[position] = key, body
    return [found[position] for position in sorted(found)]
