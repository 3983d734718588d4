"""The removal of stored records: refused while a live workflow relies on them, and brought to its end after a kill.

What is to be removed is first struck from the coverage and noted there as a leftover, in one write; then the records
go, then the note. If it dies in between, coverage calls nothing stored that is gone.
"""

from __future__ import annotations

from functools import partial

import structlog

from streamforge.manager.bars.store import Rollups
from streamforge.manager.coverage.leftovers import Leftover
from streamforge.manager.coverage.placed_records import day_of
from streamforge.manager.coverage.record_count import beside, key_range
from streamforge.manager.coverage.store import CoverageStore
from streamforge.manager.engine.document import Workflow
from streamforge.manager.engine.persistence.workflow_store import WorkflowStore
from streamforge.manager.engine.refusals import NotNow
from streamforge.manager.retention.maintenance import each_alone
from streamforge.manager.retention.segment_removal import SegmentRemoval
from streamforge.manager.workflows.series.model import claimed_span, loaded_series
from streamforge_utils.model.coverage import stored_spans, without
from streamforge_utils.model.daily_collections import Placement, base_and_day
from streamforge_utils.model.kinds.registry import kind_of
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.ports.instrumentation import Observer
from streamforge_utils.ports.object_store import ObjectStore
from streamforge_utils.ports.store import Store

_log = structlog.get_logger(__name__)


class RecordRemoval:
    """Removes records of a series, one range of one collection at a time."""

    ASKED_WAIT_S = 30.0
    """How long a request waits for what counts the same series."""

    def __init__(
        self,
        store: Store,
        coverage: CoverageStore,
        workflows: WorkflowStore,
        observer: Observer,
        objects: ObjectStore | None = None,
    ) -> None:
        """objects: where segments are; None: there are none."""
        self._store = store
        self._objects = objects
        self._coverage = coverage
        self._workflows = workflows
        self._observer = observer
        self._rollups = Rollups(store)

    async def remove(self, series: Series, collection: str, span: TimeRange) -> int:
        """Remove the records of `span` from `collection`, and what coverage says of them; returns how many.

        Raises NotNow while a live workflow relies on some of them, or RetryableError.
        """
        async with self._coverage.locks.hold(series.id, collection, within_s=self.ASKED_WAIT_S):
            # Also where no record is there any more: a plan relies on what coverage says of the range, and that goes.
            self.check(series, span)
            await self._coverage.forget(series, collection, span)
            left = Leftover(collection=collection, start_ms=span.start_ms, end_ms=span.end_ms)
            return await self._carry_out(series, left)

    async def remove_all(self, series: Series, placement: Placement, span: TimeRange) -> int:
        """As `remove`, from every collection in which records of `span` may lie."""
        named = [name for name, _ in placement.of(span)]
        if placement.daily:
            there = {*await self._store.names(), *(one.collection for one in await self._coverage.of(series))}
            named = [name for name in named if name in there] or named[:1]
        return sum([await self.remove(series, name, span) for name in named])

    def check(self, series: Series, span: TimeRange) -> None:
        """Raises NotNow if a live workflow relies on records of `span`.

        Nothing is awaited: one who holds the series' guard and goes on to strike the range from the coverage is before
        every workflow that is planned later.
        """
        relying = relies_on(self._workflows, series, span)
        if relying is not None:
            raise NotNow(
                f"workflow {relying.queue_id} is {relying.status.value} and relies on records of {series.symbol} from "
                f"{relying.span}, which would be removed: wait until it has ended, or stop it"
            )

    async def finish(self, series: Series) -> None:
        """Remove what is left over of the series; what a live workflow writes to stays for now. Raises RetryableError.

        What retention began to remove is left to retention, which exports it first.
        """
        for collection in sorted({one.collection for one in (await self._coverage.known(series)).leftovers}):
            async with self._coverage.locks.hold(series.id, collection):
                for one in (await self._coverage.known(series)).leftovers:
                    if one.collection == collection and not one.whole and not self._is_written(series, one):
                        await self._carry_out(series, one)

    async def finish_all(self) -> None:
        """As `finish`, for every series: none holds up another one. Raises RetryableError."""
        unfinished = [known.series async for known in self._coverage.all() if known.leftovers]
        work = {series.id: partial(self.finish, series) for series in unfinished}
        await each_alone(self._observer, "Remove", "series", work)

    def is_used(self, collection: str) -> bool:
        """Whether a live workflow writes to the collection."""
        placements = [stored.workflow.placement for stored in self._workflows.live.values()]
        return any(one.holds(collection) or one.ledger == collection for one in placements)

    def _is_written(self, series: Series, one: Leftover) -> bool:
        return any(
            loaded_series(workflow) == series
            and workflow.placement.holds(one.collection)
            and claimed_span(workflow).intersection(one.span)
            for workflow in (stored.workflow for stored in self._workflows.live.values())
        )

    async def _carry_out(self, series: Series, one: Leftover) -> int:
        first, last = await key_range(self._store, one.collection, series, one.span)
        after, before = beside(series, await self._coverage.of(series), one.collection, one.span)
        first, last = max(first, after), min(last, before)
        records = await self._store.delete(one.collection, first=first, last=last) if first < last else 0
        records += await self._remove_beside(series, one)
        ledger = None if kind_of(series).intervals is None else _ledger_of(one.collection)
        for name in (one.collection, *(() if ledger is None else (ledger,))):
            # A live workflow has its own use for an empty collection: its sink may write the next moment.
            if not await self._store.count(name) and not self.is_used(name):
                await self._store.drop(name)
        await self._rollups.forget(await self._coverage.known(series), one.span)
        await self._coverage.removed(series, one.collection, one.span)
        if records:
            self._observer.count("removed_records_total", records)
            _log.info("records were removed", collection=one.collection, range=str(one.span), records=records)
        return records

    async def _remove_beside(self, series: Series, one: Leftover) -> int:
        """Remove what belongs to the records of a range, and the segments that lie in it; how many documents."""
        intervals, records = kind_of(series).intervals, 0
        if intervals is None:
            return 0
        kept = stored_spans(await self._coverage.of(series))
        for name in intervals.beside:
            of = Series(series.symbol, name, series.interval)
            places = [(one.collection, one.span)]
            if kind_of(of).is_ledger and (ledger := _ledger_of(one.collection)) is not None:
                places += [(ledger, part) for part in without(one.span, kept)]
            for where, span in places:
                first, last = await key_range(self._store, where, of, span)
                records += await self._store.delete(where, first=first, last=last) if first < last else 0
        day = day_of(one.collection, series)
        within = one.span if day is None else one.span.intersection(day)
        if self._objects is not None and within is not None:
            await SegmentRemoval(self._objects, self._coverage, self._workflows).remove(series, within)
        return records


def _ledger_of(collection: str) -> str | None:
    """The collection of what tells of the records of a day's; None: it is no day's."""
    day = base_and_day(collection)
    return None if day is None else Placement(day[0], daily=True).ledger


def relies_on(workflows: WorkflowStore, series: Series, span: TimeRange) -> Workflow | None:
    """A live workflow whose range of the series has a part in `span`: its proof speaks of all of it."""
    for stored in workflows.live.values():
        workflow = stored.workflow
        if loaded_series(workflow) == series and claimed_span(workflow).intersection(span) is not None:
            return workflow
    return None
