"""The story of one workflow whose managers die, and of many of them: at every call of the manager's ports, or a sample.

STREAMFORGE_CHAOS_ALL=1: at every call, else at a sample that STREAMFORGE_CHAOS_SEED draws.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import msgspec

from streamforge.manager.engine.document import Workflow
from streamforge.manager.engine.persistence.event_history import EventHistory
from streamforge.manager.engine.persistence.workflow_store import KIND, WorkflowStore
from streamforge.manager.engine.stored_document import decode_workflow
from streamforge.manager.manager_settings import ManagerSettings
from streamforge.manager.policy import Policy
from streamforge.manager.presentation import workflow_answer
from streamforge.manager.running_manager import Running, running
from streamforge.manager.use_cases import StartRequest
from streamforge_utils.adapters.embedded.bus.embedded_bus import EmbeddedBus
from streamforge_utils.model.coverage import Verdict
from streamforge_utils.model.timeranges import TimeRange, parse_time_range
from streamforge_utils.ports.store import StateStore
from streamforge_utils.runtime.life.settings import DataSettings, ExchangeSettings
from tests.chaos.crash import CrashNow, ForgetfulExchange, Fuse, When, World
from tests.chaos.verdict import assert_history
from tests.doubles.candles import candle_key
from tests.limits import LIMIT_S
from tests.manager.support import the_proof

SEED = int(os.environ.get("STREAMFORGE_CHAOS_SEED", "1"))
ALL = os.environ.get("STREAMFORGE_CHAOS_ALL") == "1"
AT_ONCE = 15
LIVES = 4

SPAN = parse_time_range("2024-08-01T00:00Z:2024-08-01T02:00Z")
REQUEST = StartRequest(symbol="BTCUSDT", type="api_candles_1m", time_range=str(SPAN))
MINUTE = 60_000
LISTED = TimeRange(SPAN.start_ms - 600 * MINUTE, SPAN.end_ms + 600 * MINUTE)
DOWNTIME = TimeRange(SPAN.start_ms + 10 * MINUTE, SPAN.start_ms + 13 * MINUTE)
"""What the exchange never had."""
FORGOTTEN = TimeRange(SPAN.start_ms + 50 * MINUTE, SPAN.start_ms + 60 * MINUTE)
"""What it did not give when it was asked first, so that there is a round of repair."""


class Client:
    """Asks for one workflow until that is accepted, and then waits for its end without a word to the manager."""

    def __init__(self, *, stop: bool) -> None:
        self.queue_id: str | None = None
        self.stop_given = not stop
        self.ended = False

    async def drive(self, manager: Running, states: StateStore) -> None:
        service = manager.manager
        if self.queue_id is None:
            workflow, *_ = await service.start(REQUEST, idempotency_key="one and the same")
            self.queue_id = workflow.queue_id
        while not (workflow := await _stored(states, self.queue_id)).ended:
            if not self.stop_given and any(a.started_ms is not None for step in workflow.steps for a in step.attempts):
                await service.stop(self.queue_id)
                self.stop_given = True
            await asyncio.sleep(0.01)
        self.ended = True


async def _stored(states: StateStore, queue_id: str) -> Workflow:
    state = await states.get(KIND, queue_id)
    assert state is not None, f"{queue_id} was accepted and is not stored"
    return decode_workflow(state.body)


async def live(world: World, client: Client, fuse: Fuse) -> None:
    """One life of a manager: until the workflow has ended, or until it dies."""
    bus, store = EmbeddedBus(world.folder / "bus"), world.new_store()
    settings = ManagerSettings(
        data=DataSettings(data_dir=world.folder),
        exchange=ExchangeSettings(),
        port=0,
        base_policy=Policy(heartbeat_s=0.05, silent_after_s=20.0),
    )
    try:
        async with (
            asyncio.timeout(LIMIT_S),
            running(world.ports(bus, store, fuse), settings, claim=world.claim) as manager,
        ):
            driving = asyncio.create_task(client.drive(manager, store))
            dying = asyncio.create_task(fuse.blown.wait())
            waited: set[asyncio.Future[Any]] = {driving, dying, manager.ended}
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            dying.cancel()
            if not driving.done():
                driving.cancel()
            failed = (await asyncio.gather(driving, return_exceptions=True))[0]
            if fuse.blown.is_set():
                raise CrashNow
            if isinstance(failed, Exception):
                raise failed
    except CrashNow:
        pass
    finally:
        await bus.close()
        await store.close()


OpenWorld = Callable[[Path], AbstractAsyncContextManager[World]]
"""Makes a world that has nothing yet, in a folder, and ends it."""


def new_exchange() -> ForgetfulExchange:
    """The exchange of a story."""
    return ForgetfulExchange(LISTED, FORGOTTEN, holes=[DOWNTIME])


async def die_at_calls(folder: Path, open_world: OpenWorld, *, stop: bool, sample: int) -> None:
    """Tell the story undisturbed, and then once for every death, or for `sample` of them."""

    async def tell(name: str, deaths: Sequence[tuple[int, When]]) -> list[str]:
        async with open_world(folder / name) as world:
            return await story(world, deaths, stop=stop)

    calls = await tell("undisturbed", [])
    assert len(calls) > 30, calls
    draw = random.Random(f"crash {SEED} {stop}")
    points: list[tuple[int, When]] = [(at, when) for at in range(1, len(calls) + 1) for when in ("before", "after")]
    if not ALL:
        points = sorted(draw.sample(points, sample))
    limit = asyncio.Semaphore(AT_ONCE)

    async def one(number: int, point: tuple[int, When]) -> None:
        # Every other one dies again, soon after its restart.
        again: list[tuple[int, When]] = [(draw.randint(1, 25), "after")] * draw.randint(1, LIVES - 2)
        async with limit:
            await tell(str(number), [point, *(again if number % 2 else [])])

    try:
        async with asyncio.TaskGroup() as tasks:
            for number, point in enumerate(points):
                tasks.create_task(one(number, point))
    except BaseExceptionGroup as group:
        group.add_note(f"repeat it with STREAMFORGE_CHAOS_SEED={SEED} STREAMFORGE_CHAOS_ALL={int(ALL)}")
        raise
    print(f"\nseed {SEED}: {len(points)} deaths at {len(calls)} calls, {sorted(set(calls))}")


async def story(world: World, deaths: Sequence[tuple[int, When]], *, stop: bool = False) -> list[str]:
    """Managers that die at those calls, one after another, then one that does not. Returns what the first called."""
    client = Client(stop=stop)
    first: list[str] | None = None
    fuses = [*(Fuse(at, when) for at, when in deaths), Fuse(0, "before")]
    try:
        for fuse in fuses:
            await live(world, client, fuse)
            first = first if first is not None else fuse.calls
            if not fuse.blown.is_set():
                break
        await _check(world, client, stop=stop)
    except BaseException as error:
        error.add_note(f"deaths {deaths}, after the calls {[fuse.calls[-3:] for fuse in fuses]}; stop: {stop}")
        raise
    finally:
        await world.end()
    return first or []


async def _check(world: World, client: Client, *, stop: bool) -> None:
    assert client.ended, "it did not end"
    assert world.running == []
    assert world.overlaps == []
    assert set(world.started.values()) <= {1}
    store = world.new_store()
    try:
        found: Sequence[Workflow] = await WorkflowStore(store).find(limit=10)
        assert [workflow.queue_id for workflow in found] == [client.queue_id], "accepted once, as the client was told"
        workflow = found[0]
        events = await EventHistory(store).read(workflow.queue_id, after=-1, limit=10_000)
        view = msgspec.to_builtins(workflow_answer(workflow))
        assert_history(view, [msgspec.json.decode(event.body) for event in events])
        assert workflow.failure is None
        assert workflow.status.value == ("interrupted" if stop else "finished")
        if not stop:
            expected = [time for time in range(SPAN.start_ms, SPAN.end_ms, MINUTE) if time not in DOWNTIME]
            keys = await store.keys(workflow.collection)
            assert list(keys) == [candle_key("BTCUSDT", "1m", time) for time in expected]
            verdicts = {(s.start_ms, s.end_ms) for s in the_proof(workflow).segments if s.verdict is Verdict.EXCHANGE}
            assert verdicts == {(DOWNTIME.start_ms, DOWNTIME.end_ms)}
            assert workflow.repairs == 1
    finally:
        await store.close()
