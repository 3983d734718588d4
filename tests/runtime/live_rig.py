"""Loaders of streams on a virtual clock: a market whose records come by stream and by request, and a topic."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple, TypeVar

import msgspec

from streamforge_utils.model.errors import RetryableError
from streamforge_utils.model.kinds.candles import Interval, encode_candle
from streamforge_utils.model.kinds.kind import RecordKind
from streamforge_utils.model.kinds.paging import ById, ByTime, Page, Question
from streamforge_utils.model.kinds.registry import kind_of
from streamforge_utils.model.messages import EOS_KEY, Live
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.ports.bus import Message, TopicSpec
from streamforge_utils.ports.exchange import SymbolInfo
from streamforge_utils.runtime.live.handover import Handover
from streamforge_utils.runtime.live.live_worker import LiveParameters
from streamforge_utils.runtime.output.topic_tail import TopicTail
from streamforge_utils.runtime.telemetry.instruments import Instruments
from tests.doubles.candles import FixedExchange, candle
from tests.doubles.instruments import instruments
from tests.doubles.memorybus import MemoryBus
from tests.doubles.stream import ScriptedStream
from tests.doubles.virtualclock import VirtualClock
from tests.doubles.virtualloop import VirtualLoop

START_MS = 1_722_470_400_000
MINUTE_MS = 60_000
TRADES = Series("BTCUSDT", "trades")
BARS = Series("BTCUSDT", "candles", "1m")
TOPIC = "t"
R = TypeVar("R")
Load = Callable[[Any], Awaitable[None]]


class MarketExchange(FixedExchange):
    """Answers from `records`, by position: time and message. hidden: positions that it does not have.

    failing: what every call raises. symbol_error: what it says of the symbol. asked: the questions so far. lag_ms: it
    has only what is older. ahead_ms: of its clock.
    """

    def __init__(self, clock: VirtualClock, kind: RecordKind, series: Series) -> None:
        self.records: dict[int, tuple[int, bytes]] = {}
        self.hidden: set[int] = set()
        self.failing: Exception | None = None
        self.symbol_error: Exception | None = None
        self.asked: list[Question] = []
        self.lag_ms = 0
        self.ahead_ms = 0
        self._clock = clock
        self._kind = kind
        self._series = series

    async def server_time(self) -> int:
        self._check()
        return self._clock.now_ms() + self.ahead_ms

    async def symbol_info(self, symbol: str) -> SymbolInfo:
        if self.symbol_error is not None:
            raise self.symbol_error
        return await super().symbol_info(symbol)

    async def page(self, series: Series, question: Question) -> Page:
        self.asked.append(question)
        await self._clock.sleep(0.05)
        self._check()
        until_ms = self._clock.now_ms() + self.ahead_ms - self.lag_ms
        known = [
            p for p, (time, _) in sorted(self.records.items()) if p not in self.hidden and self.end(time) <= until_ms
        ]
        if isinstance(question, ById):
            found = [position for position in known if position >= question.first_id]
        else:
            found = [position for position in known if self.records[position][0] in question.span]
        limit = question.limit or 1000
        newest = isinstance(question, ByTime) and question.newest
        found = found[-limit:] if newest else found[:limit]
        keys = [self._kind.key(self._series, position).encode() for position in found]
        times, values = [self.records[p][0] for p in found], [self.records[p][1] for p in found]
        return Page(found, times, keys, values)

    def end(self, time_ms: int) -> int:
        """When a record that began at a time is over."""
        return time_ms

    def _check(self) -> None:
        if self.failing is not None:
            raise self.failing


class _Output:
    """Appends to the topic, one record after the other, in the name of one attempt. dead: it appends nothing more."""

    def __init__(self, rig: LiveRig) -> None:
        self._rig = rig
        self.dead = False

    async def write(self, records: Sequence[Message]) -> None:
        for record in records:
            while self._rig.bus_stalls and not self.dead:
                await self._rig.clock.sleep(0.1)
            if self.dead:
                raise RetryableError("killed")
            if self._rig.bus_failing is not None:
                raise self._rig.bus_failing
            self._rig.two_write |= self._rig.output is not self
            self._rig.bus.append(TOPIC, record)
            await asyncio.sleep(0)


async def _report(_: object) -> None:
    """In the place of an event that is sent."""


class Attempt(NamedTuple):
    """loader: its task."""

    loader: asyncio.Task[None]
    instruments: Instruments
    output: _Output
    handover: Handover

    @property
    def told(self) -> Live:
        """What its events say."""
        told = self.instruments.progress.snapshot().live
        assert told is not None
        return told

    async def stop(self) -> None:
        self.loader.cancel()
        await asyncio.gather(self.loader, return_exceptions=True)


class LiveRig:
    """One series; attempts of its loader follow each other. given_ranges: as the next attempt gets them.

    shadow: the attempt that listens beside the one that writes. two_write: it has written.
    """

    def __init__(self, loop: VirtualLoop, load: Load, series: Series, folder: Path) -> None:
        self.kind = kind_of(series)
        self.series = series
        self.clock = VirtualClock(loop, START_MS)
        self.stream = ScriptedStream(self.clock)
        self.exchange = MarketExchange(self.clock, self.kind, series)
        self.bus = MemoryBus(now_ms=self.clock.now_ms)
        self.bus_stalls = False
        self.bus_failing: Exception | None = None
        self.given_ranges: tuple[TimeRange, ...] = ()
        self.parameters = LiveParameters()
        self.weight_per_minute = 1200
        self.instruments = instruments(self.clock)
        self.folder = folder
        self._load = load
        self.output = _Output(self)
        self.handover = Handover()
        self.loader: asyncio.Task[None] | None = None
        self.shadow: Attempt | None = None
        self.two_write = False

    async def begin(self, *, shadow: bool = False) -> None:
        """Start an attempt."""
        await self.bus.create_topic(TopicSpec(name=TOPIC))
        tools, output, handover = instruments(self.clock), _Output(self), Handover(shadow=shadow)
        ctx = SimpleNamespace(
            kind=self.kind,
            series=self.series,
            symbol=self.series.symbol,
            type=f"ws_{self.series.kind}",
            parameters=self.parameters,
            clock=self.clock,
            progress=tools.progress,
            log=tools.log,
            exchange=self.exchange,
            stream=self.stream,
            output=output,
            handover=handover,
            report=_report,
            tail=TopicTail(self.bus, TOPIC, tools),
            scratch=self.folder,
            given_ranges=self.given_ranges,
            weight_per_minute=self.weight_per_minute,
        )
        begun = Attempt(asyncio.create_task(self._run(ctx), name="loader"), tools, output, handover)
        if shadow:
            self.shadow = begun
        else:
            self.loader, self.instruments, self.output, self.handover = begun

    async def hand_over(self) -> None:
        """The attempt that writes is told to stop for the shadow, and that to take over."""
        self.handover.handed_over = True
        await self.stop()
        self.take_over()

    def take_over(self) -> None:
        """The shadow is told that no other attempt writes."""
        assert self.shadow is not None
        self.loader, self.instruments, self.output, self.handover = self.shadow
        self.shadow = None
        self.handover.take_over()

    async def _run(self, ctx: Any) -> None:
        await self._load(ctx)

    async def stop(self) -> None:
        """Stop the attempt in order."""
        loader, self.loader = self.loader, None
        if loader is not None:
            loader.cancel()
            await asyncio.gather(loader, return_exceptions=True)

    async def kill(self) -> None:
        """End the attempt without its doing: what it has not sent is gone."""
        self.output.dead = True
        await self.stop()
        assert self.shadow is not None or not self.stream.live

    @property
    def live(self) -> Live:
        told = self.instruments.progress.snapshot().live
        assert told is not None
        return told

    @property
    def written(self) -> list[int]:
        """The positions on the topic, in their order."""
        keys = [one.key or b"" for one in self.bus.log.get(TOPIC, []) if one.key != EOS_KEY]
        return [p for p in (self.kind.position_of(key.decode()) for key in keys) if p is not None]

    @property
    def bodies(self) -> list[Any]:
        """The records on the topic as they are stored."""
        return [msgspec.json.decode(self.kind.document(one.key, one.value)[2]) for one in self.bus.log[TOPIC]]

    def check(self) -> None:
        """Raises what the attempt has ended with."""
        assert not self.two_write
        for loader in (self.loader, None if self.shadow is None else self.shadow.loader):
            if loader is not None and loader.done():
                loader.result()
                raise AssertionError("the loader has ended")


class TradeMarket(LiveRig):
    """Trades with consecutive ids, from `first` on."""

    first = 100

    def happen(self, count: int = 1) -> list[int]:
        """So many trades happen now; their ids. They are not sent by themselves."""
        ids = []
        for _ in range(count):
            number = self.first + len(self.exchange.records)
            data = self.row(number, self.clock.now_ms())
            record = {"_key": f"BTCUSDT_{number:012}", "_version": 1, "symbol": "BTCUSDT", "trade_id": number}
            record |= {"price": data["p"], "quantity": data["q"], "timestamp": data["T"], "is_buyer_maker": data["m"]}
            self.exchange.records[number] = (data["T"], msgspec.json.encode(record))
            ids.append(number)
        return ids

    @staticmethod
    def row(number: int, time_ms: int) -> dict[str, Any]:
        data = {"e": "trade", "E": time_ms, "s": "BTCUSDT", "t": number, "p": f"{number}.5", "q": "0.01", "T": time_ms}
        return data | {"m": number % 2 == 0, "M": True}

    def message(self, number: int) -> bytes:
        data = self.row(number, self.exchange.records[number][0])
        return msgspec.json.encode({"stream": "btcusdt@trade", "data": data})

    def send(self, *ids: int) -> None:
        """Send trades to all connections, together."""
        for one in self.stream.live:
            one.give(*(self.message(number) for number in ids))

    def trade(self, count: int = 1) -> None:
        """Trades happen and are sent."""
        self.send(*self.happen(count))

    @property
    def oracle(self) -> list[Any]:
        """The records on the topic must be these, from the first one written on."""
        first = self.written[0] if self.written else 0
        found = [(p, value) for p, (_, value) in sorted(self.exchange.records.items()) if p >= first]
        return [msgspec.json.decode(self.kind.document(None, value)[2]) for _, value in found]


class _BarExchange(MarketExchange):
    step_ms = MINUTE_MS

    def end(self, time_ms: int) -> int:
        return time_ms + self.step_ms


class BarMarket(LiveRig):
    """Bars of a minute, or of another step, one for each step of the grid; a bar's price tells its open time."""

    step_ms = MINUTE_MS
    bars = range(-60, 600)

    def __init__(self, loop: VirtualLoop, load: Load, series: Series, folder: Path) -> None:
        super().__init__(loop, load, series, folder)
        self.exchange = exchange = _BarExchange(self.clock, self.kind, series)
        exchange.step_ms = self.step_ms
        for number in self.bars:
            self.set_bar(START_MS + number * self.step_ms)

    def set_bar(self, open_ms: int, *, high: str = "", trades: int = 3, version: int = 1) -> None:
        """The bar is so; high: as it was corrected."""
        one = candle(open_ms, interval=Interval(self.series.interval), version=version)
        one = msgspec.structs.replace(one, high=high or one.high, number_of_trades=trades)
        self.exchange.records[open_ms] = (open_ms, encode_candle(one))

    def hint(self, open_ms: int, *, closed: bool = True) -> None:
        """All connections are told of a bar."""
        bar = {"t": open_ms, "s": "BTCUSDT", "i": "1m", "x": closed, "o": "1"}
        data = {"e": "kline", "E": self.clock.now_ms(), "s": "BTCUSDT", "k": bar}
        for one in self.stream.live:
            one.give(msgspec.json.encode({"stream": "btcusdt@kline_1m", "data": data}))

    @property
    def minutes(self) -> list[int]:
        """The bars written, in minutes since the start."""
        return [(position - START_MS) // MINUTE_MS for position in self.written]

    async def until(self, minute: float) -> None:
        """Wait for a time, in minutes since the start."""
        await self.clock.sleep((START_MS - self.clock.now_ms()) / 1000 + minute * 60)


def play(load: Load, act: Callable[[Any], Awaitable[R]], market: type[LiveRig] = TradeMarket, **more: Any) -> R:
    """The outcome of the act, on a market of its own; the loader has ended behind it."""

    async def run() -> R:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        with tempfile.TemporaryDirectory() as folder:
            rig = market(loop, load, more.get("series", TRADES), Path(folder))
            try:
                outcome = await act(rig)
                rig.check()
                return outcome
            finally:
                await rig.stop()
                if rig.shadow is not None:
                    await rig.shadow.stop()
                assert not rig.stream.live
                assert not os.listdir(folder)

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(run())
