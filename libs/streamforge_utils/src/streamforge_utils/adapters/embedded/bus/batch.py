"""How messages lie in a log: one row holds a batch of messages of one partition, as Kafka's record batches do."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import msgspec

from streamforge_utils.adapters.embedded.bus.packed import PackedColumns, pack_of, require_length
from streamforge_utils.model.errors import ConfigError, PermanentError
from streamforge_utils.ports.bus import HEADERS_BYTES, Message
from streamforge_utils.ports.columns import MessageColumns, ReceivedColumns, decode_columns, encode_columns

BATCH_MESSAGES = 1000
BATCH_BYTES = 1024 * 1024

_MESSAGE_OVERHEAD = 16  # lengths and the like, so that many tiny messages count for what they take


class Batch(msgspec.Struct, frozen=True, gc=False):
    """Encoded messages of one partition. size: bytes as counted against the topic's cap."""

    partition: int
    count: int
    size: int
    body: bytes


class StoredBatch(msgspec.Struct, frozen=True, gc=False):
    """A batch as read. last: the offset of its last message."""

    last: int
    count: int
    timestamp_ms: int
    body: bytes


def partition_of(key: bytes, partitions: int) -> int:
    """The partition of a key; the same in every process (CRC-32, as librdkafka's default partitioner)."""
    return zlib.crc32(key) % partitions


def pack(
    topic: str, messages: Sequence[Message], partitions: int, turn: int, *, batch_bytes: int, message_limit: int
) -> list[Batch]:
    """The batches of `messages`, in order within a partition.

    turn: the partition of the first message without a key; the following ones take turns.
    Raises PermanentError if a message is larger than `message_limit` bytes, `HEADERS_BYTES` of its headers not counted.
    """
    sizes = _sizes(messages)
    if sizes and max(sizes) > message_limit:
        for at, size in enumerate(sizes):
            if size > message_limit and size - min(_headers_size(messages[at]), HEADERS_BYTES) > message_limit:
                raise PermanentError(
                    f"topic {topic}: message {at} of {len(messages)} (key {(messages[at].key or b'')[:80]!r}) has "
                    f"{size} bytes, more than the limit of {message_limit}; send less in one message"
                )
    if partitions == 1:
        return _cut(0, messages, sizes, batch_bytes)
    shares: list[list[int]] = [[] for _ in range(partitions)]
    for at, message in enumerate(messages):
        if message.key is None:
            shares[turn % partitions].append(at)
            turn += 1
        else:
            shares[partition_of(message.key, partitions)].append(at)
    batches: list[Batch] = []
    for partition, share in enumerate(shares):
        batches += _cut(partition, [messages[at] for at in share], [sizes[at] for at in share], batch_bytes)
    return batches


def unpack(topic: str, partition: int, batch: StoredBatch, first: int, path: str) -> ReceivedColumns:
    """The messages of `batch`, which lies in the log at `path`, from offset `first` on.

    Raises ConfigError if it is broken; what only shows in a key or value, when they are first asked for.
    """
    source = f"{path}: the batch that ends with offset {batch.last} of partition {partition}"
    advice = f"seek beyond it, or delete the topic {topic}"
    base = batch.last - batch.count + 1
    offsets, times = range(base, batch.last + 1), [batch.timestamp_ms] * batch.count
    try:
        pack = pack_of(batch.body, batch.count, source, advice)
        if pack is not None:
            messages: ReceivedColumns = PackedColumns(topic, partition, offsets, times, [pack])
        else:
            keys, values, headers = decode_columns(batch.body)
            require_length(batch.count, len(headers or ()))
            messages = ReceivedColumns(topic, partition, offsets, keys, values, times, headers)
    except (msgspec.MsgspecError, ValueError) as error:
        raise ConfigError(f"{source} is broken ({error}); {advice}") from error
    return messages[first - base :] if first > base else messages


def _sizes(messages: Sequence[Message]) -> list[int]:
    if isinstance(messages, MessageColumns):
        return [
            len(value) + _MESSAGE_OVERHEAD + (0 if key is None else len(key))
            for key, value in zip(messages.keys, messages.values, strict=True)
        ]
    return [_size(message) for message in messages]


def _size(message: Message) -> int:
    size = len(message.value) + _MESSAGE_OVERHEAD
    if message.key is not None:
        size += len(message.key)
    return size + _headers_size(message)


def _headers_size(message: Message) -> int:
    return sum(len(name.encode()) + len(value) for name, value in message.headers) if message.headers else 0


def _cut(partition: int, messages: Sequence[Message], sizes: Sequence[int], batch_bytes: int) -> list[Batch]:
    batches: list[Batch] = []
    start, total = 0, 0
    for at, size in enumerate(sizes):
        if at > start and (at - start == BATCH_MESSAGES or total + size > batch_bytes):
            batches.append(_batch(partition, messages[start:at], total))
            start, total = at, 0
        total += size
    if messages:
        batches.append(_batch(partition, messages[start:], total))
    return batches


def _batch(partition: int, messages: Sequence[Message], size: int) -> Batch:
    if isinstance(messages, MessageColumns):
        return Batch(partition, len(messages), size, encode_columns(messages.keys, messages.values))
    body = encode_columns(
        [message.key for message in messages],
        [message.value for message in messages],
        [message.headers for message in messages] if any(message.headers for message in messages) else None,
    )
    return Batch(partition, len(messages), size, body)
