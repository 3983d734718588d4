"""A world in which a history happens to the real manager and the real workers, with nothing but memory around them.

All of it runs on a virtual loop: nothing waits for the wall clock, and the same history is always the same.
"""

from __future__ import annotations

import asyncio
import gc
import tempfile
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from concurrent.futures import Executor, Future
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast
from unittest.mock import patch

import anyio.to_thread
import msgspec
import structlog

from streamforge.manager.acting import proving, surveying
from streamforge.manager.acting.reconciler import Reconciler
from streamforge.manager.acting.removing import Removing
from streamforge.manager.keeping import records
from streamforge.manager.keeping.coverage import Coverage
from streamforge.manager.keeping.deadletters import DeadLetters
from streamforge.manager.keeping.history import History as EventHistory
from streamforge.manager.keeping.origins import Origins
from streamforge.manager.keeping.reservations import Reservations
from streamforge.manager.keeping.workflows import KIND, Workflows
from streamforge.manager.managing import Manager
from streamforge.manager.parts import Parts
from streamforge.manager.policy import Policy
from streamforge.manager.retention import Keep
from streamforge.manager.service import HistoryEvent, NotFound, NotNow, StartRequest
from streamforge.manager.workflow import Workflow, decode_workflow
from streamforge.workers import loader_api_candles
from streamforge_utils.model.candles import candle_key
from streamforge_utils.model.errors import RetryableError
from streamforge_utils.model.events import LAST_WORDS, decode_event
from streamforge_utils.model.markers import EOS_KEY
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.ports.bus import Message, TopicSpec
from streamforge_utils.ports.exchange import Identity
from streamforge_utils.ports.store import State
from streamforge_utils.runtime import converter, environment, sinking, supervisor
from tests.doubles.memorybus import MemoryBus
from tests.doubles.observer import RecordingObserver
from tests.doubles.virtualclock import VirtualClock
from tests.doubles.virtualloop import VirtualLoop
from tests.histories import history as happens
from tests.histories.exchange import WorldExchange
from tests.histories.history import ORIGIN_MS, AnyOperation, History, Market
from tests.histories.house import SILENT, Jobs, WatchedStore, gated_bus
from tests.histories.model import EXCUSED, Model, Untrue
from tests.histories.processes import Killed, Port, Process
from tests.histories.reader import Reader

T = TypeVar("T")
P = ParamSpec("P")

CONTROL, EVENTS = "queue-control", "queue-events"
LONGEST_S = 1800.0
"""Within so much time a workflow ends after all that has happened to it, unless something is wrong."""

FLOW_S = 0.2
"""Time that passes after each operation."""

HEARTBEAT_S = 10.0
STORING = 3
"""Storing a batch takes so many times as long as an answer of the exchange."""


