"""How far the coverage of a live workflow reaches without a gap. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import NamedTuple

from streamforge_utils.model.coverage import PASSED, Segment, Verdict


class Front(NamedTuple):
    """The end of what is known without a gap. last: the segment that ends there. position: of the next record."""

    at_ms: int
    last: Segment | None = None
    position: int | None = None


def front_of(segments: Sequence[Segment], from_ms: int, *, done: bool, until_ms: int | None = None) -> Front:
    """How far `segments` (sorted, disjoint) reach from `from_ms` on; done: only what needs nothing more counts.

    until_ms: those that end later do not.
    """
    found = Front(from_ms)
    for one in segments[bisect_right(segments, from_ms, key=lambda one: one.end_ms) :]:
        if one.start_ms > found.at_ms or (done and one.verdict not in PASSED):
            break
        if until_ms is not None and one.end_ms > until_ms:
            break
        position = found.position if one.verdict in (Verdict.EXCHANGE, Verdict.CLOSED) else None
        found = Front(one.end_ms, one, position if one.last_id is None else one.last_id + 1)
    return found
