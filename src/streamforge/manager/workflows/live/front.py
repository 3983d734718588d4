"""How far a live workflow reaches: its coverage without a gap, and its loaders. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from streamforge.manager.engine.document import Workflow
from streamforge_utils.model.completeness.interval_survey import Link
from streamforge_utils.model.coverage import PASSED, Segment, Verdict
from streamforge_utils.runtime.life.worker_definition import Role


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


def kept_before(changed: Front, links: Sequence[Link], seen_id: int | None) -> list[Segment]:
    """What remains of a stored segment before a place in it, with its count if that is known.

    links: the stored records from that place on, up to `seen_id`; None: all of them.
    """
    part = changed.last
    if part is None or changed.position is None or part.start_ms >= changed.at_ms:
        return []
    last_id = part.last_id
    whole = part.records and last_id is not None and (seen_id is None or last_id <= seen_id)
    behind = sum(changed.position <= one.last_id <= (last_id or 0) for one in links)
    records = max(0, part.records - behind) if whole else 0
    return [msgspec.structs.replace(part, end_ms=changed.at_ms, last_id=changed.position - 1, records=records)]


def reached_ms(workflow: Workflow) -> int:
    """When the newest record happened that a loader has reported; 0: none has.

    The exchange's clock shows this time at least. That clock was read at the latest plan, and may have gone faster
    since than the manager's.
    """
    attempts = (step.attempt for step in workflow.steps if step.role is Role.LOADER)  # a sink's position is no time
    return max((one.progress.position or 0 for one in attempts if one is not None), default=0)
