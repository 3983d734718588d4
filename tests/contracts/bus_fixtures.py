"""What both halves of the contract of a bus stand on: the buses and topics, and reading from them."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Protocol

import pytest

from streamforge_utils.ports.bus import (
    Bus,
    BusAdmin,
    Consumer,
    Message,
    Received,
    TopicSpec,
)
from tests.limits import LIMIT_S


class BusWithAdmin(Bus, BusAdmin, Protocol):
    """What the contract needs of an adapter."""


MakeBus = Callable[[], BusWithAdmin]
Factory = tuple[str, str]
"""How another process makes the bus: `module:function`, and the function's only argument."""


def numbered(count: int, first: int = 0, key: bytes | None = b"key") -> list[Message]:
    return [Message(key, b"%d" % number) for number in range(first, first + count)]


async def read(consumer: Consumer, count: int, patience_s: float, *, at_once: int = 1000) -> list[Received]:
    """Exactly `count` messages, or those that came within the patience."""
    received: list[Received] = []
    loop = asyncio.get_running_loop()
    give_up = loop.time() + patience_s
    while len(received) < count and loop.time() < give_up:
        received += await consumer.poll(min(at_once, count - len(received)), 0.2)
    return received


async def read_rest(consumer: Consumer) -> list[Received]:
    """What is there by now, on a bus whose polls find at once what was sent."""
    received: list[Received] = []
    while fresh := await consumer.poll(1000, 0):
        received += fresh
    return received


def values(received: Sequence[Received]) -> list[int]:
    return [int(message.value) for message in received]


class BusFixtures:
    """Base of the two halves of the contract: the fixtures. patience_s: how long the bus may take to react."""

    patience_s = LIMIT_S
    takeover_s = LIMIT_S
    """How long it may take to replace a member of a group that was killed."""
    tells_size = True
    """Whether it tells what the messages of a topic take."""
    settling_s = 0.2
    """How long nothing must come for the contract to believe that nothing comes."""

    @pytest.fixture
    def make_bus(self) -> MakeBus:
        raise NotImplementedError("say how to make the bus")

    @pytest.fixture
    def factory(self) -> Factory:
        raise NotImplementedError("say how another process makes the same bus")

    @pytest.fixture
    async def bus(self, make_bus: MakeBus) -> AsyncIterator[BusWithAdmin]:
        bus = make_bus()
        yield bus
        await bus.close()

    @pytest.fixture
    async def other(self, make_bus: MakeBus) -> AsyncIterator[BusWithAdmin]:
        """The same bus, as somebody else sees it."""
        bus = make_bus()
        yield bus
        await bus.close()

    @pytest.fixture
    async def topic(self, bus: BusWithAdmin) -> AsyncIterator[str]:
        name = f"contract-{secrets.token_hex(6)}"
        await bus.create_topic(TopicSpec(name=name))
        yield name
        await bus.delete_topic(name)

    @pytest.fixture
    async def wide(self, topic: str) -> str:
        """A topic of several partitions, where the bus knows such."""
        return topic
