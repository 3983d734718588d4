"""The dead letters of a workflow: what its sinks could not store and nobody has replayed yet."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from heapq import merge
from itertools import islice

import msgspec

from streamforge.manager.engine.document import Workflow
from streamforge.manager.engine.lifecycle.rounds import read_letters
from streamforge.manager.use_cases import DeadLetter, DeadLetterPage
from streamforge_utils.model import names
from streamforge_utils.model.errors import InvalidInput, RetryableError
from streamforge_utils.model.topic_reading import PartitionRange, total
from streamforge_utils.ports.bus import Bus, BusAdmin, Consumer, Lag, Received, Start
from streamforge_utils.runtime.input.dead_letter_replay import Offsets, place_of
from streamforge_utils.runtime.life.worker_definition import Role

AHEAD_BYTES = 1024 * 1024
"""What the bus may fetch beyond what is asked for."""

PAGE_BYTES = 16 * 1024 * 1024
"""Of keys and values in one page; a page holds one dead letter at least."""

POLL_S = 1.0
QUIET_POLLS = 15
"""So often in a row nothing may come of what is known to be there, until that is an error."""

SCANNED = 5000
"""Of each partition so many letters are looked at for a page, where not all of them are wanted."""

_POLL_MESSAGES = 1000
_AFTER = re.compile(r"\d{1,9}:\d{1,18}(,\d{1,9}:\d{1,18}){0,99}", re.ASCII)


class DeadLetterReader:
    """Reads the topics of dead letters.

    A replay commits what it has read; what is behind that is outstanding, but for what replays of chosen ones read.
    """

    def __init__(self, bus: Bus, admin: BusAdmin) -> None:
        self._bus = bus
        self._admin = admin

    async def outstanding(self, workflow: Workflow) -> int:
        """How many there are. Raises RetryableError."""
        return (await self._waiting(workflow)).records

    async def read(
        self,
        workflow: Workflow,
        *,
        limit: int,
        after: str | None = None,
        wanted: Callable[[DeadLetter], bool] | None = None,
        most_bytes: int | None = None,
    ) -> DeadLetterPage:
        """The oldest `limit` of those that are there now; fewer where they are large. after: of the page before.

        wanted: these alone; a page may then hold fewer, or none, and others follow. most_bytes: about, of the page;
        None: `PAGE_BYTES`.
        Raises RetryableError, or InvalidInput for an `after` that is none.
        """
        topic = names.dlq_topic(workflow.topic)
        begins = _positions(after)
        lag = await self._waiting(workflow)
        ranges = {number: (max(first, begins.get(number, 0)), end) for number, (first, end) in lag.ranges.items()}
        ranges = {number: (first, end) for number, (first, end) in ranges.items() if first < end}
        if not ranges:
            return DeadLetterPage([], lag.records)
        # From the end: of partitions in which nothing is outstanding nothing is read.
        consumer = await self._bus.consumer(topic, start=Start.LATEST, ahead_bytes=AHEAD_BYTES)
        try:
            reading = _Reading(ranges, limit, wanted, lag.passed, PAGE_BYTES if most_bytes is None else most_bytes)
            for partition, (first, _) in ranges.items():
                await consumer.seek(partition, first)
            if not await reading.read(consumer) and (await self._waiting(workflow)).records:
                raise RetryableError(
                    f"topic {topic} holds {lag.records} dead letters, and {len(reading.found)} of them came within "
                    f"{QUIET_POLLS * POLL_S:g} s: the bus is slow or does not answer; try again"
                )
        finally:
            await consumer.close()
        found = list(islice(_merged(reading.found), limit))
        nexts = reading.nexts(found)
        more = any(nexts[number] < end for number, (_, end) in ranges.items())
        following = ",".join(f"{number}:{offset}" for number, offset in sorted((begins | nexts).items()))
        return DeadLetterPage([letter_of(received) for received in found], lag.records, following if more else None)

    async def passed(self, workflow: Workflow) -> tuple[PartitionRange, ...]:
        """Of what replays of chosen ones have read, what the sinks have not committed. Raises RetryableError."""
        return (await self._waiting(workflow)).passed.ranges

    async def _waiting(self, workflow: Workflow) -> _Waiting:
        """What the sink that has the most of it before it has to replay."""
        topic = names.dlq_topic(workflow.topic)
        if topic not in await self._admin.topics():
            return _Waiting(0, {}, Offsets())
        groups = [names.consumer_group(workflow.queue_id, s.target) for s in workflow.steps if s.role is Role.SINK]
        lags = [await self._admin.lag(topic, group) for group in groups]
        lag = max(lags, key=lambda lag: lag.records, default=Lag(0))
        passed = [
            PartitionRange(one.partition, max(one.first, first), min(one.end, end))
            for one in read_letters(workflow)
            for first, end in [lag.ranges.get(one.partition, (0, 0))]
            if max(one.first, first) < min(one.end, end)
        ]
        return _Waiting(max(0, lag.records - total(passed)), lag.ranges, Offsets(passed))


class _Waiting(msgspec.Struct, frozen=True):
    """How many letters wait, and the ranges of offsets they lie in, by partition, but for those that are `passed`."""

    records: int
    ranges: Mapping[int, tuple[int, int]]
    passed: Offsets


class _Reading:
    """Reads ranges of offsets, by partition: of each `limit` messages at most, and of all about `most_bytes`.

    wanted: which letters count, passed: which do not; then of each partition `SCANNED` messages are read at most.
    """

    def __init__(
        self,
        ranges: Mapping[int, tuple[int, int]],
        limit: int,
        wanted: Callable[[DeadLetter], bool] | None,
        passed: Offsets,
        most_bytes: int,
    ) -> None:
        most = limit if wanted is None and not passed else max(limit, SCANNED)
        self._left = {number: range(first, min(end, first + most)) for number, (first, end) in ranges.items()}
        self._room = dict.fromkeys(ranges, limit)
        self._wanted = wanted
        self._passed = passed
        self._bytes = most_bytes
        self.found: list[Received] = []

    async def read(self, consumer: Consumer) -> bool:
        """Read them; whether all that was to be read has come."""
        quiet = 0
        while count := self._to_read():
            batch = await consumer.poll(min(count, _POLL_MESSAGES), POLL_S)
            taken = sum(self._take(received) for received in batch)
            quiet = 0 if taken else quiet + 1
            if quiet >= QUIET_POLLS:
                return False
        return True

    def nexts(self, given: Iterable[Received]) -> dict[int, int]:
        """By partition, the offset that the page behind this one begins at. given: those of `found` in this one."""
        there = {(one.partition, one.offset) for one in given}
        nexts = {number: left.start for number, left in self._left.items()}
        for one in self.found:
            if (one.partition, one.offset) not in there:
                nexts[one.partition] = min(nexts[one.partition], one.offset)
        return nexts

    def _to_read(self) -> int:
        return 0 if self._bytes <= 0 else sum(len(left) for number, left in self._left.items() if self._room[number])

    def _take(self, received: Received) -> bool:
        """Whether it is one of those that were still to be read."""
        number = received.partition
        left = self._left.get(number, range(0))
        if received.offset < left.start or not left:
            return False
        if self._bytes <= 0 or not self._room[number]:
            return True
        self._left[number] = range(min(received.offset + 1, left.stop), left.stop)
        if received.offset in left and self._counts(received):
            self.found.append(received)
            self._room[number] -= 1
            self._bytes -= len(received.key or b"") + len(received.value)
        return True

    def _counts(self, received: Received) -> bool:
        if self._passed.holds(received.partition, received.offset):
            return False
        return self._wanted is None or self._wanted(letter_of(received))


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


def letter_of(received: Received) -> DeadLetter:
    """The dead letter that a message of its topic is."""
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
        target=headers.get("target"),
        at=(received.partition, received.offset),
    )


def _number(headers: dict[str, str], name: str, otherwise: int) -> int:
    text = headers.get(name, "")
    return int(text) if text.isdecimal() else otherwise
