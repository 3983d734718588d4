"""What a topic is asked to be, and what is remembered of it."""

from __future__ import annotations

import msgspec

from streamforge_utils.adapters.kafka.kafka_connection import MESSAGE_BYTES
from streamforge_utils.ports.bus import Retention, TopicSpec

CAP_GROUP = "wf-caps"
"""The group whose committed offset of a `consumed` topic carries the topic's cap; no member, only notes."""

SEGMENT_LEAST_BYTES = 1024 * 1024
SEGMENT_MOST_BYTES = 256 * 1024 * 1024
_SEGMENTS = 8


class Topic(msgspec.Struct, frozen=True):
    """A topic as the brokers know it. identity: another one if it was made again under the same name."""

    name: str
    identity: str
    partitions: int


class Cap(msgspec.Struct, frozen=True):
    """The bound of a `consumed` topic: what its `readers` have not committed may take `max_bytes`."""

    max_bytes: int
    readers: tuple[str, ...]


def config_of(spec: TopicSpec) -> dict[str, str]:
    """The topic's configuration on the brokers.

    A `rolling` topic forgets whole segments, so they are a fraction of its cap. A `consumed` topic forgets nothing:
    the producer keeps its cap, see `cap.py`. What lies in a `rolling` one, where services talk, is as it was sent: a
    client of others need not know lz4.
    """
    rolling = spec.retention is Retention.ROLLING
    segment = min(SEGMENT_MOST_BYTES, max(SEGMENT_LEAST_BYTES, spec.max_bytes // _SEGMENTS))
    return {
        "cleanup.policy": "delete",
        "compression.type": "producer" if rolling else "lz4",
        "max.message.bytes": str(MESSAGE_BYTES + spec.headers_bytes),
        "message.timestamp.type": "CreateTime",
        "retention.ms": str(int(spec.max_age_s * 1000)) if rolling and spec.max_age_s is not None else "-1",
        "retention.bytes": str(spec.max_bytes) if rolling else "-1",
        "segment.bytes": str(segment),
    }
