"""What a worker's `run` sees: its parameters, what it is to do, and the parts that it uses."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from streamforge_utils.model.daily_collections import Placement
from streamforge_utils.model.kinds.kind import RecordKind
from streamforge_utils.model.kinds.registry import kind_of_type, series_of
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.ports.archive import Archive
from streamforge_utils.ports.bus import Bus, BusAdmin
from streamforge_utils.ports.clock import Clock
from streamforge_utils.ports.exchange import Exchange, History
from streamforge_utils.ports.instrumentation import Observer
from streamforge_utils.ports.object_store import ObjectStore
from streamforge_utils.ports.store import Answer, Document, Outcome, Store, count_outcomes
from streamforge_utils.ports.stream import StreamParts
from streamforge_utils.runtime.input.dead_letter_replay import Choice
from streamforge_utils.runtime.input.worker_input import Input
from streamforge_utils.runtime.life.command_listener import OwnCommands
from streamforge_utils.runtime.life.object_settings import ObjectSettings
from streamforge_utils.runtime.life.settings import ArchiveSettings, DataSettings, ExchangeSettings, WorkerSettings
from streamforge_utils.runtime.live.handover import Handover
from streamforge_utils.runtime.live.stream_settings import StreamSettings
from streamforge_utils.runtime.output.object_publication import publish
from streamforge_utils.runtime.output.topic_tail import TopicTail
from streamforge_utils.runtime.output.topic_writer import DeadLetterQueue, Output
from streamforge_utils.runtime.telemetry.instruments import Instruments
from streamforge_utils.runtime.telemetry.telemetry import Telemetry

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

    def make_archive(
        self,
        settings: ArchiveSettings,
        data: DataSettings,
        exchange: ExchangeSettings,
        *,
        history: History | None,
        clock: Clock,
        observer: Observer,
    ) -> Archive | None:
        """The archive of the exchange; None: there is none. history: where samples are compared. Raises ConfigError."""

    def make_stream(
        self, settings: StreamSettings, exchange: ExchangeSettings, *, clock: Clock, observer: Observer
    ) -> StreamParts:
        """The streams of the exchange. Raises ConfigError."""

    def make_object_store(self, settings: ObjectSettings, data: DataSettings) -> ObjectStore:
        """The store of objects. Raises ConfigError."""


class Connections:
    """The connected parts; None is one that the worker does not use."""

    def __init__(self) -> None:
        self.input: Input | None = None
        self.output: Output | None = None
        self.dead_letters: DeadLetterQueue | None = None
        self.store: Store | None = None
        self.exchange: Exchange | None = None
        self.archive: Archive | None = None
        self.stream: StreamParts | None = None
        self.objects: ObjectStore | None = None
        self.tail: TopicTail | None = None


class Context(Generic[P]):
    """One attempt of a step, without signals, topics or metrics.

    ranges: what to load, ascending as given; `span` is the whole time range of the workflow. given_ranges: the former,
    where they were given. first_id: of the first range, where all records before it are there already.
    weight_per_minute: the share of the exchange's weight now. scratch: a folder for files that do not outlive the
    process, which may not be there yet. replay: the input is a topic of dead letters. choice: which messages of the
    input are stored. handover: whether this attempt writes. placement: where its records are stored. archive_samples:
    which files are compared with the exchange. terminal_extra: what the terminal event's `extra` shall hold beside the
    progress, as JSON has it.
    """

    def __init__(
        self,
        settings: WorkerSettings,
        parameters: P,
        connections: Connections,
        instruments: Instruments,
        *,
        own_commands: OwnCommands,
        telemetry: Telemetry,
        handover: Handover,
    ) -> None:
        self.parameters = parameters
        self.queue_id = settings.queue_id
        self.symbol = settings.symbol
        self.type = settings.type
        self.span = settings.time_range
        self.given_ranges = settings.ranges
        self.ranges: tuple[TimeRange, ...] = settings.ranges or (settings.time_range,)
        self.first_id = settings.first_id
        self.placement = Placement(settings.collection_name, settings.collections.daily)
        self.attempt = settings.attempt
        self.replay = settings.replay.on
        self.choice = Choice(settings.replay, instruments.target)
        self.archive_samples = settings.archive.samples
        self.weight_per_minute = settings.exchange.weight_per_minute
        self.scratch = (settings.data.data_dir or Path(tempfile.gettempdir()) / "streamforge") / "tmp"
        self.progress = instruments.progress
        self.clock = instruments.clock
        self.log = instruments.log
        self.handover = handover
        self.terminal_extra: dict[str, Any] = {}
        self._settings = settings
        self._own_commands = own_commands
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
    def store(self) -> Store:
        """The store."""
        return _declared(self._connections.store, "store")

    @property
    def exchange(self) -> Exchange:
        """The exchange."""
        return _declared(self._connections.exchange, "exchange")

    @property
    def archive(self) -> Archive:
        """The files of past days."""
        return _declared(self._connections.archive, "archive")

    @property
    def tail(self) -> TopicTail:
        """The last records of the output's topic."""
        return _declared(self._connections.tail, "output")

    @property
    def stream(self) -> StreamParts:
        """The exchange's streams."""
        return _declared(self._connections.stream, "stream")

    @property
    def objects(self) -> ObjectStore:
        """The store of objects."""
        return _declared(self._connections.objects, "objects")

    async def put_object(self, name: str, content: bytes, *, patience_s: float) -> None:
        """Put an object, again and again for `patience_s` at most; then RetryableError is raised."""
        await self.with_objects(lambda: self.objects.put(name, content), patience_s=patience_s)

    async def publish_object(self, name: str, content: bytes, next_step: str, *, patience_s: float) -> None:
        """As `publication.publish`, tried as `put_object` tries."""
        await self.with_objects(lambda: publish(self.objects, name, content, next_step), patience_s=patience_s)

    async def replace_object(self, name: str, content: bytes, *, instead_of: str, patience_s: float) -> None:
        """As `put_object`, but another object is removed first."""

        async def once() -> None:
            await self.objects.delete([instead_of])
            await self.objects.put(name, content)

        await self.with_objects(once, patience_s=patience_s)

    async def with_objects(self, call: Callable[[], Awaitable[T]], *, patience_s: float) -> T:
        """What `call` does with the store of objects, tried as `put_object` tries."""
        return await self._instruments.retry("objects", call, patience_s=patience_s, waits="objects")

    async def with_store(self, call: Callable[[], Awaitable[T]], *, patience_s: float) -> T:
        """What `call` does with the store, again and again for `patience_s` at most; then RetryableError is raised."""
        return await self._instruments.retry("store", call, patience_s=patience_s, waits="store")

    async def command(self) -> msgspec.Struct:
        """The payload of the next command of the worker's own (see `Definition.commands`), as its declared type."""
        return await self._own_commands.get()

    async def report(self, extra: Mapping[str, Any], *, confirmed: bool = False) -> None:
        """Publish `loading` now, beside the heartbeats: the progress and `extra`. Waits while the bus is slow.

        confirmed: on return it is on the bus, also if this process is killed then; raises RetryableError.
        """
        await self._telemetry.loading(extra, confirmed=confirmed)

    async def note(self, extra: Mapping[str, Any]) -> None:
        """Publish `loading` now with `extra`, which the terminal event repeats; confirmed on return.

        Raises RetryableError.
        """
        self.terminal_extra |= extra
        await self.report(extra, confirmed=True)

    async def upsert(self, collection: str, documents: Sequence[Document], *, patience_s: float) -> Sequence[Answer]:
        """As the store's `upsert`; measured, and counted but for refused documents.

        A store that does not answer is asked again for at most `patience_s`; then RetryableError is raised.
        """

        async def once() -> Sequence[Answer]:
            start = time.perf_counter()
            answers = await self.store.upsert(collection, documents)
            metrics.observe("store_seconds", time.perf_counter() - start)
            return answers

        progress, metrics = self.progress, self._instruments.metrics
        answers = await self._instruments.retry("store", once, patience_s=patience_s, waits="store")
        counts = count_outcomes(answers)
        kept = len(answers) - counts.get(Outcome.REFUSED, 0)
        progress.records += kept
        progress.unchanged += counts.get(Outcome.UNCHANGED, 0)
        progress.stale += counts.get(Outcome.STALE, 0)
        metrics.count("records", kept)
        return answers


def _declared(part: T | None, use: str) -> T:
    if part is None:
        raise RuntimeError(f"the worker's definition does not say that it uses {use}")
    return part
