"""Removes what has been kept long enough: topics, jobs, reservations, old collections.

A collection that is older than the policy allows is exported to objects, read once more, and dropped. Only what the
coverage calls stored is judged: where it ends is known, and it is struck from the coverage before the records go. Done
again after a kill at any moment it exports once more and drops what is left; no export is ever overwritten, and none of
another manager's is removed. What a live workflow relies on stays.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from functools import partial

import structlog

from streamforge.manager.bars.store import Rollups
from streamforge.manager.dependencies import Dependencies
from streamforge.manager.engine.document import Workflow
from streamforge.manager.engine.execution.executor import Executor
from streamforge.manager.engine.execution.inbox import Inbox
from streamforge.manager.engine.lifecycle.findings import Fact, TopicsRemoved
from streamforge.manager.engine.lifecycle.job_spec import readers_of
from streamforge.manager.engine.lifecycle.topic_lifetime import due_removal, may_trim
from streamforge.manager.health.store_usage import StoreUsageMonitor
from streamforge.manager.policy import kept_ms
from streamforge.manager.retention.collection_export import CollectionExport, Exported, new_token
from streamforge.manager.retention.maintenance import each_alone, tried_again_later
from streamforge.manager.retention.segment_removal import SegmentRemoval
from streamforge.manager.retention.segment_retention import SegmentRetention
from streamforge.manager.workflows.live.model import passed_ms
from streamforge.manager.workflows.series.model import claimed_span, loaded_series
from streamforge_utils.model.daily_collections import DAY_MS, base_and_day
from streamforge_utils.model.errors import RetryableError, StreamForgeError
from streamforge_utils.model.kinds.registry import kind_of
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange

EXPIRE_EVERY_S = 600.0
COLLECTIONS_EVERY_S = 3600.0
CUT_SHORT_EVERY_S = 86400.0
"""Also how long nothing was put for an export until it counts as cut short: another manager may be at work."""
_WORKFLOWS_A_PAGE = 200

_log = structlog.get_logger(__name__)


class Retention:
    """Called now and then by the loop, beside it."""

    def __init__(self, deps: Dependencies, actor: Executor, inbox: Inbox) -> None:
        self._deps = deps
        self._executor = actor
        self._inbox = inbox
        self._expired_at = float("-inf")
        self._rollups, self._swept = Rollups(deps.store), ""
        self._collections = CollectionRetention(deps)
        self._segments = SegmentRetention(deps)
        self._usage = StoreUsageMonitor(deps.store, deps.clock, deps.observer)

    def parts(self) -> Mapping[str, Coroutine[None, None, None]]:
        """What is to be done now and then, by name: an export of a collection, which may take hours, holds up nothing.

        Each raises RetryableError.
        """
        return {
            "topics": self._retain_topics(),
            "leftovers": self._expire(),
            "collections": self._collections.apply(),
            "segments": self._segments.apply(),
        }

    async def _retain_topics(self) -> None:
        await self._deps.workflows.adopt()
        await self._deps.batches.load(tidy=False)
        await self.remove_topics()
        await self._trim_topics()
        with tried_again_later(self._deps.observer, "Measure"):  # room is made all the same
            await self._usage.measure()

    async def remove_topics(self) -> int:
        """Remove the topics of ended workflows that were kept long enough; returns how many workflows lost some.

        Raises RetryableError.
        """
        removed: list[str] = []
        after: str | None = None

        async def remove(queue_id: str) -> None:
            if await self.remove_topics_of(queue_id):
                removed.append(queue_id)

        while True:
            page = await self._deps.workflows.find(
                where={"topics": ["data", "dlq"]}, after=after, limit=_WORKFLOWS_A_PAGE
            )
            now_ms, policy = self._deps.clock.now_ms(), self._deps.policy
            # The document may be newer than the label by which it was found: it may go on again.
            due = [one.queue_id for one in page if due_removal(one, now_ms, policy) is not None]
            work = {queue_id: partial(remove, queue_id) for queue_id in due}
            await each_alone(self._deps.observer, "RemoveTopics", "queue_id", work)
            if len(page) < _WORKFLOWS_A_PAGE:
                return len(removed)
            after = page[-1].queue_id

    async def remove_topics_of(self, queue_id: str) -> bool:
        """Remove a workflow's topics that need not be kept any more; whether it lost some. Raises RetryableError."""
        removed = False
        for _ in range(2):  # that of the records, then that of the dead letters
            stored = await self._deps.workflows.get(queue_id)
            if stored is None:
                break
            removal = due_removal(stored.workflow, self._deps.clock.now_ms(), self._deps.policy)
            if removal is None or not await self._remove(stored.workflow, removal):
                break
            removed = True
        return removed

    async def _trim_topics(self) -> None:
        """Remove from the topics of workflows without an end what every sink has stored."""
        live = [one.workflow for one in self._deps.workflows.live.values()]
        trim = self._deps.admin.trim
        work = {one.queue_id: partial(trim, one.topic, readers_of(one)) for one in live if may_trim(one)}
        await each_alone(self._deps.observer, "Trim", "queue_id", work)

    async def _expire(self) -> None:
        now = self._deps.clock.monotonic()
        if now - self._expired_at < EXPIRE_EVERY_S:
            return
        self._expired_at = now
        observer = self._deps.observer
        with tried_again_later(observer, "Remove"):
            # What an earlier manager, or an earlier try, had only struck from the coverage.
            await self._deps.removal.finish_all()
        with tried_again_later(observer, "Remove"):
            self._swept = await self._rollups.sweep(self._deps.coverage.is_stored, self._swept)
        jobs = {job.queue_id for job in await self._deps.launcher.jobs()}
        topics = {name.removesuffix("-dlq").removesuffix("-data") for name in await self._deps.admin.topics()}
        await self._deps.reservations.expire(jobs | topics, await self._deps.schedules.keys())

    async def _remove(self, workflow: Workflow, removal: TopicsRemoved) -> bool:
        """Whether they are removed, and that is stored."""
        with tried_again_later(self._deps.observer, "RemoveTopics", queue_id=workflow.queue_id):
            if await self._executor.remove_topics(workflow, removal):
                await self._inbox.ask(workflow.queue_id, Fact(workflow.epoch, removal))
                return True
        return False


