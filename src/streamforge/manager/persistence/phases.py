"""Where the steps of a series' grid begin, where the calendar does not fix it."""

from __future__ import annotations

from streamforge.manager.persistence.coverage_store import SeriesCoverage
from streamforge_utils.model.coverage import Verdict
from streamforge_utils.model.kinds.registry import kind_of, rule_of
from streamforge_utils.ports.store import DocumentStore


async def phase_of(store: DocumentStore, known: SeriesCoverage) -> int | None:
    """A position of the series, where its grid needs one: what coverage remembers, or that of any of its records."""
    if rule_of(known.series).is_fixed(known.phase_ms):
        return known.phase_ms
    kind = kind_of(known.series)
    for segment in known.segments:
        if segment.verdict is Verdict.STORED and segment.collection is not None:
            first, last = kind.key_range(known.series, segment.span)
            keys = await store.keys(segment.collection, first=first, last=last, limit=1)
            for position in kind.positions(known.series, keys):
                return position
    return None
