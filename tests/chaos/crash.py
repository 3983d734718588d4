"""A manager that dies at a chosen call of its ports, in a world that goes on: workers, bus, store and exchange."""

from __future__ import annotations

import asyncio
import inspect
import io
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Literal, cast

from streamforge import workers
from streamforge.manager.persistence.installation import Claim
from streamforge.manager.running_manager import Ports
from streamforge_utils.adapters.embedded.bus.embedded_bus import EmbeddedBus
from streamforge_utils.model.errors import ConflictError
from streamforge_utils.model.kinds.candles import Candle, Interval
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.ports.clock import Clock
from streamforge_utils.ports.exchange import Exchange
from streamforge_utils.ports.instrumentation import Observer
from streamforge_utils.ports.launcher import Job, JobSpec, JobState, Launcher
from streamforge_utils.ports.object_store import ObjectStore
from streamforge_utils.ports.store import Store
from streamforge_utils.ports.stream import Stream
from streamforge_utils.runtime.life.context import MessageBus
from streamforge_utils.runtime.life.settings import DataSettings, ExchangeSettings
from streamforge_utils.runtime.life.supervisor import Supervisor
from streamforge_utils.runtime.life.worker_process import load_worker
from streamforge_utils.runtime.telemetry.logs import make_log
from tests.doubles.candles import GridExchange
from tests.limits import LIMIT_S

When = Literal["before", "after"]

_LOOKS = ("poll", "jobs", "lag", "offsets", "topics")
"""Repeated without end: such a call counts only if it says something new, and is never died before."""


class CrashNow(BaseException):
    """The manager is dead: what it still calls has no effect."""


class Fuse:
    """Blows at the `at`-th call that counts, before or after it took effect; 0: never. calls: what counted so far."""

    def __init__(self, at: int, when: When) -> None:
        self.calls: list[str] = []
        self.blown = asyncio.Event()
        self._at, self._when = at, when
        self._said: dict[str, object] = {}

    async def call(self, name: str, method: str, work: Callable[[], Awaitable[Any]]) -> Any:
        if self.blown.is_set():
            raise CrashNow
        if method in _LOOKS:
            answer = await work()
            if not answer or self._said.get(name) == answer:
                return answer
            self._said[name] = answer
            self._count(name, now=True)
            return answer
        mine = self._count(name, now=self._when == "before")
        answer = await work()
        if mine or self.blown.is_set():
            self.blown.set()
            raise CrashNow
        return answer

    def _count(self, name: str, *, now: bool) -> bool:
        self.calls.append(name)
        mine = len(self.calls) == self._at
        if mine and now:
            self.blown.set()
            raise CrashNow
        return mine


class Mortal:
    """A port whose every asynchronous call goes through the fuse."""

    def __init__(self, port: object, name: str, fuse: Fuse) -> None:
        self._port, self._name, self._fuse = port, name, fuse

    def __getattr__(self, method: str) -> Any:
        found = getattr(self._port, method)
        if not inspect.iscoroutinefunction(found):
            return found
        name = f"{self._name}.{method}"

        async def call(*args: Any, **kwargs: Any) -> Any:
            answer = await self._fuse.call(name, method, lambda: found(*args, **kwargs))
            return Mortal(answer, method, self._fuse) if method in ("producer", "consumer") else answer

        return call


class ForgetfulExchange(GridExchange):
    """Lists its symbols at `listed`; leaves some candles out of the first page that holds them: a hole that is ours."""

    def __init__(self, listed: TimeRange, forgotten: TimeRange, *, holes: Sequence[TimeRange]) -> None:
        super().__init__(holes=holes)
        self._listed = listed
        self._forgotten: TimeRange | None = forgotten

    async def candles(
        self, symbol: str, interval: Interval, span: TimeRange, *, limit: int = 1000, newest: bool = False
    ) -> Sequence[Candle]:
        within = span.intersection(self._listed)
        if within is None:
            return []
        page = await super().candles(symbol, interval, within, limit=limit, newest=newest)
        forgotten = self._forgotten
        if forgotten is None or limit == 1 or not any(candle.open_time in forgotten for candle in page):
            return page
        self._forgotten = None
        return [candle for candle in page if candle.open_time not in forgotten]


