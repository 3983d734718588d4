"""Where the bars of a series open, for the one interval whose grid the calendar does not fix."""

from __future__ import annotations

from streamforge.manager.persistence.coverage_store import Known
from streamforge_utils.model.candles import FIRST_TIME_MS, candle_key_prefix
from streamforge_utils.model.coverage import Verdict
from streamforge_utils.model.intervals import Interval
from streamforge_utils.ports.store import DocumentStore


async def phase_of(store: DocumentStore, known: Known) -> int | None:
    """An open time of the series, where its grid needs one: what coverage remembers, or that of any of its records."""
    interval = Interval(known.series.interval)
    if interval.aligned_by_calendar or known.phase_ms is not None:
        return known.phase_ms
    prefix = candle_key_prefix(known.series.symbol, interval.value)
    for segment in known.segments:
        if segment.verdict is Verdict.STORED and segment.collection is not None:
            first, last = (f"{prefix}{max(t, FIRST_TIME_MS)}" for t in (segment.start_ms, segment.end_ms))
            for key in await store.keys(segment.collection, first=first, last=last, limit=1):
                return int(key[len(prefix) :])
    return None
