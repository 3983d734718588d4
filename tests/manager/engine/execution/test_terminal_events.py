"""A worker that dies silently gets one last word, after all that it said was read."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import pytest

from streamforge.manager.engine.document import StepStatus
from streamforge.manager.engine.execution.event_consumer import MOST_RECEIVED, EventConsumer
from streamforge_utils.model.errors import RetryableError
from streamforge_utils.model.messages import Event, encode_event
from streamforge_utils.ports.bus import Consumer, Message, Received
from tests.doubles.manualclock import ManualClock
from tests.doubles.memorybus import MemoryBus
from tests.limits import LIMIT_S
from tests.manager.execution.world import launched
from tests.manager.support import LOADER, World, attempt, decide_running, said, step


@pytest.mark.parametrize("removed", [False, True], ids=["killed", "removed"])
async def test_a_silent_end_gets_one_terminal_event_and_the_next_attempt(world: World, removed: bool) -> None:
    workflow = await launched(world)
    job = attempt(workflow, LOADER).job
    if removed:
        del world.launcher.known[job]
    else:
        world.launcher.end(job, signal=9)
    await world.turns(4, hear=not removed)
    workflow = await world.workflow(workflow.queue_id)
    assert world.words(workflow.queue_id) == [("loader-api-candles__abc123", 1, "error")]
    assert (attempt(workflow, LOADER).number, step(workflow, LOADER).failures) == (2, 0)


async def test_a_terminal_event_behind_many_events_is_found_before_another_one_is_written(world: World) -> None:
    workflow = await launched(world)
    beat = said(workflow, LOADER, "loading", records=1)
    for _ in range(MOST_RECEIVED + 1500):
        world.say(beat)
    world.say(said(workflow, LOADER, "finished"))
    world.launcher.end(attempt(workflow, LOADER).job, exit_code=0)
    await world.die()
    await world.start()
    await world.turns(6)
    assert world.words(workflow.queue_id) == [("loader-api-candles__abc123", 1, "finished")]
    assert step(await world.workflow(workflow.queue_id), LOADER).status is StepStatus.FINISHED


@pytest.mark.parametrize("restarted", [False, True], ids=["at once", "after a restart of the manager"])
async def test_what_was_sent_again_because_its_confirmation_was_lost_counts_once(world: World, restarted: bool) -> None:
    workflow = await launched(world)
    words = [said(workflow, LOADER, "started"), said(workflow, LOADER, "loading", records=5)]
    words += [said(workflow, LOADER, "finished")] * 2 + [said(workflow, LOADER, "loading", records=5)]
    words += [said(workflow, LOADER, "error")]
    for word in words:
        world.say(word)
        if restarted:
            await world.turns()
            await world.die()
            await world.start()
    await world.turns(2)
    kept = [msgspec.json.decode(event.body) for event in await world.manager.events(workflow.queue_id)]
    assert [one["event"] for one in kept if one["target"] == LOADER] == ["started", "loading", "finished"]
    assert attempt(await world.workflow(workflow.queue_id), LOADER).terminal_event == "finished"
    assert world.observer.counts["events_repeated_total"] == 4


class ScriptedBus(MemoryBus):
    """A bus with one event. Its consumer finds it at poll number `brings` (None: never), and nothing before.

    The first poll waits for `gate`.
    """

    def __init__(self, brings: int | None) -> None:
        super().__init__()
        self.log["queue-events"] = []
        self.gate = asyncio.Event()
        self._brings = brings
        self._polls = 0

    async def consumer(self, *args: Any, **kwargs: Any) -> Consumer:
        found = await super().consumer(*args, **kwargs)
        found.poll = self._poll  # type: ignore[method-assign]
        return found

    async def _poll(self, max_messages: int, timeout_s: float) -> Sequence[Received]:
        self._polls += 1
        await (self.gate.wait() if self._polls == 1 else asyncio.sleep(0))
        return self.messages("queue-events") if self._polls == self._brings else []


@pytest.mark.parametrize("brings", [2, 3])
async def test_a_poll_that_finds_nothing_proves_nothing_while_events_are_outstanding(brings: int) -> None:
    """The first one had looked before the event came; of the bus another member of the group had to be given up."""
    bus = ScriptedBus(brings)
    consumer = EventConsumer(bus, bus, "queue-events")
    await consumer.wait(asyncio.Event(), 0.01)
    bus.append("queue-events", Message(None, b"word"))
    bus.gate.set()
    assert await consumer.read_all()
    assert [received.value for received in consumer.received] == [b"word"]
    await consumer.close()


async def test_events_that_never_come_are_an_error_and_not_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamforge.manager.engine.execution.event_consumer.READ_ALL_S", 0.05)
    bus = ScriptedBus(None)
    bus.append("queue-events", Message(None, b"word"))
    bus.gate.set()
    consumer = EventConsumer(bus, bus, "queue-events")
    with pytest.raises(RetryableError, match="1 events were sent and do not come"):
        await consumer.read_all()
    await consumer.close()


async def test_what_was_committed_without_an_answer_does_not_count_for_what_is_still_to_be_received() -> None:
    class Unconfirmed(MemoryBus):
        async def consumer(self, *args: Any, **kwargs: Any) -> Consumer:
            found = await super().consumer(*args, **kwargs)
            commit = found.commit

            async def committed(offsets: Mapping[int, int]) -> None:
                await commit(offsets)
                raise RetryableError("the answer was lost")

            found.commit = committed  # type: ignore[method-assign]
            return found

    bus = Unconfirmed()
    bus.log["queue-events"] = []
    bus.append("queue-events", Message(None, b"one"), Message(None, b"two"))
    consumer = EventConsumer(bus, bus, "queue-events")
    assert await consumer.read_all()
    with pytest.raises(RetryableError):
        await consumer.commit()
    bus.append("queue-events", Message(None, b"word"))
    assert await consumer.read_all()
    assert [received.value for received in consumer.received] == [b"one", b"two", b"word"]
    await consumer.close()


async def test_a_wait_is_no_longer_and_no_shorter_than_it_should_be() -> None:
    bus = MemoryBus()
    bus.log["queue-events"] = []
    consumer, waking, loop = EventConsumer(bus, bus, "queue-events"), asyncio.Event(), asyncio.get_running_loop()
    began = loop.time()
    await asyncio.wait_for(consumer.wait(waking, 0.3), LIMIT_S)
    assert loop.time() - began >= 0.29, "empty polls end no wait"
    loop.call_later(0.01, waking.set)
    await asyncio.wait_for(consumer.wait(waking, 36_000), LIMIT_S)
    waking.clear()
    loop.call_later(0.01, bus.append, "queue-events", Message(None, b"x"))
    await asyncio.wait_for(consumer.wait(waking, 36_000), LIMIT_S)
    assert len(consumer.received) == 1
    await consumer.commit()
    assert (consumer.received, bus.committed) == ([], {("queue-events", "queue-manager"): 1})
    await consumer.close()


async def test_listeners_are_called_at_once_also_while_the_loop_rests() -> None:
    bus, clock, pong = MemoryBus(), ManualClock(), said(decide_running(), LOADER, "pong")
    bus.log["queue-events"] = []
    consumer = EventConsumer(bus, bus, "queue-events")
    told: asyncio.Queue[Event] = asyncio.Queue()
    consumer.listeners.add(told.put_nowait)
    resting = asyncio.create_task(consumer.rest(clock, 0.05))
    await clock.sleeping(1)
    for count in (1, 2):
        bus.append("queue-events", Message(None, b"no event"), Message(None, encode_event(pong)))
        assert await asyncio.wait_for(told.get(), LIMIT_S) == pong, count
    assert not resting.done()
    clock.advance(0.05)
    await resting
    await consumer.wait(asyncio.Event(), 36_000)
    assert len(consumer.received) == 4
    assert told.empty(), "each once"
    await consumer.close()
