"""Topics: how they are made on the brokers, their caps and their offsets.

The methods of `Admin` block: the bus and each of its consumers call them in the thread of their own lane.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

import msgspec
from confluent_kafka import TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec

from streamforge_utils.adapters.bus_clients import check_topic, check_topic_name
from streamforge_utils.adapters.call_thread import Lane
from streamforge_utils.adapters.kafka.group_offsets import GroupOffsets
from streamforge_utils.adapters.kafka.kafka_client import CALL_S, Handle
from streamforge_utils.adapters.kafka.kafka_connection import MESSAGE_BYTES, Connection, Role
from streamforge_utils.adapters.kafka.kafka_errors import GONE, UNSETTLED, Operation, name_of
from streamforge_utils.model.errors import PermanentError, RetryableError, StreamForgeError
from streamforge_utils.ports.bus import Retention, TopicSpec

T = TypeVar("T")

CAP_GROUP = "wf-caps"
"""A group for the caps of `consumed` topics. It has no members; a cap is stored as metadata of its committed offset."""

SEGMENT_LEAST_BYTES = 1024 * 1024
SEGMENT_MOST_BYTES = 256 * 1024 * 1024
_SEGMENTS = 8

SETTLING_S = 10.0
"""How long all brokers may take to know of a topic that was made or deleted."""

_PAUSE_S = 0.02
_TOPICS_KEPT = 1000
_EARLIEST: OffsetSpec = OffsetSpec.earliest()  # type: ignore[no-untyped-call]  # the package's own gap
_LATEST: OffsetSpec = OffsetSpec.latest()  # type: ignore[no-untyped-call]
_OURS_NOT = "__"
"""Topics whose names begin so are the brokers' own."""


class Topic(msgspec.Struct, frozen=True):
    """A topic as the brokers know it. identity: differs once the topic was made again under the same name."""

    name: str
    identity: str
    partitions: int


class Cap(msgspec.Struct, frozen=True):
    """The bound of a `consumed` topic: what its `readers` have not committed may take `max_bytes` at most."""

    max_bytes: int
    readers: tuple[str, ...]


