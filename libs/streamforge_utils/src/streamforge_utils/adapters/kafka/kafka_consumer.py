"""Reading from Kafka."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from confluent_kafka import Consumer as Client
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka import TopicPartition as KafkaPlace

from streamforge_utils.adapters.bus_clients import Subscription
from streamforge_utils.adapters.call_thread import Lane
from streamforge_utils.adapters.kafka.assignment import Ownership, PrefetchBuffer
from streamforge_utils.adapters.kafka.kafka_client import CALL_S, FIRST_CONTACT_S, Handle
from streamforge_utils.adapters.kafka.kafka_connection import Connection, Role, fetched_at_most
from streamforge_utils.adapters.kafka.kafka_errors import GONE, LOST, Operation, is_passing
from streamforge_utils.adapters.kafka.topics import Admin, Topic, TopicCache
from streamforge_utils.model.errors import InvalidInput, PermanentError, StreamForgeError
from streamforge_utils.ports.bus import Received, Start
from streamforge_utils.ports.instrumentation import Observer

JOIN_S = 10.0
"""How long `open` waits to be a member of the group."""

LOOK_AHEAD = 25_000
"""Messages fetched beyond what was asked for, where several partitions are to have their share."""

SERVED = 1000
"""Messages taken in at most while a commit waits for a rebalance."""

_SLICE_S = 0.1
_SHORT_SLICE_S = 0.01
"""The longest that a commit waits for a poll to notice it."""

LOOK_EVERY_S = 2.0
_SEEK_S = 5.0
_READERS_GROUP = "streamforge-reader"
"""librdkafka wants a name; a consumer without a group joins and commits nothing under it."""


class KafkaConsumer:
    """Implements `Consumer`. Made by `open`.

    Only the lane's thread uses the client: a poll that waits there ends early for a commit, a seek or the close. Only
    the callbacks of a rebalance change which partitions are this member's.
    """

    def __init__(
        self,
        connection: Connection,
        admin: Admin,
        topic_cache: TopicCache,
        observer: Observer,
        subscription: Subscription,
        on_close: Callable[[KafkaConsumer], None],
    ) -> None:
        self._subscription = subscription
        self._ahead = {} if subscription.ahead_bytes is None else fetched_at_most(subscription.ahead_bytes)
        self._admin = admin
        self._topic_cache = topic_cache
        self._observer = observer
        self._name = subscription.topic
        self._group = subscription.group
        self._on_close = on_close
        self._handle: Handle[Client] = Handle(connection, Role.CONSUMER, self._client, _end)
        self._lane = Lane("Kafka consumer")
        self._lock = asyncio.Lock()
        self._hurry = threading.Event()
        self._urgent = 0
        self._uncommitted = False
        self._unsettled = False
        self._topic: Topic | None = None
        self._begin: dict[int, int] = {}
        self._owned = Ownership()
        self._joined = False
        self._prefetched = PrefetchBuffer()
        self._looked_at = 0.0
        self._problem: StreamForgeError | None = None

    async def open(self) -> None:
        """Find the places to begin at, join the group. To be closed if it raises, too."""
        await self._lane.run(self._open)

    async def poll(self, max_messages: int, timeout_s: float) -> Sequence[Received]:
        if max_messages < 1:
            raise InvalidInput("max_messages", f"max_messages is {max_messages}: it must be at least 1")
        give_up = time.monotonic() + timeout_s
        while True:
            async with self._lock:
                self._lane.require_open()
                await self._lane.until_idle()  # a cancelled poll may have left a call running
                if not self._prefetched.count:
                    await self._in_lane(partial(self._fetch, max_messages, give_up))
                received = self._prefetched.take(max_messages)
            if received:
                self._uncommitted = self._group is not None
                self._observer.count("bus_messages_received", len(received))
                return received
            # Another call may have been let pass before anything came.
            if self._lane.closed or time.monotonic() >= give_up:
                return received

    async def commit(self, offsets: Mapping[int, int]) -> None:
        if self._group is None:
            raise PermanentError("this consumer has no group: it cannot commit")
        for partition in offsets:
            self._require(partition)
        if not offsets:
            return
        async with self._way_made():
            if self._unsettled or any(partition not in self._owned for partition in offsets):
                # Perhaps this member was thought dead, and is about to have its partitions back.
                async with self._lock:
                    await self._lane.until_idle()
                    await self._in_lane(self._serve)
            await self._lane.run(partial(self._commit, dict(offsets)))

    async def seek(self, partition: int, offset: int) -> None:
        self._require(partition)
        async with self._way_made(), self._lock:
            await self._lane.until_idle()
            await self._in_lane(partial(self._seek, partition, offset))

    async def position(self) -> Mapping[int, int]:
        async with self._way_made(), self._lock:
            await self._lane.until_idle()
            return await self._lane.run(self._position)

    async def close(self) -> None:
        self._on_close(self)
        self._hurry.set()
        await self._lane.close(self._handle.drop)

    @asynccontextmanager
    async def _way_made(self) -> AsyncIterator[None]:
        """A poll that waits in the lane ends soon, and goes on behind what is called in this block."""
        self._urgent += 1
        try:
            yield
        finally:
            self._urgent -= 1

    async def _in_lane(self, call: Callable[[], None]) -> None:
        self._hurry.clear()
        if self._lane.closed:
            self._hurry.set()
        try:
            await self._lane.run(call)
        except asyncio.CancelledError:
            self._hurry.set()
            raise

    def _require(self, partition: int) -> None:
        known = 0 if self._topic is None else self._topic.partitions
        if partition not in self._owned and not 0 <= partition < known:  # one that was added since is its own, too
            raise PermanentError(f"topic {self._name} has no partition {partition}")

    # What follows runs in the lane's thread.

    def _open(self) -> None:
        topic = self._topic = self._topic_cache.check(self._name, "read")
        if self._group is None:
            self._begin = self._first_offsets(topic)
        self._handle.get()
        if self._group is not None:
            self._join()

    def _first_offsets(self, topic: Topic) -> dict[int, int]:
        start_time_ms = self._subscription.start_time_ms
        if start_time_ms is not None:
            ends = self._admin.ends(topic)  # before the look for the time: nothing is missed in between
            found = self._admin.at_time(topic, dict.fromkeys(ends, max(0, start_time_ms)))
            return {number: end if found[number] < 0 else found[number] for number, end in ends.items()}
        return self._admin.ends(topic) if self._subscription.start is Start.LATEST else self._admin.starts(topic)

    def _client(self, config: dict[str, Any]) -> Client:
        client = Client({**config, **self._ahead, "group.id": self._group or _READERS_GROUP})
        self._owned.lose(self._owned)
        self._joined = False
        if self._group is None:
            self._owned.gain(self._begin)
            client.assign(
                [
                    KafkaPlace(self._name, partition, self._prefetched.floors.get(partition, offset))
                    for partition, offset in self._begin.items()
                ]
            )
        else:
            client.subscribe(
                [self._name], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_revoke
            )
        return client

    def _join(self) -> None:
        operation = self._operation(f"join group {self._group}")
        began = time.monotonic()
        while not self._joined and not self._hurry.is_set():
            self._take_in(self._handle.get().consume(1, _SLICE_S))
            self._handle.diagnostics.check()
            waited = time.monotonic() - began
            if waited > FIRST_CONTACT_S and not self._handle.diagnostics.connected and self._handle.diagnostics.down:
                raise self._handle.diagnostics.explain(
                    operation, "_TIMED_OUT", f"no answer within {FIRST_CONTACT_S:g} s"
                )
            if waited > JOIN_S:
                raise self._handle.diagnostics.explain(operation, "_TIMED_OUT", f"not a member after {JOIN_S:g} s")

    def _fetch(self, most: int, give_up: float) -> None:
        """Fill the buffer; returns at the first messages, at `give_up` (monotonic seconds) or when others wait."""
        problem, self._problem = self._problem, None
        if problem is not None:
            raise problem
        while True:
            client = self._handle.get()
            left = give_up - time.monotonic()
            first = client.poll(max(0.0, min(_SHORT_SLICE_S if self._uncommitted else _SLICE_S, left)))
            if first is not None:
                several = len(self._begin) > 1 if self._group is None else len(self._owned) > 1
                more = max(most, LOOK_AHEAD if several else 0) - 1
                self._take_in([first, *(client.consume(more, 0) if more else ())])
                if self._prefetched.count:
                    return
            self._look_after()
            if left <= 0 or self._hurry.is_set() or self._urgent:
                return

    def _serve(self) -> None:
        """Let a rebalance that is under way call back."""
        self._take_in(self._handle.get().consume(SERVED, _SLICE_S))

    def _take_in(self, messages: Sequence[Any]) -> None:
        good: list[Received] = []
        problem: StreamForgeError | None = None
        for message in messages:
            error = message.error()
            if error is not None and error.code() == KafkaError._PARTITION_EOF:
                if message.partition() in self._owned:
                    self._prefetched.ends[message.partition()] = message.offset()
                continue
            if error is not None:
                try:
                    self._on_message_error(error)
                except StreamForgeError as found:
                    problem = problem or found
                continue
            partition = message.partition()
            if partition not in self._owned:
                continue
            headers = message.headers()
            good.append(
                Received(
                    self._name,
                    partition,
                    message.offset(),
                    message.key(),
                    message.value() or b"",
                    message.timestamp()[1],
                    tuple((name, value or b"") for name, value in headers) if headers else (),
                )
            )
        if good:
            self._handle.diagnostics.answered()
            self._prefetched.put(good)
        if problem is not None:
            if not self._prefetched.count:
                raise problem
            self._problem = problem  # what came before it is not fetched again

    def _on_message_error(self, error: Any) -> None:
        name = error.name()
        if name == "GROUP_AUTHORIZATION_FAILED" and self._group is None:
            return  # it uses none
        self._observer.count("bus_read_errors", 1, error=name)
        if name in GONE:
            self._look_for_topic()
        elif error.fatal() or not is_passing(name):
            raise self._handle.error_of(error, self._operation(f"read topic {self._name}"))
        else:
            # The client goes on by itself; what lasts shows in the connection, or in nothing coming any more.
            self._handle.diagnostics.log_error(name, error.str())

    def _look_after(self) -> None:
        """Where nothing comes: is there a connection, and is the topic still there?"""
        diagnostics = self._handle.diagnostics
        diagnostics.check()
        now = time.monotonic()
        if now - self._looked_at < LOOK_EVERY_S:
            return
        self._looked_at = now
        self._look_for_topic()
        # The brokers answer us, and librdkafka comes back by itself; but not one that holds a CA file of before: what
        # was answered is another client, which may have been made after it was renewed.
        if not diagnostics.untrusted:
            diagnostics.answered()

    def _look_for_topic(self) -> None:
        found, topic = self._topic_cache.check(self._name, "read"), self._topic
        if topic is not None and found.identity != topic.identity:
            raise PermanentError(f"the topic {self._name} was deleted and made again: read it with another consumer")

    def _operation(self, what: str) -> Operation:
        return Operation(what=what, topic=self._name, group=self._group or "", needs="read")

    def _commit(self, offsets: dict[int, int]) -> None:
        client = self._handle.get()  # another one than before is no member yet
        operation = self._operation(f"commit what was read of topic {self._name}")
        places = [KafkaPlace(self._name, partition, offset) for partition, offset in offsets.items()]
        try:
            places = self._owned.needed(client, self._group or "", places, CALL_S)
            committed = client.commit(offsets=places, asynchronous=False) if places else ()
        except KafkaException as error:
            self._unsettled = error.args[0].name() in LOST
            raise self._handle.error(error, operation) from error
        for place in committed or ():
            if place.error is not None:
                self._unsettled = place.error.name() in LOST
                raise self._handle.error_of(place.error, operation)
        self._uncommitted = self._unsettled = False
        self._owned.settle(place.partition for place in places)
        self._handle.diagnostics.answered()

    def _seek(self, partition: int, offset: int) -> None:
        give_up = time.monotonic() + _SEEK_S
        operation = self._operation(f"seek in topic {self._name}")
        while True:
            client = self._handle.get()
            try:
                client.seek(KafkaPlace(self._name, partition, offset))
            except KafkaException as error:
                # Its fetching has not begun yet.
                if time.monotonic() > give_up:
                    raise self._handle.error(error, operation) from error
                self._take_in(client.consume(1, _SLICE_S / 10))
            else:
                self._owned.settle([partition])
                self._prefetched.restart(partition)
                self._prefetched.floors[partition] = max(0, offset)
                return

    def _position(self) -> Mapping[int, int]:
        known = self._begin | self._prefetched.floors
        found = {partition: known[partition] for partition in self._owned if partition in known}
        places = [KafkaPlace(self._name, partition) for partition in self._owned if partition not in found]
        if places:
            operation = self._operation(f"ask what was read of topic {self._name}")
            try:
                committed = self._handle.get().committed(places, timeout=CALL_S)
            except KafkaException as error:
                raise self._handle.error(error, operation) from error
            for place in committed:
                if place.error is not None:
                    raise self._handle.error_of(place.error, operation)
                found[place.partition] = max(0, place.offset)
        return found

    def _on_assign(self, client: Client, places: list[KafkaPlace]) -> None:
        self._joined = True
        self._handle.diagnostics.answered()
        for place in places:
            self._prefetched.drop(place.partition)
        self._owned.gain(place.partition for place in places)

    def _on_revoke(self, client: Client, places: list[KafkaPlace]) -> None:
        for place in places:
            if client is self._handle.ready:
                # If it comes back, what was not committed by then is given again, as a refused commit promises.
                self._prefetched.restart(place.partition)
            else:  # its end is our own doing
                self._prefetched.drop(place.partition)
        self._owned.lose(place.partition for place in places)


def _end(client: Client) -> None:
    client.close()
