"""The producers and consumers that a bus has made: opened before they are given out, closed with the bus."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

import msgspec

from streamforge_utils.adapters.lane import Lane
from streamforge_utils.model.errors import InvalidInput
from streamforge_utils.ports.bus import Start


class Subscription(msgspec.Struct, frozen=True):
    """What a consumer is to read, as `Bus.consumer` says. topics: each once. Raises InvalidInput."""

    topics: Sequence[str]
    group: str | None
    start: Start
    start_time_ms: int | None
    ahead_bytes: int | None

    def __post_init__(self) -> None:
        if not self.topics:
            raise InvalidInput("topics", "a consumer needs at least one topic")
        if self.group is not None and self.start_time_ms is not None:
            raise InvalidInput("start_time_ms", "start_time_ms is for consumers without a group")


class Client(Protocol):
    """A producer or consumer of an adapter."""

    async def open(self) -> None:
        """Get ready. It is to be closed if this raises, too."""

    async def close(self) -> None:
        """Release what it holds."""


P = TypeVar("P", bound=Client)
C = TypeVar("C", bound=Client)


class ClientBus(ABC, Generic[P, C]):
    """The part of a bus that makes producers and consumers. lane: where the bus itself asks and changes topics."""

    def __init__(self, lane: Lane) -> None:
        self._lane = lane
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
        topics: Sequence[str],
        *,
        group: str | None = None,
        start: Start = Start.EARLIEST,
        start_time_ms: int | None = None,
        ahead_bytes: int | None = None,
    ) -> C:
        """See `Bus.consumer`."""
        self._lane.require_open()
        subscription = Subscription(list(dict.fromkeys(topics)), group, start, start_time_ms, ahead_bytes)
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
