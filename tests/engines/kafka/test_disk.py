"""A full disk is really full, for the broker and for nobody else."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition
from confluent_kafka.admin import NewTopic

from tests.engines.kafka.broker import Broker
from tests.engines.kafka.disk import SmallDisk

LIMIT_S = 30.0


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with SmallDisk(tmp_path / "disk", size_mb=256) as found:
        yield found


def test_a_full_disk_refuses_and_an_emptied_one_does_not(disk: SmallDisk) -> None:
    write = disk.command(["dd", "if=/dev/zero", f"of={disk.folder}/file", "bs=4096", "count=1", "status=none"])
    disk.fill()
    refused = subprocess.run(write, capture_output=True, text=True, timeout=LIMIT_S)
    assert "No space left on device" in refused.stderr
    disk.empty()
    assert subprocess.run(write, capture_output=True, timeout=LIMIT_S).returncode == 0
    assert not list(disk.folder.iterdir()), "it is not ours alone"


@pytest.mark.long
@pytest.mark.timeout(240)
def test_a_broker_whose_disk_is_full_ends_and_keeps_what_it_confirmed(disk: SmallDisk, tmp_path: Path) -> None:
    broker = Broker(tmp_path / "broker", disk=disk)
    broker.start()
    try:
        broker.admin_client().create_topics([NewTopic("t", 1, 1)])["t"].result(LIMIT_S)
        confirmed = _write_until_refused(broker, disk)
        broker.wait(60)  # with its only folder gone it has nothing to serve
        disk.empty()
        broker.start()
        consumer = Consumer({**broker.client_config(), "group.id": "g"})
        low, high = consumer.get_watermark_offsets(TopicPartition("t", 0), timeout=LIMIT_S)
        consumer.close()
        assert low == 0
        assert high >= confirmed > 0
    finally:
        broker.kill()


def _write_until_refused(broker: Broker, disk: SmallDisk) -> int:
    """Fill the disk while a producer writes; how many messages were confirmed."""
    confirmed, refused = 0, list[KafkaError]()

    def delivered(error: KafkaError | None, _: Message) -> None:
        nonlocal confirmed
        if error is None:
            confirmed += 1
        else:
            refused.append(error)

    producer = Producer(
        {**broker.client_config(), "enable.idempotence": True, "message.timeout.ms": 5000, "log_level": 0}
    )
    deadline = time.monotonic() + LIMIT_S
    while not refused:
        assert time.monotonic() < deadline, f"the disk was never full; {confirmed} messages confirmed"
        producer.produce("t", bytes(100_000), on_delivery=delivered)
        producer.flush(1)
        if confirmed == 10:
            disk.fill()
    producer.purge()
    producer.flush(1)
    return confirmed
