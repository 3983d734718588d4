"""Sending to Kafka: a `send` is handed over in batches, and returns when the broker has confirmed all of it.

The producer of a `consumed` topic waits while its readers have too much before them: Kafka bounds a topic by
forgetting, which such a topic must not. Its cap and its readers are noted, when it is made, with the brokers (as the
metadata of an offset committed for it), so that every producer can keep them. What is unread is counted in messages
and taken to be as large as those of this producer.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka import Producer as Client

from streamforge_utils.adapters.bus_clients import cuts, sizes_of, topic_full
from streamforge_utils.adapters.call_thread import Lane
from streamforge_utils.adapters.kafka.kafka_client import Handle
from streamforge_utils.adapters.kafka.kafka_connection import (
    BATCH_BYTES,
    BATCH_MESSAGES,
    MESSAGE_BYTES,
    SEND_S,
    Connection,
    Role,
)
from streamforge_utils.adapters.kafka.kafka_errors import GONE, Operation
from streamforge_utils.adapters.kafka.topics import Admin, Cap, Topic, TopicCache
from streamforge_utils.model.errors import PermanentError, RetryableError, StreamForgeError
from streamforge_utils.ports.bus import Message
from streamforge_utils.ports.clock import Clock
from streamforge_utils.ports.instrumentation import Observer

AT_ONCE = 5000
"""Messages handed over between two chances for others to run: about 5 ms of work."""

_SLICE_S = 0.2
_SUSPICIOUS_S = 1.5
"""A send that takes longer makes us ask whether the topic is still there."""

_FLUSH_LIMIT_S = SEND_S + 5.0

UNASKED_BYTES = 64 * 1024
"""So much a producer sends to a topic before it asks for its cap: one that sends only events starts without asking."""

_PORTIONS = 8
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.02, 0.5


class KafkaProducer:
    """Implements `Producer`. Sends of one producer follow one another.

    compressed: with lz4, which not every client can read without another package.
    """

    def __init__(
        self,
        connection: Connection,
        topics: TopicCache,
        caps: CapKeeper,
        observer: Observer,
        on_close: Callable[[KafkaProducer], None],
        *,
        compressed: bool,
    ) -> None:
        self._codec = {"compression.type": "lz4" if compressed else "none"}
        self._handle: Handle[Client] = Handle(connection, Role.PRODUCER, self._client, _end)
        self._topics = topics
        self._caps = caps
        self._observer = observer
        self._on_close = on_close
        self._lane = Lane("Kafka producer")
        self._locks: dict[str, asyncio.Lock] = {}
        self._sending = asyncio.Lock()
        self._closing = threading.Event()
        self._failed: list[Any] = []

    async def open(self) -> None:
        """Make the client: it connects while others go on."""
        await self._lane.run(self._handle.get)

    async def send(self, topic: str, messages: Sequence[Message], *, fleeting: bool = False) -> None:
        self._lane.require_open()
        if not messages:
            return
        sizes = sizes_of(topic, messages, MESSAGE_BYTES)  # whether this topic takes them, the broker knows
        messages = list(messages)
        _check_headers(topic, messages)
        async with self._locks.setdefault(topic, asyncio.Lock()):
            found = await self._topics.find(topic, needs="write")
            try:
                async for first, last in self._caps.portions(found, sizes):
                    await self._send(topic, messages[first:last])
            except PermanentError:
                self._topics.forget(topic)
                raise
        self._observer.count("bus_messages_sent", len(messages), topic=topic)

    async def close(self) -> None:
        self._on_close(self)
        self._closing.set()
        await self._lane.close(self._handle.drop)

    def _client(self, config: dict[str, Any]) -> Client:
        return Client({**config, **self._codec})

    async def _send(self, topic: str, messages: Sequence[Message]) -> None:
        operation = Operation(what=f"send to topic {topic}", topic=topic, needs="write")
        async with self._sending:
            await self._lane.until_idle()  # a cancelled send may have left a call running
            found = self._handle.ready
            client = await self._lane.run(self._handle.get) if found is None else found
            self._failed.clear()
            try:
                # Handing over never blocks, and costs less where the messages were made than in another thread.
                for first in range(0, len(messages), AT_ONCE):
                    if first:
                        await asyncio.sleep(0)
                    self._hand_over(client, topic, messages[first : first + AT_ONCE])
                await self._lane.run(partial(self._confirm, client, topic, operation))
            except KafkaException as error:
                await self._lane.run(partial(self._give_up, client))
                raise self._handle.error(error, operation) from error
            except BufferError as error:
                await self._lane.run(partial(self._give_up, client))
                raise self._handle.diagnostics.explain(operation, "_TIMED_OUT", "the client's queue is full") from error

    def _hand_over(self, client: Client, topic: str, messages: Sequence[Message]) -> None:
        if [message for message in messages if message.headers]:
            for message in messages:
                client.produce(
                    topic,
                    message.value,
                    message.key,
                    headers=list(message.headers),
                    on_delivery=self._on_failure,
                )
        else:
            batch = _plain(messages)
            client.produce_batch(topic, batch, on_delivery=self._on_failure)
            self._failed += [message["_error"] for message in batch if "_error" in message]

    def _confirm(self, client: Client, topic: str, operation: Operation) -> None:
        """Return once nothing is left. Raises where waiting for it is of no use."""
        began = time.monotonic()
        asked = began
        while client.flush(_SLICE_S):
            now = time.monotonic()
            problem: StreamForgeError | None = None
            try:
                self._handle.diagnostics.check()
                if (
                    now - asked > _SUSPICIOUS_S
                    and self._handle.diagnostics.connected
                    and not self._handle.diagnostics.down
                ):
                    asked = now
                    self._topics.check(topic)
            except StreamForgeError as error:
                problem = error
            if problem is None and (now - began > _FLUSH_LIMIT_S or self._handle.stale or self._closing.is_set()):
                problem = self._handle.diagnostics.explain(
                    operation, "_TIMED_OUT", f"not confirmed within {now - began:.0f} s"
                )
            if problem is not None:
                self._give_up(client)
                raise problem
        if any(failure.name() == "_FATAL" for failure in self._failed):
            self._handle.diagnostics.fatal = True
            client.poll(_SLICE_S)  # it raises its fatal error from here
        if self._failed:
            raise self._because(self._failed[0], topic, operation)
        self._handle.diagnostics.answered()

    def _give_up(self, client: Client) -> None:
        """What is under way may arrive or not: the client goes, its successor begins with a clean sequence."""
        client.purge()
        client.flush(0)
        self._handle.drop()

    def _because(self, failure: Any, topic: str, operation: Operation) -> StreamForgeError:
        if failure.name() in GONE:
            self._topics.check(topic)
            return RetryableError(f"topic {topic} is not known to all brokers yet; try again")
        return self._handle.error_of(failure, operation)

    def _on_failure(self, error: Any, message: Any) -> None:
        if error is not None:
            self._failed.append(error)


class CapKeeper:
    """Cuts what one producer sends into portions, each of which fits under the topic's cap when it is yielded.

    full_timeout_s: how long the readers may commit nothing before that is an error.
    """

    def __init__(self, admin: Admin, lane: Lane, clock: Clock, observer: Observer, full_timeout_s: float) -> None:
        self._admin = admin
        self._lane = lane
        self._clock = clock
        self._observer = observer
        self._full_timeout_s = full_timeout_s
        self._caps: dict[str, Cap | None] = {}
        self._room: dict[str, int] = {}
        self._unasked: dict[str, int] = {}
        self._sent: dict[str, tuple[int, int]] = {}

    async def portions(self, topic: Topic, sizes: Sequence[int]) -> AsyncIterator[tuple[int, int]]:
        """First and (exclusive) last index of each portion of messages with `sizes` (bytes), in order.

        Raises TopicFull if the topic stays full.
        """
        if topic.identity not in self._caps:
            free = self._unasked.get(topic.identity, UNASKED_BYTES) - sum(sizes)
            if free >= 0:
                self._unasked[topic.identity] = free
                yield 0, len(sizes)
                return
            self._caps[topic.identity] = await self._lane.run(partial(self._admin.cap, topic.name))
        cap = self._caps[topic.identity]
        most = BATCH_BYTES if cap is None else max(1, min(BATCH_BYTES, cap.max_bytes // _PORTIONS))
        for first, last in cuts(sizes, most, BATCH_MESSAGES):
            if cap is not None:
                await self._wait_for_room(topic, cap, last - first, sum(sizes[first:last]))
            yield first, last

    async def _wait_for_room(self, topic: Topic, cap: Cap, count: int, size: int) -> None:
        messages, total = self._sent.get(topic.identity, (0, 0))
        self._sent[topic.identity] = (messages + count, total + size)
        mean = (total + size) / (messages + count)
        room = self._room.get(topic.identity, 0)
        if room < size:
            room = await self._room_for(topic, cap, size, mean)
        self._room[topic.identity] = room - size

    async def _room_for(self, topic: Topic, cap: Cap, size: int, mean: float) -> int:
        """How much may be sent before the readers are looked at again: at least `size`, once there is room for it."""
        least: int | None = None
        pause, give_up = _FIRST_PAUSE_S, 0.0
        try:
            while True:
                behind = await self._lane.run(partial(self._behind, topic, cap))
                unread = max(behind.values(), default=0)
                room = int(cap.max_bytes - unread * mean)
                if room >= size or not unread:
                    return max(size, min(room, cap.max_bytes // _PORTIONS))
                if least is None or unread < least:
                    least, give_up = unread, self._clock.monotonic() + self._full_timeout_s
                    pause = _FIRST_PAUSE_S
                elif self._clock.monotonic() >= give_up:
                    raise topic_full(topic.name, cap.max_bytes, self._full_timeout_s, behind)
                self._observer.waiting(f"the topic {topic.name} is full: its readers have to catch up")
                await self._clock.sleep(pause)
                pause = min(_LONGEST_PAUSE_S, 2 * pause)
        finally:
            self._observer.waiting(None)

    def _behind(self, topic: Topic, cap: Cap) -> dict[str, int]:
        """How many messages each reader has before it."""
        ends = self._admin.ends(topic)
        committed = {group: self._admin.committed(topic, group) for group in cap.readers}
        return {
            group: sum(end - offsets.get(number, 0) for number, end in ends.items())
            for group, offsets in committed.items()
        }


def _plain(messages: Sequence[Message]) -> list[dict[str, Any]]:
    return [
        {"value": message.value} if message.key is None else {"value": message.value, "key": message.key}
        for message in messages
    ]


def _check_headers(topic: str, messages: Sequence[Message]) -> None:
    """Raises PermanentError for headers that cannot be sent."""
    for name in (name for message in messages for name, _ in message.headers):
        if "\0" in name:  # the client would cut it there
            raise PermanentError(f"topic {topic}: the header name {name[:80]!r} holds a NUL: leave it out")


def _end(client: Client) -> None:
    client.purge()
    with suppress(KafkaException):  # its fatal error, if it was not raised yet
        client.flush(0)
