"""What the processes of a world share: a bus and a store in memory, which are watched."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from streamforge.manager.persistence.workflow_store import KIND
from streamforge_utils.model.markers import EOS_KEY
from streamforge_utils.ports.bus import Message, Received
from streamforge_utils.ports.store import Answer, Document, Outcome, State, Store
from tests.doubles.memorybus import MemoryBus
from tests.doubles.memorystore import MemoryStore
from tests.doubles.virtualclock import VirtualClock
from tests.histories.processes import Outage, Port, Process


class Watch:
    """What a store tells, in any process. slow_s: what storing a batch takes. refused: keys that it refuses.

    written: called after each state that is stored. deleted: called with the collection and the keys before they go,
    and whether the whole collection goes. changed: called with each collection that has changed.
    """

    def __init__(self, slow_s: float) -> None:
        self.slow_s = slow_s
        self.refused: Collection[str] = ()
        self.written: Callable[[str, State], None] = lambda kind, state: None
        self.deleted: Callable[[str, Collection[str], bool], None] = lambda collection, keys, whole: None
        self.changed: Callable[[str], None] = lambda collection: None


class Watched:
    """A store that tells its watch what it does."""

    def __init__(self, store: Store, watch: Watch) -> None:
        self._store = store
        self._watch = watch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def put(self, kind: str, id: str, body: bytes, **more: Any) -> State:
        state = await self._store.put(kind, id, body, **more)
        self._watch.written(kind, state)
        return state

    async def upsert(self, collection: str, documents: Sequence[Document]) -> Sequence[Answer]:
        if self._watch.slow_s:
            await asyncio.sleep(self._watch.slow_s)
        refused = self._watch.refused
        taken = [one for one in documents if one.key not in refused] if refused else documents
        answers = await self._store.upsert(collection, taken)
        self._watch.changed(collection)
        if not refused:
            return answers
        left = iter(answers)
        return [Answer(Outcome.REFUSED, "the key is refused") if d.key in refused else next(left) for d in documents]

    async def delete(self, collection: str, *, first: str, last: str) -> int:
        self._watch.deleted(collection, await self._store.keys(collection, first=first, last=last), False)
        deleted = await self._store.delete(collection, first=first, last=last)
        self._watch.changed(collection)
        return deleted

    async def drop(self, collection: str) -> None:
        self._watch.deleted(collection, await self._store.keys(collection), True)
        await self._store.drop(collection)
        self._watch.changed(collection)


class Engines(Protocol):
    """A bus and a store as a world needs them. documents: what is in the store, by collection and key."""

    watch: Watch
    outages: Mapping[str, Outage]
    """Of `bus` and `store`."""

    @property
    def documents(self) -> Mapping[str, Mapping[str, Document]]:
        """What is in the store, by collection and key."""

    def store_of(self, process: Process) -> Any:
        """The store as a process has it."""

    def bus_of(self, process: Process) -> Any:
        """The bus as a process has it; its members leave when it dies."""

    def states(self) -> Iterator[bytes]:
        """The documents of all workflows."""

    def lose(self, collection: str, key: str) -> None:
        """A record vanishes."""

    def messages(self, topic: str) -> Sequence[Received]:
        """What lies on a topic; nothing if there is none of that name."""

    async def append(self, topic: str, message: Message) -> None:
        """Send a message that no process sends."""

    async def close(self) -> None:
        """Let go of everything."""


class MemoryEngines:
    """Bus and store in memory."""

    def __init__(self, clock: VirtualClock, slow_s: float, folder: Path) -> None:
        self.watch = Watch(slow_s)
        self.outages: Mapping[str, Outage] = {"bus": Outage(), "store": Outage()}
        self._store = MemoryStore()
        self._watched = Watched(self._store, self.watch)
        self._bus = MemoryBus(now_ms=clock.now_ms, longest_poll_s=60.0)

    @property
    def documents(self) -> Mapping[str, Mapping[str, Document]]:
        return self._store.documents

    def store_of(self, process: Process) -> Any:
        return Port(process, self._watched, outage=self.outages["store"])

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


def confirmed_keys(engines: Engines, topic: str) -> Iterator[str]:
    """The keys of the records on a data topic."""
    return (m.key.decode() for m in engines.messages(topic) if m.key is not None and m.key != EOS_KEY)
