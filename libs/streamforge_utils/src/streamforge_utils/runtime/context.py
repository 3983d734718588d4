"""What a worker's `run` sees: its parameters, what it is to do, and the parts that it uses."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from streamforge_utils.model.kinds.kind import RecordKind
from streamforge_utils.model.kinds.registry import kind_of_type, series_of
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.ports.bus import Bus, BusAdmin
from streamforge_utils.ports.clock import Clock
from streamforge_utils.ports.exchange import Exchange
from streamforge_utils.ports.instrumentation import Observer
from streamforge_utils.ports.store import DocumentStore, Store
from streamforge_utils.runtime.command_queue import CommandQueue
from streamforge_utils.runtime.dead_letter_queue import DeadLetterQueue
from streamforge_utils.runtime.input import Input
from streamforge_utils.runtime.instruments import Instruments
from streamforge_utils.runtime.output import Output
from streamforge_utils.runtime.settings import DataSettings, ExchangeSettings, WorkerSettings
from streamforge_utils.runtime.telemetry import Telemetry

P = TypeVar("P", bound=msgspec.Struct)
T = TypeVar("T")


class MessageBus(Bus, BusAdmin, Protocol):
    """A bus with its administration, as adapters offer it."""


class Wiring(Protocol):
    """Makes adapters from settings; the one thing that the runtime is given of the world outside."""

    def make_bus(self, settings: DataSettings, *, clock: Clock, observer: Observer) -> MessageBus:
        """The bus. Raises ConfigError or RetryableError."""

    def make_store(self, settings: DataSettings, *, observer: Observer) -> Store:
        """The store. Raises ConfigError or RetryableError."""

    def make_exchange(self, settings: ExchangeSettings, *, clock: Clock, observer: Observer) -> Exchange:
        """The exchange. Raises ConfigError or RetryableError."""


class Connections:
    """The connected parts; None is one that the worker does not use."""

    def __init__(self) -> None:
        self.input: Input | None = None
        self.output: Output | None = None
        self.dead_letters: DeadLetterQueue | None = None
        self.store: DocumentStore | None = None
        self.exchange: Exchange | None = None


class Context(Generic[P]):
    """One attempt of a step, without signals, topics or metrics.

    ranges: what to load, ascending as given; `span` is the whole time range of the workflow.
    """

    def __init__(
        self,
        settings: WorkerSettings,
        parameters: P,
        connections: Connections,
        instruments: Instruments,
        *,
        command_queue: CommandQueue,
        telemetry: Telemetry,
    ) -> None:
        self.parameters = parameters
        self.symbol = settings.symbol
        self.type = settings.type
        self.span = settings.time_range
        self.ranges: tuple[TimeRange, ...] = settings.ranges or (settings.time_range,)
        self.collection = settings.collection_name
        self.attempt = settings.attempt
        self.progress = instruments.progress
        self.clock = instruments.clock
        self.log = instruments.log
        self._settings = settings
        self._command_queue = command_queue
        self._telemetry = telemetry
        self._connections = connections
        self._instruments = instruments

    @property
    def kind(self) -> RecordKind:
        """The kind of the records. Raises InvalidInput for a type that is none."""
        return kind_of_type(self.type)

    @property
    def series(self) -> Series:
        """The series that is loaded. Raises InvalidInput for a type that is none."""
        return series_of(self.symbol, self.type)

    @property
    def input(self) -> Input:
        """The records to be stored."""
        return _declared(self._connections.input, "input")

    @property
    def output(self) -> Output:
        """Where records are written to."""
        return _declared(self._connections.output, "output")

    @property
    def dead_letters(self) -> DeadLetterQueue:
        """Where records go that can never be stored."""
        return _declared(self._connections.dead_letters, "input")

    @property
    def store(self) -> DocumentStore:
        """The store."""
        return _declared(self._connections.store, "store")

    @property
    def exchange(self) -> Exchange:
        """The exchange."""
        return _declared(self._connections.exchange, "exchange")

    async def command(self) -> msgspec.Struct:
        """The payload of the next command of the worker's own (see `Definition.commands`), as its declared type."""
        return await self._command_queue.next()

    async def tell(self, extra: Mapping[str, Any]) -> None:
        """Say `loading` now, beside the heartbeats: the progress and `extra`. Waits while the bus is slow."""
        await self._telemetry.loading(extra)

    async def retry(self, what: str, call: Callable[[], Awaitable[T]], *, patience_s: float) -> T:
        """Await `call()` again while it raises RetryableError, for at most `patience_s`; the wait is reported.

        what: what is called, one word for logs and metrics.
        """
        return await self._instruments.retry(what, call, patience_s=patience_s, waits=what)


def _declared(part: T | None, use: str) -> T:
    if part is None:
        raise RuntimeError(f"the worker's definition does not say that it uses {use}")
    return part
