"""Connections to the exchange's streams that many workers of one process share: each has a part of one."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from streamforge_utils.model.errors import ConfigError, PermanentError, RetryableError, StreamForgeError
from streamforge_utils.ports.clock import Clock
from streamforge_utils.ports.stream import EndCause, Stream, StreamBatch, StreamConnection, StreamEnded
from streamforge_utils.runtime.live.stream_routes import StreamRoutes
from streamforge_utils.runtime.live.stream_session import HEALTHY_S, LONGEST_PAUSE_S
from streamforge_utils.runtime.telemetry.logs import Log

MOST_STREAMS = 1000
"""Of one connection; the exchange takes a few more."""

HELD_BYTES = 8 * 1024 * 1024
"""Of unread messages for a part; beyond it the part ends."""

MESSAGE_COST = 64
"""Bytes that a message takes beside its text."""


_Begin = Callable[[Coroutine[Any, Any, None]], None]


class ConnectionPart:
    """A `StreamPart` of one member: its streams of a shared connection."""

    def __init__(self, shared: _Shared, streams: Sequence[str]) -> None:
        self.streams = tuple(streams)
        self._shared = shared
        self._unread: list[bytes] = []
        self._held = self._received_us = 0
        self._came = asyncio.Event()
        self._end: Exception | None = None

    @property
    def number(self) -> int:
        return self._shared.connection.number

    @property
    def age_s(self) -> float:
        """That of the whole connection: it is what the exchange ends."""
        return self._shared.connection.age_s

    @property
    def frame_age_s(self) -> float:
        return self._shared.connection.frame_age_s

    @property
    def ending_announced(self) -> bool:
        """Also where another member has left it for a younger one."""
        return self._shared.leaving or self._shared.connection.ending_announced

    @property
    def ended(self) -> bool:
        """Whether nothing more comes."""
        return self._end is not None

    def replaced(self) -> None:
        """Its member has a younger one: all others of the connection are to take one, too."""
        self._shared.leaving = True

    def give(self, payloads: Sequence[bytes], received_us: int) -> None:
        """Messages came."""
        if self._end is not None:
            return
        self._unread.extend(payloads)
        self._received_us = received_us
        self._held += sum(map(len, payloads)) + MESSAGE_COST * len(payloads)
        self._came.set()
        if self._held > HELD_BYTES:
            text = f"{self._held} bytes of {self.streams[0]} were not read in time"
            self.end(StreamEnded(EndCause.CLOSED, text))
            self._shared.leave(self)

    def end(self, error: Exception) -> None:
        """Nothing more comes: once all was read `error` is raised."""
        if self._end is None:
            self._end = error
            self._came.set()

    async def read(self) -> StreamBatch:
        """All messages that have come and were not read, see `ports.stream`."""
        while not self._unread:
            if self._end is not None:
                raise self._end
            self._came.clear()
            await self._came.wait()
        unread, self._unread, self._held = self._unread, [], 0
        return StreamBatch(unread, self._received_us)

    async def abort(self) -> None:
        """Leave the connection, which goes on for others; the last one ends it."""
        self.end(StreamEnded(EndCause.ABORTED, f"this side has left the connection {self.number}"))
        if self._end is not None:
            self._end.with_traceback(None)  # whoever has read this part is in it, and so the part is in a cycle
        self._shared.leave(self)


class _Shared:
    """A connection and its parts. had: every member that ever had a part of it. leaving: it is being replaced.

    begin: begins a task that its owner ends. broken: called where it ends although somebody has a part of it.
    """

    def __init__(
        self, connection: StreamConnection, streams: Sequence[str], begin: _Begin, broken: Callable[[_Shared], None]
    ) -> None:
        self.connection = connection
        self.had: set[MemberStream] = set()
        self.leaving = False
        self.ended = False
        self._begin = begin
        self._broken = broken
        self._subscribed = set(streams)
        self._routes = StreamRoutes[ConnectionPart]()
        self._wanted: list[tuple[Sequence[str], asyncio.Future[None]]] = []
        self._asking = False
        self._joining = 0
        begin(self._read())

    @property
    def streams(self) -> int:
        """How many streams it carries, or is about to."""
        return len(self._subscribed) + sum(len(streams) for streams, _ in self._wanted)

    def takes(self, member: MemberStream, streams: int, younger_than_s: float) -> bool:
        """Whether the member may join with so many streams."""
        connection = self.connection
        left = self.ended or self.leaving or connection.ending_announced or member in self.had
        return not left and connection.age_s < younger_than_s and self.streams + streams <= MOST_STREAMS

    async def join(self, member: MemberStream, streams: Sequence[str]) -> ConnectionPart:
        """A part with these streams, each of which is acknowledged. Raises as `Stream.connect`."""
        part = ConnectionPart(self, streams)
        self.had.add(member)
        self._joining += 1
        self._routes.add(part, part.streams)
        try:
            if missing := [one for one in streams if one not in self._subscribed]:
                await self._subscribe(missing)
            if self.ended and not part.ended:
                part.end(StreamEnded(EndCause.CLOSED, f"the connection {self.connection.number} has ended"))
        except BaseException:
            self._routes.remove(part)
            raise
        finally:
            self._joining -= 1
            self.end_if_idle()
        return part

    def leave(self, part: ConnectionPart) -> None:
        """The part is used no more."""
        if not self._routes.remove(part) or self.ended:
            return
        gone = [one for one in part.streams if one not in self._routes.streams]
        self._subscribed.difference_update(gone)
        self.end_if_idle()
        if gone and not self.ended:
            self._begin(self._unsubscribe(gone))

    def end_if_idle(self) -> None:
        """End it where nobody has a part of it, or is about to."""
        if not self._routes.parts and not self._joining and not self.ended:
            self.ended = True
            self._begin(self.connection.abort())

    async def _read(self) -> None:
        try:
            while True:
                batch = await self.connection.read()
                for part, payloads in self._routes.divided(batch.payloads):
                    part.give(payloads, batch.received_us)
                await asyncio.sleep(0)  # who reads the parts has its turn
        except Exception as error:
            if not self.ended:
                self.ended = True
                self._broken(self)
            for part in self._routes.parts:
                part.end(error)
        await self.connection.abort()

    async def _subscribe(self, streams: Sequence[str]) -> None:
        """Return once they are acknowledged; what several ask for meanwhile goes out together."""
        done = asyncio.get_running_loop().create_future()
        self._wanted.append((streams, done))
        if not self._asking:
            self._asking = True
            self._begin(self._ask())
        await done

    async def _ask(self) -> None:
        try:
            while self._wanted:
                await self._ask_for(self._wanted)
        finally:
            self._asking = False

    async def _ask_for(self, wanted: list[tuple[Sequence[str], asyncio.Future[None]]]) -> None:
        await asyncio.sleep(0)
        together, wanted[:] = wanted[:], []
        try:
            await self.connection.subscribe([one for streams, _ in together for one in streams])
        except PermanentError as error:
            if len(together) > 1:  # one of them is refused: each for itself
                for one in together:
                    await self._ask_for([one])
                return
            _settle(together, error)
        except Exception as error:
            _settle(together, error)
        except BaseException:
            _settle(together, StreamEnded(EndCause.ABORTED, "the connections were closed"))
            raise
        else:
            asked = {one for streams, _ in together for one in streams}
            self._subscribed |= asked & self._routes.streams
            _settle(together, None)
            if given_up := asked - self._routes.streams:
                self._begin(self._unsubscribe([*given_up]))

    async def _unsubscribe(self, streams: Sequence[str]) -> None:
        """What nobody asks for takes room on the line only: a failure is no matter."""
        try:
            await self.connection.unsubscribe(streams)
        except StreamForgeError:
            return
        if again := [one for one in streams if one in self._routes.streams]:
            await self.connection.subscribe(again)  # somebody has joined with it meanwhile


def _settle(wanted: Sequence[tuple[Sequence[str], asyncio.Future[None]]], error: Exception | None) -> None:
    for _, done in wanted:
        if not done.done():
            done.set_result(None) if error is None else done.set_exception(error)


class MemberStream:
    """The port of streams as one member of a basket has it."""

    def __init__(self, owner: SharedStream) -> None:
        self._owner = owner
        self._parts: list[ConnectionPart] = []

    @property
    def live(self) -> list[ConnectionPart]:
        """Its parts that have not ended."""
        self._parts = [part for part in self._parts if not part.ended]
        return self._parts

    async def connect(self, streams: Sequence[str]) -> ConnectionPart:
        """A part of a connection, see `ports.stream`."""
        part = await self._owner.connect(self, streams)
        self._parts.append(part)
        return part

    def set_connect_limit(self, connects: int) -> None:
        """That of the whole process: each member is told the same."""
        self._owner.stream.set_connect_limit(connects)

    async def close(self) -> None:
        """Leave all connections."""
        for part in self.live:
            await part.abort()


class SharedStream:
    """Makes connections for its members: as few as they can do with.

    A member joins the youngest connection of which it has had no part yet, and which is younger than what it has; else
    one is made. draw: a number from 0 to 1, of the pause after a failure.
    """

    def __init__(self, stream: Stream, clock: Clock, log: Log, draw: Callable[[], float] = random.random) -> None:
        self.stream = stream
        self._clock = clock
        self._log = log
        self._draw = draw
        self._shared: list[_Shared] = []
        self._opening: asyncio.Task[_Shared] | None = None
        self._waiting = 0
        self._failures = 0
        self._not_before = 0.0
        self._tasks: set[asyncio.Task[None]] = set()

    def member(self) -> MemberStream:
        """The port for one more member."""
        return MemberStream(self)

    async def connect(self, member: MemberStream, streams: Sequence[str]) -> ConnectionPart:
        """A part for the member, see `ports.stream`."""
        while True:
            shared = self._usable(member, streams)
            if shared is None:
                shared = await self._opened(streams)
                if shared is None or shared.streams + len(streams) > MOST_STREAMS:
                    continue
            part = await shared.join(member, streams)
            for one in member.live:
                # It replaces what it has, as that is old: so do all others, and the old one ends soon.
                one.replaced()
            return part

    async def close(self) -> None:
        """Abort all connections."""
        tasks = [*self._tasks, *([] if self._opening is None else [self._opening])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.stream.close()

    def _usable(self, member: MemberStream, streams: Sequence[str]) -> _Shared | None:
        self._shared = [one for one in self._shared if not one.ended]
        age_s = min((part.age_s for part in member.live), default=float("inf"))
        found = [one for one in self._shared if one.takes(member, len(streams), age_s)]
        return min(found, key=lambda one: one.connection.age_s, default=None)

    async def _opened(self, streams: Sequence[str]) -> _Shared | None:
        """A connection that was made for several; None: it was refused for the streams of another member."""
        mine = self._opening is None
        if self._opening is None:
            self._opening = asyncio.create_task(self._open(streams), name="shared connection")
            self._opening.add_done_callback(lambda task: task.cancelled() or task.exception())  # all may have gone
        opening = self._opening
        self._waiting += 1
        try:
            return await asyncio.shield(opening)
        except (PermanentError, ConfigError):
            if mine:
                raise
            return None
        except asyncio.CancelledError:
            if self._waiting == 1 and opening.done() and not opening.cancelled() and opening.exception() is None:
                opening.result().end_if_idle()
            raise
        finally:
            self._waiting -= 1

    async def _open(self, streams: Sequence[str]) -> _Shared:
        try:
            await self._clock.sleep(max(0.0, self._not_before - self._clock.monotonic()))
            connection = await self.stream.connect(streams)
        except RetryableError as error:
            self._failed(error.retry_after or 0.0)
            raise
        finally:
            self._opening = None
        shared = _Shared(connection, streams, self._begin, self._broken)
        self._shared.append(shared)
        if not self._waiting:
            shared.end_if_idle()
        return shared

    def _broken(self, shared: _Shared) -> None:
        if shared.connection.age_s >= HEALTHY_S:
            self._failures = 0
        self._failed(0.0)

    def _failed(self, least_s: float) -> None:
        """The next connection is made after a pause: all members together try as often as one would."""
        self._failures += 1
        pause = self._draw() * min(LONGEST_PAUSE_S, 2.0 ** min(self._failures - 1, 30))
        self._not_before = self._clock.monotonic() + max(pause, least_s)

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._log.warning("what is done beside a shared connection failed", error=str(error) or repr(error))