Places = Sequence[tuple[Series, TimeRange]]


class CollectionRetention:
    """Called often; looks every hour."""

    def __init__(self, deps: Dependencies, new_token: Callable[[], str] = new_token) -> None:
        self._deps, self._new_token = deps, new_token
        self._looked_at = self._tidied_at = float("-inf")
        self._rollups = Rollups(deps.store)
        self._left: dict[str, Exported] = {}
        """Exports whose collections may not be dropped yet."""

    async def apply(self) -> None:
        """Export and drop what is too old, if it is time to look. Raises RetryableError."""
        policy, objects = self._deps.policy, self._deps.retained
        now = self._deps.clock.monotonic()
        if not policy.retention or objects is None or now - self._looked_at < COLLECTIONS_EVERY_S:
            return
        self._looked_at = now
        export = CollectionExport(self._deps.store, objects, self._new_token)
        old = dict[str, Places]()
        for collection, places in (await self._deps.coverage.by_collection()).items():
            kept = kept_ms(policy.retention, collection)
            newest_ms = max(span.end_ms for _, span in places)
            if kept is not None and newest_ms <= self._deps.clock.now_ms() - kept:
                old[collection] = places
        work = {name: partial(self._age, name, places, export) for name, places in old.items()}
        await each_alone(self._deps.observer, "Age", "collection", work)
        if now - self._tidied_at >= CUT_SHORT_EVERY_S:
            self._tidied_at = now
            with tried_again_later(self._deps.observer, "Tidy"):
                await export.remove_cut_short(self._deps.clock.now_ms() - int(CUT_SHORT_EVERY_S * 1000))

    async def _age(self, collection: str, places: Places, export: CollectionExport) -> None:
        """Export and drop one that is old, unless it is used. Raises StreamForgeError."""
        if self._is_used(collection, places):
            return
        if collection in await self._deps.store.names():
            await self._export_and_drop(collection, places, export)
        else:
            await self._forget_missing_collection(collection, places)
        self._left.pop(collection, None)
        for series, span in places:
            await self._rollups.forget(await self._deps.coverage.known(series), span)
            await self._deps.coverage.removed(series, collection, span)

    def _is_used(self, collection: str, places: Places) -> bool:
        """Whether a live workflow writes to the collection, or relies on what lies in it."""
        return any(_uses(stored.workflow, collection, places) for stored in self._deps.workflows.live.values())

    async def _export_and_drop(self, collection: str, places: Places, export: CollectionExport) -> None:
        """Export the collection, and drop it if the export holds what it holds. Raises StreamForgeError."""
        made = await export.write(collection, places)
        async with self._deps.coverage.locks.hold(collection, *(series.id for series, _ in places)):
            try:
                # A plan that relies on these records waits for the guard, and finds them struck from the coverage.
                if await export.digest(collection) != made.digest:
                    raise RetryableError(f"{collection} was written to while it was exported; it stays for now")
                await self._require_unused(collection, places)
            except BaseException:
                # This try drops nothing: another export comes, and this one would only fill the room.
                with suppress(StreamForgeError):  # a cancellation above all is to go on
                    await export.remove(made.name)
                raise
            # A drop that failed may still be carried out, so its export stays until another holds the same.
            left = self._left.pop(collection, None)
            self._left[collection] = made
            if left is not None and left.digest == made.digest:
                await export.remove(left.name)
            await self._remove_from_coverage(collection, places)
            await self._deps.store.drop(collection)
            await self._remove_segments(places, made.name)
        self._deps.observer.count("retention_collections_total")
        self._deps.observer.count("retention_records_total", made.records)
        _log.info(
            "an old collection was exported and dropped", collection=collection, export=made.name, records=made.records
        )

    async def _forget_missing_collection(self, collection: str, places: Places) -> None:
        """Remove from the coverage a collection that the store has no longer. Raises RetryableError."""
        async with self._deps.coverage.locks.hold(collection, *(series.id for series, _ in places)):
            await self._require_unused(collection, places)
            if collection in await self._deps.store.names():
                raise RetryableError(f"{collection} is there again; it stays for now")
            await self._remove_from_coverage(collection, places)
            await self._remove_segments(places, f"{collection}/{self._new_token()}")

    async def _require_unused(self, collection: str, places: Places) -> None:
        """Raises RetryableError if a live workflow uses the collection by now, or something else lies in it.

        For who holds its guards: a plan that would rely on its records waits for them.
        """
        known = await self._deps.coverage.by_collection()
        if known.get(collection) != places or self._is_used(collection, places):
            raise RetryableError(f"{collection} is used again; it stays for now")

    async def _remove_segments(self, places: Places, name: str) -> None:
        """Copy the segments of order books of which nothing is stored any more to an export, and remove them."""
        objects, retained = self._deps.objects, self._deps.retained
        if objects is None or retained is None:
            return
        removal = SegmentRemoval(objects, self._deps.coverage, self._deps.workflows)
        for series in {series: None for series, _ in places if kind_of(series).intervals is not None}:
            spans = [span for one, span in places if one == series]
            whole = TimeRange(min(one.start_ms for one in spans), max(one.end_ms for one in spans))
            await removal.remove(series, whole, into=(retained, name))

    async def _remove_from_coverage(self, collection: str, places: Places) -> None:
        for series, span in places:
            await self._deps.coverage.forget(series, collection, span, whole=True)


def _uses(workflow: Workflow, collection: str, places: Places) -> bool:
    """Whether it writes to the collection, or relies on what lies there.

    What one without an end has proven is behind it, but for what lies in the collection to which it writes.
    """
    if workflow.placement.holds(collection):
        day = base_and_day(collection) if workflow.daily else None
        if day is None or day[1] + DAY_MS > passed_ms(workflow):
            return True  # what is not compared yet may lie there
    mine = (span for series, span in places if series == loaded_series(workflow) and span.end_ms > passed_ms(workflow))
    return any(claimed_span(workflow).intersection(span) is not None for span in mine)
