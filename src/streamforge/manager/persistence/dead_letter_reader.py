"""The dead letters of a workflow: what its sinks could not store and nobody has replayed yet."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from heapq import merge
from itertools import islice

from streamforge.manager.service import DeadLetter, DeadLetterPage
from streamforge.manager.workflow import Workflow
from streamforge_utils.model import names
from streamforge_utils.model.errors import InvalidInput, RetryableError
from streamforge_utils.ports.bus import Bus, BusAdmin, Consumer, Lag, Received, Start
from streamforge_utils.runtime.dead_letter_replay import place_of
from streamforge_utils.runtime.worker_definition import Role

AHEAD_BYTES = 1024 * 1024
"""What the bus may fetch beyond what is asked for."""

PAGE_BYTES = 16 * 1024 * 1024
"""Of keys and values in one page; a page holds one dead letter at least."""

POLL_S = 1.0
QUIET_POLLS = 15
"""So often in a row nothing may come of what is known to be there, until that is an error."""

_POLL_MESSAGES = 1000
_AFTER = re.compile(r"\d{1,9}:\d{1,18}(,\d{1,9}:\d{1,18}){0,99}", re.ASCII)


class DeadLetterReader:
    """Reads the topics of dead letters. A replay commits what it has read; only what is behind that is outstanding."""

    def __init__(self, bus: Bus, admin: BusAdmin) -> None:
        self._bus = bus
        self._admin = admin

    async def outstanding(self, workflow: Workflow) -> int:
        """How many there are. Raises RetryableError."""
        return (await self._lag(workflow)).records

    async def read(self, workflow: Workflow, *, limit: int, after: str | None = None) -> DeadLetterPage:
        """The oldest `limit` of those that are there now; fewer where they are large. after: of the page before.

        Raises RetryableError, or InvalidInput for an `after` that is none.
        """
        topic = names.dlq_topic(workflow.topic)
        begins = _positions(after)
        lag = await self._lag(workflow)
        ranges = {number: (max(first, begins.get(number, 0)), end) for number, (first, end) in lag.ranges.items()}
        ranges = {number: (first, end) for number, (first, end) in ranges.items() if first < end}
        if not ranges:
            return DeadLetterPage([], lag.records)
        # From the end: of partitions in which nothing is outstanding nothing is read.
        consumer = await self._bus.consumer(topic, start=Start.LATEST, ahead_bytes=AHEAD_BYTES)
        try:
            reading = _Reading(ranges, limit)
            for partition, (first, _) in ranges.items():
                await consumer.seek(partition, first)
            if not await reading.read(consumer) and (await self._lag(workflow)).records:
                raise RetryableError(
                    f"topic {topic} holds {lag.records} dead letters, and {len(reading.found)} of them came within "
                    f"{QUIET_POLLS * POLL_S:g} s: the bus is slow or does not answer; try again"
                )
        finally:
            await consumer.close()
        found = list(islice(_merged(reading.found), limit))
        nexts = {number: first for number, (first, _) in ranges.items()}
        nexts |= {received.partition: received.offset + 1 for received in found}
        more = any(nexts[number] < end for number, (_, end) in ranges.items())
        following = ",".join(f"{number}:{offset}" for number, offset in sorted((begins | nexts).items()))
        return DeadLetterPage([_letter(received) for received in found], lag.records, following if more else None)

    async def _lag(self, workflow: Workflow) -> Lag:
        """What the sink that has the most of it before it has to replay."""
        topic = names.dlq_topic(workflow.topic)
        if topic not in await self._admin.topics():
            return Lag(0)
        groups = [names.consumer_group(workflow.queue_id, s.target) for s in workflow.steps if s.role is Role.SINK]
        lags = [await self._admin.lag(topic, group) for group in groups]
        return max(lags, key=lambda lag: lag.records, default=Lag(0))


class _Reading:
    """Reads ranges of offsets, by partition: of each `limit` messages at most, and of all about a page."""

    def __init__(self, ranges: Mapping[int, tuple[int, int]], limit: int) -> None:
        self._left = {number: range(first, min(end, first + limit)) for number, (first, end) in ranges.items()}
        self._bytes = 0
        self.found: list[Received] = []

    async def read(self, consumer: Consumer) -> bool:
        """Read them; whether all that was to be read has come."""
        quiet = 0
        while wanted := self._wanted():
            batch = await consumer.poll(min(wanted, _POLL_MESSAGES), POLL_S)
            taken = sum(self._take(received) for received in batch)
            quiet = 0 if taken else quiet + 1
            if quiet >= QUIET_POLLS:
                return False
        return True

    def _wanted(self) -> int:
        return 0 if self._bytes >= PAGE_BYTES else sum(map(len, self._left.values()))

    def _take(self, received: Received) -> bool:
        left = self._left.get(received.partition, range(0))
        if received.offset < left.start or not left:
            return False
        self._left[received.partition] = range(received.offset + 1, left.stop)
        if received.offset in left and self._bytes < PAGE_BYTES:
            self.found.append(received)
            self._bytes += len(received.key or b"") + len(received.value)
        return True


def _merged(found: Iterable[Received]) -> Iterator[Received]:
    """The oldest first, those of a partition in their order."""
    by_partition: dict[int, list[Received]] = {}
    for received in sorted(found, key=lambda one: (one.partition, one.offset)):
        by_partition.setdefault(received.partition, []).append(received)
    return merge(*by_partition.values(), key=lambda one: one.timestamp_ms)


def _positions(after: str | None) -> dict[int, int]:
    """By partition of the topic of dead letters the offset that comes next."""
    if after is None:
        return {}
    if _AFTER.fullmatch(after) is None:
        raise InvalidInput("after", f"after {after[:80]!r} is not one of this server: begin again without it")
    return {int(number): int(offset) for number, offset in (one.split(":") for one in after.split(","))}


def _letter(received: Received) -> DeadLetter:
    headers, place = {name: value.decode("utf-8", "replace") for name, value in received.headers}, place_of(received)
    return DeadLetter(
        topic=place.topic,
        partition=place.partition,
        offset=place.offset,
        attempt=_number(headers, "attempt", 0),
        reason=headers.get("reason", ""),
        time_ms=_number(headers, "time", received.timestamp_ms),
        key=received.key,
        value=received.value,
    )


def _number(headers: dict[str, str], name: str, otherwise: int) -> int:
    text = headers.get(name, "")
    return int(text) if text.isdecimal() else otherwise
