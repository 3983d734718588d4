"""Holes that requests do not fill: which of them a file may, now or once it can be read."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from streamforge.manager.coverage.store import SeriesCoverage
from streamforge.manager.dependencies import Dependencies
from streamforge.manager.engine.document import Workflow
from streamforge.manager.engine.refusals import ExchangeFailed
from streamforge.manager.workflows.history.model import History
from streamforge.manager.workflows.history.source_plan import LIST_WITHIN_S, file_due_ms
from streamforge.manager.workflows.series.model import Part, Plan, SourceChoice, loaded_series
from streamforge.manager.workflows.series.part_codes import PartCode
from streamforge.manager.workflows.series.requests import loads_from_archive
from streamforge_utils.model.coverage import FILE_AWAITED, Segment, Verdict, awaits_file, overlay, verdict_of, without
from streamforge_utils.model.errors import PermanentError, RetryableError
from streamforge_utils.model.kinds.bars import joined_spans
from streamforge_utils.model.kinds.registry import rule_of
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.ports.archive import Archive, ArchiveFile
from streamforge_utils.runtime.history.archive_loader import UNSERVED
from streamforge_utils.runtime.history.record_order import LACKS
from streamforge_utils.runtime.life.worker_definition import Source


async def searched(
    deps: Dependencies, workflow: Workflow, plan: Plan, known: SeriesCoverage, found: Sequence[Segment], *, ask: bool
) -> tuple[tuple[Part, ...], list[Segment]]:
    """What files may have of the holes in `found`, and `found` with those named of which a file is to be read still.

    Files are searched once for the holes of what was loaded by requests. ask: False: they are not now.
    Raises ExchangeFailed where the archive does not answer: what nobody was asked about has no verdict. Holes that
    await a file already stay as they are then.
    """
    series, now_ms = loaded_series(workflow), plan.exchange_now_ms
    asked = [part.span for part in plan.parts if part.source is Source.REST and not _was_read(part)]
    read = [part.span for part in plan.parts if part.source is Source.ARCHIVE or _was_read(part)]
    awaited = [left for one in known.segments if awaits_file(one) for left in without(one.span, read)]
    awaited = [span for span in awaited if span.end_ms > (plan.floor_ms or 0)]  # before it, requests give nothing
    if (
        not ask
        or workflow.part(History).source is not SourceChoice.AUTO
        or not loads_from_archive(workflow)
        or deps.archive is None
    ):
        return (), _awaiting(series, found, awaited)
    holes = [
        common
        for one in found
        if (one.verdict is Verdict.EXCHANGE and _has_records(series, one))
        or (one.verdict is Verdict.UNKNOWN and one.cause)
        for span in asked
        if (common := one.span.intersection(span)) is not None
    ]
    recent = [hole for hole in holes if now_ms < file_due_ms(series, hole)]
    elsewhere = [left for span in awaited for left in without(span, [part.span for part in plan.parts])]
    if workflow.part(History).archive_searched:  # a file that was refused may be replaced, as long as one may come
        unserved = [part.span for part in plan.parts if UNSERVED in part.reason]
        return (), _awaiting(series, found, [*elsewhere, *recent, *unserved])
    if workflow.part(History).archive_failure:
        return (), _awaiting(series, found, [*awaited, *holes])
    if not holes:
        return (), _awaiting(series, found, elsewhere)
    try:
        files = await _files(deps.archive, series, TimeRange(holes[0].start_ms, holes[-1].end_ms))
    except ExchangeFailed:
        if any(without(hole, awaited) for hole in holes):
            raise
        return (), _awaiting(series, found, awaited)  # they were there before: what is new does not wait for them
    over = joined_spans(one.span for one in files if one.span.end_ms <= now_ms)
    reason = "the exchange gave none of it by requests: a file may have it"
    parts = tuple(
        Part(span=there, source=Source.ARCHIVE, reason=reason, codes=(PartCode.LEFT_BY_REQUESTS,))
        for hole in holes
        for span in over
        if (there := hole.intersection(span)) is not None
    )
    none_yet = [left for hole in recent for left in without(hole, over)]
    # Those of `parts`, too: it may be stopped before they are read.
    return parts, _awaiting(series, found, [*elsewhere, *none_yet, *(part.span for part in parts)])


async def _files(archive: Archive, series: Series, span: TimeRange) -> Sequence[ArchiveFile]:
    """The files that have some of `span`. Raises ExchangeFailed."""
    try:
        async with asyncio.timeout(LIST_WITHIN_S):
            return await archive.files(series, span)
    except (RetryableError, PermanentError, TimeoutError) as error:
        why = str(error) or f"not within {LIST_WITHIN_S:g} s"
        raise ExchangeFailed(
            RetryableError(
                f"whether the archive has what requests do not give of {span} is not known, as it does not answer: "
                f"{why}; with source=rest it is not asked"
            )
        ) from error


def _was_read(part: Part) -> bool:
    """Whether its file was read, and has none of it."""
    return PartCode.FILE_FAILED in part.codes and LACKS in part.reason and UNSERVED not in part.reason


def _has_records(series: Series, hole: Segment) -> bool:
    """Whether records lack in it. A time in which nothing happened has no ids."""
    return hole.first_id is not None or rule_of(series).position_at(hole.start_ms) is not None


def _awaiting(series: Series, found: Iterable[Segment], spans: Sequence[TimeRange]) -> list[Segment]:
    """`found`, in which holes of the exchange have, in `spans`, the cause that a file may fill them.

    A hole of ids is not cut: its times do not tell which lie where.
    """
    named = list[Segment]()
    for one in found:
        inside = [common for span in spans if (common := one.span.intersection(span)) is not None]
        if one.verdict is not Verdict.EXCHANGE or not inside or not _has_records(series, one):
            named.append(one)
        elif one.first_id is not None:
            named.append(replace(one, cause=FILE_AWAITED))
        else:
            marks = [replace(verdict_of(span, one.verdict), cause=FILE_AWAITED) for span in joined_spans(inside)]
            named += overlay([one], marks)
    return named