class Admin:
    """Asks the brokers about topics, and makes, trims and deletes them, for a bus and its clients."""

    def __init__(self, connection: Connection) -> None:
        self.handle: Handle[Any] = Handle(connection, Role.ADMIN, lambda config: AdminClient(**_split(config)), _forget)
        self._groups = GroupOffsets(connection)

    def names(self) -> list[str]:
        """The names of all topics that the user may see, sorted."""
        found = self.handle.repeat(
            lambda client: client.list_topics(timeout=0.5),
            Operation(what="list the topics"),
            listen=lambda client: client.poll(0),
        )
        return sorted(name for name in found.topics if not name.startswith(_OURS_NOT))

    def find(self, name: str, needs: str = "describe") -> Topic:
        """The topic. Raises PermanentError if there is none."""
        operation = Operation(what=f"look for topic {name}", topic=name, needs=needs)
        client = self.handle.get()
        asked = client.describe_topics(TopicCollection([name]), request_timeout=CALL_S)[name]
        found = self.handle.wait_for(asked, operation)
        return Topic(name, str(found.topic_id), len(found.partitions))

    def create(self, spec: TopicSpec) -> None:
        """Make the topic, unless it exists."""
        check_topic(spec)
        operation = Operation(what=f"create topic {spec.name}", topic=spec.name, needs="create")
        client = self.handle.get()
        new = NewTopic(spec.name, num_partitions=1, config=config_of(spec))
        asked = client.create_topics([new], operation_timeout=CALL_S, request_timeout=CALL_S)[spec.name]
        try:
            self.handle.wait_for(asked, operation)
        except StreamForgeError as error:
            if name_of(error) != "TOPIC_ALREADY_EXISTS":
                raise
            if self._is_capped(spec) and self.cap(spec.name) is None:
                # The client that made it was cut short before it noted the cap.
                self._await(spec.name, there=True)
                self._write_cap(spec)
            return
        self._await(spec.name, there=True)
        if self._is_capped(spec):
            self._write_cap(spec)

    def delete(self, name: str) -> None:
        """Remove the topic; the brokers forget its groups' offsets with it."""
        check_topic_name(name)
        operation = Operation(what=f"delete topic {name}", topic=name, needs="delete")
        client = self.handle.get()
        asked = client.delete_topics([name], operation_timeout=CALL_S, request_timeout=CALL_S)[name]
        try:
            self.handle.wait_for(asked, operation)
        except StreamForgeError as error:
            if name_of(error) not in GONE:
                raise
        self._await(name, there=False)

    def trim(self, topic: Topic, offsets: Mapping[int, int]) -> None:
        """Remove the messages before the offset of each partition."""
        operation = Operation(what=f"trim topic {topic.name}", topic=topic.name, needs="delete")
        places = [TopicPartition(topic.name, number, offset) for number, offset in offsets.items()]

        def ask() -> None:
            asked = self.handle.get().delete_records(places, operation_timeout=CALL_S, request_timeout=CALL_S)
            for future in asked.values():
                self.handle.wait_for(future, operation)

        if places:
            _settled(ask)

    def ends(self, topic: Topic) -> dict[int, int]:
        """The offset after the last message of each partition."""
        return self._offsets(topic, _LATEST)

    def starts(self, topic: Topic) -> dict[int, int]:
        """The offset of the oldest message of each partition."""
        return self._offsets(topic, _EARLIEST)

    def at_time(self, topic: Topic, times: Mapping[int, int]) -> dict[int, int]:
        """Of each partition the offset of its first message of `times` (unix ms) or later; -1 without one."""
        operation = Operation(what=f"look for a time in topic {topic.name}", topic=topic.name)
        specs = {TopicPartition(topic.name, number): OffsetSpec.for_timestamp(at) for number, at in times.items()}
        return {number: found.offset for number, found in self._list(specs, operation).items()}

    def committed(self, topic: Topic, group: str) -> dict[int, int]:
        """The committed offsets of `group`; partitions without one are left out."""
        operation = Operation(
            what=f"ask what group {group} has read of topic {topic.name}", topic=topic.name, group=group
        )
        return {
            place.partition: place.offset
            for place in self._groups.committed(group, topic.name, range(topic.partitions), operation)
            if place.offset >= 0
        }

    def cap(self, topic: str) -> Cap | None:
        """The cap of a topic, if it has one and the user may see it."""
        operation = Operation(what=f"ask for the cap of topic {topic}", topic=topic, group=CAP_GROUP)
        try:
            (found,) = self._groups.committed(CAP_GROUP, topic, [0], operation)
        except StreamForgeError as error:
            if name_of(error) == "GROUP_AUTHORIZATION_FAILED":
                return None
            raise
        try:
            return msgspec.json.decode(found.metadata or "null", type=Cap | None)
        except msgspec.MsgspecError:
            return None

    def hurry(self) -> None:
        """Make calls that wait give up. May be called from any thread."""
        self.handle.closing.set()
        self._groups.closing.set()

    def close(self) -> None:
        """End the clients."""
        self._groups.close()
        self.handle.drop()

    @staticmethod
    def _is_capped(spec: TopicSpec) -> bool:
        return spec.retention is Retention.CONSUMED and bool(spec.readers)

    def _write_cap(self, spec: TopicSpec) -> None:
        text = msgspec.json.encode(Cap(spec.max_bytes, spec.readers)).decode()
        place = TopicPartition(spec.name, 0, 0, text)
        operation = Operation(what=f"note the cap of topic {spec.name}", topic=spec.name, group=CAP_GROUP, needs="read")
        self._groups.commit(CAP_GROUP, [place], operation)

    def _offsets(self, topic: Topic, spec: OffsetSpec) -> dict[int, int]:
        operation = Operation(what=f"ask for the offsets of topic {topic.name}", topic=topic.name)
        places = {TopicPartition(topic.name, number): spec for number in range(topic.partitions)}
        return {number: found.offset for number, found in self._list(places, operation).items()}

    def _list(self, specs: dict[TopicPartition, OffsetSpec], operation: Operation) -> dict[int, Any]:
        def ask() -> dict[int, Any]:
            asked = self.handle.get().list_offsets(specs, request_timeout=CALL_S)
            return {place.partition: self.handle.wait_for(future, operation) for place, future in asked.items()}

        return _settled(ask)

    def _await(self, name: str, *, there: bool) -> None:
        """Return once the brokers agree that the topic is there, with leaders, or that it is gone."""

        def settled() -> bool:
            try:
                asked = self.handle.get().describe_topics(TopicCollection([name]), request_timeout=CALL_S)[name]
                found = self.handle.wait_for(asked, Operation(what=f"look for topic {name}", topic=name))
            except PermanentError:
                return not there
            return there and all(part.leader is not None for part in found.partitions)

        wait_until(settled, SETTLING_S, f"topic {name} is not {'known to all brokers' if there else 'gone'}")


