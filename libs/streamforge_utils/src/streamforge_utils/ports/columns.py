"""Messages and documents by the thousand, as columns: sequences that make an item only when it is asked for.

An adapter that has columns anyway hands them on as they are, and who works on columns gets them without the items.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, repeat
from typing import overload

from streamforge_utils.ports.bus import Message, Received, TopicPartition
from streamforge_utils.ports.packed import Headers, Pack, cut
from streamforge_utils.ports.store import Document


class ReceivedColumns(Sequence[Received]):
    """Messages of one partition in the order of their offsets. headers: None if no message has any.

    packs: the messages encoded, if they came so: their keys and values are read when they are first asked for, which
    raises ConfigError if that cannot be done.
    """

    __slots__ = ("_read", "headers", "offsets", "packs", "partition", "timestamps_ms", "topic")

    def __init__(
        self,
        topic: str,
        partition: int,
        offsets: Sequence[int],
        keys: Sequence[bytes | None],
        values: Sequence[bytes],
        timestamps_ms: Sequence[int],
        headers: Sequence[Headers] | None = None,
    ) -> None:
        self.topic = topic
        self.partition = partition
        self.offsets = offsets
        self._read: tuple[Sequence[bytes | None], Sequence[bytes]] | None = (keys, values)
        self.timestamps_ms = timestamps_ms
        self.headers = headers
        self.packs: Sequence[Pack] | None = None

    @classmethod
    def packed(
        cls, topic: str, partition: int, offsets: Sequence[int], timestamps_ms: Sequence[int], packs: Sequence[Pack]
    ) -> ReceivedColumns:
        """The messages of `packs`."""
        made = cls(topic, partition, offsets, (), (), timestamps_ms)
        made._read = None
        made.packs = packs
        return made

    @property
    def keys(self) -> Sequence[bytes | None]:
        return (self._read or self._unpack())[0]

    @property
    def values(self) -> Sequence[bytes]:
        return (self._read or self._unpack())[1]

    def _unpack(self) -> tuple[Sequence[bytes | None], Sequence[bytes]]:
        read = [pack.columns() for pack in self.packs or ()]
        self._read = read[0] if len(read) == 1 else ([*chain(*(k for k, _ in read))], [*chain(*(v for _, v in read))])
        return self._read

    @classmethod
    def joined(cls, parts: Sequence[ReceivedColumns]) -> ReceivedColumns:
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
        packs = [part.packs for part in parts if part.packs is not None]
        if len(packs) == len(parts):
            return cls.packed(first.topic, first.partition, offsets, times, [*chain(*packs)])
        return cls(
            first.topic,
            first.partition,
            offsets,
            [*chain(*(part.keys for part in parts))],
            [*chain(*(part.values for part in parts))],
            times,
            None
            if all(part.headers is None for part in parts)
            else [*chain(*(part.headers or repeat((), len(part)) for part in parts))],
        )

    def __len__(self) -> int:
        return len(self.offsets)

    @overload
    def __getitem__(self, at: int) -> Received: ...
    @overload
    def __getitem__(self, at: slice) -> ReceivedColumns: ...
    def __getitem__(self, at: int | slice) -> Received | ReceivedColumns:
        headers = self.headers
        if isinstance(at, slice):
            start, end, step = at.indices(len(self))
            if self.packs is not None and step == 1:
                packs = cut(self.packs, start, end)
                return self.packed(self.topic, self.partition, self.offsets[at], self.timestamps_ms[at], packs)
            return ReceivedColumns(
                self.topic,
                self.partition,
                self.offsets[at],
                self.keys[at],
                self.values[at],
                self.timestamps_ms[at],
                None if headers is None else headers[at],
            )
        return Received(
            self.topic,
            self.partition,
            self.offsets[at],
            self.keys[at],
            self.values[at],
            self.timestamps_ms[at],
            () if headers is None else headers[at],
        )

    def __iter__(self) -> Iterator[Received]:
        columns = (self.offsets, self.keys, self.values, self.timestamps_ms)
        if self.headers is None:
            return map(Received, repeat(self.topic), repeat(self.partition), *columns)
        return map(Received, repeat(self.topic), repeat(self.partition), *columns, self.headers)


class MessageColumns(Sequence[Message]):
    """Messages to be sent, without headers; the columns are of one length."""

    __slots__ = ("keys", "values")

    def __init__(self, keys: Sequence[bytes | None], values: Sequence[bytes]) -> None:
        self.keys = keys
        self.values = values

    def __len__(self) -> int:
        return len(self.values)

    @overload
    def __getitem__(self, at: int) -> Message: ...
    @overload
    def __getitem__(self, at: slice) -> MessageColumns: ...
    def __getitem__(self, at: int | slice) -> Message | MessageColumns:
        if isinstance(at, slice):
            return MessageColumns(self.keys[at], self.values[at])
        return Message(self.keys[at], self.values[at])

    def __iter__(self) -> Iterator[Message]:
        return map(Message, self.keys, self.values)


class DocumentColumns(Sequence[Document]):
    """Documents; the columns are of one length."""

    __slots__ = ("bodies", "keys", "versions")

    def __init__(self, keys: Sequence[str], versions: Sequence[int], bodies: Sequence[bytes]) -> None:
        self.keys = keys
        self.versions = versions
        self.bodies = bodies

    @classmethod
    def of(cls, documents: Sequence[Document]) -> DocumentColumns:
        """`documents` themselves if they are columns, or their columns."""
        if isinstance(documents, DocumentColumns):
            return documents
        return cls([d.key for d in documents], [d.version for d in documents], [d.body for d in documents])

    def __len__(self) -> int:
        return len(self.bodies)

    @overload
    def __getitem__(self, at: int) -> Document: ...
    @overload
    def __getitem__(self, at: slice) -> DocumentColumns: ...
    def __getitem__(self, at: int | slice) -> Document | DocumentColumns:
        if isinstance(at, slice):
            return DocumentColumns(self.keys[at], self.versions[at], self.bodies[at])
        return Document(self.keys[at], self.versions[at], self.bodies[at])

    def __iter__(self) -> Iterator[Document]:
        return map(Document, self.keys, self.versions, self.bodies)


def keys_of(messages: Sequence[Received]) -> Sequence[bytes | None]:
    """The key of each message."""
    return messages.keys if isinstance(messages, ReceivedColumns) else [message.key for message in messages]


def values_of(messages: Sequence[Received]) -> Sequence[bytes]:
    """The value of each message."""
    return messages.values if isinstance(messages, ReceivedColumns) else [message.value for message in messages]


def has_key(messages: Sequence[Received], key: bytes) -> bool:
    """Whether one of the messages has this key."""
    if isinstance(messages, ReceivedColumns) and messages.packs is not None:
        # Mostly none has it, and nothing needs to be read.
        return any(pack.may_hold(key) for pack in messages.packs) and key in messages.keys
    return key in keys_of(messages)


def last_offset_of(messages: Sequence[Received]) -> int:
    """The offset of the last message; there is one."""
    return messages.offsets[-1] if isinstance(messages, ReceivedColumns) else messages[-1].offset


def ends_of(messages: Sequence[Received]) -> Mapping[TopicPartition, int]:
    """Of each partition of which there are messages, the offset after the last one."""
    if isinstance(messages, ReceivedColumns):
        return {TopicPartition(messages.topic, messages.partition): messages.offsets[-1] + 1} if messages else {}
    last = dict(zip([(m.topic, m.partition) for m in messages], [m.offset for m in messages], strict=True))
    return {TopicPartition(*place): offset + 1 for place, offset in last.items()}
