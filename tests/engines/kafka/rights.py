"""What a user can do on a real broker, tried out, and what the manifests say it may: both as the same kind of set."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from confluent_kafka import (
    Consumer,
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourcePatternType,
    ResourceType,
)

from streamforge_utils.adapters.kafka_apply.manifest_reader import read_manifests
from tests.engines.kafka.broker import Broker, User

LIMIT_S = 15.0
Right = tuple[str, str, str]
"""Kind of resource, name, operation."""

TOPIC_OPERATIONS = ("Describe", "Read", "Write", "Create", "Delete", "DescribeConfigs", "AlterConfigs")
GROUP_OPERATIONS = ("Describe", "Read", "Delete")
_IMPLY_DESCRIBE = {"Read", "Write", "Delete", "Alter"}
_REFUSED = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
}
_NOTHING_TO_DO = {KafkaError.TOPIC_ALREADY_EXISTS, KafkaError.GROUP_ID_NOT_FOUND}
_NOT_YET = {
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
}
"""The brokers make their topic of offsets when the first group is asked for."""


def named(folder: Path, user: str, topics: list[str], groups: list[str]) -> set[Right]:
    """What the manifests allow the user on these topics and groups, as Kafka reads its rules."""
    (found,) = (one for one in read_manifests(folder).users if one.name == user)
    rights = set[Right]()
    for kind, names in (("topic", topics), ("group", groups)):
        for name in names:
            for rule in found.rules:
                fits = name.startswith(rule.name) if rule.pattern == "prefix" else name == rule.name
                if rule.resource == kind and fits:
                    rights.add((kind, name, rule.operation))
                    if rule.operation in _IMPLY_DESCRIBE:
                        rights.add((kind, name, "Describe"))
    return rights


class Trying:
    """Tries operations as one user."""

    def __init__(self, broker: Broker, user: User) -> None:
        self._broker = broker
        self._config = {**broker.client_config(user), "log_level": 0}
        self._admin = AdminClient(dict(self._config))
        self._readable = f"wf-{uuid.uuid4().hex[:8]}-readable"

    def rights(self, topics: list[str], groups: list[str]) -> set[Right]:
        """What is not refused. The topics must exist; what may be removed is."""
        return set(self._topics(topics)) | set(self._groups(groups))

    def cluster(self) -> set[str]:
        """Which operations on the whole cluster are not refused."""
        rule = AclBinding(
            ResourceType.TOPIC,
            "t",
            ResourcePatternType.LITERAL,
            "User:somebody",
            "*",
            AclOperation.ALL,
            AclPermissionType.ALLOW,
        )
        tried: dict[str, Callable[[], Any]] = {
            "make a rule": lambda: self._admin.create_acls([rule])[rule].result(LIMIT_S),
            "make a topic of any name": lambda: self._create("any-name"),
        }
        return {name for name, work in tried.items() if _allowed(work)}

    def _topics(self, topics: list[str]) -> Iterator[Right]:
        tries: dict[str, Callable[[str], Any]] = {
            "Describe": self._describe,
            "Read": self._read,
            "Write": self._write,
            "Create": self._create,
            "DescribeConfigs": self._describe_configs,
            "AlterConfigs": self._alter_configs,
            "Delete": lambda name: self._admin.delete_topics([name])[name].result(LIMIT_S),
        }
        assert set(tries) == set(TOPIC_OPERATIONS)
        for topic in topics:
            for operation, work in tries.items():  # removing comes last
                if _allowed(partial(work, topic)):
                    yield "topic", topic, operation

    def _groups(self, groups: list[str]) -> Iterator[Right]:
        tries: dict[str, Callable[[str], Any]] = {
            "Describe": lambda name: self._admin.describe_consumer_groups([name])[name].result(LIMIT_S),
            "Read": self._commit,
            "Delete": lambda name: self._admin.delete_consumer_groups([name])[name].result(LIMIT_S),
        }
        assert set(tries) == set(GROUP_OPERATIONS)
        for group in groups:
            for operation, work in tries.items():
                if _allowed(partial(work, group)):
                    yield "group", group, operation

    def _describe(self, topic: str) -> None:
        found = self._admin.list_topics(topic, timeout=LIMIT_S).topics[topic].error
        if found is not None:
            raise KafkaException(found)

    def _read(self, topic: str) -> None:
        # Who may read may describe. Who may not, is left waiting by librdkafka instead of being told.
        self._describe(topic)
        reading = {"group.id": "not-used", "enable.auto.commit": False, "enable.partition.eof": True}
        consumer = Consumer({**self._config, **reading})
        try:
            consumer.assign([TopicPartition(topic, 0, 0)])
            _first_answer(consumer)
        finally:
            consumer.close()

    def _commit(self, group: str) -> None:
        """Commit as a member would."""
        place = ConsumerGroupTopicPartitions(group, [TopicPartition("queue-control", 0, 0)])
        asked = self._admin.alter_consumer_group_offsets([place], request_timeout=LIMIT_S)[group]
        for answered in asked.result(LIMIT_S).topic_partitions:
            # A refusal of the topic comes only once the group was not refused.
            if answered.error is not None and answered.error.code() != KafkaError.TOPIC_AUTHORIZATION_FAILED:
                raise KafkaException(answered.error)

    def _write(self, topic: str) -> None:
        answers = list[KafkaError | None]()

        def delivered(error: KafkaError | None, _: Message) -> None:
            answers.append(error)

        producer = Producer({**self._config, "message.timeout.ms": int(LIMIT_S * 1000)})
        producer.produce(topic, b"x", on_delivery=delivered)
        producer.flush(LIMIT_S)
        assert answers, "no answer"
        if answers[0] is not None:
            raise KafkaException(answers[0])

    def _create(self, topic: str) -> None:
        self._admin.create_topics([NewTopic(topic, 1, 1)], validate_only=True)[topic].result(LIMIT_S)

    def _describe_configs(self, topic: str) -> None:
        resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
        self._admin.describe_configs([resource])[resource].result(LIMIT_S)

    def _alter_configs(self, topic: str) -> None:
        entry = ConfigEntry("retention.ms", "1000", incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[entry])
        self._admin.incremental_alter_configs([resource], validate_only=True)[resource].result(LIMIT_S)


def _first_answer(consumer: Consumer) -> None:
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        message = consumer.poll(0.5)
        if message is None:
            continue
        error = message.error()
        if error is not None and error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED:
            continue  # it looks for the group's coordinator all the same
        if error is not None and error.code() != KafkaError._PARTITION_EOF:
            raise KafkaException(error)
        return
    raise AssertionError("the broker did not answer")


def _allowed(work: Callable[[], Any]) -> bool:
    """Whether it was done, or would have been were there anything to do; False if it was refused."""
    deadline = time.monotonic() + LIMIT_S
    while True:
        try:
            work()
        except KafkaException as error:
            code = error.args[0].code()
            if code in _REFUSED:
                return False
            if code in _NOTHING_TO_DO:
                return True
            if code not in _NOT_YET or time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return True
