"""The dead letters of a workflow: what its sinks could not store and nobody has replayed yet."""

from __future__ import annotations

from collections.abc import Sequence

from streamforge.manager.service import DeadLetter
from streamforge.manager.workflow import Workflow
from streamforge_utils.model import names
from streamforge_utils.ports.bus import Bus, BusAdmin, Received
from streamforge_utils.runtime.worker import Role


class DeadLetters:
    """Reads the topics of dead letters. A replay commits what it has read; only what is behind that is outstanding."""

    def __init__(self, bus: Bus, admin: BusAdmin) -> None:
        self._bus = bus
        self._admin = admin

    async def outstanding(self, workflow: Workflow) -> int:
        """How many there are. Raises RetryableError."""
        topic = names.dlq_topic(workflow.topic)
        if topic not in await self._admin.topics():
            return 0
        groups = [names.consumer_group(workflow.queue_id, s.target) for s in workflow.steps if s.role is Role.SINK]
        return max([(await self._admin.lag(topic, group)).records for group in groups], default=0)

    async def read(self, workflow: Workflow, *, limit: int) -> Sequence[DeadLetter]:
        """The oldest `limit` of them. Raises RetryableError."""
        topic = names.dlq_topic(workflow.topic)
        count = await self.outstanding(workflow)
        if not count:
            return []
        letters: list[DeadLetter] = []
        consumer = await self._bus.consumer([topic])
        try:
            seen: list[Received] = []
            while batch := await consumer.poll(1000, 0.2):
                seen += batch
                if len(seen) > count + limit:  # all that can be asked for lies in the last `count`
                    seen = seen[-(count + limit) :]
            letters = [_letter(received) for received in seen[-count:][:limit]]
        finally:
            await consumer.close()
        return letters


def _letter(received: Received) -> DeadLetter:
    headers = {name: value.decode("utf-8", "replace") for name, value in received.headers}
    return DeadLetter(
        topic=headers.get("topic", received.topic),
        partition=_number(headers, "partition", received.partition),
        offset=_number(headers, "offset", received.offset),
        attempt=_number(headers, "attempt", 0),
        reason=headers.get("reason", ""),
        time_ms=_number(headers, "time", received.timestamp_ms),
        key=received.key,
        value=received.value,
    )


def _number(headers: dict[str, str], name: str, otherwise: int) -> int:
    text = headers.get(name, "")
    return int(text) if text.isdecimal() else otherwise
