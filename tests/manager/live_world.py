"""A live workflow of candles in a manager on doubles: a test stores what its sink would, and ends its jobs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from streamforge.manager.continuation import LIVE
from streamforge.manager.engine.document import Workflow
from streamforge.manager.policy import Policy
from streamforge.manager.workflows.live.model import ledger_of
from streamforge_utils.model.kinds.candles import Interval
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.runtime.life.worker_definition import Role, Source
from tests.doubles.manualclock import ManualClock
from tests.doubles.scriptedexchange import ScriptedExchange
from tests.manager.execution.world import hold
from tests.manager.support import (
    DAY_START,
    LOADER,
    MINUTE_MS,
    SINK,
    World,
    accepted,
    attempt,
    changed,
    replace,
    said,
    the_plan,
)

SERIES = Series("BTCUSDT", "candles", "1m")
START = DAY_START + 100 * MINUTE_MS
"""When the workflow is asked for."""
POLICY = Policy(compare_every_s=5, hole_grace_s=30)


def minutes(*numbers: int) -> list[int]:
    """When bars open: so many minutes after the day began."""
    return [DAY_START + number * MINUTE_MS for number in numbers]


async def live_world(policy: Policy = POLICY, *, now_ms: int = START + 1000, first: int = 0) -> World:
    """An exchange that has every bar of two days, in the hundredth minute of the first; first: minutes before."""
    exchange = ScriptedExchange(Interval.M1, minutes(*range(first, 2880)), now_ms=now_ms)
    world = World(clock=ManualClock(now_ms), policy=policy, exchange=exchange)
    await world.start()
    return world


def wanted(since: int | None = None, *, code: str = "abc123", now_ms: int = START + 1000) -> Workflow:
    """A live workflow just accepted: from now on, or since so many minutes after the day began."""
    made = changed(accepted(code, created_ms=now_ms), type="ws_candles_1m", endless=True)
    steps = tuple(
        replace(one, type="ws_candles_1m", source=Source.STREAM if one.role is Role.LOADER else one.source)
        for one in made.steps
    )
    begin_ms = now_ms // 1000 * 1000 - 1000 if since is None else minutes(since)[0]
    span = TimeRange(begin_ms, now_ms // 1000 * 1000)
    return replace(made, steps=steps, requested=LIVE if since is None else "since", span=span, collection="live")


async def begun(world: World, workflow: Workflow) -> Workflow:
    """The workflow, whose jobs run and have started."""
    queue_id = (await world.deps.workflows.create(workflow)).workflow.queue_id
    await world.turns(3)
    await speak(world, queue_id, "started")
    return await world.workflow(queue_id)


async def speak(world: World, queue_id: str, word: str, *targets: str, **extra: Any) -> None:
    for target in targets or (LOADER, SINK):
        world.say(said(await world.workflow(queue_id), target, word, extra=extra))
    await world.turns()


async def pass_time(world: World, seconds: int, *, alive: Iterable[str] = (), until_s: float = 5) -> None:
    """Let time pass, in which the workers of `alive` speak now and then."""
    for _ in range(round(seconds / until_s)):
        world.later(until_s - 1)
        for queue_id in alive:
            if not (await world.workflow(queue_id)).ended:
                for target in (LOADER, SINK):
                    world.say(
                        said(await world.workflow(queue_id), target, "loading", extra={"live": {"frame_age_s": 0.1}})
                    )
        await world.turns()
        world.later(0)


def store(world: World, workflow: Workflow, opens: Sequence[int]) -> None:
    hold(world.store, *opens, collection=workflow.collection)


async def end_jobs(world: World, queue_id: str, word: str) -> None:
    """Its workers obey a stop, or have done all there is to do."""
    workflow = await world.workflow(queue_id)
    for target in (LOADER, SINK):
        world.say(said(workflow, target, word))
        world.launcher.end(attempt(workflow, target).job, exit_code=0)
    await world.turns(3)


async def supplement_of(world: World, workflow: Workflow) -> Workflow:
    """The workflow that loads what it lacks; its jobs run."""
    ledger = ledger_of(await world.workflow(workflow.queue_id))
    assert ledger is not None
    assert ledger.supplement
    return await world.workflow(ledger.supplement)


async def load(world: World, workflow: Workflow) -> Workflow:
    """Let a supplement load all that its plan names, to its end."""
    await world.turns(3)
    workflow = await world.workflow(workflow.queue_id)
    for part in the_plan(workflow).parts:
        store(world, workflow, range(part.span.start_ms, part.span.end_ms, MINUTE_MS))
    await speak(world, workflow.queue_id, "started")
    await end_jobs(world, workflow.queue_id, "finished")
    await world.turns(2)
    return await world.workflow(workflow.queue_id)
