"""What the processes of a simulation share: bus, store (in memory, or embedded ones in a folder) and exchange."""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from streamforge.manager.engine.persistence.workflow_store import KIND
from streamforge_utils.adapters.embedded.bus.batch_format import unpack
from streamforge_utils.adapters.embedded.bus.embedded_bus import EmbeddedBus
from streamforge_utils.adapters.embedded.bus.files import TopicFiles
from streamforge_utils.adapters.embedded.store import collection_rows
from streamforge_utils.adapters.embedded.store.collection_files import Catalogue
from streamforge_utils.adapters.embedded.store.embedded_store import EmbeddedStore
from streamforge_utils.adapters.embedded.store.state_rows import States, Wanted
from streamforge_utils.model.errors import BannedError, InvalidInput, PermanentError, RetryableError
from streamforge_utils.model.kinds.candles import Candle, Interval
from streamforge_utils.model.messages import EOS_KEY
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.ports.bus import Message, Received
from streamforge_utils.ports.exchange import SymbolInfo
from streamforge_utils.ports.store import Answer, Document, Outcome, State, Store
from tests.doubles.candles import CandleHistory, candle
from tests.doubles.memorybus import MemoryBus
from tests.doubles.memorystore import MemoryStore
from tests.doubles.virtualclock import VirtualClock
from tests.histories.history import Market
from tests.histories.simulated_processes import Outage, Port, Process

_ALL = 1_000_000


class StoreHooks:
    """Called by the store of any process. slow_s: what storing a batch takes. refused: keys that it refuses.

    written: called after each state that is stored. deleted: called with the collection and the keys before they go,
    and whether the whole collection goes. changed: called with each collection that has changed.
    """

    def __init__(self, slow_s: float) -> None:
        self.slow_s = slow_s
        self.refused: Collection[str] = ()
        self.written: Callable[[str, State], None] = lambda kind, state: None
        self.deleted: Callable[[str, Collection[str], bool], None] = lambda collection, keys, whole: None
        self.changed: Callable[[str], None] = lambda collection: None


class HookedStore:
    """A store that calls the hooks at each change."""

    def __init__(self, store: Store, hooks: StoreHooks) -> None:
        self._store = store
        self._hooks = hooks

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def put(self, kind: str, id: str, body: bytes, **more: Any) -> State:
        state = await self._store.put(kind, id, body, **more)
        self._hooks.written(kind, state)
        return state

    async def upsert(self, collection: str, documents: Sequence[Document]) -> Sequence[Answer]:
        if self._hooks.slow_s:
            await asyncio.sleep(self._hooks.slow_s)
        refused = self._hooks.refused
        taken = [one for one in documents if one.key not in refused] if refused else documents
        answers = await self._store.upsert(collection, taken)
        self._hooks.changed(collection)
        if not refused:
            return answers
        left = iter(answers)
        return [Answer(Outcome.REFUSED, "the key is refused") if d.key in refused else next(left) for d in documents]

    async def delete(self, collection: str, *, first: str, last: str) -> int:
        self._hooks.deleted(collection, await self._store.keys(collection, first=first, last=last), False)
        deleted = await self._store.delete(collection, first=first, last=last)
        self._hooks.changed(collection)
        return deleted

    async def delete_keys(self, collection: str, keys: Sequence[str]) -> None:
        self._hooks.deleted(collection, keys, False)
        await self._store.delete_keys(collection, keys)
        self._hooks.changed(collection)

    async def drop(self, collection: str) -> None:
        self._hooks.deleted(collection, await self._store.keys(collection), True)
        await self._store.drop(collection)
        self._hooks.changed(collection)


