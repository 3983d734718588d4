"""The launcher of a simulation: each job is the real worker, in a task."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, cast

import msgspec
import structlog

from streamforge import workers
from streamforge_utils.model.errors import ConflictError
from streamforge_utils.ports.clock import Clock
from streamforge_utils.ports.exchange import Exchange
from streamforge_utils.ports.instrumentation import Observer
from streamforge_utils.ports.launcher import Job, JobSpec, JobState
from streamforge_utils.ports.object_store import ObjectStore
from streamforge_utils.ports.store import Store
from streamforge_utils.ports.stream import Stream
from streamforge_utils.runtime.life.context import MessageBus
from streamforge_utils.runtime.life.settings import DataSettings, ExchangeSettings
from streamforge_utils.runtime.life.supervisor import Supervisor
from streamforge_utils.runtime.life.worker_process import load_worker
from streamforge_utils.runtime.telemetry.logs import Log
from tests.doubles.virtualclock import VirtualClock
from tests.histories.engines import Engines
from tests.histories.simulated_processes import Port, Process

SIGTERM, SIGKILL = 15, 9
SILENT = structlog.make_filtering_bound_logger(logging.CRITICAL)
WAKING_S = 0.05
"""From the start of a job to its process."""

_replace = msgspec.structs.replace


class Worker(msgspec.Struct, kw_only=True):
    """A job, and the process that runs it."""

    spec: JobSpec
    job: Job
    process: Process
    supervisor: Supervisor[Any] | None = None
    task: asyncio.Task[None] | None = None


class SimulatedLauncher:
    """A launcher whose jobs are tasks, each of which runs the real worker behind a gate.

    changed: called whenever a job begins or ends.
    """

    def __init__(self, engines: Engines, exchange: Exchange, clock: VirtualClock, changed: Callable[[], None]) -> None:
        self._engines, self._exchange, self._clock = engines, exchange, clock
        self._changed = changed
        self.known: dict[str, Worker] = {}

    # The port.

    def watch(self) -> None:
        """Nothing is shared here that a worker could lock."""

    async def start(self, spec: JobSpec) -> None:
        await asyncio.sleep(0)
        if spec.name in self.known:
            return
        job = Job(
            name=spec.name,
            target=spec.target,
            queue_id=spec.queue_id,
            attempt=spec.attempt,
            state=JobState.RUNNING,
            started_ms=self._clock.now_ms(),
        )
        process = Process()
        process.when_dead(lambda: self._ended(spec.name, signal=SIGKILL))
        worker = self.known[spec.name] = Worker(spec=spec, job=job, process=process)
        worker.task = asyncio.create_task(self._run(worker), name=spec.name)
        self._changed()

    async def start_together(self, specs: Sequence[JobSpec]) -> None:
        for spec in specs:
            await self.start(spec)

    async def jobs(self) -> Sequence[Job]:
        await asyncio.sleep(0)
        return [self.known[name].job for name in sorted(self.known)]

    def image(self, target: str, image: str | None) -> str:
        return ""

    def stale_reason(self) -> str:
        return ""

    async def stop(self, name: str, *, grace_s: float) -> None:
        await asyncio.sleep(0)
        worker = self.known.get(name)
        if worker is None or worker.job.state is JobState.ENDED:
            return
        if worker.supervisor is not None:
            worker.supervisor.stop.by_signal(SIGTERM)
            with suppress(TimeoutError):
                async with asyncio.timeout(grace_s):
                    await worker.process.gone.wait()
        worker.process.kill()

    async def note_end(self, name: str, exit_code: int) -> None:
        """The end of each job is seen."""

    async def log(self, name: str) -> str | None:
        """Its workers write none."""
        return None

    async def forget(self, name: str) -> None:
        await asyncio.sleep(0)
        worker = self.known.get(name)
        if worker is not None and worker.job.state is JobState.RUNNING:
            raise ConflictError(f"{name} runs")
        self.known.pop(name, None)

    async def close(self) -> None:
        pass

    # The simulation's side.

    def running(self) -> list[Worker]:
        return [worker for _, worker in sorted(self.known.items()) if worker.job.state is JobState.RUNNING]

    async def _run(self, worker: Worker) -> None:
        await asyncio.sleep(WAKING_S)
        if not worker.process.alive:
            return
        definition = workers.definition(worker.spec.target)
        settings, parameters = load_worker(definition, worker.spec.environment)
        wiring = _Wiring(worker.process, self._engines, self._exchange)
        worker.supervisor = Supervisor(
            definition, settings, parameters, wiring, log=silent(), clock=self._clock, version="0"
        )
        code = await worker.supervisor.run()
        if worker.process.alive:
            worker.process.gone.set()
            self._ended(worker.spec.name, exit_code=code)

    def _ended(self, name: str, *, exit_code: int | None = None, signal: int | None = None) -> None:
        worker = self.known[name]
        reason = "" if exit_code == 0 else f"ended with code {exit_code}, signal {signal}"
        worker.job = _replace(
            worker.job,
            state=JobState.ENDED,
            exit_code=exit_code,
            signal=signal,
            ended_ms=self._clock.now_ms(),
            reason=reason,
        )
        if signal is not None and worker.task is not None:
            worker.task.cancel()
        self._changed()


class _Wiring:
    """The parts that a worker's process gets."""

    def __init__(self, process: Process, engines: Engines, exchange: Exchange) -> None:
        self._process, self._engines, self._exchange = process, engines, exchange

    def make_bus(self, settings: DataSettings, *, clock: Clock, observer: Observer) -> MessageBus:
        return cast("MessageBus", self._engines.bus_of(self._process))

    def make_store(self, settings: DataSettings, *, observer: Observer) -> Store:
        return cast("Store", self._engines.store_of(self._process))

    def make_archive(self, *settings: object, **ports: object) -> None:
        """There is none."""

    def make_stream(self, *settings: object, **ports: object) -> Stream:
        raise NotImplementedError

    def make_object_store(self, *settings: object) -> ObjectStore:
        raise NotImplementedError

    def make_exchange(self, settings: ExchangeSettings, *, clock: Clock, observer: Observer) -> Exchange:
        return cast("Exchange", Port(self._process, self._exchange))


def silent() -> Log:
    """A log that writes nothing."""
    return cast("Log", structlog.wrap_logger(None, processors=[], wrapper_class=SILENT))
