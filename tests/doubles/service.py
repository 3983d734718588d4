"""The manager's use cases in memory: real validation and real refusals, no bus, no store, no workers.

A test moves a workflow by `put`, lets its workers speak by `say`, and stores records by `store`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence

import msgspec

from streamforge.manager.origin import Source, source_of
from streamforge.manager.requests import check, workflow_of
from streamforge.manager.service import (
    Basis,
    DeadLetter,
    DeadLetterPage,
    Gap,
    HistoryEvent,
    KeyReused,
    NotFound,
    NotNow,
    Page,
    Removed,
    Report,
    SeriesPage,
    Started,
    StartRequest,
    StoredSeries,
    Verification,
)
from streamforge.manager.workflow import Status, Workflow
from streamforge.manager.workflow_service import WorkflowService
from streamforge_utils.model.coverage import Segment, Verdict, clip, extent
from streamforge_utils.model.errors import InvalidInput
from streamforge_utils.model.events import Event, encode_event
from streamforge_utils.model.kinds.candles import Candle, candle_key_prefix, encode_candle, stored_document
from streamforge_utils.model.kinds.registry import normal_type, rule_of, series_of
from streamforge_utils.model.series import Series, check_symbol
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.ports.exchange import SymbolInfo

NOW_MS = 1_722_600_000_000  # 2024-08-02T12:00Z
_replace = msgspec.structs.replace


class ServiceDouble(WorkflowService):
    """A manager without parts. failing: what every call raises, as long as it is set.

    joins: the workflow that every request joins; asked: what is asked for, where that one ends an hour earlier;
    replays: the same key and request joined it before.
    """

    def __init__(self) -> None:
        self.now_ms = NOW_MS
        self.workflows: dict[str, Workflow] = {}
        self.history: dict[str, list[HistoryEvent]] = {}
        self.letters: dict[str, list[DeadLetter]] = {}
        self.stored: dict[str, dict[str, bytes]] = {}
        self.known: dict[Series, list[Segment]] = {}
        self.listed: list[SymbolInfo] = []
        self.gaps: list[Gap] = []
        self.pongs: dict[str, float] = {}
        self.parts: dict[str, str | None] = {"bus": None, "store": None, "launcher": None, "reconciler": None}
        self.alone: str | None = None
        self.joins: str | None = None
        self.asked: TimeRange | None = None
        self.replays = False
        self.failing: Exception | None = None
        self.failing_after_batches: int | None = None
        self.batch = 1000
        self.following = 0
        self._keys: dict[str, tuple[StartRequest, str]] = {}
        self._number = 0
        self._news = asyncio.Event()

    def put(self, workflow: Workflow) -> None:
        """Let the workflow be as given."""
        self.workflows[workflow.queue_id] = workflow
        self.history.setdefault(workflow.queue_id, [])
        self._wake()

    def end(self, queue_id: str, status: Status = Status.FINISHED) -> None:
        """Let the workflow end."""
        self.put(_replace(self.workflows[queue_id], status=status, ended_ms=self.now_ms))

    def say(self, event: Event) -> int:
        """Keep an event of a worker; returns its id."""
        return self.say_raw(event.queue_id, encode_event(event))

    def say_raw(self, queue_id: str, body: bytes) -> int:
        """Keep any bytes as an event."""
        history = self.history[queue_id]
        number = history[-1].id + 3 if history else 0  # ids ascend, with holes
        history.append(HistoryEvent(number, body))
        self._wake()
        return number

    def store(self, collection: str, candles: Sequence[Candle]) -> None:
        """Store records as a sink would."""
        target = self.stored.setdefault(collection, {})
        for candle in candles:
            key, _, body = stored_document(None, encode_candle(candle))
            target[key] = body

    async def start(self, request: StartRequest, *, idempotency_key: str | None = None) -> Started:
        await self._answer()
        checked = check(request, self.now_ms)
        if idempotency_key in self._keys:
            before, queue_id = self._keys[idempotency_key]
            if before != request:
                raise KeyReused("this Idempotency-Key came before with another request")
            if queue_id in self.workflows:
                return Started(self.workflows[queue_id], replayed=True)
        if self.joins is not None:
            behind_ms = 0 if self.asked is None else 3_600_000
            joined = self.workflows[self.joins]
            return Started(joined, joined=True, replayed=self.replays, behind_ms=behind_ms, asked=self.asked)
        self._number += 1
        code = f"{self._number:06d}"
        workflow = workflow_of(checked, code=code, now_ms=self.now_ms + self._number, exchange_now_ms=self.now_ms)
        self.put(workflow)
        if idempotency_key is not None:
            self._keys[idempotency_key] = (request, workflow.queue_id)
        return Started(workflow, new=True)

    async def get(self, queue_id: str) -> Workflow:
        await self._answer()
        if queue_id not in self.workflows:
            raise NotFound(f"there is no workflow {queue_id!r}")
        return self.workflows[queue_id]

    async def find(
        self,
        *,
        statuses: Sequence[Status] = (),
        symbol: str | None = None,
        type: str | None = None,
        cursor: str | None = None,
        limit: int = 100,
    ) -> Page:
        await self._answer()
        symbol = None if symbol is None else check_symbol(symbol)
        type = None if type is None else normal_type(type)
        if cursor is not None and cursor not in self.workflows:
            raise InvalidInput("cursor", f"cursor {cursor[:80]!r} is none: start again")
        found = []
        seen = cursor is None
        for workflow in reversed(self.workflows.values()):
            if not seen:
                seen = workflow.queue_id == cursor
                continue
            if statuses and workflow.status not in statuses:
                continue
            if symbol not in (None, workflow.symbol) or type not in (None, workflow.type):
                continue
            found.append(workflow)
            if len(found) > limit:
                return Page(found[:limit], found[limit - 1].queue_id)
        return Page(found, None)

    async def remove(self, queue_id: str, *, data: bool = False) -> Removed:
        workflow = await self.get(queue_id)
        if not workflow.ended:
            raise NotNow(f"workflow {queue_id} is {workflow.status.value}: stop it before it is removed")
        del self.workflows[queue_id], self.history[queue_id]
        gone = self.stored.pop(workflow.collection, {}) if data else {}
        return Removed(records=len(gone))

    async def events(self, queue_id: str, *, after: int = -1, limit: int = 1000) -> Sequence[HistoryEvent]:
        await self.get(queue_id)
        return [event for event in self.history[queue_id] if event.id > after][:limit]

    async def follow(self, queue_id: str, *, after: int = -1) -> AsyncIterator[HistoryEvent]:
        self.following += 1
        try:
            while True:
                news = self._news
                events = await self.events(queue_id, after=after)
                for event in events:
                    yield event
                    after = event.id
                if not events:
                    if self.workflows[queue_id].ended:
                        return
                    await news.wait()
        finally:
            self.following -= 1

    async def stop(self, queue_id: str) -> Workflow:
        workflow = await self.get(queue_id)
        if workflow.ended:
            raise NotNow(f"workflow {queue_id} has ended ({workflow.status.value}): there is nothing to stop")
        self.put(_replace(workflow, status=Status.STOPPING, stop_asked_ms=self.now_ms))
        return self.workflows[queue_id]

    async def ping(self, queue_id: str, *, timeout_s: float = 2.0) -> Mapping[str, float | None]:
        workflow = await self.get(queue_id)
        return {step.telemetry_id: self.pongs.get(step.telemetry_id) for step in workflow.steps}

    async def retry(self, queue_id: str) -> Workflow:
        workflow = await self.get(queue_id)
        if workflow.status not in (Status.INTERRUPTED, Status.ERROR):
            raise NotNow(f"workflow {queue_id} is {workflow.status.value}: only an interrupted or failed one")
        self.put(_replace(workflow, status=Status.PENDING, ended_ms=None, failure=None))
        return self.workflows[queue_id]

    async def coverage(self, queue_id: str) -> Report:
        workflow = await self.get(queue_id)
        return self._report(workflow.series, "workflow", workflow.span)

    async def coverages(self, workflows: Sequence[Workflow]) -> Mapping[str, Report]:
        await self._answer()
        known = [one for one in workflows if one.ended and (one.plan or one.proof) and one.series in self.known]
        return {one.queue_id: self._report(one.series, "workflow", one.span) for one in known}

    async def series_coverage(
        self, symbol: str, type: str, span: TimeRange | None = None, *, life: bool = False
    ) -> Report:
        await self._answer()
        series = series_of(check_symbol(symbol), normal_type(type))
        if series not in self.known:
            raise NotFound(f"nothing is known of {series.symbol} {type}")
        if span is not None:
            return self._report(series, "range", span)
        return self._report(series, "life" if life else "asked", extent(self.known[series]))

    def _report(self, series: Series, basis: Basis, span: TimeRange | None) -> Report:
        known = self.known.get(series, [])
        segments = known if span is None else rule_of(series).counted(clip(known, span), None)
        return Report(series=series, basis=basis, span=span, segments=segments)

    async def verify(self, symbol: str, type: str, span: TimeRange | None = None) -> Verification:
        segments = (await self.series_coverage(symbol, type, span)).segments
        return Verification(counted=sum(s.records for s in segments), gaps=tuple(self.gaps), segments=tuple(segments))

    async def records(
        self,
        collection: str,
        *,
        span: TimeRange | None = None,
        after: str | None = None,
        limit: int = 1000,
        series: Series | None = None,
    ) -> AsyncIterator[Sequence[tuple[str, bytes]]]:
        await self._answer()
        if collection not in self.stored:
            raise NotFound(f"there is no collection {collection!r}")
        chosen = [
            (key, body)
            for key, body in sorted(self.stored[collection].items())
            if (after is None or key > after) and (span is None or int(key.rpartition("_")[2]) in span)
            if series is None or key.startswith(candle_key_prefix(series.symbol, series.interval))
        ][:limit]
        for number, first in enumerate(range(0, len(chosen), self.batch)):
            if number == self.failing_after_batches:
                raise RuntimeError("the disk is gone")
            yield chosen[first : first + self.batch]

    async def collections(self) -> Sequence[str]:
        await self._answer()
        return sorted(self.stored)

    async def series(self, *, cursor: str | None = None, limit: int = 100) -> SeriesPage:
        await self._answer()
        ids = sorted((series.id for series in self.known), reverse=True)
        if cursor is not None and cursor not in ids:
            raise InvalidInput("cursor", f"cursor {cursor[:80]!r} is not one of this server")
        by_id = {series.id: series for series in self.known}
        left = [id_ for id_ in ids if cursor is None or id_ < cursor]
        listed = [_stored_series(by_id[id_], self.known[by_id[id_]]) for id_ in left[:limit]]
        return SeriesPage(listed, left[limit - 1] if len(left) > limit else None)

    async def symbols(self) -> Sequence[SymbolInfo]:
        await self._answer()
        return self.listed

    async def dead_letters(self, queue_id: str, *, limit: int = 100) -> DeadLetterPage:
        await self.get(queue_id)
        letters = self.letters.get(queue_id, [])
        return DeadLetterPage(letters[:limit], len(letters))

    async def replay_dead_letters(self, queue_id: str) -> Workflow:
        workflow = await self.get(queue_id)
        if not workflow.ended or not self.letters.get(queue_id):
            raise NotNow(f"workflow {queue_id} is {workflow.status.value} or has no dead letters")
        self.put(_replace(workflow, status=Status.RUNNING, ended_ms=None))
        return self.workflows[queue_id]

    async def undriven(self) -> str | None:
        await self._answer()
        return self.alone

    async def source(self) -> Source:
        await self._answer()
        return source_of(("http://127.0.0.1:9000",))

    async def ready(self) -> Mapping[str, str | None]:
        await self._answer()
        return self.parts

    async def _answer(self) -> None:
        if self.failing is not None:
            raise self.failing

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()


def _stored_series(series: Series, known: Sequence[Segment]) -> StoredSeries:
    stored = [segment for segment in known if segment.verdict is Verdict.STORED]
    if not stored:
        return StoredSeries(series, None, (), 0)
    span = TimeRange(stored[0].start_ms, stored[-1].end_ms)
    return StoredSeries(series, span, clip(known, span), sum(segment.records for segment in stored))
