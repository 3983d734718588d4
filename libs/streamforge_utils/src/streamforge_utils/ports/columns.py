"""Messages and documents by the thousand, as columns: sequences that make an item only when it is asked for.

An adapter that has columns anyway hands them on as they are, and who works on columns gets them without the items.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import repeat
from typing import Any, overload

from streamforge_utils.model.kinds.kind import RecordKind
from streamforge_utils.ports.bus import Message, Received
from streamforge_utils.ports.store import Document

Headers = tuple[tuple[str, bytes], ...]


class ReceivedColumns(Sequence[Received]):
    """Messages of one partition in the order of their offsets. headers: None if no message has any."""

    __slots__ = ("headers", "keys", "offsets", "partition", "timestamps_ms", "topic", "values")

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
        self.keys = keys
        self.values = values
        self.timestamps_ms = timestamps_ms
        self.headers = headers

    def __len__(self) -> int:
        return len(self.offsets)

    @overload
    def __getitem__(self, at: int) -> Received: ...
    @overload
    def __getitem__(self, at: slice) -> ReceivedColumns: ...
    def __getitem__(self, at: int | slice) -> Received | ReceivedColumns:
        headers = self.headers
        if isinstance(at, slice):
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
    """Documents; the columns are of one length.

    encoded: the bodies were just encoded, from records that fit into messages: a store may take them without a look.
    """

    __slots__ = ("_bodies", "encoded", "keys", "versions")

    def __init__(
        self, keys: Sequence[str], versions: Sequence[int], bodies: Sequence[bytes], *, encoded: bool = False
    ) -> None:
        self.keys = keys
        self.versions = versions
        self._bodies: Sequence[bytes] | None = bodies
        self.encoded = encoded

    @classmethod
    def of(cls, documents: Sequence[Document]) -> DocumentColumns:
        """`documents` themselves if they are columns, or their columns."""
        if isinstance(documents, DocumentColumns):
            return documents
        return DocumentColumns([d.key for d in documents], [d.version for d in documents], [d.body for d in documents])

    @property
    def bodies(self) -> Sequence[bytes]:
        return self._bodies or ()

    def only(self, places: Sequence[int]) -> DocumentColumns:
        """Those at these places."""
        keys, versions, bodies = self.keys, self.versions, self.bodies
        return DocumentColumns(
            [keys[at] for at in places],
            [versions[at] for at in places],
            [bodies[at] for at in places],
            encoded=self.encoded,
        )

    def __len__(self) -> int:
        return len(self.keys)

    @overload
    def __getitem__(self, at: int) -> Document: ...
    @overload
    def __getitem__(self, at: slice) -> DocumentColumns: ...
    def __getitem__(self, at: int | slice) -> Document | DocumentColumns:
        if isinstance(at, slice):
            return DocumentColumns(self.keys[at], self.versions[at], self.bodies[at], encoded=self.encoded)
        return Document(self.keys[at], self.versions[at], self.bodies[at])

    def __iter__(self) -> Iterator[Document]:
        return map(Document, self.keys, self.versions, self.bodies)


class RecordColumns(DocumentColumns):
    """Records of a kind that are documents, too: what `RecordKind.records` gave. Bodies are encoded when asked for."""

    __slots__ = ("kind", "records")

    def __init__(self, kind: RecordKind, records: Sequence[Any]) -> None:
        super().__init__([one.key for one in records], [one.version for one in records], (), encoded=True)
        self.kind = kind
        self.records = records
        self._bodies = None

    @property
    def bodies(self) -> Sequence[bytes]:
        if self._bodies is None:
            self._bodies = self.kind.bodies(self.records)
        return self._bodies

    def only(self, places: Sequence[int]) -> RecordColumns:
        return RecordColumns(self.kind, [self.records[at] for at in places])

    @overload
    def __getitem__(self, at: int) -> Document: ...
    @overload
    def __getitem__(self, at: slice) -> RecordColumns: ...
    def __getitem__(self, at: int | slice) -> Document | RecordColumns:
        if isinstance(at, slice):
            return RecordColumns(self.kind, self.records[at])
        return super().__getitem__(at)


def columns_of(messages: Sequence[Received]) -> ReceivedColumns:
    """`messages` themselves if they are columns, or columns with their keys and values."""
    if isinstance(messages, ReceivedColumns):
        return messages
    keys, values = [message.key for message in messages], [message.value for message in messages]
    return ReceivedColumns("", 0, range(len(keys)), keys, values, [0] * len(keys))


def has_key(messages: Sequence[Received], key: bytes) -> bool:
    """Whether one of the messages has this key."""
    if isinstance(messages, ReceivedColumns):
        return key in messages.keys
    return any(message.key == key for message in messages)


def last_offset_of(messages: Sequence[Received]) -> int:
    """The offset of the last message; there is one."""
    return messages.offsets[-1] if isinstance(messages, ReceivedColumns) else messages[-1].offset


def ends_of(messages: Sequence[Received]) -> Mapping[int, int]:
    """Of each partition of which there are messages, the offset after the last one."""
    if isinstance(messages, ReceivedColumns):
        return {messages.partition: messages.offsets[-1] + 1} if messages else {}
    return {message.partition: message.offset + 1 for message in messages}
