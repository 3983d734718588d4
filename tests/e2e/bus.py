"""The bus of a running StreamForge, as another process on the machine may use it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeVar

from streamforge import wiring
from streamforge_utils.model.messages import Command, decode_command
from streamforge_utils.ports.bus import Message, Received
from streamforge_utils.runtime.life.context import MessageBus
from streamforge_utils.runtime.life.environment import load
from streamforge_utils.runtime.life.server_settings import KafkaSettings
from streamforge_utils.runtime.life.settings import DataSettings
from tests import backends
from tests.limits import LIMIT_S

T = TypeVar("T")


def settings(data: Path) -> DataSettings:
    """Where the bus is."""
    return DataSettings(data_dir=data, kafka=load(KafkaSettings, backends.bus_environment(data)))


def on_bus(data: Path, work: Callable[[MessageBus], Awaitable[T]]) -> T:
    """What `work` gives, on a bus that is opened for it and closed again."""

    async def run() -> T:
        bus = wiring.make_bus(settings(data))
        try:
            return await asyncio.wait_for(work(bus), LIMIT_S)
        finally:
            await bus.close()

    return asyncio.run(run())


def topics(data: Path) -> Sequence[str]:
    """All topics."""
    return on_bus(data, lambda bus: bus.topics())


def send(data: Path, topic: str, messages: Sequence[Message]) -> None:
    """Send messages."""

    async def work(bus: MessageBus) -> None:
        producer = await bus.producer()
        await producer.send(topic, messages)

    on_bus(data, work)


def read(data: Path, topic: str) -> list[Received]:
    """All messages of a topic."""

    async def work(bus: MessageBus) -> list[Received]:
        there = (await bus.lag(topic, "nobody-reads-this")).records
        consumer = await bus.consumer(topic)
        found: list[Received] = []
        while len(found) < there:
            found += await consumer.poll(1000, 0.2)
        return found

    return on_bus(data, work)


def commands(data: Path, queue_id: str, command: str) -> list[Command]:
    """The commands of one kind to a workflow, oldest first."""
    found = [decode_command(received.value) for received in read(data, backends.control_topic(data))]
    return [one for one in found if one.queue_id == queue_id and one.command == command]
