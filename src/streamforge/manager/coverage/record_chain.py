"""Whether stored records follow each other where what was loaded apart meets, of a kind whose records tell that."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise

import msgspec

from streamforge.manager.coverage.record_count import first_stored_from, with_times
from streamforge_utils.model.completeness.rule import Run
from streamforge_utils.model.coverage import Segment, Verdict, clip, touching
from streamforge_utils.model.kinds.registry import kind_of
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.ports.store import Store

_MOST = 1000
"""Records of a seam that are compared, at most: so many do not happen in two milliseconds."""

_replace = msgspec.structs.replace


async def with_breaks(
    store: Store, series: Series, segments: Sequence[Segment], known: Iterable[Segment], seams: Iterable[int]
) -> list[Segment]:
    """`segments`, in which two stored records that contradict each other are `ours`, with that as the cause.

    seams: the times at which what was loaded apart meets. Loaders read a millisecond beyond their ranges, so all
    records of the milliseconds on both sides are compared, with the ones right before and behind them. known: of the
    series; what lies beside `segments` is compared as well, and stays as it is. Of a kind that is not `chained` nothing
    is read. Raises RetryableError.
    """
    own = [one for one in segments if one.verdict is Verdict.STORED and _ids(one)]
    if not kind_of(series).chained or not own:
        return list(segments)
    start_ms, end_ms = segments[0].start_ms, segments[-1].end_ms
    beside = [one for one in known if one.verdict is Verdict.STORED]
    beside = [one for one in beside if one.start_ms < start_ms <= one.end_ms or one.start_ms <= end_ms < one.end_ms]
    broken: dict[int, str] = {}
    for seam_ms in sorted(set(seams)):
        for one in touching(own, TimeRange(max(0, seam_ms - 1), seam_ms + 1)):
            broken |= await _breaks(store, series, await _around(store, series, one, seam_ms), own, beside)
    return [piece for one in segments for piece in await _without(store, series, one, broken)]


def _ids(segment: Segment) -> range:
    """The ids of a stored segment; none where it does not tell them."""
    first, last = segment.first_id, segment.last_id
    return range(0) if first is None or last is None else range(first, last + 1)


async def _around(store: Store, series: Series, segment: Segment, seam_ms: int) -> range:
    """The ids of a segment that are compared at a seam, and those right before and behind them."""
    ids, collection = _ids(segment), segment.collection or ""
    first, end = ids.start, ids.stop
    if segment.start_ms < seam_ms - 1:
        first = await first_stored_from(store, collection, series, ids, seam_ms - 1)
    if segment.end_ms > seam_ms + 1:
        end = await first_stored_from(store, collection, series, range(first, ids.stop), seam_ms + 1)
    return range(max(0, first - 1), min(end, first + _MOST) + 1)


async def _breaks(
    store: Store, series: Series, around: range, own: Sequence[Segment], beside: Iterable[Segment]
) -> dict[int, str]:
    """Those of some records that do not follow each other, each with the reason; what is not stored is left out."""
    kind, found = kind_of(series), dict[int, bytes]()
    for collection, part in _places(around, own, beside):
        first, last = kind.key_range(series, part)
        documents = await store.read(collection, first=first, last=last, limit=len(part))
        positions = kind.positions(series, [document.key for document in documents])
        found |= zip(positions, (document.body for document in documents), strict=True)
    broken: dict[int, str] = {}
    for before, after in pairwise(sorted(found)):
        if reason := kind.break_between(found[before], found[after]):
            broken |= {before: reason, after: reason}
    return broken


def _places(around: range, own: Sequence[Segment], beside: Iterable[Segment]) -> Iterator[tuple[str, range]]:
    """Where the ids lie: of what is beside the range only the ones that are right before and behind all in it."""
    for one in own:
        ids = _ids(one)
        if part := range(max(around.start, ids.start), min(around.stop, ids.stop)):
            yield one.collection or "", part
    every = range(_ids(own[0]).start, _ids(own[-1]).stop)
    for one in beside:
        yield from ((one.collection or "", range(id, id + 1)) for id in (around[0], around[-1]) if id not in every)


async def _without(store: Store, series: Series, segment: Segment, broken: Mapping[int, str]) -> Sequence[Segment]:
    """A segment, of which the records in `broken` are `ours`."""
    ids = _ids(segment) if segment.verdict is Verdict.STORED else range(0)
    lacking = [id for id in sorted(broken) if id in ids]
    if not lacking:
        return [segment]
    runs, first = list[Run](), ids.start
    for id in [*lacking, ids.stop]:
        if first < id:
            runs.append(await with_times(store, series, Run(first, id - 1, segment.collection)))
        if id < ids.stop and first == id and runs and runs[-1].collection is None:
            runs[-1] = Run(runs[-1].first, id)
        elif id < ids.stop:
            runs.append(Run(id, id))
        first = id + 1
    found = list[Segment]()
    for one in kind_of(series).rule(series).survey(segment.span, runs, None):
        why = next((broken[id] for id in lacking if id in _ids(one)), "")
        stored = one.verdict is Verdict.STORED
        found.append(_replace(one, cause=segment.cause) if stored else _replace(one, verdict=Verdict.OURS, cause=why))
    return clip(found, segment.span)
