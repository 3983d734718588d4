"""One connection to the bus for the members of a basket: one producer of events, and one reader of the commands."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence

from streamforge_utils.model.errors import RetryableError
from streamforge_utils.ports.bus import Consumer, Producer, Received, Start
from streamforge_utils.ports.clock import Clock
from streamforge_utils.runtime.life.context import MessageBus

REMEMBERED = 5000
"""Commands that a member gets which begins to read later, and that may wait for one; what is older comes again."""

_POLL_S, _AGAIN_S = 5.0, 1.0


class SharedBus:
    """bus: closed with this. topic: whose messages since `since_ms` are read once for all members."""

    def __init__(self, bus: MessageBus, topic: str, since_ms: int, clock: Clock) -> None:
        self._bus = bus
        self._commands = _Commands(bus, topic, since_ms, clock)
        self._making: asyncio.Task[Producer] | None = None

    def member(self) -> MessageBus:
        """The bus as one more member has it. Who reads records closes the reader himself."""
        return _MemberBus(self._bus, self)

    async def producer(self) -> Producer:
        """The common producer, for what is no record."""
        making = self._making
        if making is None or (making.done() and (making.cancelled() or making.exception() is not None)):
            making = self._making = asyncio.create_task(self._bus.producer())
        return _MemberProducer(await asyncio.shield(making))

    async def commands(self, topic: str, since_ms: int | None) -> Consumer | None:
        """A reader of the commands; None: the topic is another one."""
        return None if topic != self._commands.topic or since_ms is None else await self._commands.member(since_ms)

    async def close(self) -> None:
        """Release all of it."""
        await self._commands.close()
        await self._bus.close()


class _MemberBus:
    def __init__(self, bus: MessageBus, shared: SharedBus) -> None:
        self._shared = shared
        self._made: list[Consumer | Producer] = []
        self._bus = bus
        self.create_topic, self.delete_topic, self.topics = bus.create_topic, bus.delete_topic, bus.topics
        self.trim, self.identity, self.offsets = bus.trim, bus.identity, bus.offsets
        self.size, self.lag = bus.size, bus.lag

    async def producer(self, *, bulk: bool = False) -> Producer:
        # Sends of one producer follow one another: who is slow must not hold up the others.
        if not bulk:
            return await self._shared.producer()
        found = await self._bus.producer(bulk=True)
        self._made.append(found)
        return found

    async def consumer(
        self,
        topic: str,
        *,
        group: str | None = None,
        start: Start = Start.EARLIEST,
        start_time_ms: int | None = None,
        ahead_bytes: int | None = None,
    ) -> Consumer:
        found = None if group is not None else await self._shared.commands(topic, start_time_ms)
        if found is None:
            return await self._bus.consumer(
                topic, group=group, start=start, start_time_ms=start_time_ms, ahead_bytes=ahead_bytes
            )
        self._made.append(found)
        return found

    async def close(self) -> None:
        while self._made:
            await self._made.pop().close()


class _MemberProducer:
    """The common producer; closing it is not a member's affair."""

    def __init__(self, producer: Producer) -> None:
        self.send = producer.send

    async def close(self) -> None:
        """It goes on for the others."""


class _Commands:
    """Reads a topic for all members."""

    def __init__(self, bus: MessageBus, topic: str, since_ms: int, clock: Clock) -> None:
        self.topic = topic
        self._bus = bus
        self._since_ms = since_ms
        self._clock = clock
        self._read = deque[Received](maxlen=REMEMBERED)
        self._members: list[_MemberConsumer] = []
        self._beginning = asyncio.Lock()
        self._consumer: Consumer | None = None
        self._reading: asyncio.Task[None] | None = None

    async def member(self, since_ms: int) -> Consumer:
        async with self._beginning:
            if self._consumer is None:
                self._consumer = await self._bus.consumer(self.topic, start_time_ms=min(since_ms, self._since_ms))
                self._reading = asyncio.create_task(self._read_all(self._consumer), name="commands of all")
        member = _MemberConsumer(self._members)
        member.give([one for one in self._read if one.timestamp_ms >= since_ms])
        return member

    async def _read_all(self, consumer: Consumer) -> None:
        while True:
            try:
                found = await consumer.poll(100, _POLL_S)
            except Exception as error:  # each member is patient with the bus for itself
                for member in self._members:
                    member.fail(error)
                await self._clock.sleep(_AGAIN_S)
                continue
            self._read.extend(found)
            for member in self._members:
                member.give(found)

    async def close(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)


class _MemberConsumer:
    """The commands as one member reads them. all_: the members, of which it is one until it is closed."""

    def __init__(self, all_: list[_MemberConsumer]) -> None:
        self._unread = deque[Received](maxlen=REMEMBERED)
        self._failure: Exception | None = None
        self._came = asyncio.Event()
        self._all = all_
        all_.append(self)

    def give(self, found: Sequence[Received]) -> None:
        self._unread.extend(found)
        if found:
            self._came.set()

    def fail(self, error: Exception) -> None:
        self._failure = error
        self._came.set()

    async def poll(self, max_messages: int, timeout_s: float) -> Sequence[Received]:
        if not self._unread and self._failure is None:
            self._came.clear()
            waiting = asyncio.ensure_future(self._came.wait())
            try:
                await asyncio.wait({waiting}, timeout=timeout_s)
            finally:
                waiting.cancel()
        if self._unread:
            return [self._unread.popleft() for _ in range(min(max_messages, len(self._unread)))]
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure
        return []

    async def commit(self, offsets: Mapping[int, int]) -> None:
        raise RetryableError("the common reader of commands commits nothing")

    async def seek(self, partition: int, offset: int) -> None:
        raise RetryableError("the common reader of commands does not seek")

    async def position(self) -> Mapping[int, int]:
        raise RetryableError("the common reader of commands has no position")

    async def close(self) -> None:
        if self in self._all:
            self._all.remove(self)
