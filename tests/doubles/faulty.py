"""A real bus and a real store with switches for their failures; what has no switch is the real one's own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from streamforge_utils.model.errors import RetryableError
from streamforge_utils.ports.bus import Consumer, Lag, Message, Producer, Received
from streamforge_utils.ports.store import Answer, Document, Store
from streamforge_utils.runtime.life.context import MessageBus

Fault = Callable[[], Exception | None]
"""Asked before each call: the error to raise, or None to let it pass."""


def always(message: str) -> Fault:
    return lambda: RetryableError(message)


def times(count: int, message: str) -> Fault:
    """The first `count` calls fail."""
    left = [count]

    def fault() -> Exception | None:
        left[0] -= 1
        return RetryableError(message) if left[0] >= 0 else None

    return fault


def _check(fault: Fault | None) -> None:
    error = fault() if fault is not None else None
    if error is not None:
        raise error


class FaultyBus:
    """send: faults by topic. poll, commit, connect, measure (`lag`): faults of every such call.

    held: sends that wait for an event. waiting: how many are held. commits: what was committed, in order. lags: answers
    of `lag` by group, instead of the bus's.
    """

    def __init__(self, bus: MessageBus) -> None:
        self.bus = bus
        self.send: dict[str, Fault] = {}
        self.poll: Fault | None = None
        self.commit: Fault | None = None
        self.connect: Fault | None = None
        self.measure: Fault | None = None
        self.held: dict[str, asyncio.Event] = {}
        self.waiting = 0
        self.commits: list[Mapping[int, int]] = []
        self.lags: dict[str, int] = {}

    async def producer(self, *, bulk: bool = False) -> Producer:
        _check(self.connect)
        return _FaultyProducer(self, await self.bus.producer(bulk=bulk))

    async def consumer(self, topic: str, **how: Any) -> Consumer:
        return cast("Consumer", _FaultyConsumer(self, await self.bus.consumer(topic, **how)))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.bus, name)

    async def lag(self, topic: str, group: str) -> Lag:
        _check(self.measure)
        if group in self.lags:
            return Lag(self.lags[group])
        return await self.bus.lag(topic, group)


class _FaultyProducer:
    def __init__(self, faults: FaultyBus, producer: Producer) -> None:
        self._faults = faults
        self._producer = producer

    async def send(self, topic: str, messages: Sequence[Message], *, fleeting: bool = False) -> None:
        held = self._faults.held.get(topic)
        if held is not None:
            self._faults.waiting += 1
            try:
                await held.wait()
            finally:
                self._faults.waiting -= 1
        _check(self._faults.send.get(topic))
        await self._producer.send(topic, messages, fleeting=fleeting)

    async def close(self) -> None:
        await self._producer.close()


class _FaultyConsumer:
    def __init__(self, faults: FaultyBus, consumer: Consumer) -> None:
        self._faults = faults
        self._consumer = consumer

    async def poll(self, max_messages: int, timeout_s: float) -> Sequence[Received]:
        _check(self._faults.poll)
        return await self._consumer.poll(max_messages, timeout_s)

    async def commit(self, offsets: Mapping[int, int]) -> None:
        _check(self._faults.commit)
        await self._consumer.commit(offsets)
        self._faults.commits.append(dict(offsets))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._consumer, name)


class FaultyStore:
    """connecting, upserting: the fault of every such call. answers: replace the store's by key.

    upserts_at_once: what it says of itself. gate: upserts wait for it. held: an upsert whose first document has this
    key waits for the event.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.connecting: Fault | None = None
        self.upserting: Fault | None = None
        self.answers: dict[str, Answer] = {}
        self.upserts_at_once = 1
        self.gate: asyncio.Event | None = None
        self.held: dict[str, asyncio.Event] = {}
        self.batches: list[int] = []

    async def connect(self) -> None:
        _check(self.connecting)
        await self.store.connect()

    async def upsert(self, collection: str, documents: Sequence[Document]) -> Sequence[Answer]:
        self.batches.append(len(documents))
        if self.gate is not None:
            await self.gate.wait()
        if (event := self.held.get(documents[0].key)) is not None:
            await event.wait()
        _check(self.upserting)
        kept = [document for document in documents if document.key not in self.answers]
        answers = iter(await self.store.upsert(collection, kept))
        return [self.answers.get(document.key) or next(answers) for document in documents]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)
