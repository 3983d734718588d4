"""How messages lie in a log: one row holds a batch of messages, as Kafka's record batches do."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from streamforge_utils.adapters.bus_clients import cuts, sizes_of
from streamforge_utils.adapters.embedded.bus.packed import PackedColumns, pack_of, require_length
from streamforge_utils.model.errors import ConfigError
from streamforge_utils.ports.bus import Message
from streamforge_utils.ports.columns import MessageColumns, ReceivedColumns, decode_columns, encode_columns

BATCH_MESSAGES = 1000
BATCH_BYTES = 1024 * 1024


class Batch(msgspec.Struct, frozen=True, gc=False):
    """Encoded messages. size: bytes as counted against the topic's cap."""

    count: int
    size: int
    body: bytes


class StoredBatch(msgspec.Struct, frozen=True, gc=False):
    """A batch as read. last: the offset of its last message."""

    last: int
    count: int
    timestamp_ms: int
    body: bytes


def pack(topic: str, messages: Sequence[Message], *, batch_bytes: int, message_limit: int) -> list[Batch]:
    """The batches of `messages`, in order.

    Raises PermanentError if a message is larger than `message_limit` bytes, `HEADERS_BYTES` of its headers not counted.
    """
    sizes = sizes_of(topic, messages, message_limit)
    return [
        _batch(messages[first:last], sum(sizes[first:last])) for first, last in cuts(sizes, batch_bytes, BATCH_MESSAGES)
    ]


def unpack(topic: str, batch: StoredBatch, first: int, path: str) -> ReceivedColumns:
    """The messages of `batch`, which lies in the log at `path`, from offset `first` on.

    Raises ConfigError if it is broken; what only shows in a key or value, when they are first asked for.
    """
    source = f"{path}: the batch that ends with offset {batch.last}"
    advice = f"seek beyond it, or delete the topic {topic}"
    base = batch.last - batch.count + 1
    offsets, times = range(base, batch.last + 1), [batch.timestamp_ms] * batch.count
    try:
        pack = pack_of(batch.body, batch.count, source, advice)
        if pack is not None:
            messages: ReceivedColumns = PackedColumns(topic, 0, offsets, times, [pack])
        else:
            keys, values, headers = decode_columns(batch.body)
            require_length(batch.count, len(headers or ()))
            messages = ReceivedColumns(topic, 0, offsets, keys, values, times, headers)
    except (msgspec.MsgspecError, ValueError) as error:
        raise ConfigError(f"{source} is broken ({error}); {advice}") from error
    return messages[first - base :] if first > base else messages


def _batch(messages: Sequence[Message], size: int) -> Batch:
    if isinstance(messages, MessageColumns):
        return Batch(len(messages), size, encode_columns(messages.keys, messages.values))
    body = encode_columns(
        [message.key for message in messages],
        [message.value for message in messages],
        [message.headers for message in messages] if any(message.headers for message in messages) else None,
    )
    return Batch(len(messages), size, body)
