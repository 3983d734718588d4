"""The committed offsets of groups, asked and set from outside of them.

The admin client has calls for this, but in librdkafka 2.16 the answer "the group has another coordinator now" brings
the process down (confluentinc/librdkafka#5040). A consumer that joins nothing asks the same.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from confluent_kafka import Consumer as Client
from confluent_kafka import KafkaException
from confluent_kafka import TopicPartition as KafkaPlace

from streamforge_utils.adapters.kafka.kafka_client import Handle
from streamforge_utils.adapters.kafka.kafka_connection import Connection, Role
from streamforge_utils.adapters.kafka.kafka_errors import UNSETTLED, VAGUE, Operation

_CLIENTS = 8
_SLICE_S = 0.5


class GroupOffsets:
    """Asks for any number of groups, with a client for each of the latest few. Blocks; any thread."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._handles: OrderedDict[str, Handle[Client]] = OrderedDict()
        self._lock = threading.Lock()
        self.closing = threading.Event()

    def committed(
        self, group: str, topic: str, partitions: Iterable[int], operation: Operation
    ) -> Sequence[KafkaPlace]:
        """What the group has committed; a negative offset where it has not."""
        places = [KafkaPlace(topic, number) for number in partitions]
        with self._lock:
            return self._ask(group, operation, lambda client: client.committed(places, timeout=_SLICE_S))

    def commit(self, group: str, places: Sequence[KafkaPlace], operation: Operation) -> None:
        """Commit for a group without members. Raises RetryableError if it has some."""
        with self._lock:
            self._ask(group, operation, lambda client: client.commit(offsets=list(places), asynchronous=False) or ())

    def close(self) -> None:
        """End the clients."""
        with self._lock:
            while self._handles:
                self._handles.popitem()[1].drop()

    def _ask(
        self, group: str, operation: Operation, ask: Callable[[Client], Sequence[KafkaPlace]]
    ) -> Sequence[KafkaPlace]:
        handle = self._handle(group)

        def places(client: Client) -> Sequence[KafkaPlace]:
            found = ask(client)
            broken = next((place.error for place in found if place.error is not None), None)
            if broken is not None:
                raise KafkaException(broken)
            return found

        def listen(client: Client) -> None:
            # That the group is refused is reported here alone, and once.
            reported = [message.error() for message in client.consume(10, 0)]
            refused = next((one for one in reported if one and one.name() == "GROUP_AUTHORIZATION_FAILED"), None)
            if refused is not None:
                handle.drop()
                raise handle.error_of(refused, operation) from KafkaException(refused)

        return handle.repeat(places, operation, listen=listen, passing=VAGUE | UNSETTLED)

    def _handle(self, group: str) -> Handle[Client]:
        handle = self._handles.get(group)
        if handle is None:
            handle = Handle(self._connection, Role.CONSUMER, partial(_client, group), Client.close)
            handle.closing = self.closing
            self._handles[group] = handle
            if len(self._handles) > _CLIENTS:
                self._handles.popitem(last=False)[1].drop()
        self._handles.move_to_end(group)
        return handle


def _client(group: str, config: dict[str, Any]) -> Client:
    return Client({**config, "group.id": group})
