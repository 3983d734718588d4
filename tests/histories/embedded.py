"""The real embedded bus and store in a world: each process opens the files for itself, on the world's virtual loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from streamforge.manager.persistence.workflow_store import KIND
from streamforge_utils.adapters.embedded.bus.batch import unpack
from streamforge_utils.adapters.embedded.bus.embedded_bus import EmbeddedBus
from streamforge_utils.adapters.embedded.bus.files import TopicFiles
from streamforge_utils.adapters.embedded.store import document_rows
from streamforge_utils.adapters.embedded.store.collection_files import Catalogue
from streamforge_utils.adapters.embedded.store.embedded_store import EmbeddedStore
from streamforge_utils.adapters.embedded.store.state_rows import States
from streamforge_utils.model.errors import PermanentError
from streamforge_utils.ports.bus import Message, Received
from streamforge_utils.ports.store import Document
from tests.doubles.virtualclock import VirtualClock
from tests.histories.engines import Watch, Watched
from tests.histories.processes import Outage, Port, Process

_ALL = 1_000_000


class EmbeddedEngines:
    """Bus and store as files in a folder."""

    def __init__(self, clock: VirtualClock, slow_s: float, folder: Path) -> None:
        self.watch = Watch(slow_s)
        self.outages: Mapping[str, Outage] = {"bus": Outage(), "store": Outage()}
        self._clock = clock
        self._bus_folder, self._store_folder = folder / "bus", folder / "store"
        self._files = TopicFiles(self._bus_folder)
        self._catalogue = Catalogue(self._store_folder / "documents")
        self._states = States(self._store_folder / "states.db")
        self._documents = _Documents(self._catalogue)
        self.watch.changed = self._documents.forget
        self._closing: list[Callable[[], Awaitable[None]]] = []
        self._own: EmbeddedBus | None = None
        self._dying: set[asyncio.Future[None]] = set()

    @property
    def documents(self) -> Mapping[str, Mapping[str, Document]]:
        return self._documents

    def store_of(self, process: Process) -> Any:
        store = EmbeddedStore(self._store_folder)
        self._closes_with(process, store.close)
        return Port(process, Watched(store, self.watch), outage=self.outages["store"])

    def bus_of(self, process: Process) -> Any:
        bus = self._bus()
        self._closes_with(process, bus.close)
        return Port(process, bus, outage=self.outages["bus"])

    def states(self) -> Iterator[bytes]:
        return (state.body for state in self._states.find(KIND, where=None, after=None, limit=_ALL))

    def lose(self, collection: str, key: str) -> None:
        self._catalogue.write(collection, lambda one: document_rows.delete(one, key, key + "\x00"), create=False)
        self._documents.forget(collection)

    def messages(self, topic: str) -> Sequence[Received]:
        try:
            opened = self._files.open(topic)
        except PermanentError:
            return ()
        try:
            batches = opened.log.read(0, 0, _ALL, _ALL * 1000)
            return [one for b in batches for one in unpack(topic, 0, b, b.last - b.count + 1, str(opened.log.path))]
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
            found = self._catalogue.read(name, lambda one: document_rows.read(one, "", None, _ALL))
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
