"""The ranges that a loader is told to load."""

from __future__ import annotations

from streamforge_utils.model.timeranges import TimeRange

MAX_RANGES = 200
"""More lacking ranges than this are joined: loading what is there already is harmless, a huge environment is not."""


def joined(ranges: list[TimeRange]) -> list[TimeRange]:
    """`ranges` (sorted) themselves, or one around all of them where they are too many."""
    return ranges if len(ranges) <= MAX_RANGES else [TimeRange(ranges[0].start_ms, ranges[-1].end_ms)]
