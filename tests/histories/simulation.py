"""Runs a history on the real manager and the real workers, with everything else in memory.

All of it runs on a virtual loop: nothing waits for the wall clock, and the same history always ends alike. There are no
logs, threads or sockets, and limits are so small that few bars make many pages.
"""

from __future__ import annotations

import asyncio
import gc
import os
import tempfile
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, ParamSpec, TypeVar
from unittest.mock import patch

import anyio.to_thread
import msgspec
import structlog

from streamforge.manager.coverage import record_count
from streamforge.manager.engine.document import Workflow
from streamforge.manager.engine.execution.reconciler import Reconciler
from streamforge.manager.engine.persistence.event_history import HistoryEvent
from streamforge.manager.engine.persistence.workflow_store import KIND
from streamforge.manager.engine.stored_document import decode_workflow
from streamforge.manager.execution import verifier
from streamforge.manager.exports import records as record_reader
from streamforge_utils.adapters import call_thread
from streamforge_utils.model.completeness import grid
from streamforge_utils.model.kinds.candles import Klines
from streamforge_utils.model.messages import TERMINAL_EVENTS, decode_event
from streamforge_utils.ports.bus import TopicSpec
from streamforge_utils.ports.store import State
from streamforge_utils.runtime.history import history_loader
from streamforge_utils.runtime.life import environment, supervisor
from streamforge_utils.runtime.sink import sinks
from tests.doubles.virtualclock import VirtualClock
from tests.doubles.virtualloop import VirtualLoop
from tests.histories.comparison import Comparison
from tests.histories.engines import Engines, FaultyExchange, MemoryEngines, confirmed_keys
from tests.histories.history import AnyOperation, History, Observe, Quiesce, Read, ScheduledVerification, Verify
from tests.histories.manager_process import CONTROL, EVENTS, ManagerProcess
from tests.histories.model import Model, Violation
from tests.histories.operations import OperationRunner
from tests.histories.simulated_launcher import SILENT, SimulatedLauncher
from tests.histories.simulated_processes import Process

LOOK_S = 2.0
"""How often the manager looks at workflows that nothing is new about."""

T = TypeVar("T")
P = ParamSpec("P")


@contextmanager
def simulated_environment() -> Iterator[None]:
    """Nothing is logged, nothing is done in a thread, and no worker serves metrics."""
    kept, thresholds = structlog.get_config(), gc.get_threshold()
    structlog.configure(wrapper_class=SILENT)
    gc.set_threshold(100_000, *thresholds[1:])  # little of a simulation is garbage before its end
    try:
        with (
            patch.object(supervisor, "MetricsServer", _NoServer),
            patch.object(environment, "_items", _items),  # a process reads its settings once; here are thousands
            patch.object(sinks, "ThreadPoolExecutor", _NoThread),
            patch.object(call_thread, "ThreadPoolExecutor", _NoThread),
            patch.object(anyio.to_thread, "run_sync", _at_once),
            patch.object(os, "fsync", lambda descriptor: None),  # no power fails here
            patch.object(sinks, "COMMIT_EVERY_S", 1.0),
            patch.object(Reconciler, "LOOK_EVERY_S", LOOK_S),
            # Few bars make many pages.
            patch.object(Klines, "most", 5),
            patch.object(history_loader, "BATCH_PAGES", 2),
            patch.object(record_count, "_POSITIONS_A_PAGE", 7),
            patch.object(grid, "HOLE_A_REQUEST", 4),
            patch.object(verifier, "_PIECE_RECORDS", 8),
            patch.object(record_reader, "BATCH", 6),
        ):
            yield
    finally:
        structlog.configure(**kept)
        gc.set_threshold(*thresholds)


@cache
def _items(cls: type[msgspec.Struct]) -> tuple[object, ...]:
    return tuple(_read_items(cls))


_read_items = environment._items


async def _at_once(function: Callable[..., T], *args: Any, **_: Any) -> T:
    return function(*args)


