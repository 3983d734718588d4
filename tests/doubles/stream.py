"""The port of streams, as a test writes it: what each connection gives, and when it ends."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from streamforge_utils.model.errors import PermanentError
from streamforge_utils.ports.clock import Clock
from streamforge_utils.ports.stream import EndCause, StreamBatch, StreamEnded


class ScriptedConnection:
    """given: what is still to be read. aborted: by its user. made_at: monotonic seconds.

    streams: those of now. asked: what was asked for later, request by request. refused: streams that are.
    """

    def __init__(self, number: int, streams: Sequence[str], clock: Clock) -> None:
        self._number = number
        self.streams = tuple(streams)
        self.given: deque[StreamBatch] = deque()
        self.asked: list[tuple[str, ...]] = []
        self.refused: set[str] = set()
        self.aborted = False
        self.announced = False
        self.made_at = self.frame_at = clock.monotonic()
        self._clock = clock
        self._ended: StreamEnded | None = None
        self._changed = asyncio.Event()

    @property
    def number(self) -> int:
        return self._number

    @property
    def age_s(self) -> float:
        return self._clock.monotonic() - self.made_at

    @property
    def frame_age_s(self) -> float:
        return self._clock.monotonic() - self.frame_at

    @property
    def ending_announced(self) -> bool:
        return self.announced

    def is_live(self) -> bool:
        return not self.aborted and self._ended is None

    def give(self, *payloads: bytes) -> None:
        """Messages that come together."""
        if self.is_live() and payloads:
            self.frame_at = self._clock.monotonic()
            self.given.append(StreamBatch(payloads, self._clock.now_ms() * 1000))
            self._changed.set()

    def end(self, cause: EndCause = EndCause.CLOSED) -> None:
        """It ends behind what was given."""
        self._ended = self._ended or StreamEnded(cause, f"the connection {self._number} is {cause.value}")
        self._changed.set()

    async def read(self) -> StreamBatch:
        while not self.given:
            if self._ended is not None:
                raise self._ended
            self._changed.clear()
            await self._changed.wait()
        return self.given.popleft()

    async def subscribe(self, streams: Sequence[str]) -> None:
        await asyncio.sleep(0)
        if self._ended is not None:
            raise self._ended
        self.asked.append(tuple(streams))
        if refused := [one for one in streams if one in self.refused]:
            raise PermanentError(f"{refused} are refused")
        self.streams += tuple(streams)

    async def unsubscribe(self, streams: Sequence[str]) -> None:
        await asyncio.sleep(0)
        if self._ended is not None:
            raise self._ended
        self.streams = tuple(one for one in self.streams if one not in streams)

    async def abort(self) -> None:
        self.aborted = True
        self.end(EndCause.ABORTED)


class ScriptedStream:
    """connections: all that were made. tried: when a connection was asked for, monotonic seconds.

    failures: what the next tries raise, one after the other. made: called with each new connection.
    """

    def __init__(self, clock: Clock, made: Callable[[ScriptedConnection], None] | None = None) -> None:
        self.connections: list[ScriptedConnection] = []
        self.tried: list[float] = []
        self.failures: deque[Exception] = deque()
        self._made = made
        self._clock = clock

    @property
    def live(self) -> list[ScriptedConnection]:
        """The connections that have not ended."""
        return [one for one in self.connections if one.is_live()]

    async def connect(self, streams: Sequence[str]) -> ScriptedConnection:
        self.tried.append(self._clock.monotonic())
        await asyncio.sleep(0)
        if self.failures:
            raise self.failures.popleft()
        connection = ScriptedConnection(len(self.connections) + 1, streams, self._clock)
        self.connections.append(connection)
        if self._made is not None:
            self._made(connection)
        return connection

    def set_connect_limit(self, connects: int) -> None:
        pass

    async def close(self) -> None:
        for one in self.connections:
            await one.abort()
