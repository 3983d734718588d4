"""Reads a topic of anybody, of any number of partitions, and knows by offsets how much of it was read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence

from streamforge_utils.model.errors import PermanentError, RetryableError
from streamforge_utils.model.json_documents import is_marker
from streamforge_utils.model.messages import decode_marker
from streamforge_utils.model.topic_reading import PartitionRange, Until, union
from streamforge_utils.ports.bus import BusAdmin, Consumer, Received
from streamforge_utils.runtime.input.worker_input import BATCH_RECORDS, Input
from streamforge_utils.runtime.telemetry.instruments import Instruments

PATIENCE_POLLS = 60
"""So many polls in a row that bring a topic no closer to its known end fail the attempt: the bus is slow, another
member reads the topic, or a transaction is open, which a broker aborts after a minute by default.
"""

_SHOWN = 5


class OffsetReader(Input):
    """Iterate over it for batches, markers included; call `done` or `kept` once a batch is stored.

    until: what ends it. ranges: of each partition where it began when the workflow did, and where it then ended;
    without them both are as they are found now.

    With markers it ends where the topic ends once the last producer's is read; the first that counts of a partition is
    never committed, so that a restarted reader finds it again. Where the topic then ended is noted as `ends` once all
    before is stored. A count is one of offsets, over all attempts: what an attempt that was killed had stored and not
    committed may come on top. `drain` ends it with what is read already; drained: it did.

    Not every offset belongs to a message: some are marks of transactions, or were compacted away; these are passed over
    where the consumer's position says so. What the topic has removed before it was read is noted as `skipped` before
    any offset behind it can be committed: a reader that is restarted goes on there, or finds it again.

    Its position is how many offsets were stored or refused since the workflow began, less one.
    """

    def __init__(
        self,
        consumer: Consumer,
        admin: BusAdmin,
        topic: str,
        group: str,
        until: Until,
        ranges: Sequence[PartitionRange],
        instruments: Instruments,
        *,
        batch_records: int = BATCH_RECORDS,
    ) -> None:
        super().__init__(consumer, admin, topic, group, (), instruments, batch_records=batch_records)
        self._until = until
        self._given = {one.partition: one for one in ranges}
        self._producers = set(until.producers)
        self._first: dict[int, int] = {}
        self._next: dict[int, int] = {}
        self._settled: dict[int, int] = {}
        self._begun: dict[int, int] = {}
        self._ends: dict[int, int] | None = None
        self._tail: dict[int, int] = {}
        self._gaps: list[PartitionRange] = []
        self._skipped: tuple[PartitionRange, ...] = ()

    def kept(self, batch: Sequence[Received]) -> None:
        super().kept(batch)
        for message in batch:
            self._settled[message.partition] = message.offset + 1
        if batch:
            self._progress.position = self._count(self._settled) - 1

    async def commit(self) -> None:
        if ended := bool(self._tail) and not self._unstored:
            self._kept.update(self._tail)
            self._tail = {}
        await super().commit()
        if ended and self._until.producers and self._ends is not None and self.note is not None:
            # The commit is held at the markers: how far all is stored is told beside it.
            await self.note({"ends": [f"{one}:{self._first.get(one, 0)}:{end}" for one, end in self._ends.items()]})

    async def _batches(self) -> AsyncIterator[Sequence[Received]]:
        await self._begin()
        quiet = 0
        while not (self._draining or self._is_over()):
            before = dict(self._next)
            batch = self._taken(await self._poll())
            if not batch:
                for partition, offset in (await self._retry(self._consumer.position)).items():
                    if offset > self._next.get(partition, 0):
                        self._reach(partition, offset)
            await self._note_skipped()
            if batch:
                yield batch
            if self._until.producers and not self._producers and self._ends is None:
                found = await self._retry(lambda: self._admin.offsets(self._topic))
                self._ends = {partition: end for partition, (_, end) in found.items()}
            quiet = 0 if batch or self._next != before else quiet + 1
            if quiet == PATIENCE_POLLS and self._ends is not None:
                left = [(p, self._next.get(p, 0), end) for p, end in self._ends.items() if self._next.get(p, 0) < end]
                raise RetryableError(
                    f"{self._topic}: the bus did not deliver "
                    + ", ".join(f"offsets {first} to before {end} of partition {p}" for p, first, end in left[:_SHOWN])
                    + f" in {PATIENCE_POLLS} polls: see whether a transaction on the topic is left open or another "
                    "worker reads it; nothing is lost, the next attempt continues there"
                )
        self.drained = self._draining and not self._is_over()
        if self._ends is not None and not self.drained:
            # What holds no messages is committed, too, once all before it is stored: nothing is left then.
            self._tail = {
                partition: end for partition, end in self._ends.items() if end > self._begun.get(partition, 0)
            }

    async def _begin(self) -> None:
        """Find out where to begin, and where to end if that is known."""
        offsets = await self._retry(lambda: self._admin.offsets(self._topic))
        positions = await self._retry(self._consumer.position)
        lag = await self._retry(lambda: self._admin.lag(self._topic, self._group))
        for given in self._given.values():
            _, end = offsets.get(given.partition, (0, 0))
            if end < given.end:
                raise PermanentError(
                    f"partition {given.partition} of topic {self._topic} ended at offset {given.end} when the workflow "
                    f"began, and ends at {end} now: somebody has made the topic again; store it by a new workflow"
                )
        for partition, (oldest, _) in offsets.items():
            # Of a topic with given ranges, one that is not among them was added since.
            given_ = self._given.get(partition)
            first = oldest if not self._given else 0 if given_ is None else given_.first
            self._first[partition] = first
            # What is another member's to read has no position yet.
            self._next[partition] = max(first, positions.get(partition, lag.committed.get(partition, first)))
        self._settled = dict(self._next)
        self._begun = dict(self._next)
        if self._until.is_end:
            ends = {one.partition: one.end for one in self._given.values()}
            self._ends = ends if self._given else {partition: end for partition, (_, end) in offsets.items()}

    def _taken(self, polled: Sequence[Received]) -> list[Received]:
        """The messages that are to be stored: what lies behind the end, or is more than the count, is left."""
        batch: list[Received] = []
        total = self._count(self._next) if self._until.count else 0
        for message in polled:
            partition, offset = message.partition, message.offset
            if self._ends is not None and offset >= self._ends.get(partition, 0):
                self._reach(partition, offset)
                continue
            if self._until.count and total >= self._until.count:
                break
            total += offset + 1 - self._next.get(partition, 0)
            self._reach(partition, offset)
            self._next[partition] = offset + 1
            batch.append(message)
            if self._producers and is_marker(message.key, message.value):
                self._mark(message)
        return batch

    def _reach(self, partition: int, offset: int) -> None:
        """What lies before `offset` was given, holds no message, or was removed."""
        if self._ends is not None:
            offset = min(offset, self._ends.get(partition, 0))
        known = self._next.get(partition, 0)
        if offset > known:
            self._gaps.append(PartitionRange(partition, known, offset))
        self._next[partition] = offset

    async def _note_skipped(self) -> None:
        """Note which of the offsets that were passed over lie before the topic's oldest message."""
        gaps, self._gaps = self._gaps, []
        if not gaps:
            return
        offsets = await self._retry(lambda: self._admin.offsets(self._topic))
        gaps = [gap for gap in gaps if offsets.get(gap.partition, (0, 0))[0] > gap.first]
        if not gaps:
            return
        # Nothing behind a gap is committed yet but by another member that had the partition until now: it has read it.
        committed = (await self._retry(lambda: self._admin.lag(self._topic, self._group))).committed
        removed = [
            PartitionRange(gap.partition, first, end)
            for gap in gaps
            if (first := max(gap.first, committed.get(gap.partition, 0)))
            < (end := min(gap.end, offsets[gap.partition][0]))
        ]
        if removed:
            self._log.error("the topic removed messages before they were read", offsets=[*map(str, removed)])
            self._skipped = union((*self._skipped, *removed))
            if self.note is not None:
                await self.note({"skipped": [*map(str, self._skipped)]})

    def _mark(self, message: Received) -> None:
        marker = decode_marker(message.value)
        counts = marker.producer in self._producers and marker.reason == "finished"
        self._log.info(
            "end of stream" if counts else "a marker is passed over",
            partition=message.partition,
            offset=message.offset,
            producer=marker.producer,
            reason=marker.reason,
        )
        if counts:
            self._producers.discard(marker.producer)
            self._last_commits.setdefault(message.partition, message.offset)  # it is read again

    def _is_over(self) -> bool:
        if self._until.count:
            return self._count(self._next) >= self._until.count
        return self._ends is not None and all(self._next.get(one, 0) >= end for one, end in self._ends.items())

    def _count(self, reached: Mapping[int, int]) -> int:
        """How many offsets lie between where the workflow began and `reached`."""
        return sum(max(0, offset - self._first.get(partition, 0)) for partition, offset in reached.items())

    async def _unread(self) -> int:
        if self._ends is None:
            return await super()._unread()
        return sum(max(0, end - self._next.get(partition, 0)) for partition, end in self._ends.items())

    def _waits_for(self) -> str:
        if self._producers:
            return f"messages or the end of stream of {', '.join(sorted(self._producers))}"
        if self._until.count:
            return f"{self._until.count - self._count(self._next)} more messages"
        return "messages, until it is stopped" if self._until.is_stop else "the last messages of the topic"
