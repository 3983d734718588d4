"""What was asked of a workflow is in its history, and changes nothing else."""

from __future__ import annotations

from streamforge.manager.actor import acting
from streamforge.manager.service import StartRequest
from streamforge_utils.model.messages import decode_event
from streamforge_utils.ports.bus import Message
from tests.doubles.manualclock import ManualClock
from tests.manager.support import NOW, World


async def test_the_history_tells_who_asked_between_what_workers_said() -> None:
    world = World(clock=ManualClock(NOW))
    await world.start()
    with acting("alice"):
        request = StartRequest(symbol="BTCUSDT", type="api_candles_1m", time_range="2024-08-01")
        queue_id = (await world.manager.start(request)).workflow.queue_id
    await world.turns(3)
    with acting("bob"):
        await world.manager.stop(queue_id)
    await world.turns(2)

    events = [one for one in world.bus.messages("queue-events") if decode_event(one.value).event == "asked"]
    for one in (events[0], events[1], events[1]):  # a bus delivers at least once
        world.bus.append("queue-events", Message(one.key, one.value))
    await world.turns(2)

    told = [decode_event(one.body) for one in await world.manager.events(queue_id)]
    said = [(one.event, one.producer, one.message) for one in told if one.event == "asked"]
    assert said == [("asked", "queue-manager", "start by alice"), ("asked", "queue-manager", "stop by bob")]
    workflow = await world.workflow(queue_id)
    assert [(one.request, one.by) for one in workflow.asked] == [("start", "alice"), ("stop", "bob")]
    await world.die()
