"""What every bus does alike: the limits of topics and messages, and the producers and consumers that it has made.

The latter are opened before they are given out, and closed with the bus.
"""

from __future__ import annotations

import asyncio
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Generic, Protocol, TypeVar

import msgspec

from streamforge_utils.adapters.call_thread import Lane
from streamforge_utils.model.errors import InvalidInput, TooLarge, TopicFull
from streamforge_utils.model.names import TOPIC_LIMIT
from streamforge_utils.ports.bus import HEADERS_BYTES, Message, Start, TopicSpec
from streamforge_utils.ports.clock import Clock, SystemClock
from streamforge_utils.ports.columns import MessageColumns
from streamforge_utils.ports.instrumentation import NullObserver, Observer

FULL_TIMEOUT_S = 300.0

_LEGAL = re.compile(rf"[A-Za-z0-9._-]{{1,{TOPIC_LIMIT}}}")
_MESSAGE_OVERHEAD = 16  # lengths and the like, so that many tiny messages count for what they take


def check_topic_name(name: str) -> None:
    """Raises InvalidInput for a name that no topic can have."""
    if not _LEGAL.fullmatch(name) or name in (".", ".."):
        raise InvalidInput(
            "topic",
            f"{name[:300]!r} is no legal topic name: 1 to {TOPIC_LIMIT} characters of a-z, A-Z, 0-9, '.', '_' "
            "and '-', other than '.' and '..'",
        )


def check_topic(spec: TopicSpec) -> None:
    """Raises InvalidInput for what no topic can be."""
    check_topic_name(spec.name)
    if spec.max_bytes < 1:
        raise InvalidInput("topic", f"topic {spec.name}: max_bytes must be at least 1")


def topic_full(spec_name: str, max_bytes: int, timeout_s: float, behind: Mapping[str, int]) -> TopicFull:
    """The error of a send whose topic stayed full. behind: how many messages each of its readers has before it."""
    slowest = max(behind, key=lambda reader: behind[reader])
    return TopicFull(
        f"topic {spec_name} is full ({max_bytes} bytes) and nothing was committed for {timeout_s:g} s: "
        f"the group {slowest} is {behind[slowest]} messages behind; start or repair its reader, then try again"
    )


def sizes_of(topic: str, messages: Sequence[Message], limit: int) -> list[int]:
    """The size of each message in bytes.

    Raises TooLarge if one is larger than `limit`, `HEADERS_BYTES` of its headers not counted.
    """
    if isinstance(messages, MessageColumns):
        sizes = [
            len(value) + _MESSAGE_OVERHEAD + (0 if key is None else len(key))
            for key, value in zip(messages.keys, messages.values, strict=True)
        ]
    else:
        sizes = [
            len(message.value) + _MESSAGE_OVERHEAD + len(message.key or b"") + _headers_size(message)
            for message in messages
        ]
    if sizes and max(sizes) > limit:
        for at, size in enumerate(sizes):
            if size > limit and size - min(_headers_size(messages[at]), HEADERS_BYTES) > limit:
                raise TooLarge(
                    f"topic {topic}: message {at} of {len(messages)} (key {(messages[at].key or b'')[:80]!r}) has "
                    f"{size} bytes, more than the limit of {limit}; send less in one message"
                )
    return sizes


def columns_size(messages: MessageColumns) -> int:
    """The sum of what `sizes_of` gives."""
    bytes_of_keys = sum(map(len, filter(None, messages.keys)))
    return sum(map(len, messages.values)) + bytes_of_keys + _MESSAGE_OVERHEAD * len(messages)


def cuts(sizes: Sequence[int], most_bytes: int, most: int) -> Iterator[tuple[int, int]]:
    """First and (exclusive) last index of runs of at most `most_bytes` and `most` messages, a larger message alone."""
    start, total = 0, 0
    for at, size in enumerate(sizes):
        if at > start and (at - start == most or total + size > most_bytes):
            yield start, at
            start, total = at, 0
        total += size
    if sizes:
        yield start, len(sizes)


def _headers_size(message: Message) -> int:
    return sum(len(name.encode()) + len(value) for name, value in message.headers) if message.headers else 0


class Subscription(msgspec.Struct, frozen=True):
    """What a consumer is to read, as `Bus.consumer` says. Raises InvalidInput."""

    topic: str
    group: str | None
    start: Start
    start_time_ms: int | None
    ahead_bytes: int | None

    def __post_init__(self) -> None:
        if self.group is not None and (self.start is not Start.EARLIEST or self.start_time_ms is not None):
            raise InvalidInput("start", "a consumer of a group begins at its committed offset, or at the beginning")


class Client(Protocol):
    """A producer or consumer of an adapter."""

    async def open(self) -> None:
        """Get ready. It is to be closed if this raises, too."""

    async def close(self) -> None:
        """Release what it holds."""


P = TypeVar("P", bound=Client)
C = TypeVar("C", bound=Client)


class ClientBus(ABC, Generic[P, C]):
    """The part of a bus that makes producers and consumers.

    full_timeout_s: how long `send` waits at a topic's cap without any progress of its readers before it raises
    TopicFull.
    """

    def __init__(self, clock: Clock | None, observer: Observer | None, full_timeout_s: float) -> None:
        self._clock = clock or SystemClock()
        self._observer = observer or NullObserver()
        self._full_timeout_s = full_timeout_s
        self._lane = Lane("bus")  # where the bus itself asks and changes topics
        self._clients: set[P | C] = set()

    @abstractmethod
    def _new_producer(self, bulk: bool, on_close: Callable[[P], None]) -> P:
        """A producer, not open yet."""

    @abstractmethod
    def _new_consumer(self, subscription: Subscription, on_close: Callable[[C], None]) -> C:
        """A consumer, not open yet."""

    @abstractmethod
    def _release(self) -> None:
        """Close what the lane holds; the last call that runs there."""

    async def producer(self, *, bulk: bool = False) -> P:
        """See `Bus.producer`."""
        self._lane.require_open()
        producer = self._new_producer(bulk, self._clients.discard)
        await self._open(producer)
        return producer

    async def consumer(
        self,
        topic: str,
        *,
        group: str | None = None,
        start: Start = Start.EARLIEST,
        start_time_ms: int | None = None,
        ahead_bytes: int | None = None,
    ) -> C:
        """See `Bus.consumer`."""
        self._lane.require_open()
        subscription = Subscription(topic, group, start, start_time_ms, ahead_bytes)
        consumer = self._new_consumer(subscription, self._clients.discard)
        await self._open(consumer)
        return consumer

    async def close(self) -> None:
        """See `Bus.close`."""
        closing = [*(client.close() for client in list(self._clients)), self._lane.close(self._release)]
        self._clients.clear()
        errors = [error for error in await asyncio.gather(*closing, return_exceptions=True) if error is not None]
        if errors:
            raise errors[0]

    async def _open(self, client: P | C) -> None:
        self._clients.add(client)
        try:
            await client.open()
        except BaseException:
            await client.close()
            raise
