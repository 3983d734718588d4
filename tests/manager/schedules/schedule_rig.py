"""A manager whose schedules, clock and deaths a test controls."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from streamforge.manager.engine.document import Status, Workflow
from streamforge.manager.policy import Policy
from streamforge.manager.schedules.model import Definition, Run, Schedule
from streamforge.manager.schedules.store import RUNS_KEPT
from streamforge.manager.workflows.series.model import loaded_series
from streamforge_utils.model.coverage import Segment, Verdict
from streamforge_utils.model.kinds.candles import Interval
from streamforge_utils.ports.archive import Archive
from tests.doubles.manualclock import ManualClock
from tests.doubles.scriptedexchange import ScriptedExchange
from tests.manager.execution.world import exchange_of
from tests.manager.support import DAY_START, MINUTE_MS, World, replace

SYMBOLS = ("BTCUSDT", "ETHUSDT")
LAST = Definition(symbols=SYMBOLS, type="api_candles_1m", cron="0 * * * *", since="last", default_start="2024-07-31")
HOUR = replace(LAST, since=None, default_start=None, time_range="-1h:")
START_MS = DAY_START + 30 * MINUTE_MS


class Dead(BaseException):
    """The manager's process is gone."""


class Rig:
    """A manager with a schedule. writes: of states so far; dies: at this one; made_first: after it was made.
    ends_between: before a new manager fires, the workflows of the one before have ended, so that none can be joined."""

    def __init__(self, policy: Policy | None = None, archive: Archive | None = None) -> None:
        exchange = ScriptedExchange(Interval.M1, (), now_ms=START_MS)
        self.clock = ManualClock(START_MS)
        self.world = World(clock=self.clock, exchange=exchange, policy=policy or Policy(), archive=archive)
        self.writes, self.dies, self.made_first, self.dead = 0, 0, False, False
        self.ends_between = False
        store = self.world.store
        for name in ("put", "remove"):
            setattr(store, name, self._dying(getattr(store, name)))

    def _dying(self, write: Any) -> Any:
        async def dying(*args: Any, **fields: Any) -> Any:
            self.writes += 1
            if self.dead:
                raise Dead
            if self.writes != self.dies:
                return await write(*args, **fields)
            self.dead = True
            if self.made_first:
                await write(*args, **fields)
            raise Dead

        return dying

    async def start(self) -> None:
        """A manager, after the death of the one before."""
        await self.world.settle()  # what that one was doing meets its end
        self.dead = False
        await self.world.start()
        self.driver = self.world.manager.schedules.driver

    async def add(self, definition: Definition = HOUR, name: str = "s") -> Schedule:
        exchange = exchange_of(self.world)
        exchange.listed = [replace(exchange.listed[0], symbol=symbol) for symbol in SYMBOLS]
        return (await self.world.manager.schedules.add(name, definition))[0].schedule

    async def turn(self) -> float:
        """Turns until nothing can be done; a death is survived by the next manager."""
        for _ in range(300):
            try:
                pause_s = await self.world.manager.schedules.driver.turn()
            except Dead:
                await self.start()
                if self.ends_between:
                    await self.end()
                continue
            if pause_s:
                return pause_s
        raise AssertionError("it does not come to rest")

    async def later(self, ms: int) -> None:
        """Let the clock go on, or back; that of the exchange only goes on."""
        self.clock.advance(ms / 1000)
        exchange = exchange_of(self.world)
        exchange.now_ms = max(exchange.now_ms, self.clock.now_ms())

    async def workflows(self) -> Sequence[Workflow]:
        return (await self.world.manager.find(limit=1000)).workflows

    async def end(self, status: Status = Status.FINISHED, **fields: Any) -> None:
        """Every workflow ends, and what it loaded is known."""
        dies, self.dies = self.dies, 0
        for workflow in await self.workflows():
            if not workflow.ended:
                ended = {"status": status, "ended_ms": self.clock.now_ms(), **fields}
                await self.world.deps.workflows.change(workflow.queue_id, partial(replace, **ended))
                span = workflow.span
                stored = Segment(start_ms=span.start_ms, end_ms=span.end_ms, verdict=Verdict.STORED, collection="c")
                await self.world.deps.coverage.lay_over(loaded_series(workflow), [stored])
        self.dies = dies

    async def schedule(self) -> Schedule:
        return (await self.world.manager.schedules.get("s")).schedule

    async def runs(self) -> list[Run]:
        """Those that have ended, oldest first."""
        return [*reversed(await self.world.manager.schedules.runs("s", limit=RUNS_KEPT))]


async def rig_of(definition: Definition = HOUR, **how: Any) -> Rig:
    rig = Rig(**how)
    await rig.start()
    await rig.add(definition)
    return rig
