"""The house of a world: the store that is watched, the jobs, and what every worker of them is made of."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, cast

import msgspec
import structlog

from streamforge import workers
from streamforge_utils.model.errors import ConflictError
from streamforge_utils.ports.clock import Clock
from streamforge_utils.ports.exchange import Exchange
from streamforge_utils.ports.launcher import Job, JobSpec, JobState
from streamforge_utils.ports.observing import Observer
from streamforge_utils.ports.store import Answer, Document, State, Store
from streamforge_utils.runtime.configuring import load_worker
from streamforge_utils.runtime.context import MessageBus
from streamforge_utils.runtime.logs import Log
from streamforge_utils.runtime.settings import DataSettings, ExchangeSettings
from streamforge_utils.runtime.supervisor import Supervisor
from tests.doubles.memorybus import MemoryBus
from tests.doubles.memorystore import MemoryStore
from tests.doubles.virtualclock import VirtualClock
from tests.histories.processes import Port, Process

SIGTERM, SIGKILL = 15, 9
SILENT = structlog.make_filtering_bound_logger(logging.CRITICAL)
WAKING_S = 0.05
"""From the start of a job to its process."""

_replace = msgspec.structs.replace


class WatchedStore(MemoryStore):
    """slow_s: what storing a batch takes. written: called after each state that is stored.

    dropped: called with the keys of a collection before it goes.
    """

    def __init__(self, slow_s: float) -> None:
        super().__init__()
        self._slow_s = slow_s
        self.written: Callable[[str, State], None] = lambda kind, state: None
        self.dropped: Callable[[str, Sequence[str]], None] = lambda collection, keys: None

    async def put(
        self,
        kind: str,
        id: str,
        body: bytes,
        *,
        expected: str | None,
        labels: Mapping[str, str] | None = None,
        created_ms: int = 0,
    ) -> State:
        state = await super().put(kind, id, body, expected=expected, labels=labels, created_ms=created_ms)
        self.written(kind, state)
        return state

    async def upsert(self, collection: str, documents: Sequence[Document]) -> Sequence[Answer]:
        if self._slow_s:
            await asyncio.sleep(self._slow_s)
        return await super().upsert(collection, documents)

    async def drop(self, collection: str) -> None:
        self.dropped(collection, list(self.documents.get(collection, {})))
        await super().drop(collection)


class Worker(msgspec.Struct, kw_only=True):
    """A job, and the process that runs it."""

    spec: JobSpec
    job: Job
    process: Process
    supervisor: Supervisor[Any] | None = None
    task: asyncio.Task[None] | None = None


class Jobs:
    """The launcher of a world: every job is a task that runs the real worker behind a gate.

    changed: called whenever a job begins or ends.
    """

    def __init__(
        self, bus: MemoryBus, store: MemoryStore, exchange: Exchange, clock: VirtualClock, changed: Callable[[], None]
    ) -> None:
        self._bus, self._store, self._exchange, self._clock = bus, store, exchange, clock
        self._changed = changed
        self.known: dict[str, Worker] = {}

    # What a manager asks.

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

    async def jobs(self) -> Sequence[Job]:
        await asyncio.sleep(0)
        return [self.known[name].job for name in sorted(self.known)]

    def trouble(self) -> str:
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

    async def forget(self, name: str) -> None:
        await asyncio.sleep(0)
        worker = self.known.get(name)
        if worker is not None and worker.job.state is JobState.RUNNING:
            raise ConflictError(f"{name} runs")
        self.known.pop(name, None)

    async def close(self) -> None:
        pass

    # What a world does.

    def running(self) -> list[Worker]:
        return [worker for _, worker in sorted(self.known.items()) if worker.job.state is JobState.RUNNING]

    async def _run(self, worker: Worker) -> None:
        await asyncio.sleep(WAKING_S)
        if not worker.process.alive:
            return
        definition = workers.definition(worker.spec.target)
        settings, parameters = load_worker(definition, worker.spec.environment)
        wiring = _Wiring(worker.process, self._bus, self._store, self._exchange)
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
    """What a worker's process has of the world."""

    def __init__(self, process: Process, bus: MemoryBus, store: MemoryStore, exchange: Exchange) -> None:
        self._process, self._bus, self._store, self._exchange = process, bus, store, exchange

    def make_bus(self, settings: DataSettings, *, clock: Clock, observer: Observer) -> MessageBus:
        return cast("MessageBus", gated_bus(self._process, self._bus))

    def make_store(self, settings: DataSettings, *, observer: Observer) -> Store:
        return cast("Store", Port(self._process, self._store))

    def make_exchange(self, settings: ExchangeSettings, *, clock: Clock, observer: Observer) -> Exchange:
        return cast("Exchange", Port(self._process, self._exchange))


def gated_bus(process: Process, bus: MemoryBus) -> Port:
    """The bus as a process has it; closing it closes nothing of the others, and its members leave when it dies."""
    made: list[Any] = []
    port = Port(process, bus, made.append)

    def leave() -> None:
        for one in made:
            bus.leave(one)

    async def close() -> None:
        leave()

    process.when_dead(leave)
    port.__dict__["close"] = close
    return port


def silent() -> Log:
    """A log that writes nothing."""
    return cast("Log", structlog.wrap_logger(None, processors=[], wrapper_class=SILENT))
