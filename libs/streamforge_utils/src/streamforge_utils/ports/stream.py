"""The exchange's streams: what happens as it happens. What is missed comes never again, or by `History`."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol

import msgspec

from streamforge_utils.model.errors import RetryableError


class EndCause(StrEnum):
    """Why a connection gives no more messages.

    closed: the exchange closed it, or the network did. silent: no frame of any kind came for too long. malformed: what
    came is no WebSocket frame, no UTF-8, or larger than is accepted. aborted: this side ended it.
    """

    CLOSED = "closed"
    SILENT = "silent"
    MALFORMED = "malformed"
    ABORTED = "aborted"


class StreamEnded(RetryableError):
    """A connection gives no more messages; all that came before have been read. cause: why."""

    def __init__(self, cause: EndCause, message: str) -> None:
        super().__init__(message)
        self.cause = cause


class StreamBatch(msgspec.Struct, frozen=True, gc=False):
    """Messages that came together, in their order: at least one.

    payloads: of each the JSON text, of the combined form (`{"stream": …, "data": …}`). received_us: when the last of
    them came, unix microseconds of this machine's clock.
    """

    payloads: Sequence[bytes]
    received_us: int


class StreamPart(Protocol):
    """A connection to the exchange's streams, or the part of one that carries the streams of one reader; one task reads
    it."""

    @property
    def number(self) -> int:
        """1, 2, … of the connections that this worker has made."""

    @property
    def age_s(self) -> float:
        """How long ago it was made, seconds."""

    @property
    def frame_age_s(self) -> float:
        """How long ago the last frame of any kind came, seconds."""

    @property
    def ending_announced(self) -> bool:
        """Whether the exchange has said that it will close it: another connection is to take its place at once."""

    async def read(self) -> StreamBatch:
        """Wait for the next messages. While no one reads, the exchange has to wait once a limit of bytes is held.

        Raises StreamEnded. A cancelled call loses no message.
        """

    async def abort(self) -> None:
        """End it at once, without waiting for the other side."""


class StreamConnection(StreamPart, Protocol):
    """A whole connection: its streams can be changed."""

    async def subscribe(self, streams: Sequence[str]) -> None:
        """Ask for more streams; on return all are acknowledged. What comes meanwhile is read as ever.

        Raises as `Stream.connect`; it may then give some of them.
        """

    async def unsubscribe(self, streams: Sequence[str]) -> None:
        """Ask for these streams no longer; on return that is acknowledged. Raises as `subscribe`."""


class StreamParts(Protocol):
    """Gives connections, or parts of shared ones, within what the exchange allows an address."""

    async def connect(self, streams: Sequence[str]) -> StreamPart:
        """A connection on which all of `streams` (the exchange's names, `btcusdt@trade`) are acknowledged.

        That a stream is acknowledged does not mean that it exists: the exchange is silent about those it does not know.
        Waits for its turn. Raises RetryableError (it spends no retries of its own; BannedError while the exchange
        refuses us), PermanentError (the address is no WebSocket server, its certificate is not trusted, or the request
        is refused) or ConfigError (the file of the CA is of no use).
        """

    def set_connect_limit(self, connects: int) -> None:
        """How many connections this client may try to make in five minutes from now on; 0 holds calls back."""

    async def close(self) -> None:
        """Abort all connections."""


class Stream(StreamParts, Protocol):
    """Makes connections of its own."""

    async def connect(self, streams: Sequence[str]) -> StreamConnection:
        """As `StreamParts.connect`: a whole connection."""
