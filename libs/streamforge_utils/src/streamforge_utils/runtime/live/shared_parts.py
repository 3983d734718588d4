"""What the members of a basket share: bus, exchange and streams; each gets them as if they were its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Protocol, TypeVar

from msgspec.structs import replace

from streamforge_utils.model.errors import RetryableError
from streamforge_utils.model.kinds.paging import Page, Question
from streamforge_utils.model.series import Series
from streamforge_utils.ports.clock import Clock
from streamforge_utils.ports.exchange import Exchange, SymbolInfo
from streamforge_utils.ports.instrumentation import Observer
from streamforge_utils.ports.stream import Stream, StreamParts
from streamforge_utils.runtime.life.context import MessageBus, Wiring
from streamforge_utils.runtime.life.settings import DataSettings, ExchangeSettings
from streamforge_utils.runtime.live.shared_bus import SharedBus
from streamforge_utils.runtime.live.shared_stream import SharedStream
from streamforge_utils.runtime.live.stream_settings import StreamSettings
from streamforge_utils.runtime.telemetry.logs import Log

T = TypeVar("T")


class _Closable(Protocol):
    async def close(self) -> None: ...


S = TypeVar("S", bound=_Closable)


class BasketWiring(Wiring, Protocol):
    """The wiring of a basket: its connections are whole ones."""

    def make_stream(
        self, settings: StreamSettings, exchange: ExchangeSettings, *, clock: Clock, observer: Observer
    ) -> Stream:
        """See `Wiring`."""


class SharedParts:
    """The wiring of a basket's members. Members with other settings than the first get parts of their own.

    observer: of what is shared. control_topic, since_ms: the commands that all read.
    """

    def __init__(
        self, wiring: BasketWiring, *, control_topic: str, since_ms: int, clock: Clock, observer: Observer, log: Log
    ) -> None:
        self.make_store = wiring.make_store
        self.make_archive = wiring.make_archive
        self.make_object_store = wiring.make_object_store
        self._wiring = wiring
        self._control_topic = control_topic
        self._since_ms = since_ms
        self._clock = clock
        self._observer = observer
        self._log = log
        self._made: dict[str, tuple[object, Any]] = {}
        self._closings: list[Callable[[], Awaitable[None]]] = []

    def make_bus(self, settings: DataSettings, *, clock: Clock, observer: Observer) -> MessageBus:
        """See `Wiring`."""

        def make() -> SharedBus:
            bus = self._wiring.make_bus(settings, clock=clock, observer=self._observer)
            return self._closed_with_all(SharedBus(bus, self._control_topic, self._since_ms, clock))

        shared = self._shared("bus", settings, make)
        if shared is None:
            return self._wiring.make_bus(settings, clock=clock, observer=observer)
        return shared.member()

    def make_exchange(self, settings: ExchangeSettings, *, clock: Clock, observer: Observer) -> Exchange:
        """See `Wiring`."""

        def make() -> _CommonExchange:
            exchange = self._wiring.make_exchange(settings, clock=clock, observer=self._observer)
            self._closings.append(exchange.close)
            return _CommonExchange(exchange)

        # What it may use changes from launch to launch, and is told again.
        shared = self._shared("exchange", replace(settings, weight_per_minute=1), make)
        return self._wiring.make_exchange(settings, clock=clock, observer=observer) if shared is None else shared

    def make_stream(
        self, settings: StreamSettings, exchange: ExchangeSettings, *, clock: Clock, observer: Observer
    ) -> StreamParts:
        """See `Wiring`."""

        def make() -> SharedStream:
            stream = self._wiring.make_stream(settings, exchange, clock=clock, observer=self._observer)
            return self._closed_with_all(SharedStream(stream, clock, self._log))

        shared = self._shared("stream", (replace(settings, connects=1), exchange.urls), make)
        if shared is None:
            return self._wiring.make_stream(settings, exchange, clock=clock, observer=observer)
        return shared.member()

    async def close(self, limit_s: float) -> bool:
        """Close everything, the newest first; False if something did not close within `limit_s` (seconds, each)."""
        clean = True
        while self._closings:
            try:
                async with asyncio.timeout(limit_s):
                    await self._closings.pop()()
            except Exception as error:
                clean = clean and not isinstance(error, TimeoutError)
                self._log.warning("could not be closed", error=repr(error))
        return clean

    def _shared(self, name: str, settings: object, make: Callable[[], T]) -> T | None:
        """What was made for these settings; None: it was made for others."""
        if name not in self._made:
            self._made[name] = settings, make()
        known, part = self._made[name]
        return part if known == settings else None

    def _closed_with_all(self, part: S) -> S:
        self._closings.append(part.close)
        return part


class _CommonExchange:
    """The exchange as each member has it. The weight that it may use is told to each, and is that of all together."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._listing = asyncio.Lock()
        self.server_time, self.snapshot, self.symbols = exchange.server_time, exchange.snapshot, exchange.symbols
        self.set_weight_limit = exchange.set_weight_limit

    async def page(self, series: Series, question: Question) -> Page:
        return await self._exchange.page(series, question)

    async def symbol_info(self, symbol: str) -> SymbolInfo:
        """See `Exchange`: all symbols in one answer are as dear as one."""
        async with self._listing:
            with suppress(RetryableError):  # then it is asked for the one
                await self._exchange.symbols()
        return await self._exchange.symbol_info(symbol)

    async def close(self) -> None:
        """It goes on for the others."""