class World:
    """Runs one history. `happen` raises Untrue where something is not as the model says."""

    def __init__(self, history: History, excused: Collection[str] = EXCUSED) -> None:
        self.history = history
        self.setting = history.setting
        self.loop = VirtualLoop()
        market = self.setting.markets[0]
        self.clock = VirtualClock(self.loop, market.opens_ms(self.setting.now) + 1000)
        self.bus = MemoryBus(now_ms=self.clock.now_ms, longest_poll_s=60.0)
        self.store = WatchedStore(STORING * self.setting.slow_s)
        self.exchange = WorldExchange(self.setting.markets, self.clock.now_ms, self.setting.slow_s)
        self.jobs = Jobs(self.bus, self.store, self.exchange, self.clock, self._jobs_changed)
        self.model = Model(self.setting, self.store.documents, self.clock.now_ms, excused)
        self.order: list[str] = []
        self.untrue: Untrue | None = None
        self.keys = 0
        self.codes = 0
        self.down_s = 1.0
        self.ready = asyncio.Event()
        self.store.written = self._written
        self.store.dropped = self.model.dropped

    def happen(self) -> None:
        """Let the history happen, then all come to rest, and compare everything that is said."""
        with quiet(), tempfile.TemporaryDirectory() as folder:
            self._folder = Path(folder)
            self.loop.set_exception_handler(lambda loop, context: None)
            try:
                self._await(self._begin())
                for operation in self.history.operations:
                    self._do(operation)
                    self._raise()
                self._rest()
            finally:
                self._close()

    # The manager, which may be killed at any time and is started again.

    async def _begin(self) -> None:
        for topic in (CONTROL, EVENTS):
            await self.bus.create_topic(TopicSpec(name=topic))
        self._keeping = asyncio.create_task(self._keep_up())
        await self.ready.wait()

    async def _keep_up(self) -> None:
        while True:
            self.process = Process()
            await self._start()
            running = asyncio.create_task(self.reconciler.run())
            self.ready.set()
            await self.process.gone.wait()
            self.ready.clear()
            running.cancel()
            await asyncio.wait({running})
            await asyncio.sleep(self.down_s)

    async def _start(self) -> None:
        store, bus = cast("Any", Port(self.process, self.store)), cast("Any", gated_bus(self.process, self.bus))
        workflows, coverage, observer = Workflows(store), Coverage(store), RecordingObserver()
        await workflows.load()
        keep = (Keep("*", self.setting.kept_days),) if self.setting.kept_days else ()
        parts = Parts(
            bus=bus,
            admin=bus,
            producer=await bus.producer(),
            store=store,
            launcher=cast("Any", Port(self.process, self.jobs)),
            exchange=cast("Any", Port(self.process, self.exchange)),
            clock=self.clock,
            observer=observer,
            policy=Policy(
                max_running=self.setting.max_running,
                heartbeat_s=HEARTBEAT_S,
                topic_retention_s=10**9,
                dlq_retention_s=10**9,
                retention=keep,
                retention_dir=self._folder if keep else None,
            ),
            common={"STREAMFORGE_DATA_DIR": "memory", "STREAMFORGE_EXCHANGE_URL": "http://exchange"},
            control_topic=CONTROL,
            events_topic=EVENTS,
            workflows=workflows,
            coverage=coverage,
            removing=Removing(store, coverage, workflows, observer),
            history=EventHistory(store),
            reservations=Reservations(store, self.clock),
            dead_letters=DeadLetters(bus, bus),
            origins=Origins(store, None, Identity()),
        )
        self.reconciler = Reconciler(parts)
        await self.reconciler.actor.load_ban()
        self.manager = Manager(parts, self.reconciler, self._code)

    def _code(self) -> str:
        self.codes += 1
        return f"{self.codes:06d}"

    async def ask(self, question: Callable[[Manager], Awaitable[T]]) -> T:
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

    # What happens.

    def _await(self, work: Awaitable[T]) -> T:
        return self.loop.run_until_complete(work)

    def _do(self, operation: AnyOperation) -> None:
        if isinstance(operation, happens.Rest):
            self._rest()
        elif isinstance(operation, happens.Read):
            self._read(self.setting.markets[operation.market % len(self.setting.markets)], operation)
        else:
            self._await(self._happens(operation))

    async def _happens(self, operation: AnyOperation) -> None:
        match operation:
            case happens.Load():
                await self._load(operation)
            case happens.Wait(seconds=seconds):
                await asyncio.sleep(seconds)
            case happens.Bars(count=count):
                self.clock.ahead_ms += self._market(0).opens_ms(count) - ORIGIN_MS
                self.model.killed(list(self.model.asked))
                self.process.kill()  # it looks at what is too old once it has begun
            case happens.Stop(which=which):
                await self._of(which, self._stop)
            case happens.Retry(which=which):
                await self._of(which, self._retry)
            case happens.Replay(which=which):
                await self._of(which, self._replay)
            case happens.Remove(which=which, data=data):
                await self._of(which, lambda queue_id: self._remove(queue_id, data=data))
            case happens.Lose(market=market, first=first, last=last):
                self._lose(self._market(market), first, last)
            case happens.Refuse(market=market, bar=bar):
                self.model.refuses(self._market(market), bar)
                self.store.refused = self.model.refused
            case happens.Accept():
                self.model.accepts()
            case happens.Trouble(kind=kind, after=after):
                self.exchange.trouble(kind, after)
            case happens.KillManager(deeds=deeds, after=after, down=down):
                self.down_s = down
                self.model.killed(list(self.model.asked))
                self.process.dies_at(deeds, after=after)
            case happens.KillWorker(which=which, deeds=deeds):
                self._kill_worker(which, deeds)
            case happens.Repeat(back=back):
                self._repeat(back)
            case _:
                raise AssertionError(operation)
        await asyncio.sleep(FLOW_S)

    def _market(self, number: int) -> Market:
        return self.setting.markets[number % len(self.setting.markets)]

    async def _load(self, load: happens.Load) -> None:
        market = self._market(load.market)
        half = (market.opens_ms(1) - ORIGIN_MS) // 2 if load.half else 0
        span = TimeRange(market.opens_ms(load.first) + half, market.opens_ms(load.last) + half)
        if span.start_ms >= self.clock.now_ms():
            return
        request = StartRequest(symbol=market.symbol, type=market.type, time_range=str(span), again=load.again)
        self.keys += 1
        key = f"key-{self.keys}"
        workflow, *_ = await self.ask(lambda manager: manager.start(request, idempotency_key=key))
        if workflow.queue_id not in self.order:
            self.order.append(workflow.queue_id)

    async def _of(self, which: int, what: Callable[[str], Awaitable[None]]) -> None:
        if self.order:
            await what(self.order[-1 - which % len(self.order)])

    async def _stop(self, queue_id: str) -> None:
        one = self.model.asked[queue_id]
        one.stop_asked = one.stop_asked or not one.ended
        try:
            await self.ask(lambda manager: manager.stop(queue_id))
            one.stopped = not one.ended
        except NotNow:
            if not one.ended:
                self.model.untrue("a request was refused without a reason", f"stop {queue_id}")

    async def _retry(self, queue_id: str) -> None:
        await self._restart(queue_id, lambda manager: manager.retry(queue_id))

    async def _replay(self, queue_id: str) -> None:
        await self._restart(queue_id, lambda manager: manager.replay_dead_letters(queue_id))

    async def _restart(self, queue_id: str, question: Callable[[Manager], Awaitable[Workflow]]) -> None:
        one = self.model.asked[queue_id]
        one.restart_asked = True
        with suppress(NotNow):
            await self.ask(question)
        one.restart_asked = False

    async def _remove(self, queue_id: str, *, data: bool) -> None:
        try:
            await self.ask(lambda manager: manager.remove(queue_id, data=data))
        except NotNow:
            return
        except NotFound:
            pass  # the answer to the first request was lost
        self.order.remove(queue_id)
        self.model.removed(queue_id, data=data)

    def _lose(self, market: Market, first: int, last: int) -> None:
        gone = []
        for bar in range(first, min(last, market.bars)):
            key = candle_key(market.symbol, market.interval, market.opens_ms(bar))
            for name in self.model.copies(market, bar):
                del self.store.documents[name][key]
                gone.append(bar)
        if gone:
            self.model.rows_vanished(market, gone)

    def _kill_worker(self, which: int, deeds: int) -> None:
        running = self.jobs.running()
        if not running:
            return
        worker = running[which % len(running)]
        self.model.killed([worker.spec.queue_id])
        if deeds:
            worker.process.dies_at(deeds, after=False)
        else:
            worker.process.kill()

    def _repeat(self, back: int) -> None:
        events = self.bus.messages(EVENTS)
        if not events:
            return
        old = events[-1 - back % len(events)]
        self.bus.append(EVENTS, Message(old.key, old.value, old.headers))

    # What is compared.

    def _written(self, kind: str, state: State) -> None:
        if kind != KIND:
            return
        workflow = decode_workflow(state.body)
        with self._noting():
            self.model.accepted(workflow)
            log = self.bus.log.get(workflow.topic, ())
            confirmed = (m.key.decode() for m in log if m.key is not None and m.key != EOS_KEY)
            self.model.changed(workflow, self._busy(), confirmed)

    def _jobs_changed(self) -> None:
        with self._noting():
            self.model.jobs_run(self._busy())

    def _busy(self) -> set[str]:
        return {worker.spec.queue_id for worker in self.jobs.running()}

    @contextmanager
    def _noting(self) -> Iterator[None]:
        """Inside what the manager calls nothing may be raised: it would be tried again."""
        try:
            yield
        except Untrue as untrue:
            self.untrue = self.untrue or untrue

    def _raise(self) -> None:
        if self.untrue is not None:
            raise self.untrue

    def _rest(self) -> None:
        """From now on all is well; every workflow ends, and what is said of everything is true."""
        self._await(self._settle())
        self._raise()
        self.model.at_rest(self._workflows(), self._last_words())
        reader = Reader(self.loop, self.manager, self._folder)
        for queue_id in self.order:
            reader.show(self.model, queue_id)
            self.model.history(queue_id, [decode_event(one.body) for one in self._await(self._history(queue_id))])
        for market in self.setting.markets:
            whole = market.span(0, market.bars)
            with suppress(NotFound):  # nothing was ever loaded
                report = self._await(self.manager.series_coverage(market.symbol, market.type, whole))
                self.model.coverage(market, whole, report.segments)
            reader.read(self.model, market, whole)
            reader.export(self.model, market, whole, form="csv" if self.keys % 2 else "jsonl")
        self._raise()

    async def _settle(self) -> None:
        self.exchange.troubles.clear()
        until = self.loop.time() + LONGEST_S
        while self.loop.time() < until:
            await self.ready.wait()
            if self.untrue is not None:
                return
            if all(workflow.ended for workflow in self._workflows()) and not self.jobs.running():
                await asyncio.sleep(2.5)  # what is over is noticed
                await self.ready.wait()
                self.process.lives_on()
                return
            await asyncio.sleep(1.0)
        left = [f"{w.queue_id} is {w.status.value} ({w.waiting_for})" for w in self._workflows() if not w.ended]
        raise Untrue("a workflow does not end", "; ".join(left) or "a job runs on")

    def _read(self, market: Market, operation: happens.Read) -> None:
        """While others load it, what is read is not foreseeable; then only a refusal without a reason is wrong."""
        self._await(self.ready.wait())
        with suppress(Killed):
            reader = Reader(self.loop, self.manager, self._folder)
            reader.read(self.model, market, market.span(operation.first, operation.last))

    async def _history(self, queue_id: str) -> Sequence[HistoryEvent]:
        return await self.manager.events(queue_id, limit=100_000)

    def _workflows(self) -> list[Workflow]:
        return [decode_workflow(state.body) for (kind, _), state in self.store.states.items() if kind == KIND]

    def _last_words(self) -> dict[tuple[str, str, int], set[bytes]]:
        found: dict[tuple[str, str, int], set[bytes]] = defaultdict(set)
        for message in self.bus.messages(EVENTS):
            event = decode_event(message.value)
            if event.event in LAST_WORDS:
                found[event.queue_id, event.producer, event.attempt].add(message.value)
        return found

    def _close(self) -> None:
        self._await(self._end())
        self.loop.close()

    async def _end(self) -> None:
        if hasattr(self, "process"):
            self.process.kill()
        for worker in self.jobs.running():
            worker.process.kill()
        for _ in range(5):
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            if not tasks:
                return
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=5)


@contextmanager
def quiet() -> Iterator[None]:
    """Nothing is logged, and no worker serves metrics."""
    kept, thresholds = structlog.get_config(), gc.get_threshold()
    structlog.configure(wrapper_class=SILENT)
    gc.set_threshold(100_000, *thresholds[1:])  # little of a world is garbage before its end
    try:
        with (
            patch.object(supervisor, "MetricsServer", _NoServer),
            patch.object(environment, "_items", _items),  # a process reads its settings once; here are thousands
            patch.object(converter, "ThreadPoolExecutor", _NoThread),
            patch.object(anyio.to_thread, "run_sync", _at_once),
            patch.object(sinking, "COMMIT_EVERY_S", 1.0),
            # Few bars make many pages.
            patch.object(loader_api_candles, "WINDOW_CANDLES", 5),
            patch.object(loader_api_candles, "BATCH_PAGES", 2),
            patch.object(surveying, "_KEYS_A_PAGE", 7),
            patch.object(proving, "_HOLE_A_REQUEST", 6),
            patch.object(records, "BATCH", 6),
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
