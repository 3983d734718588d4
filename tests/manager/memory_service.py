"""The manager's service on memory ports, for those who test what asks it: no loop drives its workflows."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from itertools import count
from typing import Self

from streamforge.manager.engine.document import Status, Workflow
from streamforge.manager.engine.persistence.event_history import HistoryEvent
from streamforge.manager.use_cases import DeadLetter, Started, StartRequest
from streamforge.manager.workflow_service import WorkflowService
from streamforge_utils.model import names
from streamforge_utils.model.coverage import Segment
from streamforge_utils.model.kinds.candles import Candle, Interval, encode_candle
from streamforge_utils.model.messages import Event, encode_event
from streamforge_utils.model.series import Series
from streamforge_utils.ports.bus import Message, TopicSpec
from streamforge_utils.ports.store import Document
from tests.doubles.candles import stored_document
from tests.doubles.manualclock import ManualClock
from tests.doubles.scriptedexchange import ScriptedExchange
from tests.manager.support import World, replace

NOW_MS = 1_722_600_000_000  # 2024-08-02T12:00Z


class MemoryService(WorkflowService):
    """A test moves a workflow by `put`, appends events of its workers by `event`, and stores records by `store`.

    following: the calls of `follow` that have not ended. Workflows are made a millisecond apart, with codes that count.
    """

    def __init__(self, world: World, clock: ManualClock, exchange: ScriptedExchange) -> None:
        numbers = count(1)
        super().__init__(world.deps, world.reconciler, lambda: f"{next(numbers):06d}")
        self.world, self.clock, self.exchange = world, clock, exchange
        self.following = 0
        self._offsets: Counter[str] = Counter()

    @classmethod
    async def made(cls) -> Self:
        """One whose parts work."""
        clock, exchange = ManualClock(NOW_MS), ScriptedExchange(Interval.M1, (), now_ms=NOW_MS)
        world = World(clock=clock, exchange=exchange)
        await world.start()
        world.reconciler.last_look = clock.monotonic()
        return cls(world, clock, exchange)

    async def start(self, request: StartRequest, *, idempotency_key: str | None = None) -> Started:
        self.clock.advance(0.001)
        return await super().start(request, idempotency_key=idempotency_key)

    async def follow(self, queue_id: str, *, after: int = -1) -> AsyncIterator[HistoryEvent]:
        self.following += 1
        try:
            async for event in super().follow(queue_id, after=after):
                yield event
        finally:
            self.following -= 1

    async def ids(self) -> list[str]:
        """The workflows that there are, oldest first."""
        return [workflow.queue_id for workflow in (await self.find()).workflows][::-1]

    async def put(self, workflow: Workflow) -> None:
        """Let the workflow be as given."""
        workflows = self.world.deps.workflows
        if await workflows.change(workflow.queue_id, lambda _: workflow) is None:
            await workflows.create(workflow)
        self.world.deps.history.wake(workflow.queue_id)

    async def end(self, queue_id: str, status: Status = Status.FINISHED) -> None:
        """Let the workflow end."""
        await self.put(replace(await self.get(queue_id), status=status, ended_ms=self.clock.now_ms()))

    async def event(self, event: Event | bytes, queue_id: str = "") -> None:
        """Keep an event of a worker, or any JSON in its place; the ids of a workflow are 0, 3, 6 and so on."""
        if isinstance(event, Event):
            queue_id, event = event.queue_id, encode_event(event)
        await self.world.deps.history.append([(queue_id, self._offsets[queue_id], event)])
        self._offsets[queue_id] += 3

    async def store(self, collection: str, candles: Iterable[Candle]) -> None:
        """Store records as a sink would."""
        documents = [Document(*stored_document(None, encode_candle(candle))) for candle in candles]
        await self.world.store.upsert(collection, documents)

    async def know(self, series: Series, segments: Sequence[Segment]) -> None:
        """Let the coverage of the series say this."""
        await self.world.deps.coverage.lay_over(series, segments)

    async def refuse(self, workflow: Workflow, letters: Iterable[DeadLetter]) -> None:
        """Put dead letters on the workflow's topic."""
        topic = names.dlq_topic(workflow.topic)
        await self.world.bus.create_topic(TopicSpec(name=topic))
        for letter in letters:
            headers = {
                "topic": letter.topic,
                "partition": letter.partition,
                "offset": letter.offset,
                "attempt": letter.attempt,
                "reason": letter.reason,
                "time": letter.time_ms,
            }
            texts = tuple((name, str(value).encode()) for name, value in headers.items())
            self.world.bus.append(topic, Message(letter.key, letter.value, texts))
