"""Writes a worker's data topic, and dead letters: records that could not be stored.

Where the data topic is at its cap, `Output` waits for its readers.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence

from streamforge_utils.model.errors import PermanentError, TooLarge, TopicFull
from streamforge_utils.model.messages import EOS_KEY, EndOfStream, encode_marker
from streamforge_utils.model.names import dlq_topic
from streamforge_utils.ports.bus import BusAdmin, Message, Producer, Received
from streamforge_utils.runtime.output.topic_specs import dead_letters_topic
from streamforge_utils.runtime.telemetry.instruments import Instruments

BATCH_RECORDS = 5000
PATIENCE_S = 60.0
_IN_FLIGHT_LIMIT_S = 5.0  # less than a worker has to stop, by default


class Output:
    """Writes to one topic, in order. downstream: the consumer groups whose lag is measured."""

    def __init__(
        self,
        producer: Producer,
        admin: BusAdmin,
        topic: str,
        instruments: Instruments,
        *,
        downstream: Sequence[str] = (),
    ) -> None:
        self._producer = producer
        self._admin = admin
        self._topic = topic
        self._downstream = downstream
        self._instruments = instruments
        self._progress, self._metrics = instruments.progress, instruments.metrics

    async def write(self, records: Sequence[Message]) -> None:
        """Append `records` in order; on return every one is confirmed by the bus.

        Waits while the topic is full. A cancelled call still waits a moment for messages that are being sent.
        Raises RetryableError (retries are spent, or the topic stayed full) or PermanentError.
        """
        for start in range(0, len(records), BATCH_RECORDS):
            messages = records[start : start + BATCH_RECORDS]
            await self._send(messages, counted=True)
            self._metrics.observe("batch_records", len(messages), direction="written")

    async def close_stream(self, marker: EndOfStream) -> None:
        """Write the end-of-stream marker; raises as `write` does."""
        await self._send([Message(EOS_KEY, encode_marker(marker))], counted=False)

    async def measure(self) -> None:
        """Bring the progress's lag up to date: that of the slowest downstream group."""
        lags = [(await self._admin.lag(self._topic, group)).records for group in self._downstream]
        if lags:
            self._progress.lag = max(lags)

    async def _send(self, messages: Sequence[Message], *, counted: bool) -> None:
        async def once() -> None:
            sending = asyncio.ensure_future(self._producer.send(self._topic, messages))
            try:
                await asyncio.shield(sending)
            except asyncio.CancelledError:
                # The bus may take the messages all the same: nothing may be sent after them before that is known.
                await asyncio.wait([sending], timeout=_IN_FLIGHT_LIMIT_S)
                if not sending.done():
                    sending.cancel()
                elif not sending.cancelled() and sending.exception() is None and counted:
                    self._count(len(messages))
                raise

        await self._instruments.retry("records", once, patience_s=PATIENCE_S, waits="bus")
        if counted:
            self._count(len(messages))

    def _count(self, records: int) -> None:
        self._progress.records += records
        self._metrics.count("records", records)


HEADERS = ("reason", "topic", "partition", "offset", "attempt", "time", "target", "size", "sha256")
"""reason: text. topic, partition, offset: where the record was read first. attempt: of the sink. time: unix ms.

target: the sink.

size, sha256: of the value of a record that was cut, as it is too large for a topic of dead letters.
"""

CUT_BYTES = 64 * 1024
"""So much is kept of a key or value that was cut."""

_CUT_MARK = b"\n[cut]"
"""Behind a value that was cut: so it is no record, also where its beginning alone would be one."""

_ORIGIN, _CUT = ("topic", "partition", "offset"), ("size", "sha256")
REASON_BYTES = 1000
_ORIGIN_BYTES = 300
"""Longer than any name of a topic; a longer header was not written by this class."""


