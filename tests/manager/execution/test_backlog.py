"""What a sink that never spoke has left is counted to the end of its topic, or is said to be a part of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import msgspec
import pytest

from streamforge.manager.dependencies import Dependencies
from streamforge.manager.execution import backlog as module
from streamforge.manager.execution.backlog import backlog_of
from streamforge.manager.lifecycle.facts import Left
from streamforge.manager.persistence.dead_letter_reader import QUIET_POLLS
from streamforge.manager.workflow import Workflow
from streamforge_utils.adapters.embedded.bus.embedded_bus import EmbeddedBus
from streamforge_utils.model import names
from streamforge_utils.model.errors import RetryableError
from streamforge_utils.model.markers import EOS_KEY, EndOfStream, encode_marker
from streamforge_utils.ports.bus import Consumer, Message, Received, TopicPartition, TopicSpec
from tests.doubles.manualclock import ManualClock
from tests.limits import LIMIT_S
from tests.manager.support import SINK, World, planned

WORKFLOW = planned()
Answer = Callable[[int], bool | Exception]
"""Of the poll with this number: whether it brings what there is, or what it raises."""


@pytest.fixture
async def bus(tmp_path: Path) -> AsyncIterator[EmbeddedBus]:
    bus = EmbeddedBus(tmp_path / "bus")
    await bus.create_topic(TopicSpec(name=WORKFLOW.topic))
    yield bus
    await bus.close()


class SlowBus:
    """The bus, whose consumers answer as `answers` says. polls: how often they were asked."""

    def __init__(self, bus: EmbeddedBus, answers: Answer) -> None:
        self._bus = bus
        self._answers = answers
        self._consumer: Consumer
        self.polls = 0

    async def consumer(self, *arguments: object, **named: object) -> SlowBus:
        self._consumer = await self._bus.consumer(*arguments, **named)  # type: ignore[arg-type]  # as they came
        return self

    async def poll(self, max_messages: int, timeout_s: float) -> Sequence[Received]:
        self.polls += 1
        answer = self._answers(self.polls)
        if isinstance(answer, Exception):
            raise answer
        return await self._consumer.poll(max_messages, timeout_s) if answer else []

    async def seek(self, partition: TopicPartition, offset: int) -> None:
        await self._consumer.seek(partition, offset)

    async def close(self) -> None:
        await self._consumer.close()


def deps_of(world: World, bus: EmbeddedBus, answers: Answer | None = None) -> tuple[Dependencies, SlowBus]:
    slow = SlowBus(bus, answers or (lambda number: True))
    return msgspec.structs.replace(world.deps, bus=slow, admin=bus), slow


async def left(deps: Dependencies, workflow: Workflow = WORKFLOW) -> Left:
    async with asyncio.timeout(LIMIT_S):
        found = await backlog_of(deps, workflow)
    assert found.keys() == {SINK}
    return found[SINK]


async def send(bus: EmbeddedBus, *what: int | str) -> None:
    """So many candles, or the marker of a producer."""
    messages: list[Message] = []
    for one in what:
        if isinstance(one, int):
            messages += [Message(b"k%d" % number, b"{}") for number in range(one)]
        else:
            marker = EndOfStream(producer=one, attempt=1, records=5, reason="interrupted")
            messages.append(Message(EOS_KEY, encode_marker(marker)))
    await (await bus.producer()).send(WORKFLOW.topic, messages)


async def commit(bus: EmbeddedBus, offset: int) -> None:
    consumer = await bus.consumer([WORKFLOW.topic], group=names.consumer_group(WORKFLOW.queue_id, SINK))
    await consumer.commit({TopicPartition(WORKFLOW.topic, 0): offset})
    await consumer.close()


@pytest.mark.parametrize(
    ("sent", "committed", "messages"),
    [
        ((2500, "one", 1200, "two"), 0, 3700),  # the first marker is 1,201 messages back
        (("one", 1500), 0, 1500),
        (("one", 1500), 1, 1500),  # it was met
        ((2500, "one", 1200, "two"), 2500, 1200),
        ((2500, "one"), 2500, 0),
        ((3,), 3, 0),
        ((), 0, 0),
    ],
)
async def test_every_message_but_the_markers_is_counted(
    world: World, bus: EmbeddedBus, sent: Sequence[int | str], committed: int, messages: int
) -> None:
    await send(bus, *sent)
    await commit(bus, committed)
    assert await left(deps_of(world, bus)[0]) == Left(messages)


async def test_on_a_slow_bus_the_number_is_the_same(world: World, bus: EmbeddedBus) -> None:
    """Between two polls that bring something, as many as may bring nothing or fail."""
    await send(bus, 2500, "one", 1200, "two")
    away = RetryableError("the bus does not answer")
    deps, slow = deps_of(world, bus, lambda n: n % QUIET_POLLS == 0 or (away if n % 2 else False))
    assert await left(deps) == Left(3700)
    assert slow.polls == 4 * QUIET_POLLS


@pytest.mark.parametrize(("brings", "messages"), [(0, 0), (2, 2000)])
async def test_of_a_bus_that_stops_answering_only_what_came_is_said(
    world: World, bus: EmbeddedBus, brings: int, messages: int
) -> None:
    await send(bus, 3700, "one")
    deps, slow = deps_of(world, bus, lambda number: number <= brings)
    assert await left(deps) == Left(messages, at_least=True)
    assert slow.polls == brings + QUIET_POLLS


@pytest.mark.parametrize(("second", "all_of_them"), [(9.9, True), (10.0, False)])
async def test_a_bus_that_brings_a_little_now_and_then_holds_up_the_end_for_half_a_minute(
    world: World, bus: EmbeddedBus, second: float, all_of_them: bool
) -> None:
    await send(bus, 3700, "one")
    clock = world.clock
    assert isinstance(clock, ManualClock)

    def answer(number: int) -> bool:
        clock.advance(second)
        return True

    deps, slow = deps_of(world, bus, answer)
    assert await left(deps) == (Left(3700) if all_of_them else Left(3000, at_least=True))
    assert slow.polls == (4 if all_of_them else 3)


async def test_of_very_many_only_a_part_is_counted_and_said_to_be_one(
    world: World, bus: EmbeddedBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "COUNTED_AT_MOST", 2000)
    await send(bus, 1500, "one", 2000)
    deps, slow = deps_of(world, bus)
    assert await left(deps) == Left(1999, at_least=True)
    assert slow.polls == 2
    await commit(bus, 1501)
    assert await left(deps) == Left(2000), "all of them, to the last that may be read"
