"""Workers of live trades whose confirmations are noted: when the bus, or the store, has confirmed how many records."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.common.workflow import Workflow, live
from benchmarks.loader import OnExchange
from streamforge import wiring
from streamforge_utils.model.kinds.paging import Page, Question
from streamforge_utils.model.series import Series
from streamforge_utils.ports.bus import Producer
from streamforge_utils.ports.clock import Clock
from streamforge_utils.ports.exchange import Rank, SymbolInfo
from streamforge_utils.ports.instrumentation import Observer
from streamforge_utils.ports.store import Store
from streamforge_utils.ports.stream import Stream
from streamforge_utils.runtime.life.context import MessageBus
from streamforge_utils.runtime.life.settings import DataSettings

LOADER, SINK, TYPE = "loader-ws-trades", "arango-trades", "ws_trades"
UNHINDERED = {"STREAMFORGE_BUFFER_BYTES": str(10**9)}
"""A server that sends as fast as it is read leaves the bus behind: what waits stays in memory."""

_PAGE = 20_000


class _Stored(msgspec.Struct):
    trade_id: int


class Confirmed(msgspec.Struct, frozen=True):
    """By when (the machine's monotonic clock) how many records were confirmed in all, batch by batch.

    cpu_s: processor time of the worker's process, from before its first connection to the last confirmation.
    """

    at_ns: list[int]
    counts: list[int]
    cpu_s: float


def workflow_in(folder: Path) -> Workflow:
    """The workflow of live trades in a folder."""
    return Workflow(folder, 1, type_name=TYPE, loader=LOADER, sink=SINK)


async def make_topics(workflow: Workflow) -> None:
    """As the manager does."""
    bus = wiring.make_bus(workflow.data)
    await workflow.make_topics(bus)
    await bus.close()


def published(folder: str, url: str, records: int, settings: dict[str, str]) -> Confirmed:
    """Let a loader publish so many trades of the server at `url`."""
    return asyncio.run(_confirmed(LOADER, folder, records, {"STREAMFORGE_STREAM_URL": url, **settings}))


def stored(folder: str, records: int) -> Confirmed:
    """Let a sink store so many."""
    return asyncio.run(_confirmed(SINK, folder, records, {}))


def stored_ids(folder: Path) -> list[int]:
    """The ids of all trades that are stored there, in all collections."""
    return asyncio.run(_stored_ids(DataSettings(data_dir=folder)))


async def _stored_ids(settings: DataSettings) -> list[int]:
    store, found, decode = wiring.make_store(settings), list[int](), msgspec.json.Decoder(_Stored).decode
    await store.connect()
    try:
        for name in await store.names():
            first = ""
            while page := await store.read(name, first=first, limit=_PAGE):
                found += [decode(one.body).trade_id for one in page]
                first = page[-1].key + "\x00"
    finally:
        await store.close()
    return found


async def _confirmed(target: str, folder: str, records: int, settings: dict[str, str]) -> Confirmed:
    workflow = workflow_in(Path(folder))
    noting = NotingWiring(workflow.topic, records)
    await live(target, workflow.settings(TIME_RANGE="", **settings), noting, noting.all)
    return Confirmed(noting.at_ns, noting.counts, noting.cpu_s)


class NotingWiring(OnExchange):
    """The real wiring, but that REST has nothing. all: set once so many records were confirmed."""

    def __init__(self, topic: str, records: int) -> None:
        super().__init__(_SilentRest())
        self.all = asyncio.Event()
        self.at_ns: list[int] = []
        self.counts: list[int] = []
        self.cpu_s = 0.0
        self._topic, self._records, self._began = topic, records, time.process_time()

    def make_stream(self, *settings: Any, **ports: Any) -> Stream:
        stream = wiring.make_stream(*settings, **ports)
        self._began = time.process_time()
        return stream

    def make_bus(self, settings: DataSettings, *, clock: Clock, observer: Observer) -> MessageBus:
        bus = super().make_bus(settings, clock=clock, observer=observer)
        make = bus.producer

        async def producer(*, bulk: bool = False) -> Producer:
            made = await make(bulk=bulk)
            send = made.send

            async def noted(topic: str, messages: Sequence[Any], *, fleeting: bool = False) -> None:
                await send(topic, messages, fleeting=fleeting)
                if topic == self._topic:
                    self._note(len(messages))

            made.send = noted  # type: ignore[method-assign]
            return made

        bus.producer = producer  # type: ignore[method-assign]
        return bus

    def make_store(self, settings: DataSettings, *, observer: Observer) -> Store:
        store = super().make_store(settings, observer=observer)
        upsert = store.upsert

        async def noted(collection: str, documents: Sequence[Any]) -> Sequence[Any]:
            answers = await upsert(collection, documents)
            self._note(len(documents))
            return answers

        store.upsert = noted  # type: ignore[method-assign]
        return store

    def _note(self, records: int) -> None:
        if self.all.is_set():  # what is left is the marker at the end
            return
        self.at_ns.append(time.monotonic_ns())
        self.counts.append(records + (self.counts[-1] if self.counts else 0))
        if self.counts[-1] >= self._records:
            self.cpu_s = time.process_time() - self._began
            self.all.set()


class _SilentRest:
    """Implements `Exchange`: nothing was missed, so there is nothing to be asked for."""

    async def server_time(self) -> int:
        return time.time_ns() // 1_000_000

    async def symbol_info(self, symbol: str) -> SymbolInfo:
        return SymbolInfo(symbol=symbol, status="TRADING")

    async def symbols(self) -> Sequence[SymbolInfo]:
        return []

    async def page(self, series: Series, question: Question) -> Page:
        return Page([], [], [], [])

    async def snapshot(self, series: Series, limit: int, *, rank: Rank = tuple) -> bytes:
        raise NotImplementedError

    def set_weight_limit(self, weight_per_minute: int) -> None:
        pass

    async def close(self) -> None:
        pass
