"""Holes that requests do not fill: which of them a file may, now or once it can be read."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from streamforge.manager.dependencies import Dependencies
from streamforge.manager.execution.planner import ExchangeFailed
from streamforge.manager.execution.source_plan import LATE_MS, LIST_WITHIN_S
from streamforge.manager.part_codes import PartCode
from streamforge.manager.persistence.coverage_store import SeriesCoverage
from streamforge.manager.requests import loads_from_archive
from streamforge.manager.workflow import Part, Plan, SourceChoice, Workflow
from streamforge_utils.model.coverage import FILE_AWAITED, Segment, Verdict, awaits_file, without
from streamforge_utils.model.errors import PermanentError, RetryableError
from streamforge_utils.model.kinds.bars import joined_spans
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.runtime.worker_definition import Source


async def searched(
    deps: Dependencies, workflow: Workflow, plan: Plan, known: SeriesCoverage, found: Sequence[Segment], *, ask: bool
) -> tuple[tuple[Part, ...], list[Segment]]:
    """What files may have of the holes in `found`, and `found` with the holes named of which a file is awaited.

    Files are searched once for the holes of what was loaded by requests. ask: False: they are not now.
    Raises ExchangeFailed where the archive does not answer: what nobody was asked about has no verdict.
    """
    asked = [part.span for part in plan.parts if part.source is Source.REST]
    read = [part.span for part in plan.parts if part.source is Source.ARCHIVE]
    before = [one.span for one in known.segments if awaits_file(one)]
    awaited = [left for span in before for left in without(span, read)]
    if not ask or workflow.source is not SourceChoice.AUTO or not loads_from_archive(workflow):
        return (), _awaiting(found, awaited)
    if deps.archive is None or workflow.archive_searched:
        return (), _awaiting(found, awaited)
    if workflow.archive_failure:
        return (), _awaiting(found, [*awaited, *asked])
    holes = [
        common
        for one in found
        if one.verdict is Verdict.EXCHANGE or (one.verdict is Verdict.UNKNOWN and one.cause)
        for span in asked
        if (common := one.span.intersection(span)) is not None
    ]
    if not holes:
        return (), _awaiting(found, awaited)
    try:
        async with asyncio.timeout(LIST_WITHIN_S):
            files = await deps.archive.files(workflow.series, TimeRange(holes[0].start_ms, holes[-1].end_ms))
    except (RetryableError, PermanentError, TimeoutError) as error:
        why = str(error) or f"not within {LIST_WITHIN_S:g} s"
        raise ExchangeFailed(
            RetryableError(
                f"whether the archive has what requests do not give of {holes[0]} is not known, as it does not answer: "
                f"{why}; with source=rest it is not asked"
            )
        ) from error
    reason = "the exchange gave none of it by requests: a file may have it"
    over = joined_spans(one.span for one in files if one.span.end_ms <= plan.exchange_now_ms)
    late_ms = plan.exchange_now_ms - LATE_MS
    none_yet = [left for hole in holes for left in without(hole, over) if left.end_ms > late_ms]
    elsewhere = [left for span in awaited for left in without(span, asked)]
    parts = tuple(
        Part(span=there, source=Source.ARCHIVE, reason=reason, codes=(PartCode.LEFT_BY_REQUESTS,))
        for hole in holes
        for span in over
        if (there := hole.intersection(span)) is not None
    )
    return parts, _awaiting(found, [*elsewhere, *none_yet])


def _awaiting(found: Iterable[Segment], spans: Sequence[TimeRange]) -> list[Segment]:
    """`found`, in which each hole of the exchange that touches one of `spans` has the cause that a file may fill it.

    Such a hole is not cut: where its records have ids, its times do not tell which.
    """
    return [
        replace(one, cause=FILE_AWAITED)
        if one.verdict is Verdict.EXCHANGE and any(one.span.intersection(span) for span in spans)
        else one
        for one in found
    ]
