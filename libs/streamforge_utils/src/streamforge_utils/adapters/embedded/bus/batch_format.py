"""How a log stores messages: a row holds a batch as encoded columns, which are decoded when they are first read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, repeat
from typing import Any, overload

import msgspec

from streamforge_utils.adapters.bus_clients import columns_size, cuts, sizes_of
from streamforge_utils.model.errors import ConfigError
from streamforge_utils.ports.bus import Message, Received
from streamforge_utils.ports.columns import (
    Encoded,
    MessageColumns,
    ReceivedColumns,
    decode_columns,
    encode_columns,
)

BATCH_MESSAGES = 1000
BATCH_BYTES = 1024 * 1024

_SMALL_ARRAY, _ARRAY_16, _ARRAY_32 = 0x90, 0xDC, 0xDD  # MessagePack's
_NIL = b"\xc0"

_decode_sections = msgspec.msgpack.Decoder(tuple[msgspec.Raw, msgspec.Raw, msgspec.Raw]).decode


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


class Pack(msgspec.Struct, frozen=True, gc=False):
    """Some of the messages of an encoded batch without headers.

    body: what `encode_columns` gives. keys_end: where the keys end in it. start, end: the chosen messages among all.
    source: where the body comes from, for errors. advice: what to do if it is broken.
    """

    body: bytes
    keys_end: int
    start: int
    end: int
    source: str
    advice: str

    def __len__(self) -> int:
        return self.end - self.start

    def columns(self) -> tuple[list[bytes | None], list[bytes]]:
        """Keys and values. Raises ConfigError if the body is broken."""
        try:
            keys, values, _ = decode_columns(self.body)
        except msgspec.MsgspecError as error:
            raise ConfigError(f"{self.source} is broken ({error}); {self.advice}") from error
        return keys[self.start : self.end], values[self.start : self.end]


class PackedColumns(ReceivedColumns):
    """The messages of packs; they are decoded when one is first asked for, which raises ConfigError if that fails."""

    __slots__ = ("_decoded", "packs")

    def __init__(
        self, topic: str, partition: int, offsets: Sequence[int], timestamps_ms: Sequence[int], packs: Sequence[Pack]
    ) -> None:
        super().__init__(topic, partition, offsets, (), (), timestamps_ms)
        self.packs = packs
        self._decoded = False

    def read(self) -> tuple[Sequence[bytes | None], Sequence[bytes]]:
        if not self._decoded:
            found = [pack.columns() for pack in self.packs]
            keys, values = chain(*(keys for keys, _ in found)), chain(*(values for _, values in found))
            self._columns = found[0] if len(found) == 1 else ([*keys], [*values])
            self._decoded = True
        return self._columns

    def has_key(self, key: bytes) -> bool:
        # Mostly no message has it, and then nothing is decoded.
        return any(pack.body.find(key, 0, pack.keys_end) >= 0 for pack in self.packs) and super().has_key(key)

    def encoded(self) -> Iterator[Encoded]:
        return ((pack.body, pack.start, pack.end) for pack in self.packs)

    @overload
    def __getitem__(self, at: int) -> Received: ...
    @overload
    def __getitem__(self, at: slice) -> ReceivedColumns: ...
    def __getitem__(self, at: int | slice) -> Received | ReceivedColumns:
        if isinstance(at, slice):
            start, end, step = at.indices(len(self))
            if step == 1:
                packs = _cut(self.packs, start, end)
                return PackedColumns(self.topic, self.partition, self.offsets[at], self.timestamps_ms[at], packs)
        return super().__getitem__(at)


def pack_of(body: bytes, count: int, source: str, advice: str) -> Pack | None:
    """The pack of a batch of `count` messages; None if they have headers.

    Raises MsgspecError or ValueError if the body is broken: cut off, or of another length. Item types are
    checked only on decoding.
    """
    keys, values, headers = [memoryview(section) for section in _decode_sections(body)]
    require_length(count, _length(keys), _length(values))
    return Pack(body, 1 + len(keys), 0, count, source, advice) if headers == _NIL else None


def require_length(count: int, *lengths: int) -> None:
    """Raise ValueError if a batch of `count` messages has columns of other lengths."""
    if any(length != count for length in lengths):
        raise ValueError("it does not hold as many messages as it says")


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
    times = [*chain(*(part.timestamps_ms for part in parts))]
    packed = [part.packs for part in parts if isinstance(part, PackedColumns)]
    if len(packed) == len(parts):
        return PackedColumns(first.topic, first.partition, offsets, times, [*chain(*packed)])
    columns = [part.read() for part in parts]
    return ReceivedColumns(
        first.topic,
        first.partition,
        offsets,
        [*chain(*(keys for keys, _ in columns))],
        [*chain(*(values for _, values in columns))],
        times,
        [*chain(*(part.headers or repeat((), len(part)) for part in parts))],
    )


def _cut(packs: Sequence[Pack], start: int, end: int) -> list[Pack]:
    """The packs of the messages from `start` to before `end`, counted over all of `packs`."""
    found: list[Pack] = []
    first = 0
    for pack in packs:
        low, high = max(start - first, 0), min(end - first, len(pack))
        if low < high:
            found.append(msgspec.structs.replace(pack, start=pack.start + low, end=pack.start + high))
        first += len(pack)
    return found


def _length(array: Any) -> int:
    """How many items an encoded array has; -1 if it is none."""
    kind = array[0]
    if kind & 0xF0 == _SMALL_ARRAY:
        return int(kind & 0x0F)
    if kind in (_ARRAY_16, _ARRAY_32):
        return int.from_bytes(array[1 : 3 if kind == _ARRAY_16 else 5], "big")
    return -1


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

    Raises ConfigError if it is broken; for a broken key or value only when the messages are first read.
    """
    source = f"{path}: the batch that ends with offset {batch.last}"
    advice = f"seek beyond it, or delete the topic {topic}"
    base = batch.last - batch.count + 1
    offsets, times = range(base, batch.last + 1), [batch.timestamp_ms] * batch.count
    try:
        encoded = pack_of(batch.body, batch.count, source, advice)
        if encoded is not None:
            messages: ReceivedColumns = PackedColumns(topic, 0, offsets, times, [encoded])
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
