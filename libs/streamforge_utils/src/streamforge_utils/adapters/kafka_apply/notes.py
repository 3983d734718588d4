"""The notes of what `streamforge kafka apply` made: a compacted topic, so that they lie where the things lie.

A message's key names a thing; its value is `{}` as long as the thing is ours, and nothing once it is not.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import NewTopic

from streamforge_utils.adapters.kafka.handle import Handle
from streamforge_utils.adapters.kafka.kafka_connection import Connection, Role
from streamforge_utils.adapters.kafka.kafka_errors import Operation
from streamforge_utils.model.errors import RetryableError

TOPIC = "streamforge-kafka-apply"
CONFIG = {"cleanup.policy": "compact"}
_LIMIT_S = 15.0


class NotesTopic:
    """Reads and writes the notes. Every method blocks."""

    def __init__(self, connection: Connection) -> None:
        self._reading: Handle[Any] = Handle(connection, Role.ADMIN, _consumer, lambda client: client.close())
        self._writing: Handle[Any] = Handle(connection, Role.ADMIN, _producer, lambda client: client.purge())

    @staticmethod
    def new() -> NewTopic:
        """The topic as it is made."""
        return NewTopic(TOPIC, 1, config=CONFIG)

    def read(self) -> frozenset[str]:
        """The keys of all that is ours; the topic must exist. Raises ConfigError or RetryableError."""
        operation = Operation(what=f"read topic {TOPIC}", topic=TOPIC, needs="read")
        client = self._reading.get()
        ours = set[str]()
        give_up = time.monotonic() + _LIMIT_S
        try:
            client.assign([TopicPartition(TOPIC, 0, 0)])
            while time.monotonic() < give_up:
                for message in client.consume(1000, 0.2):
                    error = message.error()
                    if error is None:
                        key = (message.key() or b"").decode(errors="replace")
                        (ours.discard if message.value() is None else ours.add)(key)
                    elif error.code() == KafkaError._PARTITION_EOF:
                        return frozenset(ours)
                    elif error.name() != "GROUP_AUTHORIZATION_FAILED":  # it uses none
                        raise self._reading.error_of(error, operation) from KafkaException(error)
                self._reading.diagnostics.check()
        except KafkaException as error:
            raise self._reading.error(error, operation) from error
        finally:
            self._reading.drop()
        raise RetryableError(f"topic {TOPIC} could not be read within {_LIMIT_S:g} s; try again")

    def write(self, keys: Iterable[str], *, ours: bool) -> None:
        """Note that the things are ours, or no longer. Raises ConfigError or RetryableError."""
        operation = Operation(what=f"write topic {TOPIC}", topic=TOPIC, needs="write")
        client = self._writing.get()
        failed = list[KafkaError]()

        def delivered(error: KafkaError | None, _: object) -> None:
            if error is not None:
                failed.append(error)

        try:
            for key in keys:
                client.produce(TOPIC, key=key.encode(), value=b"{}" if ours else None, on_delivery=delivered)
        except KafkaException as error:
            raise self._writing.error(error, operation) from error
        left = client.flush(_LIMIT_S)
        if failed:
            raise self._writing.error_of(failed[0], operation)
        if left:
            raise RetryableError(f"topic {TOPIC}: {left} notes were not confirmed within {_LIMIT_S:g} s; try again")

    def close(self) -> None:
        """End the clients."""
        self._reading.drop()
        self._writing.drop()


def _consumer(config: dict[str, Any]) -> Consumer:
    logger = config.pop("logger")
    # Nothing is committed: the group is a name that librdkafka asks for.
    reading = {"group.id": TOPIC, "enable.auto.commit": False, "enable.partition.eof": True}
    return Consumer({**config, **reading}, logger=logger)


def _producer(config: dict[str, Any]) -> Producer:
    logger = config.pop("logger")
    writing = {"enable.idempotence": True, "acks": "all", "delivery.timeout.ms": int(_LIMIT_S * 1000)}
    return Producer({**config, **writing}, logger=logger)
