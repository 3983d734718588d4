"""A live workflow of ticks in memory, and what is stored of it."""

from __future__ import annotations

from streamforge.manager.engine.document import Workflow
from streamforge.manager.workflows.live.comparison import Comparison
from streamforge.manager.workflows.live.model import Ledger
from streamforge.manager.workflows.series.model import Plan, loaded_series
from streamforge_utils.ports.clock import Clock
from tests.doubles import ticks
from tests.doubles.manualclock import ManualClock
from tests.manager.execution.world import C
from tests.manager.support import World, changed, with_attempt
from tests.manager.support import decide_running as running

STREAM = ticks.START
MARKET = {1: 0, 2: 1000, 3: 2000, 4: 2000, 5: 2000, 6: 4000, 7: 9000, 8: 9500}
"""When each record happened, milliseconds after the stream began."""


class Rig:
    """A live workflow of ticks that began to listen at `STREAM`, and what of `MARKET` is stored of it."""

    def __init__(self, world: World, workflow: Workflow, ledger: Ledger) -> None:
        self.world, self.workflow, self.ledger = world, workflow, ledger

    def store(self, *ids: int) -> None:
        there = [(number, STREAM + MARKET[number]) for number in ids]
        ticks.hold(self.world.store, there, self.workflow.collection)

    async def step(self, *, quiet: bool = False, close: bool = False) -> Ledger:
        comparison = Comparison(self.world.deps, self.workflow, self.ledger, close=close)
        await comparison.step()
        if quiet:
            await comparison.quiet()
        self.ledger = comparison.ledger
        return self.ledger

    async def known(self) -> list[tuple[int, int, str, int | None, int | None]]:
        """The coverage: times after `STREAM`, verdicts and ids."""
        return [
            (one.start_ms - STREAM, one.end_ms - STREAM, one.verdict.value, one.first_id, one.last_id)
            for one in await self.world.deps.coverage.of(loaded_series(self.workflow))
        ]

    async def measure(self, now_ms: int) -> None:
        """Let the latest plan know that the exchange's clock showed `now_ms`."""
        here_ms, coverage = self.world.clock.now_ms(), self.world.deps.coverage
        await coverage.learn_plan(loaded_series(self.workflow), Plan(exchange_now_ms=now_ms), here_ms)

    def wait(self, seconds: float) -> None:
        assert isinstance(self.world.clock, ManualClock)
        self.world.clock.advance(seconds)


async def a_rig(ledger: Ledger | None = None, *, type: str = "api_ticks", clock: Clock | None = None) -> Rig:
    market = [(number, STREAM + ms) for number, ms in MARKET.items()]
    clock = clock or ManualClock(STREAM + 10_000)
    world = World(clock=clock, exchange=ticks.TickExchange(market, now_ms=clock.now_ms()))
    await world.start()
    workflow = running()
    for target in (one.target for one in workflow.steps):
        workflow = with_attempt(workflow, target, started_ms=0)
    ledger = ledger or Ledger(stream_ms=STREAM)
    workflow = changed(workflow, type=type, endless=True, ledger=ledger, collection=C)
    await world.deps.workflows.create(workflow)
    return Rig(world, workflow, ledger)
