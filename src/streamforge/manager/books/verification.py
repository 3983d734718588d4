"""The verification of order books: segments are read again, and each id looked for that the coverage calls stored.

What is not there is `lost`, until a later verification finds it there. Of a live series it is looked for twice, as a
sink that reads its topic again replaces a segment.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from typing import NamedTuple

import structlog
from msgspec.structs import replace

from streamforge.manager.dependencies import Dependencies
from streamforge.manager.use_cases import Verification
from streamforge.manager.workflows.live.interval_comparison import IntervalComparison
from streamforge.manager.workflows.live.model import ledger_of
from streamforge.manager.workflows.series.model import loaded_series
from streamforge_utils.model.completeness.interval_survey import Link
from streamforge_utils.model.coverage import DAMAGED, GONE, Segment, Verdict, overlay, touching
from streamforge_utils.model.errors import PermanentError, RetryableError, StreamForgeError
from streamforge_utils.model.kinds.registry import kind_of, type_of
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.ports.object_store import DamagedObject
from streamforge_utils.runtime.sink.stored_segments import StoredSegment, StoredSegments

AGAIN_S = 60.0
_DOCUMENTS = 2000
_OVERLAP = 1000
"""So many ids a segment, or a record, may have in common with the one before."""
_log = structlog.get_logger(__name__)


class Chain(NamedTuple):
    """Records that follow each other without a gap: ids, the last one included, times, half-open, and how many."""

    first_id: int
    last_id: int
    start_ms: int
    end_ms: int
    records: int


async def verify_segments(deps: Dependencies, series: Series, span: TimeRange | None) -> Verification:
    """Look for each id of the ranges that the coverage calls stored (those that touch `span`); what lacks is `lost`.

    What was lost to a segment before, and is there again, is stored first, with the trust that its loader told.

    Raises RetryableError, also where nothing can be said, as no segment is found at all.
    """
    await _take_back(deps, series, span)
    known, counted = (await deps.coverage.known(series)).segments, 0
    suspects, gaps = list[tuple[Segment, int, list[Segment]]](), list[Segment]()
    for part in known if span is None else touching(known, span):
        if part.verdict is Verdict.STORED:
            records, lacking = await _looked_for(deps, series, part)
            counted += records
            if lacking:
                await _check_segments(deps, series)
                suspects.append((part, records, lacking))
    is_live = any(loaded_series(stored.workflow) == series for stored in deps.workflows.live.values())
    if suspects and is_live:
        await deps.clock.sleep(AGAIN_S)
    for part, counts, holes in suspects:
        records, lacking = await _looked_for(deps, series, part) if is_live else (counts, holes)
        if lacking and await _lose(deps, series, lacking):
            gap = replace(lacking[0], end_ms=lacking[-1].end_ms, collection=part.collection)
            gaps.append(replace(gap, records=max(0, part.records - records)))
    return Verification(counted=counted, gaps=tuple(gaps))


async def _take_back(deps: Dependencies, series: Series, span: TimeRange | None) -> None:
    """Call what of the lost segments is there again stored."""
    known = await deps.coverage.known(series)
    lost = [
        one
        for one in (known.segments if span is None else touching(known.segments, span))
        if one.verdict is Verdict.LOST and one.cause in (GONE, DAMAGED)
    ]
    intervals, found = kind_of(series).intervals, list[Segment]()
    if not lost or intervals is None:
        return
    workflows = [one async for one in deps.workflows.of_series(series.symbol, type_of(series))]
    for part in lost:
        for workflow in workflows:
            ledger = ledger_of(workflow)
            if ledger is None or ledger.from_ms is None or ledger.from_ms > part.start_ms:
                continue
            by_now = await IntervalComparison(deps, workflow, ledger, intervals).stored_by_now(known, part)
            if any(one.verdict is Verdict.STORED for one in by_now):
                found += [
                    one if one.verdict is not Verdict.UNKNOWN else replace(one, verdict=Verdict.LOST, cause=part.cause)
                    for one in by_now
                ]
            break
    async with deps.coverage.locks.hold(series.id):
        now = (await deps.coverage.known(series)).segments
        again = [one for one in found if all(each in lost for each in touching(now, one.span))]
        if again:
            await deps.coverage.lay_over(series, again)


async def _check_segments(deps: Dependencies, series: Series) -> None:
    """Raises RetryableError where no segment of the series can be found: not one of them is called lost then."""
    intervals = kind_of(series).intervals
    if deps.objects is None or intervals is None:
        raise RetryableError(
            f"the segments of {series.id} cannot be looked for: this manager has no objects; nothing was changed. Set "
            "STREAMFORGE_OBJECTS_URL, and verify again"
        )
    prefix = intervals.prefix(series, 0, 10 ** kind_of(series).digits - 1)
    async for _ in StoredSegments(deps.objects, prefix).names():
        return
    raise RetryableError(
        f"there is no segment of {series.id} at all, though the coverage calls some stored; nothing was changed. Let "
        "STREAMFORGE_OBJECTS_URL name the folder, or the bucket and prefix, that its sink writes to, or bring a "
        "copy of them back, and verify again"
    )


async def _looked_for(deps: Dependencies, series: Series, part: Segment) -> tuple[int, list[Segment]]:
    """How many records of a part are there, and which ids are not, as segments that are `lost`, in their order."""
    chains, damaged = await _of_segments(deps, series, part)
    lacking = _lacking(part, chains, damaged)
    if lacking and part.collection is not None:
        for gap in lacking:
            chains += [one async for one in _of_collection(deps, series, part, gap)]
        chains = _joined(chains)
        lacking = _lacking(part, chains, damaged)
    return sum(one.records for one in chains), lacking


async def _of_segments(deps: Dependencies, series: Series, part: Segment) -> tuple[list[Chain], list[int]]:
    """What segments have of a part, and with which updates those begin that are damaged."""
    intervals = kind_of(series).intervals
    if deps.objects is None or intervals is None:
        return [], []
    chains, damaged = list[Chain](), list[int]()
    segments = StoredSegments(deps.objects, intervals.prefix(series, 0, 10 ** kind_of(series).digits - 1))
    async for name, manifest in segments.within(part.span):
        try:
            if isinstance(manifest, StreamForgeError):
                raise manifest
            if (segment := await segments.read(name)) is not None:
                chains += await asyncio.to_thread(_chains_of, segment, series, part)
        except (PermanentError, DamagedObject) as error:
            damaged.append(intervals.first_id(name) or 0)
            _log.warning("a segment cannot be read", name=name, error=str(error))
    return _joined(chains), damaged


def _chains_of(segment: StoredSegment, series: Series, part: Segment) -> list[Chain]:
    """What a segment has of a part. Raises PermanentError where it is not as its manifest says."""
    intervals = kind_of(series).intervals
    links = [] if intervals is None else [intervals.link(line) for line in segment.lines()]
    manifest = segment.manifest
    ids = (min(one.first_id for one in links), max(one.last_id for one in links)) if links else (0, 0)
    if ids != (manifest.first_u, manifest.last_u):
        raise PermanentError(f"the segment {segment.name} is damaged: its ids are {ids[0]} to {ids[1]}")
    return _joined(_chains(links, part))


def _chains(links: Iterable[Link], part: Segment) -> Iterator[Chain]:
    for one in links:
        begun = part.start_ms <= one.time_ms if part.first_id is None else part.first_id <= one.last_id
        if begun and (one.time_ms < part.end_ms if part.last_id is None else one.first_id <= part.last_id):
            is_own = part.last_id is None or one.last_id <= part.last_id
            yield Chain(one.first_id, one.last_id, one.time_ms, one.time_ms + 1, int(is_own))


async def _of_collection(deps: Dependencies, series: Series, part: Segment, gap: Segment) -> AsyncIterator[Chain]:
    """What the collection of a part has of a gap."""
    kind, intervals = kind_of(series), kind_of(series).intervals
    first_id, last_id = gap.first_id or 0, gap.last_id or 0
    first, last = kind.key_range(series, range(first_id, last_id + 1 + _OVERLAP))
    while intervals is not None:
        page = await deps.store.read(part.collection or "", first=first, last=last, limit=_DOCUMENTS)
        found = _chains((intervals.link(one.body) for one in page), part)
        for chain in _joined(one for one in found if one.first_id <= last_id):  # or a day would be a million of them
            yield chain
        if len(page) < _DOCUMENTS:
            return
        first = page[-1].key + "\x00"


def _joined(chains: Iterable[Chain]) -> list[Chain]:
    """Chains by id, where what follows or overlaps is one."""
    found: list[Chain] = []
    for one in sorted({*chains}):
        last = found[-1] if found else None
        if last is None or one.first_id > last.last_id + 1:
            found.append(one)
        else:
            found[-1] = Chain(
                last.first_id,
                max(last.last_id, one.last_id),
                min(last.start_ms, one.start_ms),
                max(last.end_ms, one.end_ms),
                last.records + one.records,
            )
    return found


def _lacking(part: Segment, chains: Sequence[Chain], damaged: Sequence[int]) -> list[Segment]:
    """The ids of a part that are in no chain."""
    found: list[Segment] = []
    first_id = part.first_id if part.first_id is not None else chains[0].first_id if chains else 0
    last_id = part.last_id if part.last_id is not None else chains[-1].last_id if chains else first_id
    reached, at_ms = first_id - 1, part.start_ms
    end = Chain(last_id + 1, last_id + 1, part.end_ms, part.end_ms, 0)
    for one in (*chains, end):
        if one.first_id > reached + 1:
            start_ms, end_ms = min(at_ms, part.end_ms - 1), min(max(one.start_ms, at_ms + 1), part.end_ms)
            is_damaged = any(reached + 1 - _OVERLAP <= each < one.first_id for each in damaged)
            cause = DAMAGED if is_damaged else GONE
            hole = Segment(start_ms=start_ms, end_ms=end_ms, verdict=Verdict.LOST, cause=cause)
            found.append(replace(hole, first_id=reached + 1, last_id=one.first_id - 1))
            at_ms = end_ms
        reached, at_ms = max(reached, one.last_id), max(at_ms, one.end_ms)
    return found


async def _lose(deps: Dependencies, series: Series, lacking: Sequence[Segment]) -> bool:
    """Call what lacks `lost`, as far as the coverage calls it stored still; whether there is any."""
    async with deps.coverage.locks.hold(series.id):
        known = (await deps.coverage.known(series)).segments
        found = touching(known, TimeRange(lacking[0].start_ms, lacking[-1].end_ms))
        gone = [
            gap if common == gap.span else replace(gap, start_ms=common.start_ms, end_ms=common.end_ms, last_id=None)
            for gap in lacking
            for one in found
            if one.verdict is Verdict.STORED and (common := one.span.intersection(gap.span)) is not None
        ]
        if gone:
            laid = overlay(found, gone)
            sides = zip([None, *laid], laid, [*laid[1:], None], strict=False)
            await deps.coverage.lay_over(series, [_with_ids(*three) for three in sides])
    return bool(gone)


def _with_ids(before: Segment | None, one: Segment, after: Segment | None) -> Segment:
    """A stored segment with its ids where what is lost beside it tells them."""
    if one.verdict is Verdict.STORED and before is not None and before.verdict is Verdict.LOST and before.last_id:
        one = replace(one, first_id=before.last_id + 1)
    if one.verdict is Verdict.STORED and after is not None and after.verdict is Verdict.LOST and after.first_id:
        one = replace(one, last_id=after.first_id - 1)
    return one