class TopicCache:
    """Finds topics, and remembers each until `forget`."""

    def __init__(self, admin: Admin, lane: Lane) -> None:
        self._admin = admin
        self._lane = lane
        self._known: dict[str, Topic] = {}

    async def find(self, name: str, needs: str = "describe") -> Topic:
        """The topic as remembered, else as the brokers know it. Raises PermanentError if there is none."""
        known = self._known.get(name)
        return await self._lane.run(partial(self.check, name, needs)) if known is None else known

    def check(self, name: str, needs: str = "describe") -> Topic:
        """The topic as the brokers know it now. Blocks; any thread. Raises PermanentError if there is none."""
        try:
            found = self._admin.find(name, needs)
        except PermanentError:
            self.forget(name)
            raise
        if len(self._known) >= _TOPICS_KEPT:
            self._known.clear()
        self._known[name] = found
        return found

    def forget(self, name: str) -> None:
        """Ask the brokers the next time."""
        self._known.pop(name, None)


def config_of(spec: TopicSpec) -> dict[str, str]:
    """The topic's configuration on the brokers.

    A `rolling` topic forgets whole segments, so they are a fraction of its cap. A `consumed` topic forgets nothing:
    the producer keeps its cap, see `CapKeeper`. Messages of a `rolling` one (commands, events) are stored as they were
    sent, so that other clients can read them without lz4.
    """
    rolling = spec.retention is Retention.ROLLING
    segment = min(SEGMENT_MOST_BYTES, max(SEGMENT_LEAST_BYTES, spec.max_bytes // _SEGMENTS))
    return {
        "cleanup.policy": "delete",
        "compression.type": "producer" if rolling else "lz4",
        "max.message.bytes": str(MESSAGE_BYTES + spec.headers_bytes),
        "message.timestamp.type": "CreateTime",
        "retention.ms": str(int(spec.max_age_s * 1000)) if rolling and spec.max_age_s is not None else "-1",
        "retention.bytes": str(spec.max_bytes) if rolling else "-1",
        "segment.bytes": str(segment),
    }


def wait_until(holds: Callable[[], bool], limit_s: float, otherwise: str) -> None:
    """Return once `holds()`. Blocks. Raises RetryableError, saying `otherwise`, after `limit_s` seconds."""
    give_up = time.monotonic() + limit_s
    while not holds():
        if time.monotonic() > give_up:
            raise RetryableError(f"{otherwise} after {limit_s:g} s; try again")
        time.sleep(_PAUSE_S)


def _settled(ask: Callable[[], T]) -> T:
    """The result of `ask`, which is repeated until a broker that has just become responsible answers."""
    give_up = time.monotonic() + SETTLING_S
    while True:
        try:
            return ask()
        except RetryableError as error:
            if name_of(error) not in UNSETTLED or time.monotonic() > give_up:
                raise
        time.sleep(_PAUSE_S)


def _split(config: dict[str, Any]) -> dict[str, Any]:
    """The arguments of `AdminClient`, which takes the logger apart from the rest."""
    logger = config.pop("logger")
    return {"conf": config, "logger": logger}


def _forget(client: Any) -> None:
    """Nothing to do: the client ends when it is collected."""
