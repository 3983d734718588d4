"""Coverage in the state store: what is known of each series, whichever workflow stored it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

import msgspec
import structlog

from streamforge.manager.coverage.leftovers import Leftover, copies, joined, uncovered, without
from streamforge.manager.coverage.rewrites import Rewrite, gone, loaded_again, with_rewritten
from streamforge.manager.persistence.conflicts import until_stored
from streamforge.manager.persistence.named_locks import NamedLocks
from streamforge.manager.workflows.series.model import Plan
from streamforge_utils.model.coverage import (
    Segment,
    Verdict,
    clip,
    outside,
    overlay,
    verdict_of,
    without_records,
    without_stored,
)
from streamforge_utils.model.errors import DamagedFile
from streamforge_utils.model.kinds.registry import rule_of
from streamforge_utils.model.messages import DECODE_ERRORS
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.ports.store import State, StateStore, states_of

Condition = Callable[[], Awaitable[None]]
"""Raises if a change must not be made any more.

It is awaited between reading the coverage and writing it by compare-and-set, and again after each conflict.
"""

KIND = "series"
_replace = msgspec.structs.replace
_PLACED = (Verdict.STORED, Verdict.EXPIRED)
"""Verdicts of ranges of which a collection holds something: of order books what is left when their diffs are gone."""
_COLLECTION = re.compile(rb'"collection"\s*:\s*"([^"\\]+)"')
_EVER = TimeRange(0, 1 << 53)
_log = structlog.get_logger(__name__)


class SeriesCoverage(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a series.

    segments: sorted, disjoint, of whole bars as far as the grid is known; what they do not mention is unknown, and was
    never asked for. first_ms: when the first bar of the exchange opens, once a plan has found out; last_ms: when the
    last one opens, if no more will come. phase_ms: an open time of the series, as a proof has found it.
    verified_ms: when all of it was last counted, or first learnt.
    leftovers: written together with what made them so; a manager that dies before they are removed finds them again.
    clock_ahead_ms: how far the exchange's clock was ahead of the manager's at the latest plan.
    rewritten: where something was stored that is gone since, or may have been replaced as it was loaded again.
    """

    format: int = 1
    series: Series
    segments: tuple[Segment, ...] = ()
    phase_ms: int | None = None
    verified_ms: int | None = None
    leftovers: tuple[Leftover, ...] = ()
    first_ms: int | None = None
    last_ms: int | None = None
    clock_ahead_ms: int = 0
    rewritten: tuple[Rewrite, ...] = ()

    @property
    def grid_ms(self) -> int | None:
        """An open time of the series, where the calendar does not fix its grid (`3d`) and one is known."""
        if rule_of(self.series).is_fixed(None):
            return None
        return self.first_ms if self.phase_ms is None else self.phase_ms


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(SeriesCoverage).decode


