"""Reading from an embedded topic: a consumer, and the blocking half of it that uses the topic's files."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack

from streamforge_utils.adapters.bus_clients import Subscription
from streamforge_utils.adapters.call_thread import Lane
from streamforge_utils.adapters.embedded.bus.batch_format import join, unpack
from streamforge_utils.adapters.embedded.bus.files import TopicFiles
from streamforge_utils.adapters.embedded.bus.groups import MemberLock
from streamforge_utils.adapters.embedded.bus.notification import Waiter
from streamforge_utils.model.errors import ConfigError, InvalidInput, PermanentError
from streamforge_utils.ports.bus import Received, Start
from streamforge_utils.ports.clock import Clock
from streamforge_utils.ports.columns import ReceivedColumns
from streamforge_utils.ports.instrumentation import Observer

AHEAD_BYTES = 16 * 1024 * 1024
_NOTIFIED_PAUSE_S = 0.5
"""Between two looks at a log whose changes are notified: a process may be killed after a change, before it notifies."""

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
        self._opened: TopicReader | None = None
        self._lane = Lane("bus-consumer")
        self._lock = asyncio.Lock()
        self._next_liveness = 0.0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiter: Waiter | None = None
        self._notified = False
        self._sleeping: set[asyncio.Future[None]] = set()

    async def open(self) -> None:
        """Join the group, find the place to begin at. To be closed if it raises, too."""
        await self._lane.run(self._open)
        self._loop = asyncio.get_running_loop()
        self._waiter = self._reader.waiter
        if self._waiter is not None:
            self._loop.add_reader(self._waiter.descriptor, self._on_change, self._waiter)

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

    async def commit(self, offsets: Mapping[int, int]) -> None:
        if self._group is None:
            raise PermanentError("this consumer has no group: it cannot commit")
        for partition in offsets:
            self._require(partition)
        async with self._lock:
            for offset in offsets.values():
                await self._lane.run(self._reader.commit, offset)

    async def seek(self, partition: int, offset: int) -> None:
        self._require(partition)
        async with self._lock:
            await self._lane.until_idle()
            self._reader.seek(offset)

    async def position(self) -> Mapping[int, int]:
        async with self._lock:
            await self._lane.until_idle()
            return self._reader.position()

    async def close(self) -> None:
        self._on_close(self)
        if self._waiter is not None and self._loop is not None:
            self._loop.remove_reader(self._waiter.descriptor)
        self._waiter = None
        closing = asyncio.ensure_future(self._lane.close(self._close))
        self._wake()
        await asyncio.shield(closing)

    @property
    def _reader(self) -> TopicReader:
        if self._opened is None:
            raise PermanentError("this consumer is closed")
        return self._opened

    def _require(self, partition: int) -> None:
        if partition != 0:
            raise PermanentError(f"topic {self._subscription.topic} has no partition {partition}")

    def _due(self) -> bool:
        """Whether there may be something to do, found without waiting: an idle consumer does only this."""
        if self._lane.closed or self._lane.busy or self._lock.locked():
            return True
        return self._liveness_due() or self._reader.stirred()

    def _liveness_due(self) -> bool:
        return self._reader.shared and self._clock.monotonic() >= self._next_liveness

    async def _next(self, max_messages: int) -> Sequence[Received]:
        if self._lane.closed:
            raise PermanentError("this consumer is closed")
        await self._lane.until_idle()  # a cancelled poll may have left a call running
        check = self._liveness_due()
        if check or self._reader.stirred():
            if check:
                self._next_liveness = self._clock.monotonic() + _LIVENESS_S
            await self._lane.run(self._fetch, max_messages, check)
        return self._reader.take(max_messages)

    async def _pause(self, left: float) -> None:
        """Return after `left` seconds, sooner if something may have changed."""
        if self._notified:
            self._notified = False
            return
        longest = _NOTIFIED_PAUSE_S
        if self._waiter is None:
            longest = _UNNOTIFIED_PAUSE_S
        elif self._reader.shared:
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

    # What follows runs in the lane's thread.

    def _open(self) -> None:
        reader = self._opened = TopicReader(self._files, self._subscription.topic, self._observer)
        if self._group is None:
            reader.begin(self._subscription.start, self._subscription.start_time_ms)
        else:
            self._member_lock = MemberLock(self._files.members)
            reader.join(self._group, self._member_lock.name)

    def _fetch(self, max_messages: int, check: bool) -> None:
        self._reader.refresh(check)
        self._reader.fetch(max_messages, self._ahead_bytes)

    def _close(self) -> None:
        with ExitStack() as stack:  # each of them, also if the other one raises
            if self._member_lock is not None:
                stack.callback(self._member_lock.close)
            if self._opened is not None:
                stack.callback(self._opened.close)
                self._opened = None


class TopicReader:
    """The open topic, how far it was read, and what was fetched and not yet taken.

    Methods block; one thread at a time. Raises PermanentError once the topic was deleted.
    shared: whether the group has other members, whose processes have to be looked at.
    """

    def __init__(self, files: TopicFiles, name: str, observer: Observer) -> None:
        self._files = files
        self._observer = observer
        self._topic = files.open(name, notified=True)
        self._group = ""
        self._member = ""
        self._owned = False
        self._lost = False  # taken away, and neither a commit nor a seek has followed
        self._offset = 0
        self._behind = True  # there may be more than was fetched
        self._fetched: ReceivedColumns | None = None
        self._taken = 0
        self._log_version = self._groups_version = -1
        self.shared = False

    @property
    def waiter(self) -> Waiter | None:
        """What is notified when the topic changes."""
        return self._topic.waiter

    def begin(self, start: Start, start_time_ms: int | None) -> None:
        """Read from `start` or from a time on."""
        log = self._topic.log
        self._owned, end = True, log.end()
        if start_time_ms is not None:
            found = log.at_time(start_time_ms)
            self._offset = end if found is None else found
        elif start is Start.LATEST:
            self._offset = end

    def join(self, group: str, member: str) -> None:
        """Become a member of the group."""
        self._group, self._member = group, member
        self._topic.groups.join(group, member)
        self.refresh(check=True)

    def stirred(self) -> bool:
        """Whether a `fetch` may find something; costs microseconds."""
        if self._group and self._topic.groups.version != self._groups_version:
            return True
        if self._fetched is not None:
            return False
        return (self._owned and self._behind) or self._topic.log.version != self._log_version

    def refresh(self, check: bool) -> None:
        """Find out whether the topic still exists and which member reads it. check: remove members that ended."""
        log, groups = self._topic.log, self._topic.groups
        version = log.version
        if version != self._log_version:
            log.require()
            self._log_version = version
            self._behind = True
        if not self._group:
            return
        version = groups.version
        if version == self._groups_version and not check:
            return
        self._groups_version = version
        members = groups.members(self._group)
        others = [member for member in members if member != self._member]
        if check and groups.expel_dead(self._group, others, self._files.members):
            members = groups.members(self._group)
        if self._member not in members:
            log.require()
            groups.join(self._group, self._member)
            members = groups.members(self._group)
        self.shared = len(members) > 1
        owned, self._owned = self._owned, members[0] == self._member
        if owned and not self._owned:
            self._lost, self._fetched = True, None
        elif self._owned and not owned:
            # Also where more was committed: nothing that is still to come is passed over.
            self._move(min(groups.committed(self._group) or 0, log.end()))

    def fetch(self, max_messages: int, max_bytes: int) -> None:
        """Read on, if there may be more, all that was fetched was taken, and it is its own to read."""
        if not self._owned or self._fetched is not None or not self._behind:
            return
        name = self._topic.name
        found: list[ReceivedColumns] = []
        end = self._topic.log.end()  # before the read, which then gives all that lies below
        batches = self._topic.log.read(self._offset, max_messages, max_bytes)
        self._behind = bool(batches)  # the read after the last message finds out
        for batch in batches:
            try:
                received = unpack(name, batch, self._offset, str(self._topic.log.path))
            except ConfigError:
                if not found:
                    raise
                break  # the next fetch raises: what lies before it is whole
            skipped = received.offsets[0] - self._offset
            if skipped > 0:
                self._observer.count("bus_messages_skipped", skipped, topic=name)
            self._offset = received.offsets[-1] + 1
            found.append(received)
        if found:
            self._fetched, self._taken = join(found), 0
        else:
            self._offset = max(self._offset, end)

    def take(self, limit: int) -> Sequence[Received]:
        """At most `limit` messages of those that wait."""
        fetched = self._fetched
        if fetched is None:
            return []
        taken = fetched if self._taken == 0 and limit >= len(fetched) else fetched[self._taken : self._taken + limit]
        self._taken += len(taken)
        if self._taken == len(fetched):
            self._fetched, self._taken = None, 0
        return taken

    def position(self) -> Mapping[int, int]:
        """As `Consumer.position`."""
        fetched = self._fetched
        if not self._owned:
            return {}
        return {0: self._offset if fetched is None else fetched.offsets[self._taken]}

    def seek(self, offset: int) -> None:
        """Continue at `offset`; if the topic is another member's to read, nothing happens."""
        if self._owned:
            self._lost = False
            self._move(max(offset, 0))

    def commit(self, offset: int) -> None:
        """Store the offset, if the group still needs it.

        What was read before the topic was taken away may have been read and committed by another member by the time it
        comes back: such a commit must not take the group back.
        """
        self._topic.log.require()
        self.refresh(check=False)  # a member that does not poll notices here what was taken away
        if self._topic.groups.commit(self._group, self._member, offset, lost=self._lost):
            self._lost = False

    def close(self) -> None:
        try:
            if self._group and not self._topic.log.deleted:
                self._topic.groups.leave(self._group, [self._member])
        finally:
            self._topic.close()

    def _move(self, offset: int) -> None:
        self._offset, self._behind = offset, True
        self._fetched, self._taken = None, 0
