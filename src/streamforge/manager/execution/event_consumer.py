"""Reads the events' topic for the manager: waits for what comes, and reads all that is there when asked to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from streamforge_utils.model.errors import PermanentError, RetryableError
from streamforge_utils.model.events import Event, decode_event
from streamforge_utils.ports.bus import Bus, BusAdmin, Consumer, Received, TopicPartition
from streamforge_utils.ports.clock import Clock

GROUP = "queue-manager"
POLL_S = 0.25
"""How long one poll waits."""

READ_ALL_S = 15.0
"""Longer than a manager that was killed stays a member of its group."""

_AT_ONCE = 1000
MOST = 10_000
"""Events taken in at once; the rest waits on the topic."""


Listener = Callable[[Event], None]
"""Called with each event when it arrives, before anything is done about it."""


class EventConsumer:
    """Events that were received and not yet committed. What was not committed before a restart is received again.

    behind: more was waiting on the topic than the latest poll could take. listeners: told at once, also in a `rest`.
    """

    def __init__(self, bus: Bus, admin: BusAdmin, topic: str) -> None:
        self._bus = bus
        self._admin = admin
        self._topic = topic
        self._consumer: Consumer | None = None
        self._polling: asyncio.Task[Sequence[Received]] | None = None
        self._next: dict[int, int] = {}
        self.heard: list[Received] = []
        self.behind = False
        self.listeners: set[Listener] = set()

    async def wait(self, waking: asyncio.Event, timeout_s: float) -> None:
        """Return when an event came, `waking` is set, or `timeout_s` is over. Raises RetryableError."""
        if self.heard or waking.is_set():
            return
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout_s
        wake = asyncio.create_task(waking.wait())
        try:
            while not self.heard and not wake.done() and (left := until - loop.time()) > 0:
                poll = await self._poll()
                await asyncio.wait({poll, wake}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
                if poll.done():
                    await self._take(poll)
        finally:
            wake.cancel()

    async def rest(self, clock: Clock, seconds: float) -> None:
        """Only listen for so long: nothing ends it sooner. Raises RetryableError."""
        resting = asyncio.ensure_future(clock.sleep(seconds))
        try:
            while not resting.done() and len(self.heard) < MOST:
                poll = await self._poll()
                await asyncio.wait({poll, resting}, return_when=asyncio.FIRST_COMPLETED)
                if poll.done():
                    await self._take(poll)
            await resting
        finally:
            resting.cancel()

    async def read_all(self) -> bool:
        """Take in all that was sent before this call. False: it is more than `MOST`, the rest is still to be read.

        Raises RetryableError, also if it does not all come within `READ_ALL_S`.
        """
        # Counted: where many workers speak a poll that finds nothing may never come, and one that finds nothing proves
        # nothing, as the bus may have waited for a broker or for a former member of the group to be given up. By their
        # offsets: of what was heard a part may be committed without our knowing it.
        sent = (await self._admin.lag(self._topic, GROUP)).ranges
        loop = asyncio.get_running_loop()
        give_up = loop.time() + READ_ALL_S
        while (left := self._left(sent)) and len(self.heard) < MOST:
            if not await self._take(await self._poll()):
                # What was trimmed meanwhile will not come.
                now = (await self._admin.lag(self._topic, GROUP)).ranges
                sent = {p: (max(first, now[p][0]), end) for p, (first, end) in sent.items() if p in now}
                if (left := self._left(sent)) and loop.time() > give_up:
                    raise RetryableError(
                        f"topic {self._topic}: {left} events were sent and do not come; "
                        f"does another manager read as group {GROUP}?"
                    )
        return not left

    def _left(self, sent: Mapping[int, tuple[int, int]]) -> int:
        """How many messages of these offsets [first, end) of partitions are still to be heard."""
        return sum(max(0, end - max(first, self._next.get(p, first))) for p, (first, end) in sent.items())

    async def commit(self) -> None:
        """What was heard need not be heard again. Raises RetryableError."""
        if self.heard and self._consumer is not None:
            await self._consumer.commit({TopicPartition(r.topic, r.partition): r.offset + 1 for r in self.heard})
        self.heard = []

    async def close(self) -> None:
        """Leave the group."""
        polling, self._polling = self._polling, None
        if polling is not None:
            polling.cancel()
            await asyncio.gather(polling, return_exceptions=True)
        if self._consumer is not None:
            await self._consumer.close()
            self._consumer = None

    async def _poll(self) -> asyncio.Task[Sequence[Received]]:
        if self._consumer is None:
            self._consumer = await self._bus.consumer([self._topic], group=GROUP)
        if self._polling is None:
            self._polling = asyncio.create_task(self._consumer.poll(_AT_ONCE, POLL_S), name="hear events")
            self._polling.add_done_callback(self._tell)
        return self._polling

    def _tell(self, poll: asyncio.Task[Sequence[Received]]) -> None:
        if not self.listeners or poll.cancelled() or poll.exception() is not None:
            return
        for one in poll.result():
            with suppress(PermanentError):  # no event
                event = decode_event(one.value)
                for listener in tuple(self.listeners):
                    listener(event)

    async def _take(self, poll: asyncio.Task[Sequence[Received]]) -> bool:
        try:
            received = await poll
        except PermanentError:
            # The topic was removed, perhaps made again: this consumer will not hear of it.
            consumer, self._consumer, self._next = self._consumer, None, {}
            if consumer is not None:
                await consumer.close()
            raise
        finally:
            if poll.done():
                self._polling = None
        self.heard += received
        for one in received:
            self._next[one.partition] = one.offset + 1
        self.behind = len(received) == _AT_ONCE
        return bool(received)
