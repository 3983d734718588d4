"""The comparison of what a live workflow has stored with what there must be, a bounded step at a time.

A step looks at what is stored behind the *front*, the end of what the coverage mentions without a gap. It adds that to
the coverage, where holes are `unknown` once they are older than a grace time; younger ones are the loader's. Only then
the workflow's ledger says how far it is proven, which follows from the coverage: a manager that dies in between does
the step again. Nothing behind the last stored record is ever called a hole: the loader is behind, or nothing happens,
which the exchange is asked now and then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from itertools import takewhile

import msgspec

from streamforge.manager.catalogue.symbols import TRADING
from streamforge.manager.coverage.placed_records import Behind, PlacedRecords
from streamforge.manager.coverage.record_chain import with_breaks
from streamforge.manager.coverage.record_count import survey
from streamforge.manager.coverage.store import SeriesCoverage
from streamforge.manager.dependencies import Dependencies
from streamforge.manager.engine.document import Workflow
from streamforge.manager.engine.refusals import ExchangeFailed
from streamforge.manager.workflows.live.front import Front, front_of, reached_ms
from streamforge.manager.workflows.live.model import END_OF_TIME_MS, MOST_HOLES, Ledger
from streamforge.manager.workflows.series.model import loaded_series
from streamforge.manager.workflows.series.questions import ask_again
from streamforge_utils.model.completeness.rule import Rule
from streamforge_utils.model.coverage import PASSED, Segment, Verdict, awaits_file, clip, lacking, touching, verdict_of
from streamforge_utils.model.errors import PermanentError, RetryableError
from streamforge_utils.model.kinds.paging import ById
from streamforge_utils.model.kinds.registry import rule_of
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange, parse_time_range
from streamforge_utils.runtime.life.worker_definition import Role

RECORDS_A_STEP = 20_000
_BARS_ASKED = 500
_EXCHANGE_S = 3.0
_TRIES = 3
"""How often a step is done again because others have changed the coverage meanwhile."""

_replace = msgspec.structs.replace


class Comparison:
    """The steps of one live workflow. ledger: as it is after them.

    close: the workflow has ended, and nothing more comes: no hole is too young, and the exchange is asked only whether
    the last millisecond is whole. Where it does not say so, the ledger ends before that.
    """

    def __init__(self, deps: Dependencies, workflow: Workflow, ledger: Ledger, *, close: bool = False) -> None:
        self._deps = deps
        self._workflow = workflow
        self.ledger = ledger
        self.exchange_s = _EXCHANGE_S
        self._series: Series = loaded_series(workflow)
        self._rule: Rule = rule_of(self._series)
        self._close = close
        self._records = PlacedRecords(deps.store, self._series, workflow.placement)

    async def step(self) -> None:
        """Compare once. Raises OutOfDate (before a change), RetryableError (the store) or ExchangeFailed."""
        deps, more = self._deps, False
        self.ledger = _replace(self.ledger, compared_ms=deps.clock.now_ms(), behind=False)
        for _ in range(_TRIES):
            known = await deps.coverage.known(self._series)
            found, more = await self._new(known)
            found = [*await self._filled(known), *found]
            if not found or await self._learnt(known, found):
                break
        self.ledger = self._told(await deps.coverage.known(self._series), behind=more)

    async def quiet(self) -> None:
        """Ask the exchange, where nothing was stored for long, whether nothing has happened. Raises as `step`."""
        deps, ledger = self._deps, self.ledger
        known = await deps.coverage.known(self._series)
        now_ms, quiet_ms = deps.clock.now_ms(), int(deps.policy.quiet_after_s * 1000)
        front = self._front(known)
        waits = ledger.from_ms is None or ledger.behind or not ledger.has_history
        if waits or now_ms - ledger.asked_ms < quiet_ms:
            return
        is_quiet = self._rule.over_ms(now_ms + known.clock_ahead_ms - quiet_ms, known.grid_ms) > front.at_ms
        if not is_quiet and not ledger.untraded:
            return
        self.ledger = _replace(ledger, asked_ms=now_ms)
        await self._ask_status()
        if not is_quiet:
            return
        try:
            found = await self._empty(known, front)
        except (RetryableError, PermanentError) as error:
            raise ExchangeFailed(error) from error
        if found and await self._learnt(known, found):
            self.ledger = self._told(await deps.coverage.known(self._series), behind=False)

    async def _ask_status(self) -> None:
        """Ask whether the symbol is traded. Raises ExchangeFailed."""
        try:
            info = await self._deps.exchange.symbol_info(self._series.symbol)
        except (RetryableError, PermanentError) as error:
            raise ExchangeFailed(error) from error
        self.ledger = _replace(self.ledger, untraded="" if info.status == TRADING else info.status)

    async def lacking(self) -> list[TimeRange]:
        """What lacks before the front, and of the history."""
        ledger, known = self.ledger, await self._deps.coverage.known(self._series)
        if ledger.from_ms is None:
            return []
        end_ms = max(self._front(known).at_ms, ledger.history_ms or 0)
        if end_ms <= ledger.from_ms:
            return []
        return lacking(known.segments, TimeRange(ledger.from_ms, end_ms), PASSED)

    async def closed(self, *, compare: bool = True) -> tuple[Ledger, list[Segment]]:
        """The ledger of what has ended, and its verdicts without a gap. compare: with what is stored by now.

        Raises OutOfDate or RetryableError.
        """
        self.ledger = _replace(self.ledger, behind=compare)
        while self.ledger.behind:
            await self.step()
        known, from_ms = await self._deps.coverage.known(self._series), self.ledger.from_ms
        end_ms = self._front(known).at_ms
        if from_ms is None or end_ms <= from_ms:
            return self.ledger, []
        self.ledger, whole = _replace(self.ledger, end_ms=end_ms), TimeRange(from_ms, end_ms)
        segments = self._rule.counted(clip(touching(known.segments, whole), whole), known.grid_ms)
        return self.ledger, segments

    def _told(self, known: SeriesCoverage, *, behind: bool) -> Ledger:
        """The ledger as it follows from the coverage."""
        ledger = _replace(self.ledger, behind=behind)
        if ledger.from_ms is None:
            return ledger
        # From the beginning: what was proven may be gone since.
        proven, front = front_of(known.segments, ledger.from_ms, done=True), self._front(known)
        # Of the millisecond before a hole a record may lack, too, where several share one.
        shared = self._rule.position_at(proven.at_ms) is None and proven.at_ms < front.at_ms
        ledger = _replace(
            ledger,
            proven_ms=None if proven.last is None else max(ledger.from_ms, proven.at_ms - shared),
            proven_id=None if proven.position is None else proven.position - 1,
            stored=self._stored(known, TimeRange(ledger.from_ms, max(front.at_ms, ledger.from_ms + 1))),
            holes=(),
            open_holes=0,
        )
        if front.at_ms <= proven.at_ms or not ledger.has_history:
            return ledger
        rest = TimeRange(proven.at_ms, front.at_ms)
        holes = [one for one in clip(touching(known.segments, rest), rest) if one.verdict not in PASSED]
        return _replace(ledger, holes=tuple(holes[:MOST_HOLES]), open_holes=len(holes))

    def _stored(self, known: SeriesCoverage, whole: TimeRange) -> int:
        found = self._rule.counted(clip(touching(known.segments, whole), whole), known.grid_ms)
        return sum(one.records for one in found if one.verdict is Verdict.STORED)

    def _front(self, known: SeriesCoverage) -> Front:
        """Where the comparison goes on."""
        ledger = self.ledger
        front = front_of(known.segments, ledger.stream_ms if ledger.from_ms is None else ledger.from_ms, done=False)
        if self._lacks_history(front) and (ledger.failures or self._close):
            front = front_of(known.segments, ledger.stream_ms, done=False)  # what is older was given up
        return front

    def _lacks_history(self, front: Front) -> bool:
        return self.ledger.history_ms is not None and front.at_ms < self.ledger.history_ms

    async def _new(self, known: SeriesCoverage) -> tuple[list[Segment], bool]:
        """What is stored behind the front, with its holes; and whether there is more."""
        front = self._front(known)
        if self._lacks_history(front) and not self.ledger.failures and not self._close:
            return [], False  # it comes first: its last id is the stream's beginning
        now_ms = self._deps.clock.now_ms() + known.clock_ahead_ms
        by_time = self._rule.position_at(front.at_ms) is not None
        found, more = await (self._bars(known, front) if by_time else self._ids(front))
        found = await self._chained(known, found, [front.at_ms, *self._seams()])
        old_ms = self._old_ms(now_ms)
        kept = [*takewhile(lambda one: one.verdict is Verdict.STORED or one.end_ms <= old_ms, found)]
        if len(kept) == len(found):
            return kept, more
        if kept and not by_time:  # the last millisecond may be one of the hole's, too
            last = kept.pop()
            kept += [_replace(last, end_ms=last.end_ms - 1)] if last.end_ms - 1 > last.start_ms else []
        return kept, False

    async def _filled(self, known: SeriesCoverage) -> list[Segment]:
        """The holes that are stored by now: the loader was late, or a supplement has loaded records of a millisecond
        that is in another segment."""
        found = list[Segment]()
        for hole in self.ledger.holes:
            wanted = self._rule.expected(hole, known.grid_ms)
            if not wanted or hole not in touching(known.segments, hole.span):
                continue
            around = TimeRange(hole.start_ms - 1, hole.end_ms + 1)  # its records may share a millisecond beside it
            told = await self._surveyed(hole.span, wanted, await self._records.within(around), known.grid_ms)
            told = await self._chained(known, told, [hole.start_ms, hole.end_ms])
            found += told if all(one.verdict is Verdict.STORED for one in told) else []
        return found

    def _old_ms(self, now_ms: int) -> int:
        """The end of holes that are not left to the loader any more; none while an attempt is young."""
        if self._close:
            return END_OF_TIME_MS
        grace_ms = int(self._deps.policy.hole_grace_s * 1000)
        begun = [None if (one := step.attempt) is None else one.started_ms for step in self._workflow.steps]
        here_ms = self._deps.clock.now_ms()  # as attempts are noted; the exchange's clock may be another one
        young = any(one is None or here_ms - one < grace_ms for one in begun)
        return 0 if young else max(now_ms, reached_ms(self._workflow)) - grace_ms

    async def _bars(self, known: SeriesCoverage, front: Front) -> tuple[list[Segment], bool]:
        """By a grid: up to the last bar that is stored, which is over, by whichever clock."""
        rule, phase_ms = self._rule, known.grid_ms
        stored, collections, more = await self._behind(front.at_ms, front.at_ms)
        if not stored or not rule.is_fixed(phase_ms):
            return [], False
        whole = TimeRange(front.at_ms, rule.next(stored[-1]))
        wanted = rule.expected(verdict_of(whole, Verdict.UNKNOWN), phase_ms) or ()
        return await self._surveyed(whole, wanted, collections, phase_ms), more

    async def _ids(self, front: Front) -> tuple[list[Segment], bool]:
        """By ids: up to the millisecond of the last one that is stored, of which more may come."""
        if front.position is None:
            front = await self._begun(front)
        if front.position is None:
            return [], False
        stored, collections, more = await self._behind(front.at_ms, front.position)
        if not stored:
            return [], False
        newest_ms = await self._records.time_of(stored[-1], collections)
        stop, end_ms = stored[-1] + 1, newest_ms + 1
        if more or not self._close or not await self._is_whole(stored[-1], newest_ms):
            low, high = 0, len(stored) - 1
            while low < high:
                middle = (low + high) // 2
                is_older = await self._records.time_of(stored[middle], collections) < newest_ms
                low, high = (middle + 1, high) if is_older else (low, middle)
            stop, end_ms = stored[low], newest_ms
        if stop <= front.position or end_ms <= front.at_ms:
            return [], False
        whole = TimeRange(front.at_ms, end_ms)
        return await self._surveyed(whole, range(front.position, stop), collections, None), more

    async def _is_whole(self, last: int, time_ms: int) -> bool:
        """Whether the exchange has nothing behind `last` that is of the same millisecond; it is asked for a moment."""
        try:
            async with asyncio.timeout(self.exchange_s):
                page = await self._deps.exchange.page(self._series, ById(last, limit=2))
        except (RetryableError, PermanentError, TimeoutError):
            return False
        return [*page.positions[:1]] == [last] and all(time > time_ms for time in page.times[1:])

    async def _begun(self, front: Front) -> Front:
        """The front with the first position that is to be stored behind it; where it is not known, without.

        Where nothing is known before it, and nothing older is wanted, that is the first one that is stored; else the
        exchange tells it.
        """
        series, ledger = self._series, self.ledger
        if not self._close and (front.last is not None or ledger.history_ms is not None):
            span = TimeRange(front.at_ms, front.at_ms + 1)
            try:
                now_ms = await self._deps.exchange.server_time()
                ids = await self._rule.existing(self._deps.exchange, series, span, now_ms, None)
            except (RetryableError, PermanentError) as error:
                raise ExchangeFailed(error) from error
            return front._replace(position=ids.start if isinstance(ids, range) else None)
        first = await self._records.first_from(front.at_ms, self._latest_ms())
        if first is None:
            return front
        position, at_ms = first
        if ledger.from_ms is None:
            self.ledger = _replace(ledger, from_ms=at_ms)
        return Front(at_ms, None, position)

    async def _behind(self, at_ms: int, first: int) -> Behind:
        """What is stored of that time or later, from the position `first` on: as much as a step compares."""
        return await self._records.behind(at_ms, first, RECORDS_A_STEP, self._latest_ms())

    def _latest_ms(self) -> int:
        """Nothing is stored that happened later. The exchange's clock may be far ahead of the manager's."""
        if self._close:
            return END_OF_TIME_MS - 1
        return max(self._deps.clock.now_ms(), reached_ms(self._workflow))

    async def _surveyed(
        self, span: TimeRange, wanted: Sequence[int], collections: Sequence[str], phase_ms: int | None
    ) -> list[Segment]:
        places = [_all_of(span, name) for name in collections]
        return await survey(self._deps.store, self._series, span, wanted, places, phase_ms)

    async def _chained(self, known: SeriesCoverage, found: Sequence[Segment], seams: Sequence[int]) -> list[Segment]:
        """As `with_breaks`; seams: as there."""
        return await with_breaks(self._deps.store, self._series, found, known.segments, seams)

    def _seams(self) -> list[int]:
        """Where the history and the stream meet, and the attempts of the loader."""
        attempts = [one for step in self._workflow.steps if step.role is Role.LOADER for one in step.attempts]
        begun = [parse_time_range(text).start_ms for one in attempts for text in one.ranges]
        history_ms = self.ledger.history_ms
        return [self.ledger.stream_ms, *begun, *([] if history_ms is None else [history_ms])]

    async def _empty(self, known: SeriesCoverage, front: Front) -> list[Segment]:
        """Segments of the time behind the front in which nothing has happened, as the exchange says.

        Where it says, too, that the symbol is not traded, that is `closed`.
        """
        exchange, rule, series = self._deps.exchange, self._rule, self._series
        end_ms = rule.over_ms(await exchange.server_time(), known.grid_ms)
        if end_ms <= front.at_ms:
            return []
        if rule.position_at(front.at_ms) is None:
            return await self._silence(known, front, end_ms)
        asked = rule.expected(verdict_of(TimeRange(front.at_ms, end_ms), Verdict.UNKNOWN), known.grid_ms)
        if not asked:
            return []
        until_ms = rule.next(asked[:_BARS_ASKED][-1])
        hole = verdict_of(TimeRange(front.at_ms, until_ms), Verdict.UNKNOWN)
        told = await ask_again(exchange, series, hole, known.grid_ms)
        empty = [*takewhile(lambda one: one.verdict is Verdict.EXCHANGE, told)]
        if not empty or not self.ledger.untraded:
            return empty
        return [verdict_of(TimeRange(await self._halted_ms(front), empty[-1].end_ms), Verdict.CLOSED)]

    async def _halted_ms(self, front: Front) -> int:
        """From when on nothing has happened before the front: that it is not traded may be told only later."""
        last = front.last
        if last is not None and last.verdict is Verdict.EXCHANGE:
            return last.start_ms
        if last is None or last.verdict is not Verdict.STORED or last.collection is None or front.position is None:
            return front.at_ms
        newest_ms = await self._records.time_of(front.position - 1, [last.collection])
        return min(front.at_ms, max(newest_ms, last.start_ms) + 1) if newest_ms else front.at_ms

    async def _silence(self, known: SeriesCoverage, front: Front, end_ms: int) -> list[Segment]:
        """The time from the front to `end_ms` with what is stored of it, if the exchange has nothing that is newer.

        It is asked for the last record too: an answer without that one would prove nothing.
        """
        if front.position is None:
            front = await self._begun(front)
        if front.position is None:
            return []
        stored, collections, more = await self._behind(front.at_ms, front.position)
        last = stored[-1] if stored else front.position - 1
        if more or len(stored) != last - front.position + 1:
            return []
        page = await self._deps.exchange.page(self._series, ById(last, limit=2))
        if [*page.positions] != [last]:
            return []
        halted, before = bool(self.ledger.untraded), front.last
        if stored:
            newest_ms = await self._records.time_of(last, collections) if halted else end_ms - 1
            begin_ms = min(end_ms, max(newest_ms, front.at_ms) + 1)
            wanted = range(front.position, last + 1)
            found = await self._surveyed(TimeRange(front.at_ms, begin_ms), wanted, collections, None)
            if await self._chained(known, found, [front.at_ms]) != found:
                return []
            return [*found, verdict_of(TimeRange(begin_ms, end_ms), Verdict.CLOSED)] if begin_ms < end_ms else found
        if before is None or before.verdict not in (Verdict.STORED, Verdict.EXCHANGE, Verdict.CLOSED):
            return []
        if halted:
            begin_ms = await self._halted_ms(front)
            kept = [_replace(before, end_ms=begin_ms)] if before.start_ms < begin_ms < before.end_ms else []
            return [*kept, verdict_of(TimeRange(begin_ms, end_ms), Verdict.CLOSED)]
        if before.verdict is Verdict.CLOSED or awaits_file(before):  # it is traded again, or of this no file is awaited
            return [verdict_of(TimeRange(front.at_ms, end_ms), Verdict.EXCHANGE)]
        return [_replace(before, end_ms=end_ms)]

    async def _learnt(self, known: SeriesCoverage, found: Sequence[Segment]) -> bool:
        """Add what was found to the coverage, unless it is another one by now. Raises as `step`."""
        deps, series = self._deps, self._series
        for name in {one.collection for one in found if one.collection is not None}:
            await deps.store.flush(name)  # what the coverage calls stored survives a power cut
        condition = partial(deps.workflows.check_epoch, self._workflow)
        async with deps.coverage.locks.hold(series.id):
            if await deps.coverage.known(series) != known:
                return False
            await deps.coverage.prove(series, found, None, deps.clock.now_ms(), condition=condition)
        return True


def _all_of(span: TimeRange, collection: str) -> Segment:
    return Segment(start_ms=span.start_ms, end_ms=span.end_ms, verdict=Verdict.STORED, collection=collection)