class _NoThread(Executor):
    """Does at once what a thread would do."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future: Future[T] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


class _NoServer(msgspec.Struct):
    metrics: object
    host: str
    port: int | None

    def close(self) -> None:
        pass


LONGEST_S = 1800.0
"""Within so much time a workflow ends after all that has happened to it, unless something is wrong."""

IN_MEMORY = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else None
"""Where files take no time, if there is such a place."""

MOST_TURNS = 100_000
"""Of the loop in a history; a usual one takes some thousands."""

STORING = 3
"""Storing a batch takes so many times as long as an answer of the exchange."""

MakeEngines = Callable[[VirtualClock, float, Path], Engines]


class Simulation:
    """Runs one history. `run` raises Violation where an answer contradicts the model. engines: bus and store."""

    def __init__(self, history: History, engines: MakeEngines = MemoryEngines) -> None:
        self._history, self._setting, self._make_engines = history, history.setting, engines
        self._loop = VirtualLoop(most_turns=MOST_TURNS)
        self._clock = VirtualClock(self._loop, self._setting.markets[0].opens_ms(self._setting.now) + 1000)
        self._violation: Violation | None = None

    def run(self) -> None:
        """Carry out the history, let every workflow end, and compare every answer with the model."""
        with simulated_environment(), tempfile.TemporaryDirectory(dir=IN_MEMORY) as folder:
            self._loop.set_exception_handler(lambda loop, context: None)
            self._build(Path(folder))
            try:
                self._await(self._begin())
                for operation in self._history.operations:
                    self._do(operation)
                    self._raise()
                self._rest(last=True)
            finally:
                self._close()

    def _build(self, folder: Path) -> None:
        setting, clock = self._setting, self._clock
        self._engines = self._make_engines(clock, STORING * setting.slow_s, folder)
        self._exchange = FaultyExchange(setting.markets, clock.now_ms, setting.slow_s)
        self._launcher = SimulatedLauncher(self._engines, self._exchange, clock, self._jobs_changed)
        self._model = Model(setting, self._engines.documents, clock.now_ms)
        self._manager = ManagerProcess(setting, self._engines, self._launcher, self._exchange, clock, folder)
        self._operations = OperationRunner(self._model, self._manager)
        self._comparison = Comparison(self._loop, self._model, self._manager, folder, setting.turn)
        self._engines.hooks.written = self._written
        self._engines.hooks.deleted = self._deleted

    async def _begin(self) -> None:
        bus = self._engines.bus_of(Process())
        for topic in (CONTROL, EVENTS):
            await bus.create_topic(TopicSpec(name=topic))
        self._keeping = asyncio.create_task(self._manager.keep_up())
        await self._manager.ready.wait()

    # The operations.

    def _await(self, work: Awaitable[T]) -> T:
        return self._loop.run_until_complete(work)

    def _do(self, operation: AnyOperation) -> None:
        match operation:
            case Quiesce():
                self._rest()
            case Observe():
                self._comparison.meanwhile()
            case Read(market=number, first=first, last=last):
                market = self._setting.markets[number % len(self._setting.markets)]
                self._comparison.read(market, market.span(first, last))
            case Verify(market=number, first=first, last=last):
                market = self._setting.markets[number % len(self._setting.markets)]
                span = None if first is None or last is None else market.span(first, last)
                self._comparison.verify(market, span)
            case _:
                self._await(self._operations.carry_out(operation))

    # Notes for the model.

    def _written(self, kind: str, state: State) -> None:
        if kind != KIND:
            return
        workflow = decode_workflow(state.body)
        with self._noting():
            if self._model.accepted(workflow):
                self._operations.order.append(workflow.queue_id)
                if self._manager.outage:
                    self._model.killed([workflow.queue_id])
            self._model.changed(workflow, confirmed_keys(self._engines, workflow.topic))

    def _deleted(self, collection: str, keys: Collection[str], whole: bool) -> None:
        with self._noting():
            self._model.deleted(collection, keys, whole)

    def _jobs_changed(self) -> None:
        with self._noting():
            self._model.jobs_run({worker.spec.queue_id for worker in self._launcher.running()})

    @contextmanager
    def _noting(self) -> Iterator[None]:
        """Inside what the manager calls nothing may be raised: it would be tried again."""
        try:
            yield
        except Violation as violation:
            self._violation = self._violation or violation

    def _raise(self) -> None:
        if self._violation is not None:
            raise self._violation

    # Comparing.

    def _rest(self, *, last: bool = False) -> None:
        """No fault from now on; every workflow ends, and every answer is compared."""
        self._await(self._settle())
        if last and self._setting.verify_s:
            self._await(self._operations.carry_out(ScheduledVerification()))
            self._await(self._settle())
        self._raise()
        oracle = self._comparison.oracle
        oracle.at_rest(self._workflows(), self._terminal_events())
        for queue_id in self._operations.order:
            oracle.history(queue_id, [decode_event(one.body) for one in self._await(self._events(queue_id))])
        self._comparison.all(last=last)
        for market in self._setting.markets if last and self._setting.repairs else ():
            oracle.repaired(market)
        self._raise()

    async def _settle(self) -> None:
        self._exchange.faults.clear()
        for outage in self._engines.outages.values():
            outage.end()
        until = self._loop.time() + LONGEST_S
        while self._loop.time() < until:
            await self._manager.ready.wait()
            if self._violation is not None:
                return
            if all(one.ended for one in self._model.asked.values()) and not self._launcher.running():
                await asyncio.sleep(LOOK_S + 0.5)  # what is over is noticed
                await self._manager.ready.wait()
                self._manager.process.lives_on()
                if not await self._operations.ask_for_rests():
                    return
            await asyncio.sleep(1.0)
        left = [f"{w.queue_id} is {w.status.value} ({w.waiting_for})" for w in self._workflows() if not w.ended]
        raise Violation("a workflow does not end", "; ".join(left) or "a job runs on")

    async def _events(self, queue_id: str) -> Sequence[HistoryEvent]:
        return await self._manager.manager.events(queue_id, limit=100_000)

    def _workflows(self) -> list[Workflow]:
        return [decode_workflow(body) for body in self._engines.states()]

    def _terminal_events(self) -> dict[tuple[str, str, int], set[bytes]]:
        found: dict[tuple[str, str, int], set[bytes]] = defaultdict(set)
        for message in self._engines.messages(EVENTS):
            event = decode_event(message.value)
            if event.event in TERMINAL_EVENTS:
                found[event.queue_id, event.producer, event.attempt].add(message.value)
        return found

    def _close(self) -> None:
        self._loop.turns = 0  # also after it has gone round too often
        self._await(self._end())
        self._loop.close()

    async def _end(self) -> None:
        for process in (self._manager.process, *(worker.process for worker in self._launcher.running())):
            process.kill()
        for _ in range(5):
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            if not tasks:
                break
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=5)
        await self._engines.close()
