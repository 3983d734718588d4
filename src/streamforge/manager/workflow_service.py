"""queue-manager's use cases, which its HTTP API offers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from streamforge.manager.admission import Admission
from streamforge.manager.analyst_services import analyst_services
from streamforge.manager.bars.service import BarService
from streamforge.manager.batches.forecast import BatchForecaster
from streamforge.manager.batches.service import BatchService
from streamforge.manager.books.store import BookReader
from streamforge.manager.coverage import answers as data_answers
from streamforge.manager.coverage.listing import CoverageListing, series_page
from streamforge.manager.coverage.service import Reports
from streamforge.manager.dead_letters.counts import DeadLetterCounts
from streamforge.manager.dead_letters.service import DeadLetterService
from streamforge.manager.dependencies import Dependencies
from streamforge.manager.engine.document import Workflow
from streamforge.manager.engine.execution.reconciler import Reconciler
from streamforge.manager.engine.lifecycle.facts import HandOver, Request, Retry, Stop
from streamforge.manager.engine.persistence.event_history import PAGE, HistoryEvent
from streamforge.manager.engine.persistence.workflow_store import Unreadable
from streamforge.manager.engine.refusals import NotFound, NotNow, no_workflow
from streamforge.manager.engine.registry import form_of
from streamforge.manager.engine.request_notes import log_request
from streamforge.manager.execution.upkeep import ManagerUpkeep
from streamforge.manager.execution.verifier import verify
from streamforge.manager.exports.records import RecordReader
from streamforge.manager.feed.source import FeedSource
from streamforge.manager.forecaster import Forecaster
from streamforge.manager.health.readiness import ReadinessProbe
from streamforge.manager.health.service import HealthService
from streamforge.manager.logs.service import LogReader
from streamforge.manager.persistence.change_notes import WORKFLOW
from streamforge.manager.persistence.own_collections import OWN_COLLECTIONS
from streamforge.manager.persistence.reservations import Reservations
from streamforge.manager.presentation import removed_answer
from streamforge.manager.problem_codes import ProblemCode
from streamforge.manager.retention.service import RecordRemoval
from streamforge.manager.schedules.service import ScheduleService
from streamforge.manager.topic_lag import TopicLag
from streamforge.manager.use_cases import Page, Report, Started, StartRequest, Verification
from streamforge.manager.workflow_listing import Filters, listed
from streamforge.manager.workflows.topics.requests import TopicRequest
from streamforge_utils.model import names
from streamforge_utils.model.coverage import Verdict
from streamforge_utils.model.errors import InvalidInput, RetryableError
from streamforge_utils.model.kinds.registry import normal_type, series_of
from streamforge_utils.model.messages import Command, Event
from streamforge_utils.model.series import Series, check_symbol
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.ports.exchange import SymbolInfo

SYMBOLS_WITHIN_S = 10.0
"""Who asks for a list waits for it; a question that is repeated for minutes is for workflows."""
RECORDS_A_PAGE = 10_001
"""Who asks for more records than this asks for all: it is looked before the first one whether they are there."""


class WorkflowService:
    """Every call raises RetryableError where bus, store or launcher do not answer (HTTP 503 with Retry-After), and
    InvalidInput, naming the field, where the input is not acceptable (HTTP 422).
    """

    def __init__(self, deps: Dependencies, reconciler: Reconciler, new_code: Callable[[], str] | None = None) -> None:
        self._deps = deps
        self._reconciler = reconciler
        self.upkeep = ManagerUpkeep(deps, reconciler)
        self._reservations = deps.reservations if new_code is None else Reservations(deps.store, deps.clock, new_code)
        self._records = RecordReader(deps.store, deps.coverage, deps.objects)
        self.books = BookReader(deps.store, deps.objects, deps.coverage, deps.workflows)
        self.logs, self.topics = LogReader(deps), TopicLag(deps)
        self._starting = Admission(deps, reconciler, self._reservations)
        self.forecaster = Forecaster(deps, self._starting)
        self.reports = Reports(deps)
        self.bars, self.coverage_listing = BarService(deps, self.reports), CoverageListing(deps, self.reports)
        self._busy: set[str] = set()
        self.readiness, self.source = ReadinessProbe(deps, reconciler), deps.source
        self.batches = BatchService(
            deps,
            reconciler,
            self._starting,
            self._reservations,
            retry=self.retry,
            symbols=self.symbols,
            retention=self.upkeep.retention,
        )
        self.batch_forecaster = BatchForecaster(deps, self.batches.chooser, self.forecaster)
        self.graphs, self.models = analyst_services(deps, self._starting, self.batches)
        self.schedules = ScheduleService(deps, self.start, self.models.score)
        self.feed = FeedSource(deps, self.reports, self.batches, self.schedules)
        self.dead_letters = DeadLetterService(deps, self._ask, self.get, self._going_on)
        self.health = HealthService(deps, reconciler, self.readiness, self.schedules)
        self.dead_letter_counts = DeadLetterCounts(deps)

    async def start(self, request: StartRequest, *, idempotency_key: str | None = None) -> Started:
        """Accept the request: on return it is stored. A workflow that loads the same is joined, not made again.

        Raises InvalidInput, KeyReused, or UpToDate.
        """
        return _logged(await self._starting.start(request, idempotency_key))

    async def start_topic(self, request: TopicRequest, *, idempotency_key: str | None = None) -> Started:
        """Accept the request to store a topic that is not ours: on return it is stored. Raises as `start`."""
        return _logged(await self._starting.start_topic(request, idempotency_key))

    async def get(self, queue_id: str) -> Workflow:
        """The workflow. Raises NotFound."""
        stored = await self._deps.workflows.get(queue_id)
        if stored is None:
            removed = await self._deps.removals.said(WORKFLOW, queue_id)
            raise no_workflow(queue_id, await self._deps.workflows.near(queue_id), removed)
        return stored.workflow

    async def find(self, *, cursor: str | None = None, limit: int = 100, **filters: Any) -> Page:
        """Workflows, newest first. filters: as `Filters`. Raises as `listed`."""
        return await listed(self._deps.workflows, Filters(**filters), cursor=cursor, limit=limit)

    async def remove(self, queue_id: str, *, data: bool = False) -> data_answers.Removed:
        """Forget an ended workflow (with `data`, also its records and their coverage). Raises NotFound, NotNow."""
        with self._alone(queue_id):
            try:
                workflow = await self.get(queue_id)
            except Unreadable:
                await self._remove_unreadable(queue_id, data=data)
                log_request("remove", queue_id)
                return removed_answer(queue_id, 0, ())
            if not workflow.ended:
                raise NotNow(f"workflow {queue_id} is {workflow.status.value}: stop it before it is removed")
            removed = await self._remove(workflow, data=data)
            log_request("remove with data" if data else "remove", queue_id)
            return removed

    async def _remove(self, workflow: Workflow, *, data: bool) -> data_answers.Removed:
        deps, queue_id = self._deps, workflow.queue_id
        records: int = await form_of(workflow).forget(deps, workflow, data=data)  # first: it may be refused
        staying = tuple(s for s in (await self.coverage(queue_id)).segments if s.verdict is Verdict.STORED)
        await self._reservations.release(queue_id)
        await self._reconciler.executor.forget_jobs(workflow)
        await self._forget(queue_id)
        stored = await deps.workflows.get(queue_id)
        if stored is not None:
            await deps.removals.add(WORKFLOW, queue_id, data=data)
            await deps.workflows.remove(stored)
        await deps.logs.remove(queue_id)  # of one that was being kept until there was no workflow any more
        return removed_answer(queue_id, records, staying)

    async def _remove_unreadable(self, queue_id: str, *, data: bool) -> None:
        """Remove a workflow whose document is damaged, with all that is found by its name."""
        if data:
            raise InvalidInput(
                "data",
                f"the document of {queue_id} is damaged: what its records are is not known; remove it without data",
            )
        deps = self._deps
        await self._reservations.release(queue_id)
        for job in await deps.launcher.jobs():
            if job.queue_id == queue_id:
                await deps.launcher.stop(job.name, grace_s=deps.policy.kill_grace_s)
                await deps.launcher.forget(job.name)
        await self._forget(queue_id)
        await deps.removals.add(WORKFLOW, queue_id)
        await deps.workflows.remove_unreadable(queue_id)

    async def _forget(self, queue_id: str) -> None:
        """Remove a workflow's topics, history and logs."""
        topic = names.data_topic(queue_id)
        await self._deps.admin.delete_topic(topic)
        await self._deps.admin.delete_topic(names.dlq_topic(topic))
        await self._deps.history.remove(queue_id)
        await self._deps.logs.remove(queue_id)

    async def events(self, queue_id: str, *, after: int = -1, limit: int = 1000) -> Sequence[HistoryEvent]:
        """The history after the event `after`, oldest first. Raises NotFound."""
        await self.get(queue_id)
        return await self._deps.history.read(queue_id, after=after, limit=limit)

    async def follow(self, queue_id: str, *, after: int = -1) -> AsyncIterator[HistoryEvent]:
        """The history after `after`, then what comes, until the workflow has ended. Raises NotFound."""
        await self.get(queue_id)
        async for event in self._deps.history.follow(queue_id, after=after, patience_s=1.0):
            if event is not None:
                yield event
                after = event.id
                continue
            stored = await self._deps.workflows.get(queue_id)
            if stored is None or stored.workflow.ended:
                break
        # One more look after the end was seen: its last events may have been kept in between.
        for event in await self._deps.history.read(queue_id, after=after, limit=PAGE):
            yield event

    async def stop(self, queue_id: str) -> Workflow:
        """Ask the workflow to end in order; again while it is stopping is no error. Raises NotFound, NotNow (ended)."""
        return await self._ask(queue_id, Stop())

    async def _ask(self, queue_id: str, what: Request) -> Workflow:
        workflow = await self._reconciler.inbox.ask(queue_id, what)
        log_request(what.name, queue_id)
        return workflow

    async def hand_over(self, queue_id: str) -> Workflow:
        """Ask for another attempt in the place of a live loader, without a gap. Raises NotFound, NotNow."""
        return await self._ask(queue_id, HandOver())

    async def ping(self, queue_id: str, *, timeout_s: float = 2.0) -> Mapping[str, float | None]:
        """Seconds to each step's worker and back, by telemetry id; None if it did not answer. Raises NotFound."""
        workflow = await self.get(queue_id)
        waiting = {
            step.telemetry_id
            for step in workflow.steps
            if step.attempt is not None and step.attempt.ended_ms is None and step.attempt.started_ms is not None
        }
        log_request("ping", queue_id)
        answers: dict[str, float | None] = {step.telemetry_id: None for step in workflow.steps}
        if not waiting:
            return answers
        sent_at = self._deps.clock.now_ms() / 1000
        began = self._deps.clock.monotonic()
        done = asyncio.Event()

        def listen(event: Event) -> None:
            if event.event == "pong" and event.queue_id == queue_id and event.ping_ts == sent_at:
                answers[event.producer] = self._deps.clock.monotonic() - began
                waiting.discard(event.producer)
                if not waiting:
                    done.set()

        self._reconciler.listeners.add(listen)
        try:
            await self._reconciler.executor.send(Command(command="ping", queue_id=queue_id, sent_at=sent_at))
            await asyncio.wait_for(done.wait(), timeout_s)
        except TimeoutError:
            pass  # None says so
        finally:
            self._reconciler.listeners.discard(listen)
        return answers

    async def retry(self, queue_id: str) -> Workflow:
        """Start an interrupted or failed workflow again on what it still lacks. Raises NotFound, NotNow."""
        async with self._going_on(queue_id):
            return await self._ask(queue_id, Retry())

    async def coverage(self, queue_id: str) -> Report:
        """What is known of the workflow's range. Raises NotFound."""
        return await self.reports.of_workflow(await self.get(queue_id))

    async def verify(self, symbol: str, type: str, span: TimeRange | None = None) -> Verification:
        """Count the records of the series (inside `span`) in the store, and mark what is gone: `ours`, or `lost`."""
        return await verify(self._deps, series_of(check_symbol(symbol), normal_type(type)), span)

    async def records(
        self,
        collection: str,
        *,
        span: TimeRange | None = None,
        after: str | None = None,
        limit: int = 1000,
        series: Series | None = None,
    ) -> AsyncIterator[Sequence[tuple[str, bytes]]]:
        """Stored records (key, JSON) of a collection, or of all days of a base, oldest first, `limit` in all, in parts.

        after: continue behind this key. span: by open time. series: of this one alone.
        Raises NotFound, or Incomplete where fewer come than the coverage has proven; before the first batch, where all
        is asked for.
        """
        there = await self.collections()
        named = [collection] if collection in there else await self._records.named(collection, series, there)
        if not named:
            text = f"there is no collection {collection[:80]!r}: GET /collections lists those that there are"
            raise NotFound(text, code=ProblemCode.COLLECTION_UNKNOWN)
        whole = limit > RECORDS_A_PAGE
        read = self._records.read_each(named, span=span, after=after, limit=limit, whole=whole, series=series)
        async for batch in read:
            yield batch

    async def collections(self) -> Sequence[str]:
        """The collections that hold records, sorted."""
        return [name for name in await self._deps.store.names() if name not in OWN_COLLECTIONS]

    async def series(
        self, *, cursor: str | None = None, limit: int = 100, prefix: str = "", type: str | None = None
    ) -> data_answers.SeriesPage:
        """The series of which something is known, as `series_page` finds them."""
        coverage, reports = self._deps.coverage, self.reports
        return await series_page(coverage, reports, cursor=cursor, limit=limit, prefix=prefix, type=type)

    async def symbols(self) -> Sequence[SymbolInfo]:
        """What the exchange lists, sorted."""
        waits = self._deps.exchange_waits
        reason = None
        try:
            async with asyncio.timeout(SYMBOLS_WITHIN_S):
                try:
                    return await self._deps.exchange.symbols()
                finally:
                    reason = None if waits is None else waits.reason
        except TimeoutError as error:
            raise RetryableError(
                f"{self._deps.exchange_name} did not list its symbols within {SYMBOLS_WITHIN_S:g} s"
                f"{f' ({reason})' if reason else ''}: is it reached from here? Try again later"
            ) from error

    async def tidy(self) -> int:
        """Remove the topics of ended workflows that were kept long enough; returns how many workflows lost some.

        For a manager that drives nothing, while no other one can: the loop of one that does, does it by itself.
        Raises RetryableError.
        """
        await self._deps.workflows.load()  # those in memory may have ended since, by another manager
        return await self.upkeep.retention.remove_topics()

    async def no_driver_reason(self) -> str | None:
        """Why no manager drives the workflows at the moment; None: one does."""
        reason = await self._deps.undriven()
        return self.readiness.stalled() if reason is None and self._deps.no_driver_reason is None else reason

    @asynccontextmanager
    async def _going_on(self, queue_id: str) -> AsyncIterator[None]:
        """For what lets an ended workflow go on again: retention does not remove its topics meanwhile.

        Raises NotNow, or RetryableError.
        """
        topic = names.data_topic(queue_id)
        with self._alone(queue_id):
            async with self._deps.coverage.locks.hold(topic, within_s=RecordRemoval.ASKED_WAIT_S):
                yield

    @contextmanager
    def _alone(self, queue_id: str) -> Iterator[None]:
        """What removes an ended workflow or lets it go on again excludes each other."""
        if queue_id in self._busy:
            raise NotNow(f"workflow {queue_id} is being removed or started again by another request: look at it again")
        self._busy.add(queue_id)
        try:
            yield
        finally:
            self._busy.discard(queue_id)


def _logged(started: Started) -> Started:
    if not started.replayed:
        log_request("start", started.workflow.queue_id)
    return started
