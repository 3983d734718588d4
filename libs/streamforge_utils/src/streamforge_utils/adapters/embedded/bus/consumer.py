"""Reading from embedded topics."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack

from streamforge_utils.adapters.bus_clients import Subscription
from streamforge_utils.adapters.embedded.bus.files import TopicFiles
from streamforge_utils.adapters.embedded.bus.groups import MemberLock
from streamforge_utils.adapters.embedded.bus.notification import Waiter
from streamforge_utils.adapters.embedded.bus.reader import TopicReader
from streamforge_utils.adapters.lane import Lane
from streamforge_utils.model.errors import InvalidInput, PermanentError
from streamforge_utils.ports.bus import Received, TopicPartition
from streamforge_utils.ports.clock import Clock
from streamforge_utils.ports.instrumentation import Observer

AHEAD_BYTES = 16 * 1024 * 1024
_NOTIFIED_PAUSE_S = 0.5
"""Between two looks at logs whose changes are notified: a process may be killed after a change, before it notifies."""

_UNNOTIFIED_PAUSE_S = 0.005
"""Where the file system has no named pipes."""

_LIVENESS_S = 0.1


class EmbeddedConsumer:
    """Implements `Consumer`. Made by `open`; an idle one waits to be notified of a change."""

    def __init__(
        self,
        files: TopicFiles,
        clock: Clock,
        observer: Observer,
        subscription: Subscription,
        on_close: Callable[[EmbeddedConsumer], None],
    ) -> None:
        self._subscription = subscription
        self._ahead_bytes = AHEAD_BYTES if subscription.ahead_bytes is None else subscription.ahead_bytes
        self._on_close = on_close
        self._files = files
        self._clock = clock
        self._observer = observer
        self._group = subscription.group
        self._member_lock: MemberLock | None = None
        self._readers: dict[str, TopicReader] = {}
        self._lane = Lane("bus-consumer")
        self._lock = asyncio.Lock()
        self._next_liveness = 0.0
        self._turn = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiters: list[Waiter] = []
        self._notified = False
        self._sleeping: set[asyncio.Future[None]] = set()

    async def open(self) -> None:
        """Join the group, find the places to begin at. To be closed if it raises, too."""
        await self._lane.run(self._open)
        self._loop = asyncio.get_running_loop()
        self._waiters = [reader.waiter for reader in self._readers.values() if reader.waiter is not None]
        for waiter in self._waiters:
            self._loop.add_reader(waiter.descriptor, self._on_change, waiter)

    async def poll(self, max_messages: int, timeout_s: float) -> Sequence[Received]:
        if max_messages < 1:
            raise InvalidInput("max_messages", f"max_messages is {max_messages}: it must be at least 1")
        give_up = self._clock.monotonic() + timeout_s
        while True:
            self._notified = False
            async with self._lock:
                received = await self._next(max_messages)
            if received:
                self._observer.count("bus_messages_received", len(received))
                return received
            while True:
                left = give_up - self._clock.monotonic()
                if left <= 0:
                    return []
                await self._pause(left)
                if self._due():
                    break

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        if self._group is None:
            raise PermanentError("this consumer has no group: it cannot commit")
        found = [(self._reader(place), offset) for place, offset in offsets.items()]
        async with self._lock:
            for reader, offset in found:
                await self._lane.run(reader.commit, offset)

    async def seek(self, partition: TopicPartition, offset: int) -> None:
        async with self._lock:
            await self._lane.until_idle()
            self._reader(partition).seek(offset)

    async def close(self) -> None:
        self._on_close(self)
        for waiter in self._waiters:
            if self._loop is not None:
                self._loop.remove_reader(waiter.descriptor)
        self._waiters = []
        closing = asyncio.ensure_future(self._lane.close(self._close))
        self._wake()
        await asyncio.shield(closing)

    def _due(self) -> bool:
        """Whether there is something to do, as far as can be told without waiting: an idle consumer does only this."""
        if self._lane.closed or self._lane.busy or self._lock.locked():
            return True
        return self._liveness_due() or any(reader.stirred() for reader in self._readers.values())

    def _liveness_due(self) -> bool:
        shared = any(reader.shared for reader in self._readers.values())
        return shared and self._clock.monotonic() >= self._next_liveness

    async def _next(self, max_messages: int) -> Sequence[Received]:
        if self._lane.closed:
            raise PermanentError("this consumer is closed")
        await self._lane.until_idle()  # a cancelled poll may have left a call running
        check = self._liveness_due()
        if check or any(reader.stirred() for reader in self._readers.values()):
            if check:
                self._next_liveness = self._clock.monotonic() + _LIVENESS_S
            await self._lane.run(self._fetch, max_messages, check)
        return self._take(max_messages)

    def _take(self, max_messages: int) -> Sequence[Received]:
        """What was fetched, a share from each topic; the order in which they are asked changes every time."""
        readers = [reader for reader in self._readers.values() if reader.waiting]
        self._turn += 1
        if len(readers) == 1:
            return readers[0].take(max_messages)
        taken: list[Received] = []
        for done in range(len(readers)):
            share = -(-(max_messages - len(taken)) // (len(readers) - done))
            taken += readers[(self._turn + done) % len(readers)].take(share)
        return taken

    async def _pause(self, left: float) -> None:
        """Return after `left` seconds, sooner if something may have changed."""
        if self._notified:
            self._notified = False
            return
        longest = _NOTIFIED_PAUSE_S
        if len(self._waiters) < len(self._readers):
            longest = _UNNOTIFIED_PAUSE_S
        elif any(reader.shared for reader in self._readers.values()):
            longest = _LIVENESS_S
        sleeping = asyncio.ensure_future(self._clock.sleep(min(left, longest)))
        self._sleeping.add(sleeping)
        try:
            await asyncio.wait({sleeping})
        finally:
            self._sleeping.discard(sleeping)
            sleeping.cancel()
        if not sleeping.cancelled():
            sleeping.result()

    def _on_change(self, waiter: Waiter) -> None:
        waiter.drain()
        self._wake()

    def _wake(self) -> None:
        self._notified = True
        for sleeping in self._sleeping:
            sleeping.cancel()

    def _reader(self, place: TopicPartition) -> TopicReader:
        reader = self._readers.get(place.topic)
        if reader is None or place.partition != 0:
            raise PermanentError(f"this consumer does not read partition {place.partition} of topic {place.topic}")
        return reader

    def _open(self) -> None:
        start, start_time_ms = self._subscription.start, self._subscription.start_time_ms
        if self._group is not None:
            self._member_lock = MemberLock(self._files.members)
        for name in self._subscription.topics:
            reader = TopicReader(self._files, name, self._observer)
            self._readers[name] = reader
            if self._group is None or self._member_lock is None:
                reader.begin(start, start_time_ms)
            else:
                reader.join(self._group, self._member_lock.name)

    def _fetch(self, max_messages: int, check: bool) -> None:
        for reader in self._readers.values():
            reader.refresh(check)
        readers = [reader for reader in self._readers.values() if reader.wants_more]
        for done in range(len(readers)):
            reader = readers[(self._turn + done) % len(readers)]
            share = -(-max_messages // (len(readers) - done))
            max_messages = max(1, max_messages - reader.fetch(share, self._ahead_bytes // len(readers)))

    def _close(self) -> None:
        with ExitStack() as stack:  # each of them, also if another one raises
            if self._member_lock is not None:
                stack.callback(self._member_lock.close)
            for reader in self._readers.values():
                stack.callback(reader.close)
            self._readers.clear()
