"""Reads a worker's data topic in batches, until every producer has closed its stream, and commits the offsets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any

from streamforge_utils.model.errors import PermanentError, RetryableError
from streamforge_utils.model.messages import EOS_KEY, EndOfStream, decode_marker
from streamforge_utils.model.topic_reading import Upstream
from streamforge_utils.ports.bus import BusAdmin, Consumer, Received
from streamforge_utils.ports.columns import ends_of, has_key, last_offset_of
from streamforge_utils.runtime.telemetry.instruments import Instruments

BATCH_RECORDS = 5000
PATIENCE_S = 60.0
_POLL_S = 1.0
_EMPTY_POLLS = 15
"""So many polls in a row without a message fail a replay: the bus is slow, or no longer has what it counted."""


class Input:
    """Iterate over it for batches; call `done` once a batch is stored.

    It ends once it has read a marker that counts of every upstream producer: one with reason `finished`, of at least
    the attempt that `Upstream` names. Other markers are passed over. Nothing behind the last of these markers is read,
    so that a restarted sink reads that one again. The others are committed past: the manager tells a sink that it
    starts again which producers have `ended`, and such a one counts once all is read that the topic held at the start.

    After `drain` it also ends at the end of the log, if the producers have ended or each has marked its stream as
    `interrupted`; drained: whether it ended so. Without `drain` an `interrupted` marker ends nothing: another attempt
    of its producer follows.

    note: publishes what was found while reading, and returns when that is confirmed.

    replay: the topic holds dead letters and no markers. It ends where the topic ended when reading began; what is
    appended meanwhile (records that are refused once more) is for the next replay.
    """

    def __init__(
        self,
        consumer: Consumer,
        admin: BusAdmin,
        topic: str,
        group: str,
        upstream: Sequence[Upstream],
        instruments: Instruments,
        *,
        replay: bool = False,
        batch_records: int = BATCH_RECORDS,
    ) -> None:
        self._consumer = consumer
        self._admin = admin
        self._topic = topic
        self._group = group
        self._missing = {one.producer: one.attempt for one in upstream}
        self._ended = {one.producer for one in upstream if one.ended}
        self._replay = replay
        self._batch_records = batch_records
        self._committing = asyncio.Lock()
        self._kept: dict[int, int] = {}
        self._held: dict[int, int] = {}
        self._read: dict[int, int] = {}
        self._unstored = 0
        self._interrupted: set[str] = set()
        self._draining = self._upstream_ended = False
        self.drained = False
        self.note: Callable[[Mapping[str, Any]], Awaitable[None]] | None = None
        self._last_commits: dict[int, int] = {}
        self._progress, self._metrics, self._log = instruments.progress, instruments.metrics, instruments.log
        self._retry = partial(instruments.retry, "input", patience_s=PATIENCE_S, waits="input")

    async def __aiter__(self) -> AsyncIterator[Sequence[Received]]:
        async for batch in self._batches():
            self._metrics.observe("batch_records", len(batch), direction="read")
            self._unstored += len(batch)
            yield batch
        self._progress.wait("input", None)

    def _batches(self) -> AsyncIterator[Sequence[Received]]:
        return self._to_the_end() if self._replay else self._to_the_markers()

    async def done(self, batch: Sequence[Received]) -> None:
        """All of `batch` is stored or in the dead-letter topic: commit it; raises as `commit`."""
        self.kept(batch)
        await self.commit()

    def kept(self, batch: Sequence[Received]) -> None:
        """As `done`, but without a commit: the next `commit` includes it."""
        self._kept.update(ends_of(batch))
        self._unstored -= len(batch)
        if batch:
            self._progress.position = last_offset_of(batch)

    def hold(self, batch: Sequence[Received]) -> None:
        """As `kept`, but no commit includes it before `release`: what is made of it is not stored for good."""
        kept, self._kept = self._kept, {}
        self.kept(batch)
        self._held |= self._kept
        self._kept = kept

    def release(self) -> None:
        """All that was held is stored: the next `commit` includes it."""
        self._kept |= self._held
        self._held = {}

    async def commit(self) -> None:
        """Commit each partition up to the last record that was stored or dead-lettered.

        Raises RetryableError if a partition belongs to another member that does not come so far within `PATIENCE_S`.
        """
        async with self._committing:  # one after another: an older commit must not undo a newer one
            offsets, self._kept = self._kept, {}
            for partition, last in self._last_commits.items():
                if partition in offsets:
                    offsets[partition] = min(offsets[partition], last)
            if offsets:
                await self._retry(lambda: self._consumer.commit(offsets))

    async def measure(self) -> None:
        """Bring the progress's lag up to date: what is not stored. Markers that were read are no part of it.

        Raises RetryableError or PermanentError.
        """
        self._progress.lag = await self.left()

    def drain(self, *, upstream_ended: bool) -> None:
        """Read on to the end of the log, then end. upstream_ended: nothing more is written to the topic."""
        self._draining = True
        self._upstream_ended = self._upstream_ended or upstream_ended

    async def left(self) -> int:
        """How many messages are not stored yet, at most: markers that were not read yet are counted too.

        Raises RetryableError or PermanentError.
        """
        return await self._unread() + self._unstored

    async def _unread(self) -> int:
        lag = await self._admin.lag(self._topic, self._group)
        return sum(
            max(0, end - max(first, self._read.get(partition, 0))) for partition, (first, end) in lag.ranges.items()
        )

    async def _is_drained(self) -> bool:
        # Looked at before the log's end is asked for: all that the producers have written lies before that end.
        ended = self._upstream_ended or self._missing.keys() <= self._interrupted | self._ended
        unread = await self._retry(self._unread)
        return ended and not unread

    async def _to_the_markers(self) -> AsyncIterator[Sequence[Received]]:
        held = (await self._retry(lambda: self._admin.lag(self._topic, self._group))).ranges if self._ended else {}
        while True:
            if self._ended and all(self._read.get(partition, first) >= end for partition, (first, end) in held.items()):
                self._missing = {one: least for one, least in self._missing.items() if one not in self._ended}
                self._ended = set()
            if not self._missing:
                return
            if self._draining and await self._is_drained():
                self.drained = True
                return
            batch = self._without_markers(await self._poll())
            if batch:
                yield batch

    async def _to_the_end(self) -> AsyncIterator[Sequence[Received]]:
        lag = await self._retry(lambda: self._admin.lag(self._topic, self._group))
        left = lag.records
        empty = 0
        while left > 0:
            batch = (await self._poll())[:left]
            left -= len(batch)
            empty = 0 if batch else empty + 1
            if batch:
                yield batch
            elif empty == _EMPTY_POLLS:
                raise RetryableError(
                    f"{self._topic}: the bus did not deliver the last {left} of {lag.records} messages in "
                    f"{_EMPTY_POLLS} polls of {_POLL_S:g} s each; they are kept, and the next attempt reads them"
                )

    async def _poll(self) -> Sequence[Received]:
        polled = await self._retry(lambda: self._consumer.poll(self._batch_records, _POLL_S))
        self._progress.wait("input", None if polled else self._waits_for())
        if polled:
            self._read.update(ends_of(polled))
        return polled

    def _waits_for(self) -> str:
        return f"records or the end of stream of {', '.join(self._missing)}" if self._missing else "records"

    def _without_markers(self, polled: Sequence[Received]) -> Sequence[Received]:
        if not has_key(polled, EOS_KEY):
            return polled
        batch: list[Received] = []
        for message in polled:
            if message.key != EOS_KEY:
                batch.append(message)
            elif self._counts(message) and not self._missing:
                break
        return batch

    def _counts(self, message: Received) -> bool:
        try:
            marker = decode_marker(message.value)
        except PermanentError as error:
            self._log.warning("a marker is passed over", offset=message.offset, error=str(error)[:200])
            return False
        expected = self._expects(marker)
        counts = expected and marker.reason == "finished"
        if expected and not counts:
            self._interrupted.add(marker.producer)
        self._log.info(
            "end of stream" if counts else "a marker is passed over",
            offset=message.offset,
            producer=marker.producer,
            marker_attempt=marker.attempt,
            records=marker.records,
            reason=marker.reason,
        )
        if counts:
            self._missing.pop(marker.producer)
        return counts

    def _expects(self, marker: EndOfStream) -> bool:
        least = self._missing.get(marker.producer)
        return least is not None and marker.attempt >= least