class World:
    """What outlives the manager. Implements `Launcher` with real workers as tasks, and the workers' wiring.

    new_store: a client of its one store, of which every life of the manager and every worker has its own. claim: what
    managers ask of it. started: how often each job was. overlaps: jobs that began while another attempt of their step
    ran.
    """

    def __init__(
        self, folder: Path, exchange: GridExchange, new_store: Callable[[], Store], claim: Claim | None = None
    ) -> None:
        self.folder = folder
        self.exchange = exchange
        self.new_store = new_store
        self.claim = claim
        self.started: Counter[str] = Counter()
        self.overlaps: list[str] = []
        self._specs: dict[str, JobSpec] = {}
        self._tasks: dict[str, asyncio.Task[int]] = {}
        self._supervisors: dict[str, Supervisor[Any]] = {}

    # The manager's ports

    def ports(self, bus: EmbeddedBus, store: Store, fuse: Fuse) -> Ports:
        return Ports(
            bus=cast("MessageBus", Mortal(bus, "bus", fuse)),
            store=cast("Store", Mortal(store, "store", fuse)),
            launcher=cast("Launcher", Mortal(self, "launcher", fuse)),
            exchange=cast("Exchange", Mortal(self.exchange, "exchange", fuse)),
        )

    # Launcher

    def watch(self) -> None:
        """Nothing is shared here that a worker could lock."""

    async def start(self, spec: JobSpec) -> None:
        if spec.name in self._tasks:
            return
        others = [s for s in self._specs.values() if (s.queue_id, s.target) == (spec.queue_id, spec.target)]
        self.overlaps += [f"{spec.name} beside {s.name}" for s in others if not self._tasks[s.name].done()]
        self.started[spec.name] += 1
        environment = {**spec.environment, "STREAMFORGE_DATA_DIR": str(self.folder)}
        definition = workers.definition(spec.target)
        settings, parameters = load_worker(definition, environment)
        supervisor = Supervisor(definition, settings, parameters, self, log=make_log(form="json", stream=io.StringIO()))
        self._specs[spec.name] = spec
        self._supervisors[spec.name] = supervisor
        self._tasks[spec.name] = asyncio.create_task(supervisor.run(), name=spec.name)

    async def start_together(self, specs: Sequence[JobSpec]) -> None:
        for spec in specs:
            await self.start(spec)

    async def jobs(self) -> Sequence[Job]:
        return [self._job(name) for name in sorted(self._tasks)]

    def image(self, target: str, image: str | None) -> str:
        """None has one."""
        return ""

    def stale_reason(self) -> str:
        """The world is always seen."""
        return ""

    async def stop(self, name: str, *, grace_s: float) -> None:
        task = self._tasks.get(name)
        if task is None or task.done():
            return
        self._supervisors[name].stop.by_signal(15)
        await asyncio.wait({task}, timeout=grace_s)
        task.cancel()
        await asyncio.wait({task}, timeout=LIMIT_S)

    async def note_end(self, name: str, exit_code: int) -> None:
        """The end of each job is seen."""

    async def log(self, name: str) -> str | None:
        """Its workers write none."""
        return None

    async def forget(self, name: str) -> None:
        task = self._tasks.get(name)
        if task is not None and not task.done():
            raise ConflictError(f"{name} runs")
        self._tasks.pop(name, None)

    async def close(self) -> None:
        """Let go of the jobs: they go on."""

    def _job(self, name: str) -> Job:
        spec, task = self._specs[name], self._tasks[name]
        running = not task.done()
        return Job(
            name=name,
            target=spec.target,
            queue_id=spec.queue_id,
            attempt=spec.attempt,
            state=JobState.RUNNING if running else JobState.ENDED,
            exit_code=None if running or task.cancelled() else task.result(),
            signal=9 if not running and task.cancelled() else None,
        )

    @property
    def running(self) -> list[str]:
        return [name for name, task in self._tasks.items() if not task.done()]

    async def end(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    # Wiring of the workers

    def make_bus(self, settings: DataSettings, *, clock: Clock, observer: Observer) -> MessageBus:
        return EmbeddedBus(self.folder / "bus", clock=clock, observer=observer)

    def make_store(self, settings: DataSettings, *, observer: Observer) -> Store:
        return self.new_store()

    def make_archive(self, *settings: object, **ports: object) -> None:
        """There is none."""

    def make_stream(self, *settings: object, **ports: object) -> Stream:
        raise NotImplementedError

    def make_object_store(self, *settings: object) -> ObjectStore:
        raise NotImplementedError

    def make_exchange(self, settings: ExchangeSettings, *, clock: Clock, observer: Observer) -> Exchange:
        return self.exchange
