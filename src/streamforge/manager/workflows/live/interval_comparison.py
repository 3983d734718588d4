"""The comparison of a live workflow's series of which only its loader's own record tells what it received.

What the loader has told, interval by interval, counts as far as the records are stored: in the collection, or in
segments in the store of objects. What no interval has is `lost` for good, with the cause that the loader told.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import takewhile

import msgspec
import structlog

from streamforge.manager.coverage.placed_records import LATE_MS
from streamforge.manager.coverage.record_count import first_stored_from
from streamforge.manager.coverage.store import SeriesCoverage
from streamforge.manager.dependencies import Dependencies
from streamforge.manager.engine.document import Workflow
from streamforge.manager.workflows.live.answers import stream_of
from streamforge.manager.workflows.live.comparison import Comparison
from streamforge.manager.workflows.live.front import Front, front_of, kept_before
from streamforge.manager.workflows.live.model import Ledger
from streamforge.manager.workflows.series.model import loaded_series
from streamforge_utils.model.completeness.continuity import MOST_TURNED, SUSPECT, Unbroken
from streamforge_utils.model.completeness.interval_survey import ENDED, NOT_STORED, Link, Terms, first_open, survey
from streamforge_utils.model.coverage import DAMAGED, GONE, Segment, Verdict, clip, outside, touching
from streamforge_utils.model.daily_collections import DAY_MS
from streamforge_utils.model.errors import DamagedFile, PermanentError
from streamforge_utils.model.kinds.intervals import Intervals
from streamforge_utils.model.kinds.registry import kind_named, kind_of, rule_of
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.ports.object_store import DamagedObject, ObjectStore
from streamforge_utils.runtime.life.worker_definition import Role

INTERVALS_A_STEP = 1000
LINKS_A_STEP = 20_000
DOCUMENTS_A_STEP = 2000
"""Of the collection: a record of an order book takes a kilobyte."""
_LATE_SEGMENTS = 4
"""So many segments are looked at that begin before an id: a first record may be late, or say that it reaches back."""
_OVERLAP = 1000
"""So many ids a record may have in common with the one before."""

_replace = msgspec.structs.replace
_log = structlog.get_logger(__name__)


def comparison_of(deps: Dependencies, workflow: Workflow, ledger: Ledger, *, close: bool = False) -> Comparison:
    """The comparison that the kind of a live workflow's series needs."""
    intervals = kind_of(loaded_series(workflow)).intervals
    if rule_of(loaded_series(workflow)).is_counted or intervals is None:
        return Comparison(deps, workflow, ledger, close=close)
    return IntervalComparison(deps, workflow, ledger, intervals, close=close)