class DeadLetterQueue:
    """Writes to `<topic>-dlq`; what is read from a dead-letter topic and refused again goes back to its end.

    Of a record that is larger than the topic takes the beginning is kept, with the size and the hash of the whole.

    group: the group whose replay frees space in the topic. Nothing is dropped: if it is full, the work fails.
    dead_letters: the topic that is written to instead; whoever reads a topic that is not ours names one.
    """

    def __init__(
        self,
        producer: Producer,
        admin: BusAdmin,
        topic: str,
        group: str,
        instruments: Instruments,
        *,
        attempt: int,
        dead_letters: str | None = None,
    ) -> None:
        self.topic = dead_letters or (topic if topic.endswith("-dlq") else dlq_topic(topic))
        self._group = group
        self._producer = producer
        self._admin = admin
        self._attempt = attempt
        self._target = instruments.target
        self._instruments = instruments

    async def send(self, *refused: tuple[Received, str]) -> None:
        """Write records, each with its reason; all are confirmed on return.

        Raises RetryableError (retries are spent) or PermanentError (the topic is full, too).
        """
        if not refused:
            return
        messages = [Message(r.key, r.value, self._headers(r, reason)) for r, reason in refused]
        try:
            await self._patiently(messages)
        except TooLarge:
            if len(refused) > 1:
                for one in refused:
                    await self.send(one)
                return
            messages = [_cut(messages[0])]
            await self._patiently(messages)
        self._instruments.progress.refused += len(messages)
        self._instruments.metrics.count("dead_letters", len(messages))

    async def _patiently(self, messages: list[Message]) -> None:
        await self._instruments.retry("dead_letters", lambda: self._send(messages), patience_s=PATIENCE_S)

    async def _send(self, messages: list[Message]) -> None:
        try:
            await self._producer.send(self.topic, messages)
        except TopicFull as error:
            reason = dict(messages[-1].headers).get("reason", b"").decode(errors="replace")
            raise PermanentError(
                f"the topic of dead letters {self.topic} is full: more records cannot be stored than it can keep, the "
                f"latest because {reason[:200]}; nothing was dropped: see them with `streamforge dlq list`, remove "
                "the cause, replay them, then retry the workflow"
            ) from error
        except TooLarge:
            raise
        except PermanentError:
            # Normally the manager has made the topic.
            if self.topic in await self._admin.topics():
                raise
            await self._admin.create_topic(dead_letters_topic(self.topic, (self._group,)))
            await self._producer.send(self.topic, messages)

    def _headers(self, received: Received, reason: str) -> tuple[tuple[str, bytes], ...]:
        # The headers of a record from another topic were written by its sender, and may hold anything.
        again = received.headers if received.topic == self.topic else ()
        origin = {name: value for name, value in again if name in _ORIGIN and len(value) <= _ORIGIN_BYTES}
        if len(origin) < len(_ORIGIN):
            origin = {
                "topic": received.topic.encode(),
                "partition": str(received.partition).encode(),
                "offset": str(received.offset).encode(),
            }
        cut = tuple((name, value) for name, value in again if name in _CUT and len(value) <= _ORIGIN_BYTES)
        return (
            ("reason", _short(reason)),
            *((name, origin[name]) for name in _ORIGIN),
            ("target", self._target.encode()),
            ("attempt", str(self._attempt).encode()),
            ("time", str(self._instruments.clock.now_ms()).encode()),
            *cut,
        )


def _short(reason: str) -> bytes:
    return reason.encode(errors="replace")[:REASON_BYTES].decode(errors="ignore").encode()


def _cut(letter: Message) -> Message:
    """The beginning of a letter, with what tells whether a copy of its record is whole."""
    size, digest = str(len(letter.value)), hashlib.sha256(letter.value).hexdigest()
    (_, reason), *others = letter.headers
    why = f"too large for a dead letter, of its {size} bytes (SHA-256 {digest}) the first are kept; {reason.decode()}"
    headers = (("reason", _short(why)), *others, ("size", size.encode()), ("sha256", digest.encode()))
    return Message(letter.key and letter.key[:CUT_BYTES], letter.value[:CUT_BYTES] + _CUT_MARK, headers)
