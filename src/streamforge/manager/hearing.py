"""The manager's ear on the events' topic: waits for what comes, and reads all that is there when asked to."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from streamforge_utils.ports.bus import Bus, Consumer, Received, TopicPartition

GROUP = "queue-manager"
POLL_S = 0.25
"""How long one poll waits; also the longest that `read_all` takes where nothing comes."""

MOST = 10_000
"""Events taken in at once; the rest waits on the topic."""


class Ear:
    """Events that were heard and not yet committed. What was heard before a restart is heard again."""

    def __init__(self, bus: Bus, topic: str) -> None:
        self._bus = bus
        self._topic = topic
        self._consumer: Consumer | None = None
        self._polling: asyncio.Task[Sequence[Received]] | None = None
        self.heard: list[Received] = []

    async def wait(self, waking: asyncio.Event, timeout_s: float) -> None:
        """Return when an event came, `waking` is set, or `timeout_s` is over. Raises RetryableError."""
        if self.heard or waking.is_set():
            return
        poll = await self._poll()
        wake = asyncio.create_task(waking.wait())
        try:
            await asyncio.wait({poll, wake}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            wake.cancel()
        if poll.done():
            await self._take(poll)

    async def read_all(self) -> None:
        """Take in all that was sent before this call (at most `MOST`). Raises RetryableError."""
        while len(self.heard) < MOST and await self._take(await self._poll()):
            pass

    async def commit(self) -> None:
        """What was heard need not be heard again. Raises RetryableError."""
        if self.heard and self._consumer is not None:
            last = self.heard[-1]
            await self._consumer.commit({TopicPartition(last.topic, last.partition): last.offset + 1})
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
            self._polling = asyncio.create_task(self._consumer.poll(1000, POLL_S), name="hear events")
        return self._polling

    async def _take(self, poll: asyncio.Task[Sequence[Received]]) -> bool:
        try:
            received = await poll
        finally:
            if poll.done():
                self._polling = None
        self.heard += received
        return bool(received)
