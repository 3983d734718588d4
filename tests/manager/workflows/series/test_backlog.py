"""What a sink that sent no event has left is counted to the end of its topic, or is reported as a part of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest

from streamforge.manager.dead_letters.store import QUIET_POLLS
from streamforge.manager.engine.lifecycle.findings import Left
from streamforge.manager.workflows.series import backlog as module
from streamforge.manager.workflows.series.backlog import backlog_of
from streamforge_utils.model import names
from streamforge_utils.model.errors import RetryableError
from streamforge_utils.model.messages import EOS_KEY, EndOfStream, encode_marker
from streamforge_utils.ports.bus import Consumer, Message, Received
from tests.doubles.manualclock import ManualClock
from tests.doubles.memorybus import MemoryBus
from tests.limits import LIMIT_S
from tests.manager.support import SINK, World, planned

WORKFLOW = planned()
Answer = Callable[[int], bool | Exception]
"""Of the poll with this number: whether it brings what there is, or what it raises."""


class SlowBus(MemoryBus):
    """A bus with the workflow's topic, whose consumers answer as `answers` says. polls: how often they were asked.

    sent: numbers of candles, and the producers of markers between them.
    """

    def __init__(self, *sent: int | str, committed: int = 0, answers: Answer = lambda number: True) -> None:
        super().__init__()
        self._answers = answers
        self.polls = 0
        self.log[WORKFLOW.topic] = []
        self.commit(committed)
        for one in sent:
            if isinstance(one, int):
                self.append(WORKFLOW.topic, *(Message(b"k%d" % number, b"{}") for number in range(one)))
            else:
                marker = EndOfStream(producer=one, attempt=1, records=5, reason="interrupted")
                self.append(WORKFLOW.topic, Message(EOS_KEY, encode_marker(marker)))

    def commit(self, offset: int) -> None:
        self.committed[WORKFLOW.topic, names.consumer_group(WORKFLOW.queue_id, SINK)] = offset

    async def consumer(self, *args: Any, **fields: Any) -> Consumer:
        found = await super().consumer(*args, **fields)
        poll = found.poll

        async def slow(max_messages: int, timeout_s: float) -> Sequence[Received]:
            self.polls += 1
            answer = self._answers(self.polls)
            if isinstance(answer, Exception):
                raise answer
            return await poll(max_messages, timeout_s) if answer else []

        found.poll = slow  # type: ignore[method-assign]
        return found


async def left(world: World, bus: SlowBus) -> Left:
    async with asyncio.timeout(LIMIT_S):
        found = await backlog_of(msgspec.structs.replace(world.deps, bus=bus, admin=bus), WORKFLOW)
    assert found.keys() == {SINK}
    return found[SINK]


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
    world: World, sent: Sequence[int | str], committed: int, messages: int
) -> None:
    assert await left(world, SlowBus(*sent, committed=committed)) == Left(messages)


async def test_on_a_slow_bus_the_number_is_the_same(world: World) -> None:
    """Between two polls that bring something, as many as may bring nothing or fail."""
    away = RetryableError("the bus does not answer")
    bus = SlowBus(2500, "one", 1200, "two", answers=lambda n: n % QUIET_POLLS == 0 or (away if n % 2 else False))
    assert await left(world, bus) == Left(3700)
    assert bus.polls == 4 * QUIET_POLLS


@pytest.mark.parametrize(("brings", "messages"), [(0, 0), (2, 2000)])
async def test_of_a_bus_that_stops_answering_only_what_came_is_counted(
    world: World, brings: int, messages: int
) -> None:
    bus = SlowBus(3700, "one", answers=lambda number: number <= brings)
    assert await left(world, bus) == Left(messages, at_least=True)
    assert bus.polls == brings + QUIET_POLLS


@pytest.mark.parametrize(("second", "all_of_them"), [(9.9, True), (10.0, False)])
async def test_a_bus_that_brings_a_little_now_and_then_holds_up_the_end_for_half_a_minute(
    world: World, second: float, all_of_them: bool
) -> None:
    clock = world.clock
    assert isinstance(clock, ManualClock)

    def answer(number: int) -> bool:
        clock.advance(second)
        return True

    bus = SlowBus(3700, "one", answers=answer)
    assert await left(world, bus) == (Left(3700) if all_of_them else Left(3000, at_least=True))
    assert bus.polls == (4 if all_of_them else 3)


async def test_of_very_many_only_a_part_is_counted_and_reported_as_one(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "COUNTED_AT_MOST", 2000)
    bus = SlowBus(1500, "one", 2000)
    assert await left(world, bus) == Left(1999, at_least=True)
    assert bus.polls == 2
    bus.commit(1501)
    assert await left(world, bus) == Left(2000), "all of them, to the last that may be read"
