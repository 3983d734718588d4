"""The cap of a `consumed` topic: its producer waits while its readers have too much before them.

Kafka bounds a topic by forgetting, which a `consumed` topic must not. Its cap and its readers are noted, when it is
made, with the brokers (as the metadata of an offset committed for it), so that all who send to it can keep them.
What is unread is counted in messages and taken to be as large as those of this producer.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from functools import partial

from streamforge_utils.adapters.bus_clients import cuts, topic_full
from streamforge_utils.adapters.kafka.admin import Admin
from streamforge_utils.adapters.kafka.kafka_connection import BATCH_BYTES, BATCH_MESSAGES
from streamforge_utils.adapters.kafka.topic_config import Cap, Topic
from streamforge_utils.adapters.lane import Lane
from streamforge_utils.ports.clock import Clock
from streamforge_utils.ports.instrumentation import Observer

FULL_TIMEOUT_S = 300.0

UNASKED_BYTES = 64 * 1024
"""So much a producer sends to a topic before it asks for its cap: who only talks starts without asking."""

_PORTIONS = 8
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.02, 0.5


class CapKeeper:
    """Cuts what one producer sends into portions, each of which fits under the topic's cap when it is yielded.

    full_timeout_s: how long the readers may commit nothing before that is an error.
    """

    def __init__(
        self, admin: Admin, lane: Lane, clock: Clock, observer: Observer, *, full_timeout_s: float = FULL_TIMEOUT_S
    ) -> None:
        self._admin = admin
        self._lane = lane
        self._clock = clock
        self._observer = observer
        self._full_timeout_s = full_timeout_s
        self._caps: dict[str, Cap | None] = {}
        self._room: dict[str, int] = {}
        self._unasked: dict[str, int] = {}
        self._sent: dict[str, tuple[int, int]] = {}

    async def portions(self, topic: Topic, sizes: Sequence[int]) -> AsyncIterator[tuple[int, int]]:
        """First and (exclusive) last index of each portion of messages with `sizes` (bytes), in order.

        Raises TopicFull if the topic stays full.
        """
        if topic.identity not in self._caps:
            free = self._unasked.get(topic.identity, UNASKED_BYTES) - sum(sizes)
            if free >= 0:
                self._unasked[topic.identity] = free
                yield 0, len(sizes)
                return
            self._caps[topic.identity] = await self._lane.run(partial(self._admin.cap, topic.name))
        cap = self._caps[topic.identity]
        most = BATCH_BYTES if cap is None else max(1, min(BATCH_BYTES, cap.max_bytes // _PORTIONS))
        for first, last in cuts(sizes, most, BATCH_MESSAGES):
            if cap is not None:
                await self._wait_for_room(topic, cap, last - first, sum(sizes[first:last]))
            yield first, last

    async def _wait_for_room(self, topic: Topic, cap: Cap, count: int, size: int) -> None:
        messages, total = self._sent.get(topic.identity, (0, 0))
        self._sent[topic.identity] = (messages + count, total + size)
        mean = (total + size) / (messages + count)
        room = self._room.get(topic.identity, 0)
        if room < size:
            room = await self._room_for(topic, cap, size, mean)
        self._room[topic.identity] = room - size

    async def _room_for(self, topic: Topic, cap: Cap, size: int, mean: float) -> int:
        """How much may be sent before the readers are looked at again: at least `size`, once there is room for it."""
        least: int | None = None
        pause, give_up = _FIRST_PAUSE_S, 0.0
        try:
            while True:
                behind = await self._lane.run(partial(self._behind, topic, cap))
                unread = max(behind.values(), default=0)
                room = int(cap.max_bytes - unread * mean)
                if room >= size or not unread:
                    return max(size, min(room, cap.max_bytes // _PORTIONS))
                if least is None or unread < least:
                    least, give_up = unread, self._clock.monotonic() + self._full_timeout_s
                    pause = _FIRST_PAUSE_S
                elif self._clock.monotonic() >= give_up:
                    raise topic_full(topic.name, cap.max_bytes, self._full_timeout_s, behind)
                self._observer.waiting(f"the topic {topic.name} is full: its readers have to catch up")
                await self._clock.sleep(pause)
                pause = min(_LONGEST_PAUSE_S, 2 * pause)
        finally:
            self._observer.waiting(None)

    def _behind(self, topic: Topic, cap: Cap) -> dict[str, int]:
        """How many messages each reader has before it."""
        ends = self._admin.ends(topic)
        committed = {group: self._admin.committed(topic, group) for group in cap.readers}
        return {
            group: sum(end - offsets.get(number, 0) for number, end in ends.items())
            for group, offsets in committed.items()
        }
