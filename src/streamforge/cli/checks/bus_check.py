"""The check of the bus: files, or Kafka with its users and rights; and what ended workflows have left in files."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import AsyncIterator
from pathlib import Path

from streamforge import wiring
from streamforge.cli import terminal
from streamforge.cli.checks.place_checks import Subject
from streamforge.manager.engine.persistence.workflow_store import WorkflowStore
from streamforge.manager.health.findings import careful, works
from streamforge.manager.workflows.all_forms import register_forms
from streamforge_utils.model import names
from streamforge_utils.model.errors import ConfigError, PermanentError, RetryableError
from streamforge_utils.model.usage import shown_size
from streamforge_utils.ports.bus import Message, Retention, TopicSpec
from streamforge_utils.ports.provisioning import Finding
from streamforge_utils.runtime.life.context import MessageBus
from streamforge_utils.runtime.life.environment import load
from streamforge_utils.runtime.life.server_settings import KafkaSettings
from streamforge_utils.runtime.life.settings import CONTROL_TOPIC, EVENTS_TOPIC, DataSettings


async def check_bus(subject: Subject) -> AsyncIterator[Finding]:
    """Whether messages get through."""
    kafka = load(KafkaSettings, os.environ)
    bus = wiring.make_bus(DataSettings(data_dir=subject.probe, kafka=kafka))
    try:
        if kafka.bootstrap_servers:
            yield await _kafka(bus, kafka)
            return
        told = await _round_trip(bus)
        if (subject.folder / wiring.BUS).is_dir():
            told += f"; {await _topics(subject.folder)}"
        yield works("bus", told)
    finally:
        await bus.close()


async def _kafka(bus: MessageBus, kafka: KafkaSettings) -> Finding:
    user = f", as user {kafka.user}" if kafka.user else ""
    where = f"Kafka at {kafka.bootstrap_servers} ({kafka.protocol}{user})"
    refused: Exception | None = None
    try:
        told = await _round_trip(bus)
    except (ConfigError, PermanentError) as error:
        told, refused = str(error), error
    names = await bus.topics()
    missing = sorted(_talked_on() - set(names))
    if refused is not None and missing:
        raise refused
    if refused is not None:
        return careful(
            "bus",
            f"{where}: it is reached and the topics of commands and events are there, but {told}",
            "right for a user of the manager or of the workers alone; one for everything needs what "
            "cred-kafka-yaml/user-streamforge.yaml lists",
        )
    if missing:
        return careful(
            "bus",
            f"{where}: {told}; this user sees no topic {' and no topic '.join(missing)}",
            "the first manager makes them if its user may; if they are to be there, check QUEUE_CONTROL_TOPIC, "
            "QUEUE_EVENTS_TOPIC and the user's ACLs",
        )
    return works("bus", f"{where}: {told}; {len(names)} topics")


async def _round_trip(bus: MessageBus) -> str:
    """Send a message through a topic of its own, which is removed again; says how long that took."""
    # On shared brokers it must not belong to anyone, and have a name that a manager may make.
    name = f"wf-doctor-{secrets.token_hex(4)}"
    began = time.perf_counter()
    await bus.create_topic(TopicSpec(name=name, retention=Retention.ROLLING, max_bytes=1024**2))
    try:
        consumer = await bus.consumer(name, group=name)
        producer = await bus.producer()
        await producer.send(name, [Message(key=b"k", value=b"v")])
        received = await consumer.poll(1, 10.0)
        await consumer.close()
    finally:
        await bus.delete_topic(name)
    if [message.value for message in received] != [b"v"]:
        raise RetryableError("a message that was sent was not received within 10 s; see to the brokers, then try again")
    return f"a message was sent and received in {(time.perf_counter() - began) * 1000:.0f} ms"


def _talked_on() -> set[str]:
    """The topics of commands and of events."""
    return {
        os.environ.get("QUEUE_CONTROL_TOPIC") or CONTROL_TOPIC,
        os.environ.get("QUEUE_EVENTS_TOPIC") or EVENTS_TOPIC,
    }


async def _topics(folder: Path) -> str:
    """How many topics there are, and what is left of ended workflows.

    Raises what opening those fails with that every manager needs.
    """
    bus = wiring.make_bus(DataSettings(data_dir=folder))
    try:
        names = await bus.topics()
        for name in sorted(_talked_on().intersection(names)):
            consumer = await bus.consumer(name)  # without a group it leaves no trace
            await consumer.poll(1, 0.0)
    finally:
        await bus.close()
    left = await leftovers(folder)
    return f"{terminal.many(len(names), 'topic')}{f'; {left}' if left else ''}"


async def leftovers(folder: Path) -> str:
    """Which topics of ended workflows are still there, in a sentence; empty where there are none.

    Of the embedded bus and store in the folder. Raises StreamForgeError.
    """
    settings = DataSettings(data_dir=folder)
    if not (folder / wiring.BUS).is_dir() or not (folder / wiring.STORE).is_dir():
        return ""
    sizes, store = wiring.topic_sizes(settings), wiring.make_store(settings)
    count, size, after = 0, 0, None
    register_forms()
    try:
        workflows = WorkflowStore(store)
        while page := await workflows.find(where={"topics": ["data", "dlq"]}, after=after, limit=500):
            for one in page:
                taken = sum(sizes.get(topic, 0) for topic in (one.topic, names.dlq_topic(one.topic)))
                count, size = count + bool(taken), size + taken
            after = page[-1].queue_id
    finally:
        await store.close()
    if not count:
        return ""
    return (
        f"topics of {terminal.many(count, 'ended workflow')} take {shown_size(size)}; they are kept for a while "
        "(STREAMFORGE_TOPIC_RETENTION_SECONDS), and the first command after it removes them"
    )