class CoverageStore:
    """The segments of every series, sorted and disjoint; what they do not mention is unknown.

    unreadable: why the coverage of a series cannot be read, by its id. What asks for it raises DamagedFile.
    locks: who counts records in order to change coverage by the result, and who removes records, holds the series'
    id meanwhile; who drops a collection, or begins to rely on it, its name too. Who removes the topics of an ended
    workflow, or lets it go on again, holds the data topic's name.
    """

    def __init__(self, states: StateStore) -> None:
        self._states = states
        self._changes = NamedLocks()
        self.locks = NamedLocks()
        self.unreadable: dict[str, str] = {}

    async def known(self, series: Series) -> SeriesCoverage:
        """All that is known of the series. Raises DamagedFile or RetryableError."""
        state = await self._states.get(KIND, series.id)
        return SeriesCoverage(series=series) if state is None else self._read(state)

    async def known_of(self, series: Sequence[Series]) -> dict[Series, SeriesCoverage]:
        """All that is known of each series. Raises as `known`."""
        states = await self._states.get_many(KIND, [one.id for one in series])
        found: dict[Series, SeriesCoverage] = {}
        damaged: list[DamagedFile] = []
        for one in series:
            try:
                found[one] = self._read(states[one.id]) if one.id in states else SeriesCoverage(series=one)
            except DamagedFile as error:
                damaged.append(error)  # each is noted
            await asyncio.sleep(0)  # leases and events do not wait for many
        if damaged:
            raise damaged[0]
        return found

    async def of(self, series: Series) -> Sequence[Segment]:
        """The segments of the series; empty if nothing is known of it."""
        return (await self.known(series)).segments

    async def is_stored(self, series_id: str) -> bool:
        """Whether something of the series is stored, or may be, as its coverage cannot be read."""
        state = await self._states.get(KIND, series_id)
        return state is not None and ((known := self._readable(state)) is None or _stored(known.segments))

    async def page(self, *, after: str | None = None, limit: int = 500) -> Sequence[tuple[str, SeriesCoverage | None]]:
        """What is known of each series, with the name that continues after it; at most `limit`. None: it is damaged.

        Raises InvalidInput for an `after` that is none, or RetryableError.
        """
        found = await self._states.find(KIND, after=after, limit=limit)
        return [(state.id, self._readable(state)) for state in found]

    async def lay_over(
        self, series: Series, segments: Sequence[Segment], *, condition: Condition | None = None
    ) -> None:
        """Add what has been learnt; where it speaks of the same time, it replaces what was known."""

        def change(known: SeriesCoverage) -> SeriesCoverage:
            return _replace(known, segments=tuple(overlay(known.segments, segments)))

        await self._change(series, change, condition)

    async def learn_plan(self, series: Series, plan: Plan, now_ms: int, *, condition: Condition | None = None) -> None:
        """Add what a plan says: its verdicts, where the series begins and ends, and what is to be loaded.

        now_ms: the manager's clock when the exchange said its time. What is to be loaded is marked as unknown where
        nothing else is known, or it is `expired`: a load that does not come to its end leaves a hole in the coverage.
        """
        asked = [verdict_of(part.span, Verdict.UNKNOWN) for part in plan.parts]

        def change(known: SeriesCoverage) -> SeriesCoverage:
            learnt = overlay(known.segments, without_stored(plan.settled, known.segments))
            expired = [segment for segment in learnt if segment.verdict is Verdict.EXPIRED]
            rest = [segment for segment in learnt if segment.verdict is not Verdict.EXPIRED]
            changed = _replace(
                known,
                segments=tuple(overlay(overlay(expired, asked), rest)),
                clock_ahead_ms=plan.exchange_now_ms - now_ms,
            )
            if plan.first_ms is None:
                return changed
            return _replace(changed, first_ms=plan.first_ms, last_ms=plan.last_ms)

        await self._change(series, change, condition)

    async def unask(
        self, series: Series, span: TimeRange | None, others: Sequence[TimeRange], *, lost: bool = False
    ) -> None:
        """What is unknown in `span` was never asked for, but for what `others` asked for: its workflow is removed.

        lost: nor was what is `ours`, which a verification would repair otherwise: the workflow's data are removed too.
        What is not known any more of that, and was asked for by `others`, is unknown from now on.
        The document is replaced also where nothing changes: a change by another manager, on condition of the workflow,
        that has read it before conflicts, and finds the workflow gone. A series without a document is given none.
        """
        gone = (Verdict.UNKNOWN, Verdict.OURS) if lost else (Verdict.UNKNOWN,)
        alone, asked_too = (
            [verdict_of(one, Verdict.UNKNOWN) for one in spans] for spans in ([] if span is None else [span], others)
        )
        cut = outside(alone, asked_too)
        still = outside(alone, cut) if lost else []

        def change(known: SeriesCoverage) -> SeriesCoverage:
            asked = [segment for segment in known.segments if segment.verdict in gone]
            rest = [segment for segment in known.segments if segment.verdict not in gone]
            return _replace(known, segments=tuple(overlay(still, overlay(outside(asked, cut), rest))))

        if await self._states.get(KIND, series.id) is not None:
            await self._change(series, change, always=True)

    async def prove(
        self,
        series: Series,
        segments: Sequence[Segment],
        phase_ms: int | None,
        now_ms: int,
        *,
        loaded: Sequence[TimeRange] = (),
        condition: Condition | None = None,
    ) -> None:
        """As `lay_over`; records that were known to lie in another collection than they do now become leftovers.

        loaded: what the workflow has loaded, though some of it may have been stored before.
        """

        def change(known: SeriesCoverage) -> SeriesCoverage:
            return _replace(
                known,
                segments=tuple(overlay(known.segments, segments)),
                phase_ms=known.phase_ms if phase_ms is None else phase_ms,
                verified_ms=known.verified_ms if _stored(known.segments) else now_ms,
                leftovers=joined((*known.leftovers, *copies(known.segments, segments))),
                rewritten=with_rewritten(known.rewritten, loaded_again(known.segments, loaded)),
            )

        await self._change(series, change, condition)

    async def forget(self, series: Series, collection: str, span: TimeRange, *, whole: bool = False) -> None:
        """Drop what says that records of `span` lie in `collection`: they become leftovers, which are to be removed.

        whole: retention removes them: their ranges are `expired` from now on.
        """
        leftover = Leftover(collection=collection, start_ms=span.start_ms, end_ms=span.end_ms, whole=whole)

        def change(known: SeriesCoverage) -> SeriesCoverage:
            left = without_records(known.segments, collection, span)
            if whole:
                held = [one for one in known.segments if one.collection == collection and one.span.intersection(span)]
                gone = [_expired(one.span, one.last_id) for one in clip(held, span) if one.collection == collection]
                left = overlay(left, gone)
            return _replace(
                known,
                segments=tuple(left),
                leftovers=joined((*known.leftovers, leftover)),
            )

        await self._change(series, change)

    async def expire(self, series: Series, span: TimeRange, last_id: int) -> None:
        """Retention removes records of `span` that lie in no collection: what was stored, or is not mentioned, is gone.

        The collection is kept in mind: what else of that time lies there goes with it. last_id: of the last record.
        """

        def change(known: SeriesCoverage) -> SeriesCoverage:
            gone = [
                _replace(_expired(common), collection=one.collection)
                for one in known.segments
                if one.verdict is Verdict.STORED and (common := one.span.intersection(span)) is not None
            ]
            gone += outside([_expired(span)], known.segments)
            gone.sort(key=lambda one: one.start_ms)
            if gone and gone[-1].end_ms == span.end_ms:
                gone[-1] = _replace(gone[-1], last_id=last_id)
            return _replace(known, segments=tuple(overlay(known.segments, gone)))

        await self._change(series, change)

    async def removed(self, series: Series, collection: str, span: TimeRange) -> None:
        """The leftovers of `span` in `collection` are gone, or are not to be removed any more."""

        def change(known: SeriesCoverage) -> SeriesCoverage:
            return _replace(known, leftovers=without(known.leftovers, collection, span))

        await self._change(series, change)

    async def verified(self, series: Series, now_ms: int) -> None:
        """All that is known of the series was counted."""
        if (await self.known(series)).segments:
            await self._change(series, lambda known: _replace(known, verified_ms=now_ms))

    async def all(self) -> AsyncIterator[SeriesCoverage]:
        """What is known of every series but for those whose coverage is damaged. Raises RetryableError."""
        before = set(self.unreadable)
        async for state in states_of(self._states, KIND):
            before.discard(state.id)
            if (known := self._readable(state)) is not None:
                yield known
        for gone_id in before:  # a restored store may lack it
            self.unreadable.pop(gone_id, None)

    async def by_collection(self) -> Mapping[str, Sequence[tuple[Series, TimeRange]]]:
        """What lies in each collection: of which series, from when to when. Raises RetryableError.

        Also what is not covered any more because the whole collection is to go. What damaged coverage names holds its
        series from ever to ever: it is not to be touched.
        """
        found: dict[str, list[tuple[Series, TimeRange]]] = {}
        async for state in states_of(self._states, KIND):
            if (known := self._readable(state)) is None:
                for name in {one.decode("utf-8", "replace") for one in _COLLECTION.findall(state.body)}:
                    found.setdefault(name, []).append((Series(*state.id.split("/")), _EVER))
                continue
            for segment in known.segments:
                if segment.verdict in _PLACED and segment.collection is not None:
                    found.setdefault(segment.collection, []).append((known.series, segment.span))
            for leftover in known.leftovers:
                if leftover.whole:
                    found.setdefault(leftover.collection, []).append((known.series, leftover.span))
        return found

    async def _change(
        self,
        series: Series,
        change: Callable[[SeriesCoverage], SeriesCoverage],
        condition: Condition | None = None,
        *,
        always: bool = False,
    ) -> None:
        async with self._changes.hold(series.id):  # one after the other, or many at once conflict again and again
            await self._changed(series, change, condition, always=always)

    async def _changed(
        self,
        series: Series,
        change: Callable[[SeriesCoverage], SeriesCoverage],
        condition: Condition | None,
        *,
        always: bool,
    ) -> None:
        async def attempt() -> None:
            state = await self._states.get(KIND, series.id)
            if condition is not None:
                await condition()
            before = SeriesCoverage(series=series) if state is None else self._read(state)
            known = change(before)
            known = _replace(known, segments=tuple(rule_of(series).whole(known.segments, known.grid_ms)))
            rewritten = with_rewritten(known.rewritten, gone(before.segments, known.segments))
            body = _encode(_replace(known, leftovers=uncovered(known.leftovers, known.segments), rewritten=rewritten))
            if state is not None and state.body == body and not always:
                return
            await self._states.put(KIND, series.id, body, expected=None if state is None else state.revision)

        await until_stored(f"coverage of {series.id}", attempt)

    def _read(self, state: State) -> SeriesCoverage:
        try:
            known = _decode(state.body)
        except DECODE_ERRORS as error:
            if state.id not in self.unreadable:
                _log.error("the coverage of a series cannot be read", series=state.id, error=str(error))
            self.unreadable[state.id] = (
                f"the coverage of {state.id} cannot be read, its document is damaged ({error}): restore the store from "
                "a copy; until then nothing of this series is loaded, verified or removed"
            )
            raise DamagedFile(self.unreadable[state.id]) from error
        self.unreadable.pop(state.id, None)
        return known

    def _readable(self, state: State) -> SeriesCoverage | None:
        try:
            return self._read(state)
        except DamagedFile:
            return None


def _expired(span: TimeRange, last_id: int | None = None) -> Segment:
    """last_id: what follows it is known by that."""
    return Segment(
        start_ms=span.start_ms, end_ms=span.end_ms, verdict=Verdict.EXPIRED, cause="retention", last_id=last_id
    )


def _stored(segments: Sequence[Segment]) -> bool:
    return any(segment.verdict is Verdict.STORED for segment in segments)
