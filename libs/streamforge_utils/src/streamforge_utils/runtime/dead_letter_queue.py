"""Where records go that can never be stored: the original bytes, and in headers why and whence."""

from __future__ import annotations

from streamforge_utils.model.errors import PermanentError, TopicFull
from streamforge_utils.model.names import dlq_topic
from streamforge_utils.ports.bus import BusAdmin, Message, Producer, Received
from streamforge_utils.runtime.instruments import Instruments
from streamforge_utils.runtime.topic_specs import dead_letters_topic

PATIENCE_S = 60.0
HEADERS = ("reason", "topic", "partition", "offset", "attempt", "time")
"""reason: text. topic, partition, offset: where the record was read first. attempt: of the sink. time: unix ms."""

_ORIGIN = ("topic", "partition", "offset")
REASON_BYTES = 1000
_ORIGIN_BYTES = 300
"""Longer than any name of a topic; what is longer was not written here."""


class DeadLetterQueue:
    """Writes to `<topic>-dlq`; what is read from a dead-letter topic and refused again goes back to its end.

    group: whose replay makes room in it. Nothing is dropped: where it is full, the work ends with an error.
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
    ) -> None:
        self.topic = topic if topic.endswith("-dlq") else dlq_topic(topic)
        self._group = group
        self._producer = producer
        self._admin = admin
        self._attempt = attempt
        self._instruments = instruments

    async def send(self, *refused: tuple[Received, str]) -> None:
        """Keep records, each with its reason; confirmed on return.

        Raises RetryableError (retries are spent) or PermanentError (the topic is full, too).
        """
        if not refused:
            return
        messages = [Message(r.key, r.value, self._headers(r, reason)) for r, reason in refused]
        await self._instruments.retry("dead_letters", lambda: self._send(messages), patience_s=PATIENCE_S)
        self._instruments.progress.refused += len(messages)
        self._instruments.metrics.count("dead_letters", len(messages))

    async def _send(self, messages: list[Message]) -> None:
        try:
            await self._producer.send(self.topic, messages)
        except TopicFull as error:
            reason = dict(messages[-1].headers)["reason"].decode()
            raise PermanentError(
                f"the topic of dead letters {self.topic} is full: more records cannot be stored than it can keep, the "
                f"latest because {reason[:200]}; nothing was dropped: see them with `streamforge dlq list`, remove "
                "the cause, replay them, then retry the workflow"
            ) from error
        except PermanentError:
            # Normally the manager has made the topic.
            if self.topic in await self._admin.topics():
                raise
            await self._admin.create_topic(dead_letters_topic(self.topic, (self._group,)))
            await self._producer.send(self.topic, messages)

    def _headers(self, received: Received, reason: str) -> tuple[tuple[str, bytes], ...]:
        # The headers of a record that comes from elsewhere are its sender's, and may hold anything.
        again = received.headers if received.topic == self.topic else ()
        origin = {name: value for name, value in again if name in _ORIGIN and len(value) <= _ORIGIN_BYTES}
        if len(origin) < len(_ORIGIN):
            origin = {
                "topic": received.topic.encode(),
                "partition": str(received.partition).encode(),
                "offset": str(received.offset).encode(),
            }
        return (
            ("reason", reason.encode(errors="replace")[:REASON_BYTES].decode(errors="ignore").encode()),
            *((name, origin[name]) for name in _ORIGIN),
            ("attempt", str(self._attempt).encode()),
            ("time", str(self._instruments.clock.now_ms()).encode()),
        )
