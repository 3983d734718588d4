"""What a sink has left on its topic, where it could not say so itself."""

from __future__ import annotations

from collections.abc import Mapping

from streamforge.manager.parts import Parts
from streamforge.manager.workflow import Step, Workflow
from streamforge_utils.model import names
from streamforge_utils.model.markers import EOS_KEY
from streamforge_utils.ports.bus import Start, TopicPartition
from streamforge_utils.runtime.worker import Role

MARKERS_AMONG = 1000
"""The latest messages, among which end-of-stream markers are looked for: loaders write them last."""

_AHEAD_BYTES = 1024 * 1024
_POLL_S = 1.0
_QUIET_POLLS = 5
"""So often in a row nothing may come of what is known to be there."""


async def unstored(parts: Parts, workflow: Workflow) -> Mapping[str, int]:
    """By target, how many messages each sink of a workflow that was stopped has left, but for markers.

    Of a sink that has told it with its last word nothing is said. Raises RetryableError.
    """
    sinks = [step for step in workflow.steps if step.role is Role.SINK and not _has_told(step)]
    if not sinks or workflow.topic not in await parts.admin.topics():
        return {}
    return {step.target: await _left(parts, workflow, step.target) for step in sinks}


def _has_told(step: Step) -> bool:
    attempt = step.attempt
    return attempt is not None and attempt.last_word == "interrupted" and attempt.own_exit_code is not None


async def _left(parts: Parts, workflow: Workflow, target: str) -> int:
    topic = workflow.topic
    lag = await parts.admin.lag(topic, names.consumer_group(workflow.queue_id, target))
    if not lag.records:
        return 0
    unread = {number: range(max(first, end - MARKERS_AMONG), end) for number, (first, end) in lag.ranges.items()}
    markers = quiet = 0
    consumer = await parts.bus.consumer([topic], start=Start.LATEST, ahead_bytes=_AHEAD_BYTES)
    try:
        for number, offsets in unread.items():
            await consumer.seek(TopicPartition(topic, number), offsets.start)
        while (wanted := sum(map(len, unread.values()))) and quiet < _QUIET_POLLS:
            batch = await consumer.poll(wanted, _POLL_S)
            quiet = 0 if batch else quiet + 1
            for message in batch:
                left = unread.get(message.partition, range(0))
                markers += message.offset in left and message.key == EOS_KEY
                unread[message.partition] = range(max(left.start, message.offset + 1), left.stop)
    finally:
        await consumer.close()
    return max(0, lag.records - markers)
