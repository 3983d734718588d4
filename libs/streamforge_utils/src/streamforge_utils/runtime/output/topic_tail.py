"""The last records of a worker's data topic: an attempt goes on behind what the one before has written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from streamforge_utils.model.errors import RetryableError
from streamforge_utils.model.messages import EOS_KEY
from streamforge_utils.ports.bus import Bus, BusAdmin, Received
from streamforge_utils.runtime.telemetry.instruments import Instruments

RECORDS = 1000
PATIENCE_S = 60.0
_POLL_S = 1.0
_EMPTY_POLLS = 30


class _Bus(Bus, BusAdmin, Protocol):
    pass


class TopicTail:
    """Reads the end of a topic of one partition.

    since_ms: what was sent before does not count: a live workflow that is retried starts again, and what has happened
    since it was stopped is loaded as history.
    """

    def __init__(self, bus: _Bus, topic: str, instruments: Instruments, since_ms: int = 0) -> None:
        self._bus = bus
        self._topic = topic
        self._instruments = instruments
        self._since_ms = since_ms

    async def read(self) -> Sequence[Received]:
        """As `look`, but a bus that does not answer is asked again: an attempt that ends takes along what it holds, and
        of an order book nobody has that again."""
        return await self._instruments.retry("tail", self.look, patience_s=PATIENCE_S, waits="tail")

    async def look(self, most: int = RECORDS) -> Sequence[Received]:
        """The last messages that are still there, at most so many, without end-of-stream markers.

        Raises RetryableError or PermanentError.
        """
        ends = await self._bus.offsets(self._topic)
        if all(first >= end for first, end in ends.values()):
            return []
        consumer = await self._bus.consumer(self._topic)
        try:
            for partition, (first, end) in ends.items():
                await consumer.seek(partition, max(first, end - most))
            found, empty = list[Received](), 0
            while True:
                position = await consumer.position()
                if all(position.get(partition, 0) >= end for partition, (_, end) in ends.items()):
                    return [one for one in found if one.key != EOS_KEY and one.timestamp_ms >= self._since_ms]
                batch = await consumer.poll(RECORDS, _POLL_S)
                found.extend(batch)
                empty = 0 if batch else empty + 1
                if empty == _EMPTY_POLLS:
                    raise RetryableError(f"the end of the topic {self._topic} cannot be read: the bus gives nothing")
        finally:
            await consumer.close()