class IntervalComparison(Comparison):
    """Its steps. Nothing of the series can be asked for: there are no supplements."""

    def __init__(
        self, deps: Dependencies, workflow: Workflow, ledger: Ledger, intervals: Intervals, *, close: bool = False
    ) -> None:
        super().__init__(deps, workflow, ledger, close=close)
        self._intervals = intervals
        self._entries = kind_named(intervals.kind)
        self._segment_id = ledger.segment_id

    async def quiet(self) -> None:
        """Ask the exchange, where the loader has nothing more for long, whether the symbol is traded, or again."""
        now_ms, quiet_ms = self._deps.clock.now_ms(), int(self._deps.policy.quiet_after_s * 1000)
        ledger, last_id = self.ledger, stream_of(self._workflow).last_id
        if last_id is not None and last_id != ledger.proven_id and not ledger.untraded:
            return
        if now_ms - (ledger.asked_ms if ledger.untraded else max(ledger.asked_ms, ledger.proven_ms or 0)) >= quiet_ms:
            self.ledger = _replace(ledger, asked_ms=now_ms)
            await self._ask_status()

    async def _learnt(self, known: SeriesCoverage, found: Sequence[Segment]) -> bool:
        if self._workflow.daily:
            await self._deps.store.flush(self._workflow.placement.ledger)
        return await super()._learnt(known, found)

    async def lacking(self) -> list[TimeRange]:
        """Nothing: what lacks is lost."""
        return []

    async def closed(self, *, compare: bool = True) -> tuple[Ledger, list[Segment]]:
        if compare:
            await self.step()  # it finds the holes that the next one looks at
        return await super().closed(compare=compare)

    async def _new(self, known: SeriesCoverage) -> tuple[list[Segment], bool]:
        front, told = self._front(known), await self._told_from(self.ledger.entry_id)
        if not told:
            return [], False
        if self.ledger.from_ms is None:
            from_ms = min(one.start_ms for one in told)
            self.ledger, front = _replace(self.ledger, from_ms=from_ms), Front(from_ms)
        # By what the coverage has: a step that comes to nothing is done again.
        passed = [*takewhile(lambda one: one.end_ms <= front.at_ms, told)]
        back = max(0, len(passed) - min(MOST_TURNED + 2, INTERVALS_A_STEP // 2))
        self.ledger = _replace(self.ledger, entry_id=told[back].first_id)
        all_told = len(told) < INTERVALS_A_STEP
        older = told[: max(0, len(passed) - 1)]
        if self._changed(known, older, front, doubtful=True) is None:
            told = told[len(older) :]
        told = await self._backed(told)
        changed = self._changed(known, told, front)
        front = changed or front
        ahead = [one for one in told if one.end_ms > front.at_ms]
        if not ahead and not (self._close and all_told):
            return [], not all_told
        behind_id = max((one.last_id + 1 for one in told), default=0) if front.position is None else front.position
        first_id = min([behind_id, *(first_open(one, front.position) for one in ahead)])
        last_id = max((one.last_id for one in ahead), default=behind_id)
        segment_id = self.ledger.segment_id if first_id >= self.ledger.segment_id else 0
        names = await self._records.names(front.at_ms, self._latest_ms())
        links, seen_id = await self._links(names, first_id, last_id, segment_id=segment_id)
        self.ledger = _replace(self.ledger, segment_id=self._segment_id)
        terms = self._terms(known, seen_id)
        told = self._with_ends(told, links, terms, front)
        if self._close and all_told and seen_id is None:
            told = self._with_end(told, links, front)
        found = survey(told, links, front.at_ms, front.position, terms)
        if changed is not None and found:
            found = [*kept_before(changed, links, seen_id), *found]
        expired = [one for one in known.segments if one.verdict is Verdict.EXPIRED]
        return outside(found, expired), bool(found) and not (all_told and seen_id is None)

    def _changed(
        self, known: SeriesCoverage, told: Sequence[Unbroken], front: Front, *, doubtful: bool = False
    ) -> Front | None:
        """The first place before the front where the loader has changed its mind about what is stored.

        It does so about its last intervals alone: a snapshot, or the exchange's best prices, told it more; or something
        came late that was lost. doubtful: only where it has a doubt now.
        """
        at_ms = self.ledger.from_ms or 0
        for one in sorted(told, key=lambda one: (one.start_ms, one.first_id)):
            at_ms, end_ms = max(at_ms, one.start_ms), min(one.end_ms, front.at_ms)
            for part in touching(known.segments, TimeRange(at_ms, end_ms)) if at_ms < end_ms else ():
                if part.verdict is Verdict.STORED and part.cause != one.doubt and (one.doubt or not doubtful):
                    return self._place(known, one, part, max(at_ms, part.start_ms))
                is_late = part.verdict is Verdict.LOST and part.cause not in (GONE, DAMAGED)
                if is_late and part.start_ms <= one.start_ms and one.end_ms <= part.end_ms:
                    return front_of(known.segments, self.ledger.from_ms or 0, done=False, until_ms=part.start_ms)
            at_ms = max(at_ms, end_ms)
        return None

    def _place(self, known: SeriesCoverage, one: Unbroken, part: Segment, at_ms: int) -> Front:
        """A place in an interval, and in a stored part of the coverage."""
        if at_ms == one.start_ms:
            return Front(at_ms, part, one.first_id)
        before = front_of(known.segments, self.ledger.from_ms or 0, done=False, until_ms=at_ms)
        return Front(at_ms, part, one.first_id if before.position is None else before.position)

    async def _filled(self, known: SeriesCoverage) -> list[Segment]:
        """What of the holes is stored by now: dead letters were read again, or what a sink had left."""
        holes = [
            one for one in self.ledger.holes if one.cause == NOT_STORED and one in touching(known.segments, one.span)
        ]
        return [one for hole in holes for one in await self.stored_by_now(known, hole)]

    async def stored_by_now(self, known: SeriesCoverage, hole: Segment) -> list[Segment]:
        """What is known of a hole with ids once some of it is stored again; nothing: none of it is."""
        first_id, last_id = hole.first_id, hole.last_id
        if first_id is None or last_id is None or not await self._is_any(hole.span, first_id, last_id):
            return []
        told = await self._told_from(await self._last_entry(first_id))
        told = await self._backed([one for one in told if one.first_id <= last_id])
        before = front_of(known.segments, self.ledger.from_ms or 0, done=False, until_ms=hole.start_ms)
        begin = max([before.position or 0, *(one.first_id for one in told[:1])])
        parts = [_part(one, hole.span, begin, last_id) for one in told if one.last_id >= begin]
        links, _ = await self._links(await self._names(hole.span), begin, last_id, segment_id=0)
        return survey(parts, links, hole.start_ms, begin, _replace(self._terms(known, None), ended=True))

    async def _is_any(self, span: TimeRange, first_id: int, last_id: int) -> bool:
        """Whether a collection of that time has a record with its last id there, or a segment begins there."""
        begin, end = kind_of(self._series).key_range(self._series, range(first_id, last_id + 1))
        if await self._has(await self._names(span), begin, end):
            return True
        begun = await self._segments(first_id - _OVERLAP, last_id)
        return any(first_id - _OVERLAP <= one <= last_id for one, _ in begun)

    def _terms(self, known: SeriesCoverage, seen_id: int | None) -> Terms:
        begun_ms = [
            one.planned_ms + known.clock_ahead_ms
            for step in self._workflow.steps
            for one in (step.attempts if step.role is Role.LOADER else ())
        ]
        return Terms(
            placement=self._workflow.placement,
            old_ms=self._old_ms(self._deps.clock.now_ms() + known.clock_ahead_ms),
            seen_id=seen_id,
            begun_ms=[self.ledger.stream_ms, *begun_ms],
            ended=self._close,
        )

    def _told(self, known: SeriesCoverage, *, behind: bool) -> Ledger:
        """As of others, and how much of it can be trusted."""
        ledger = super()._told(known, behind=behind)
        if ledger.span is None:
            return ledger
        verified_ms = clean_ms = lost_ms = expired_ms = 0
        for one in clip(touching(known.segments, ledger.span), ledger.span):
            length_ms = one.end_ms - one.start_ms
            lost_ms += length_ms if one.verdict is Verdict.LOST else 0
            expired_ms += length_ms if one.verdict is Verdict.EXPIRED else 0
            if one.verdict is Verdict.STORED:
                verified_ms += 0 if one.cause else length_ms
                clean_ms += length_ms if one.cause and not one.cause.startswith(SUSPECT) else 0
        return _replace(ledger, verified_ms=verified_ms, clean_ms=clean_ms, lost_ms=lost_ms, expired_ms=expired_ms)

    # What the loader told

    async def _told_from(self, entry_id: int | None) -> list[Unbroken]:
        """What it told, by id, from an entry on; None: from the first one of this workflow's stream on."""
        store, collection, kind = self._deps.store, self._workflow.placement.ledger, self._entries
        series = Series(self._series.symbol, kind.name, self._series.interval)
        every = range(10**kind.digits - 1)
        if entry_id is None:
            entry_id = await first_stored_from(store, collection, series, every, self.ledger.stream_ms)
        first, last = kind.key_range(series, range(entry_id, every.stop))
        documents = await store.read(collection, first=first, last=last, limit=INTERVALS_A_STEP)
        return [self._intervals.interval(one.body) for one in documents]

    async def _last_entry(self, update_id: int) -> int:
        """The last entry that begins at an update or before."""
        kind = self._entries
        series, low, high = Series(self._series.symbol, kind.name, self._series.interval), 0, update_id
        while low < high:
            middle = (low + high + 1) // 2
            first, last = kind.key_range(series, range(middle, update_id + 1))
            there = await self._has([self._workflow.placement.ledger], first, last)
            low, high = (middle, high) if there else (low, middle - 1)
        return low

    def _with_end(self, told: list[Unbroken], links: Sequence[Link], front: Front) -> list[Unbroken]:
        """`told` with what a loader would tell that goes on where the last one was killed."""
        last = max(told, key=lambda one: one.last_id)
        ended = self._intervals.ended(last, [one for one in links if one.last_id > last.last_id])
        # It goes on with what was found before.
        ended = [
            _replace(one, start_ms=min(front.at_ms, one.start_ms)) if one.first_id == front.position else one
            for one in ended
        ]
        again = {one.first_id for one in ended}
        return [*(one for one in told if one.first_id not in again), *ended]

    def _with_ends(self, told: Sequence[Unbroken], links: Sequence[Link], terms: Terms, front: Front) -> list[Unbroken]:
        """As `_with_end`, for loaders that were killed before.

        The next one may have found no more on the topic: it was trimmed, or what was on its way came later.
        """
        by_id = sorted(told, key=lambda one: (one.first_id, one.last_id))
        found = by_id[:1]
        for one in by_id[1:]:
            last = found[-1]
            killed = last.cause == ENDED or (not last.cause and terms.explains(last, one))
            if killed and one.first_id > last.last_id + 1:
                if not (self._close or terms.seen_id or any(link.last_id >= one.first_id for link in links[-1:])):
                    break  # what it has left untold may still lie in a segment that is not closed
                untold = [link for link in links if last.last_id < link.last_id < one.first_id]
                found[-1:] = self._with_end([last], untold, front)
            found.append(one)
        return found

    async def _backed(self, told: Sequence[Unbroken]) -> list[Unbroken]:
        """`told`, with a doubt where nothing is stored of what shows that there is none; up to what goes on, and may
        have it any moment."""
        found: list[Unbroken] = []
        newest = max(told, key=lambda one: (one.start_ms, one.first_id), default=None)
        for one in sorted(told, key=lambda one: (one.start_ms, one.first_id)):
            if one.doubt or await self._is_backed(one):
                found.append(one)
            elif one is newest and not one.cause and not self._close:
                break
            else:
                found.append(self._intervals.unbacked(one))
        return found

    async def _is_backed(self, one: Unbroken) -> bool:
        for name, positions in self._intervals.backing(one):
            first, last = kind_named(name).key_range(
                Series(self._series.symbol, name, self._series.interval), positions
            )
            if not await self._has(self._back(one.start_ms, one.end_ms), first, last):
                return False
        return True

    # What is stored

    async def _links(
        self, names: Sequence[str], first_id: int, last_id: int, *, segment_id: int
    ) -> tuple[list[Link], int | None]:
        """What is stored with ids from `first_id` on, at least to `last_id`; once it is closed, all.

        And the id up to which that is all; None: it is. names: of the collections. segment_id: no segment before
        this one has any.
        """
        last_id = 10 ** kind_of(self._series).digits - 2 if self._close else last_id
        documents, seen_id = await self._of_collections(names, first_id, last_id)
        kept, also_seen_id = await self._of_segments(first_id, last_id, segment_id)
        seen = [one for one in (seen_id, also_seen_id) if one is not None]
        seen_id = min(seen) if seen else None
        links = {one for one in (*documents, *kept) if seen_id is None or one.last_id <= seen_id}
        return sorted(links, key=lambda one: (one.last_id, one.first_id)), seen_id

    async def _of_collections(self, names: Sequence[str], first_id: int, last_id: int) -> tuple[list[Link], int | None]:
        first, last = kind_of(self._series).key_range(self._series, range(first_id, last_id + 1))
        links = list[Link]()
        for name in names:
            left = DOCUMENTS_A_STEP - len(links)
            links += [
                self._intervals.link(one.body)
                for one in await self._deps.store.read(name, first=first, last=last, limit=left)
            ]
            if len(links) == DOCUMENTS_A_STEP:
                return links, links[-1].last_id
        return links, None

    async def _names(self, span: TimeRange) -> Sequence[str]:
        """The collections in which records of a time may lie."""
        return await self._records.within(TimeRange(max(0, span.start_ms - LATE_MS), span.end_ms))

    def _back(self, start_ms: int, end_ms: int) -> Iterator[str]:
        """The collections of a time, the last one first: most likely it has something of what goes on for weeks."""
        placement = self._workflow.placement
        days = range((end_ms - 1) // DAY_MS, start_ms // DAY_MS - 1, -1) if placement.daily else range(1)
        return (placement.at(day * DAY_MS) for day in days)

    async def _has(self, names: Iterable[str], first: str, last: str) -> bool:
        """Whether one of the collections has a key with first <= key < last."""
        for name in names:
            if await self._deps.store.keys(name, first=first, last=last, limit=1):
                return True
        return False

    async def _of_segments(self, first_id: int, last_id: int, segment_id: int) -> tuple[list[Link], int | None]:
        objects, found = self._deps.objects, list[Link]()
        begun = await self._segments(segment_id, last_id)
        begun = begun[max(0, bisect_right(begun, first_id, key=lambda one: one[0]) - _LATE_SEGMENTS) :]
        self._segment_id = max(segment_id, begun[0][0] if begun else 0)
        for begin, name in begun:
            if len(found) >= LINKS_A_STEP:
                return found, begin - 1
            if objects is not None:
                found += [one for one in await self._of_segment(objects, name, first_id) if one.last_id >= first_id]
        return found, None

    async def _segments(self, first_id: int, last_id: int) -> list[tuple[int, str]]:
        """The segments that begin between two ids, and some more: their first ids, and the names of their manifests."""
        objects, intervals = self._deps.objects, self._intervals
        if objects is None:
            return []
        names = [one.name async for one in objects.list(intervals.prefix(self._series, max(0, first_id), last_id))]
        begun = ((begin, name) for name in names if (begin := intervals.first_id(name)) is not None)
        return sorted(one for one in begun if one[0] <= last_id)

    async def _of_segment(self, objects: ObjectStore, name: str, first_id: int) -> Sequence[Link]:
        """What a segment links, if it has anything from an id on; nothing where it is damaged, or replaced just now."""
        intervals = self._intervals
        try:
            manifest = await _content(objects, name)
            if intervals.last_id(manifest) < first_id:
                return ()
            content = await _content(objects, intervals.content(name))
            return await asyncio.to_thread(intervals.links, content, manifest)
        except (PermanentError, DamagedFile, DamagedObject) as error:
            _log.warning("a segment cannot be read", name=name, error=str(error))
            return ()


def _part(one: Unbroken, span: TimeRange, first_id: int, last_id: int) -> Unbroken:
    """What of an interval lies in a range of times and ids."""
    return _replace(
        one,
        first_id=max(one.first_id, first_id),
        last_id=min(one.last_id, last_id),
        start_ms=max(one.start_ms, span.start_ms),
        end_ms=min(one.end_ms, span.end_ms),
    )


async def _content(objects: ObjectStore, name: str) -> bytes:
    return b"".join([block async for block in objects.get(name)])
