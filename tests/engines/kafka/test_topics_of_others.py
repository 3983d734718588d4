"""A topic of three partitions, written by clients of others, is stored with the rights that the docs name."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.helpers import create_ssl_context
from confluent_kafka import Producer
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    NewTopic,
    ResourcePatternType,
    ResourceType,
)

from tests.e2e import rig
from tests.e2e.test_topics import BAD, CONNECTOR, start, stored
from tests.engines.kafka.broker import User
from tests.engines.kafka.test_users import Cluster

USER = "user-streamforge"
MESSAGES = 30_000


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    found = Cluster(tmp_path_factory.mktemp("cluster"))
    yield found
    found.broker.stop()


@pytest.fixture(scope="module")
def exchange() -> Iterator[rig.Exchange]:
    with rig.exchange() as found:
        yield found


def allow(cluster: Cluster, topic: str, *operations: AclOperation) -> None:
    """Give the shipped user these rights on a topic."""
    literal, allowed = ResourcePatternType.LITERAL, AclPermissionType.ALLOW
    bindings = [
        AclBinding(ResourceType.TOPIC, topic, literal, f"User:{USER}", "*", operation, allowed)
        for operation in operations
    ]
    for future in cluster.broker.admin_client().create_acls(bindings).values():
        future.result(120)


def write(cluster: Cluster, topic: str, first: int, end: int, **config: object) -> None:
    """Numbers by a plain client of the owner; with `transactional.id` in a transaction, after one that is aborted."""
    producer = Producer({**cluster.broker.client_config(), "linger.ms": 5, **config})
    transactional = "transactional.id" in config
    if transactional:
        producer.init_transactions(120)
        producer.begin_transaction()
        for number in range(100):
            producer.produce(topic, b'{"n":-1}', key=b"%d" % number)
        producer.flush(120)
        producer.abort_transaction(120)
        producer.begin_transaction()
    for number in range(first, end):
        producer.poll(0)
        producer.produce(topic, b'{"n":%d}' % number, key=b"%d" % number)
    producer.flush(360)
    if transactional:
        producer.commit_transaction(120)


async def write_by_another_client(cluster: Cluster, topic: str, values: list[bytes]) -> None:
    admin = cluster.broker.admin
    assert admin is not None
    producer = AIOKafkaProducer(
        bootstrap_servers=cluster.broker.bootstrap,
        security_protocol="SASL_SSL",
        sasl_mechanism="SCRAM-SHA-512",
        sasl_plain_username=admin.name,
        sasl_plain_password=admin.password,
        ssl_context=create_ssl_context(cafile=str(cluster.broker.ca_path)),
        compression_type="gzip",
    )
    await producer.start()
    try:
        for number, value in enumerate(values):
            # None: the tombstone of a compacted topic.
            await producer.send_and_wait(topic, value or None, key=b"%d" % number, partition=number % 3)
    finally:
        await producer.stop()


def environment(cluster: Cluster) -> dict[str, str]:
    user: User = cluster.user(USER)
    return cluster.broker.environment(user)


def test_three_partitions_are_stored_and_proven_by_offsets_through_kills(
    cluster: Cluster, exchange: rig.Exchange, tmp_path: Path
) -> None:
    topic = "orders"
    cluster.broker.create_topic(NewTopic(topic, num_partitions=3, replication_factor=1))
    allow(cluster, topic, AclOperation.DESCRIBE, AclOperation.READ)
    asyncio.run(write_by_another_client(cluster, topic, BAD))
    write(cluster, topic, 0, MESSAGES // 2)
    write(cluster, topic, MESSAGES // 2, MESSAGES, **{"transactional.id": "shop"})
    with rig.manager(tmp_path / "data", exchange.url, **environment(cluster)) as manager:
        queue_id = start(manager, topic, collection_name="orders")
        manager.until(queue_id, "some is stored", lambda found: rig.step(found, CONNECTOR)["records"] >= 1000)
        manager.kill_worker(queue_id, CONNECTOR)
        manager.kill()
        manager.start()
        workflow = manager.finished(queue_id)
        assert stored(manager, "orders") == list(range(MESSAGES))
        partitions = workflow["topic_input"]["partitions"]
        assert [one["partition"] for one in partitions] == [0, 1, 2]
        assert sum(one["stored"] for one in partitions) == MESSAGES
        assert sum(one["dead"] for one in partitions) == len(BAD)
        assert all(one["missing"] == one["unread"] == one["gone"] == 0 for one in partitions)
        # The offsets of the aborted messages, and of the marks of both transactions, belong to none.
        assert sum(one["empty"] for one in partitions) >= 103
        for one in partitions:
            assert one["end"] - one["first"] == one["stored"] + one["dead"] + one["empty"]
        letters = manager.api.get(f"/queues/{queue_id}/dlq").json()["dead_letters"]
        assert {letter["partition"] for letter in letters} == {0, 1, 2}
        assert manager.api.delete(f"/queues/{queue_id}").status_code == 204
        assert topic in cluster.broker.admin_client().list_topics(timeout=600).topics


def test_without_the_rights_the_request_is_refused_with_what_to_do(
    cluster: Cluster, exchange: rig.Exchange, tmp_path: Path
) -> None:
    cluster.broker.create_topic(NewTopic("secret", num_partitions=3, replication_factor=1))
    with rig.manager(tmp_path / "data", exchange.url, **environment(cluster)) as manager:
        answer = manager.api.post("/queues/start-topic", json={"topic": "secret"})
        assert answer.status_code == 422
        assert "may not see it" in json.dumps(answer.json())
