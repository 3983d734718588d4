"""The manager of a simulation: it may be killed at any time, is started again, and gets requests until it answers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar, cast

from streamforge.manager.dependencies import Dependencies
from streamforge.manager.execution.reconciler import Reconciler
from streamforge.manager.policy import Policy, RetentionRule
from streamforge.manager.workflow_service import WorkflowService
from streamforge_utils.model.errors import RetryableError
from tests.doubles.observer import RecordingObserver
from tests.doubles.virtualclock import VirtualClock
from tests.histories.engines import Engines
from tests.histories.faulty_exchange import FaultyExchange
from tests.histories.history import Setting
from tests.histories.simulated_launcher import SimulatedLauncher
from tests.histories.simulated_processes import Killed, Port, Process

T = TypeVar("T")

CONTROL, EVENTS = "queue-control", "queue-events"
HEARTBEAT_S = 10.0
RETAIN_S = 5.0
"""How often the manager looks for what is too old, or is to be verified."""


class ManagerProcess:
    """Keeps a manager running. down_s: how long it is gone after it was killed. folder: where it exports to."""

    def __init__(
        self,
        setting: Setting,
        engines: Engines,
        launcher: SimulatedLauncher,
        exchange: FaultyExchange,
        clock: VirtualClock,
        folder: Path,
    ) -> None:
        self.setting, self.engines, self.launcher = setting, engines, launcher
        self.exchange, self.clock, self._folder = exchange, clock, folder
        self._codes = 0
        self.ready = asyncio.Event()
        self.down_s = 1.0
        self.process = Process()
        self.manager: WorkflowService

    async def keep_up(self) -> None:
        """Start it, again and again."""
        while True:
            self.process = Process()
            reconciler = await self._started()
            running = asyncio.create_task(reconciler.run())
            self.ready.set()
            await self.process.gone.wait()
            self.ready.clear()
            running.cancel()
            await asyncio.wait({running})
            await asyncio.sleep(self.down_s)

    async def _started(self) -> Reconciler:
        while True:
            try:
                return await self._start()
            except RetryableError:
                await asyncio.sleep(1.0)

    async def _start(self) -> Reconciler:
        store, bus = self.engines.store_of(self.process), self.engines.bus_of(self.process)
        deps = Dependencies.on(
            bus,
            store,
            clock=self.clock,
            observer=RecordingObserver(),
            producer=await bus.producer(),
            launcher=cast("Any", Port(self.process, self.launcher)),
            exchange=cast("Any", Port(self.process, self.exchange)),
            policy=self._policy(),
            common={"STREAMFORGE_DATA_DIR": "memory", "STREAMFORGE_EXCHANGE_URL": "http://exchange"},
            control_topic=CONTROL,
            events_topic=EVENTS,
        )
        await deps.workflows.load()
        reconciler = Reconciler(deps)
        if self.setting.verify_s:
            reconciler.RETAIN_EVERY_S = RETAIN_S
        await reconciler.bans.load()
        self.manager = WorkflowService(deps, reconciler, self._code)
        return reconciler

    def _policy(self) -> Policy:
        setting = self.setting
        keep = (RetentionRule("*", setting.kept_days),) if setting.kept_days else ()
        return Policy(
            max_running=setting.max_running,
            heartbeat_s=HEARTBEAT_S,
            topic_retention_s=10**9,
            dlq_retention_s=10**9,
            retention=keep,
            retention_dir=self._folder if keep else None,
            verify_every_s=setting.verify_s,
            verify_repairs=setting.repairs,
        )

    def _code(self) -> str:
        self._codes += 1
        return f"{self._codes:06d}"

    @property
    def outage(self) -> bool:
        """Whether the bus or the store does not answer."""
        return any(one.lasts(self.clock.monotonic()) for one in self.engines.outages.values())

    async def ask(self, question: Callable[[WorkflowService], Awaitable[T]]) -> T:
        """The manager's answer; one who gets none asks again once it is back."""
        while True:
            await self.ready.wait()
            asked = asyncio.ensure_future(question(self.manager))
            gone = asyncio.ensure_future(self.process.gone.wait())
            await asyncio.wait({asked, gone}, return_when=asyncio.FIRST_COMPLETED)
            gone.cancel()
            if not asked.done():
                asked.cancel()
            try:
                return await asked
            except (Killed, asyncio.CancelledError):
                await asyncio.sleep(0)
            except RetryableError:
                await asyncio.sleep(0.5)

    async def verification_is_due(self) -> None:
        """Return once the manager's own verification has had its time, of a manager that lived through it."""
        while self.setting.verify_s:
            await self.ready.wait()
            process = self.process
            # Its latest look may just be over, and one that comes a moment too early lets a series wait for the next.
            await asyncio.sleep(2 * (self.setting.verify_s + RETAIN_S + 2) + 2)
            if process is self.process and process.alive:
                return
