"""The bus: named topics of ordered records, as Kafka has them. Delivery is at-least-once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Protocol

import msgspec

HEADERS_BYTES = 16 * 1024
"""So much of headers a message may have beyond a bus's limit for one, so that what was taken once can be sent again
with the reason why it was refused.
"""


class Message(msgspec.Struct, frozen=True, gc=False):
    """A message to be sent. Messages with the same key go to the same partition, in order."""

    key: bytes | None
    value: bytes
    headers: tuple[tuple[str, bytes], ...] = ()


class Received(msgspec.Struct, frozen=True, gc=False):
    """A message that was read. timestamp_ms: when it was sent, unix milliseconds."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes
    timestamp_ms: int
    headers: tuple[tuple[str, bytes], ...] = ()


class Retention(StrEnum):
    """When a topic may forget.

    consumed: never above the slowest committed offset of the topic's `readers`; at `max_bytes` the producer waits.
    rolling: the oldest messages go once `max_bytes` is reached, read or not.
    """

    CONSUMED = "consumed"
    ROLLING = "rolling"


class TopicSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A topic to be made, of one partition. readers: the groups that must have committed a message before it may go.

    max_age_s: messages of a `rolling` topic that are older may go, too; None: age is no reason.
    headers_bytes: room for the headers of a message that is as large as any other topic takes.
    """

    name: str
    retention: Retention = Retention.ROLLING
    max_bytes: int = 256 * 1024 * 1024
    readers: tuple[str, ...] = ()
    max_age_s: float | None = None
    headers_bytes: int = 0


class Start(StrEnum):
    """Where a consumer without a group begins."""

    EARLIEST = "earliest"
    LATEST = "latest"


class Lag(msgspec.Struct, frozen=True):
    """What a group has still to read of a topic.

    ranges: where it lies, as offsets [first, end) of each partition that has some. committed: what the group has
    committed, also if that was trimmed, of each partition of which it has.
    """

    records: int
    ranges: Mapping[int, tuple[int, int]] = {}
    committed: Mapping[int, int] = {}


class Producer(Protocol):
    """Sends messages."""

    async def send(self, topic: str, messages: Sequence[Message], *, fleeting: bool = False) -> None:
        """Append `messages` in order; on return every one is confirmed: it survives SIGKILL of any process.

        fleeting: a loss of power may take them (a ping, its answer): a bus need not wait for the disk.
        A `consumed` topic at its cap makes the call wait for its readers.
        Raises RetryableError (the bus does not answer; TopicFull: the cap lasted too long; some of the messages may
        have been appended) or PermanentError (no such topic; TooLarge: a message is larger than the topic takes).
        """

    async def close(self) -> None:
        """Release what the producer holds. Nothing is pending: `send` has confirmed all."""


class Consumer(Protocol):
    """Reads messages. With a group it shares the partitions with the other members and has committed offsets."""

    async def poll(self, max_messages: int, timeout_s: float) -> Sequence[Received]:
        """The next messages, in offset order within a partition; empty when none came within `timeout_s`.

        Raises RetryableError (the bus does not answer) or PermanentError (the topic was deleted).
        """

    async def commit(self, offsets: Mapping[int, int]) -> None:
        """Remember, durably, by partition the offset of its *next* message to read.

        Of a partition that was taken away since it was read, an offset up to which another member has committed changes
        nothing. Raises RetryableError if the partition now belongs to another member that has not come so far: what was
        read of it is read again there.
        """

    async def seek(self, partition: int, offset: int) -> None:
        """Continue reading `partition` at `offset` (an offset already trimmed means the oldest message there is)."""

    async def position(self) -> Mapping[int, int]:
        """The offset of the next message to be given, of each partition that is this consumer's to read.

        Polls move it, also past offsets without a message (trimmed, compacted, marks of transactions): once it has
        come to where a partition ends, nothing is left there. Before a first message was given it is what the group has
        committed, 0 without, even if that was trimmed. Raises RetryableError or PermanentError.
        """

    async def close(self) -> None:
        """Leave the group; another member takes over at once."""


class Bus(Protocol):
    """Makes producers and consumers."""

    async def producer(self, *, bulk: bool = False) -> Producer:
        """A producer, ready to send.

        bulk: for records by the thousand, which are sent compressed where that pays; what others send, every client
        can read.
        """

    async def consumer(
        self,
        topic: str,
        *,
        group: str | None = None,
        start: Start = Start.EARLIEST,
        start_time_ms: int | None = None,
        ahead_bytes: int | None = None,
    ) -> Consumer:
        """A consumer of `topic`, assigned: what is sent after this call returns is seen by it (or by its group).

        group: None reads all partitions and commits nothing; one with a group begins at its committed offset, or at the
        beginning. start: without a group. start_time_ms: begin at the first message sent at or after this time instead.
        ahead_bytes: about how much may be fetched before it is asked for, where little is read; None: what is fast.
        Raises PermanentError if the topic does not exist.
        """

    async def close(self) -> None:
        """Close every producer and consumer made here."""


class BusAdmin(Protocol):
    """Makes, removes and measures topics."""

    async def create_topic(self, spec: TopicSpec) -> None:
        """Make the topic; one that exists is left as it is. Raises PermanentError for an illegal name."""

    async def delete_topic(self, name: str) -> None:
        """Remove the topic with its messages and its groups' offsets; it is no error if there is none."""

    async def topics(self) -> Sequence[str]:
        """The names of all topics, sorted."""

    async def trim(self, topic: str, groups: Sequence[str]) -> None:
        """Remove messages that each of `groups` has committed; some of them may stay, and all others do.

        A group that has committed nothing keeps every message. Raises PermanentError if the topic does not exist.
        """

    async def identity(self, topic: str) -> str:
        """A text that differs once the topic was made again. Raises PermanentError if it does not exist."""

    async def offsets(self, topic: str) -> Mapping[int, tuple[int, int]]:
        """Of every partition the offset of its oldest message and the one after its last: equal where it has none.

        Raises PermanentError if the topic does not exist.
        """

    async def size(self, topic: str) -> int | None:
        """About how many bytes its messages take; None: the bus does not tell. Raises PermanentError if there is none.

        A bus that keeps messages packed tells what they take so.
        """

    async def lag(self, topic: str, group: str) -> Lag:
        """What `group` has still to read of `topic`. Raises PermanentError if the topic does not exist."""
