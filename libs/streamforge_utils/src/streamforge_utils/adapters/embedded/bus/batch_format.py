"""How a log stores messages: a row holds a batch, its keys, values and headers as columns in one MessagePack text."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, repeat

import msgspec

from streamforge_utils.adapters.bus_clients import columns_size, cuts, sizes_of
from streamforge_utils.model.errors import ConfigError
from streamforge_utils.ports.bus import Message
from streamforge_utils.ports.columns import Headers, MessageColumns, ReceivedColumns

BATCH_MESSAGES = 1000
BATCH_BYTES = 1024 * 1024

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[list[bytes | None], list[bytes], list[Headers] | None]).decode
"""The headers are None if no message has any."""


class Batch(msgspec.Struct, frozen=True, gc=False):
    """Encoded messages, to be stored. size: bytes as counted against the topic's cap."""

    count: int
    size: int
    body: bytes


class StoredBatch(msgspec.Struct, frozen=True, gc=False):
    """A batch as read from the log. last: the offset of its last message."""

    last: int
    count: int
    timestamp_ms: int
    body: bytes


def join(parts: Sequence[ReceivedColumns]) -> ReceivedColumns:
    """All of `parts`, which are of one partition and follow each other; at least one."""
    first, last = parts[0], parts[-1]
    if len(parts) == 1:
        return first
    count = sum(map(len, parts))
    dense = last.offsets[-1] - first.offsets[0] + 1 == count
    offsets: Sequence[int] = (
        range(first.offsets[0], last.offsets[-1] + 1) if dense else [*chain(*(part.offsets for part in parts))]
    )
    with_headers = any(part.headers for part in parts)
    return ReceivedColumns(
        first.topic,
        first.partition,
        offsets,
        [*chain(*(part.keys for part in parts))],
        [*chain(*(part.values for part in parts))],
        [*chain(*(part.timestamps_ms for part in parts))],
        [*chain(*(part.headers or repeat((), len(part)) for part in parts))] if with_headers else None,
    )


def pack(topic: str, messages: Sequence[Message], *, batch_bytes: int, message_limit: int) -> list[Batch]:
    """The batches of `messages`, in order.

    Raises PermanentError if a message is larger than `message_limit` bytes, `HEADERS_BYTES` of its headers not counted.
    """
    if isinstance(messages, MessageColumns):
        whole = [messages[first : first + BATCH_MESSAGES] for first in range(0, len(messages), BATCH_MESSAGES)]
        lengths = [columns_size(part) for part in whole]
        if max(lengths, default=0) <= min(batch_bytes, message_limit):  # no message needs a look: a third faster
            return [_batch(part, size) for part, size in zip(whole, lengths, strict=True)]
    sizes = sizes_of(topic, messages, message_limit)
    return [
        _batch(messages[first:last], sum(sizes[first:last])) for first, last in cuts(sizes, batch_bytes, BATCH_MESSAGES)
    ]


def unpack(topic: str, batch: StoredBatch, first: int, path: str) -> ReceivedColumns:
    """The messages of `batch`, which lies in the log at `path`, from offset `first` on.

    Raises ConfigError if it is broken.
    """
    try:
        keys, values, headers = _decode(batch.body)
        if any(len(column) != batch.count for column in (keys, values, headers) if column is not None):
            raise ValueError("it does not hold as many messages as it says")
    except (msgspec.MsgspecError, ValueError) as error:
        raise ConfigError(
            f"{path}: the batch that ends with offset {batch.last} is broken ({error}); seek beyond it, or delete the "
            f"topic {topic}"
        ) from error
    base = batch.last - batch.count + 1
    offsets, times = range(base, batch.last + 1), [batch.timestamp_ms] * batch.count
    messages = ReceivedColumns(topic, 0, offsets, keys, values, times, headers)
    return messages[first - base :] if first > base else messages


def _batch(messages: Sequence[Message], size: int) -> Batch:
    if isinstance(messages, MessageColumns):
        return Batch(len(messages), size, _encode((messages.keys, messages.values, None)))
    keys, values = [message.key for message in messages], [message.value for message in messages]
    headers = [message.headers for message in messages] if any(message.headers for message in messages) else None
    return Batch(len(messages), size, _encode((keys, values, headers)))