class MemoryEngines:
    """Bus and store in memory."""

    def __init__(self, clock: VirtualClock, slow_s: float, folder: Path) -> None:
        self.hooks = StoreHooks(slow_s)
        self.outages: Mapping[str, Outage] = {"bus": Outage(), "store": Outage()}
        self._store = MemoryStore()
        self._hooked = HookedStore(self._store, self.hooks)
        self._bus = MemoryBus(now_ms=clock.now_ms, longest_poll_s=60.0)

    @property
    def documents(self) -> Mapping[str, Mapping[str, Document]]:
        return self._store.documents

    def store_of(self, process: Process) -> Any:
        return Port(process, self._hooked, outage=self.outages["store"])

    def bus_of(self, process: Process) -> Any:
        made: list[Any] = []
        port = Port(process, self._bus, made.append, self.outages["bus"])

        def leave() -> None:
            for one in made:
                self._bus.leave(one)

        async def close() -> None:
            leave()

        process.when_dead(leave)
        port.__dict__["close"] = close  # closes nothing of the others
        return port

    def states(self) -> Iterator[bytes]:
        return (state.body for (kind, _), state in self._store.states.items() if kind == KIND)

    def lose(self, collection: str, key: str) -> None:
        del self._store.documents[collection][key]

    def messages(self, topic: str) -> Sequence[Received]:
        return self._bus.log.get(topic, ())

    async def append(self, topic: str, message: Message) -> None:
        self._bus.append(topic, message)

    async def close(self) -> None:
        pass


class EmbeddedEngines:
    """Bus and store as files in a folder."""

    def __init__(self, clock: VirtualClock, slow_s: float, folder: Path) -> None:
        self.hooks = StoreHooks(slow_s)
        self.outages: Mapping[str, Outage] = {"bus": Outage(), "store": Outage()}
        self._clock = clock
        self._bus_folder, self._store_folder = folder / "bus", folder / "store"
        self._files = TopicFiles(self._bus_folder)
        self._catalogue = Catalogue(self._store_folder / "documents")
        self._states = States(self._store_folder / "states.db")
        self._documents = _Documents(self._catalogue)
        self.hooks.changed = self._documents.forget
        self._closing: list[Callable[[], Awaitable[None]]] = []
        self._own: EmbeddedBus | None = None
        self._dying: set[asyncio.Future[None]] = set()

    @property
    def documents(self) -> Mapping[str, Mapping[str, Document]]:
        return self._documents

    def store_of(self, process: Process) -> Any:
        store = EmbeddedStore(self._store_folder)
        self._closes_with(process, store.close)
        return Port(process, HookedStore(store, self.hooks), outage=self.outages["store"])

    def bus_of(self, process: Process) -> Any:
        bus = self._bus()
        self._closes_with(process, bus.close)
        return Port(process, bus, outage=self.outages["bus"])

    def states(self) -> Iterator[bytes]:
        return (state.body for state in self._states.find(KIND, Wanted.of(), after=None, limit=_ALL))

    def lose(self, collection: str, key: str) -> None:
        self._catalogue.write(collection, lambda one: collection_rows.delete(one, key, key + "\x00"), create=False)
        self._documents.forget(collection)

    def messages(self, topic: str) -> Sequence[Received]:
        try:
            opened = self._files.open(topic)
        except PermanentError:
            return ()
        try:
            batches = opened.log.read(0, _ALL, _ALL * 1000)
            return [one for b in batches for one in unpack(topic, b, b.last - b.count + 1, str(opened.log.path))]
        finally:
            opened.close()

    async def append(self, topic: str, message: Message) -> None:
        if self._own is None:
            self._own = self._bus()
        await (await self._own.producer()).send(topic, [message])

    async def close(self) -> None:
        for close in self._closing if self._own is None else (*self._closing, self._own.close):
            await close()
        self._catalogue.close()
        self._states.close()

    def _bus(self) -> EmbeddedBus:
        return EmbeddedBus(self._bus_folder, clock=self._clock)

    def _closes_with(self, process: Process, close: Callable[[], Awaitable[None]]) -> None:
        """What a process has open is closed by the system when it dies."""
        self._closing.append(close)

        def die() -> None:
            self._dying.add(dying := asyncio.ensure_future(close()))
            dying.add_done_callback(self._dying.discard)

        process.when_dead(die)


class _Documents(Mapping[str, Mapping[str, Document]]):
    """What lies in the files, read once after each change."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._read: dict[str, dict[str, Document]] = {}
        self._names: list[str] | None = None

    def forget(self, collection: str) -> None:
        """The collection has changed."""
        self._read.pop(collection, None)
        self._names = None

    def __getitem__(self, name: str) -> Mapping[str, Document]:
        if name not in self._read:
            if name not in self:
                raise KeyError(name)
            found = self._catalogue.read(name, lambda one: collection_rows.read(one, "", None, _ALL))
            self._read[name] = {document.key: document for document in found or ()}
        return self._read[name]

    def __iter__(self) -> Iterator[str]:
        if self._names is None:
            self._names = self._catalogue.names()
        return iter(self._names)

    def __contains__(self, name: object) -> bool:
        return any(name == other for other in self)

    def __len__(self) -> int:
        return len(list(iter(self)))


Engines = MemoryEngines | EmbeddedEngines


def confirmed_keys(engines: Engines, topic: str) -> Iterator[str]:
    """The keys of the records on a data topic."""
    return (m.key.decode() for m in engines.messages(topic) if m.key is not None and m.key != EOS_KEY)


SLOW_S = 40.0
BAN_S = 60.0


class FaultyExchange(CandleHistory):
    """Each candle is left out of one answer at most, in all its life: two who ask twice learn the truth.

    faults: what is wrong with the next answers; None is nothing.
    """

    def __init__(self, markets: Sequence[Market], now_ms: Callable[[], int], slow_s: float) -> None:
        self._slow_s = slow_s
        self._markets = {market.symbol: market for market in markets}
        self._now_ms = now_ms
        self._left_out: dict[str, set[int]] = defaultdict(set)
        self._banned_until_ms = 0
        self.faults: deque[str | None] = deque()

    def fault(self, kind: str, after: int) -> None:
        """Let the answer that comes after `after` more be wrong."""
        while len(self.faults) <= after:
            self.faults.append(None)
        self.faults[after] = kind

    async def server_time(self) -> int:
        self._refuse_banned()
        return self._now_ms()

    async def symbol_info(self, symbol: str) -> SymbolInfo:
        self._refuse_banned()
        market = self._market(symbol)
        over = market.delisted is not None and market.is_over(market.delisted - 1, self._now_ms())
        return SymbolInfo(symbol=symbol, status="BREAK" if over else "TRADING")

    async def symbols(self) -> Sequence[SymbolInfo]:
        return [await self.symbol_info("BTCUSDT")]

    async def candles(
        self, symbol: str, interval: Interval, span: TimeRange, *, limit: int = 1000, newest: bool = False
    ) -> Sequence[Candle]:
        fault = self.faults.popleft() if self.faults else None
        await asyncio.sleep(SLOW_S if fault == "slow" else self._slow_s)
        self._refuse_banned()
        now_ms = self._now_ms()
        if fault == "refused":
            raise RetryableError(f"klines {symbol}: HTTP 429, retry in 1 s", retry_after=1.0)
        if fault == "banned":
            self._banned_until_ms = now_ms + int(BAN_S * 1000)
            self._refuse_banned()
        market = self._market(symbol)
        bars = [bar for bar in market.bars_in(span) if market.trades(bar) and market.is_over(bar, now_ms)]
        bars = bars[-limit:] if newest else bars[:limit]
        left_out = self._left_out[symbol]
        if bars and fault == "short" and not left_out & {bars[len(bars) // 2]}:
            left_out.add(bars.pop(len(bars) // 2))
        elif fault == "empty" and not left_out & set(bars):
            left_out |= set(bars)
            bars = []
        return [candle(market.opens_ms(b), interval=interval, symbol=symbol, version=now_ms) for b in bars]

    def set_weight_limit(self, weight_per_minute: int) -> None:
        pass

    async def close(self) -> None:
        pass

    def _market(self, symbol: str) -> Market:
        if symbol not in self._markets:
            raise InvalidInput("symbol", f"exchangeInfo {symbol}: code -1121: check its spelling")
        return self._markets[symbol]

    def _refuse_banned(self) -> None:
        now_ms = self._now_ms()
        if now_ms < self._banned_until_ms:
            raise BannedError(
                "HTTP 418: banned", until_ms=self._banned_until_ms, retry_after=(self._banned_until_ms - now_ms) / 1000
            )
