"""Keeps the streams of a series flowing over connections that follow each other."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, NoReturn, Protocol

import msgspec

from streamforge_utils.model.errors import RetryableError
from streamforge_utils.model.kinds.streaming import Heard, Streaming
from streamforge_utils.model.series import Series
from streamforge_utils.ports.clock import Clock
from streamforge_utils.ports.stream import EndCause, StreamEnded, StreamPart, StreamParts
from streamforge_utils.runtime.telemetry.instruments import ProgressTracker
from streamforge_utils.runtime.telemetry.logs import Log

ROTATE_S = 84_600.0
"""23 h 30 min: the exchange ends a connection after 24 hours."""
ROTATE_JITTER = 0.02
"""The share of it by which a rotation may come earlier: not all workers rotate at once."""
LONGEST_PAUSE_S = 30.0
HEALTHY_S = 60.0
"""A connection that lived so long has failed for the first time when it ends."""
SETTLE_S = 10.0
"""Two connections at once that are silent for so long: REST tells whether either has missed something."""
OVERLAP_S = 60.0
"""So long a connection may take to give what the one before gave last."""
MOST_PATIENCE = 8
"""A stream is asked about less and less often, where nothing is newer; at last after so many times its silence."""
TOGETHER = 500
"""Messages that are read together: they and their records fit into a processor's cache."""
_LOOK_S = 1.0
_ARRIVAL_S = 2.0
"""What the exchange has may still be on its way for so long."""
_CONNECTING, _QUIET = "stream", "market"
_REASON_CHARACTERS = 200
_Task = asyncio.Task[Any] | None


class Overdue(NamedTuple):
    """A stream that said nothing although another one implies that it had to. since: monotonic seconds."""

    stream: str
    since: float


class Listener(Protocol):
    """The receiver of what the streams send."""

    def hear(self, heard: Heard) -> None:
        """Take what came. It may repeat what came before; after `interrupted` something may lack."""

    def interrupted(self) -> None:
        """A connection begins that does not surely follow what came before: what it lacks is to be asked for."""

    async def newer(self) -> bool:
        """Ask the exchange whether something has happened that was not heard. Raises RetryableError."""

    def overdue(self) -> Overdue | None:
        """One of the streams, if it is silent while others go on. This is asked once a second."""


class _Leg:
    """A connection in use. first, last: positions of what it gave; None: it gave none.

    since, heard_at: when it was made, and when its last message of the series came; monotonic seconds.
    asked_at: when the exchange was last asked whether there is more. patience: how much longer than usual it may be
    silent before it is asked about.
    """

    def __init__(self, connection: StreamPart, now: float) -> None:
        self.connection = connection
        self.since = self.heard_at = self.asked_at = now
        self.first: int | None = None
        self.last: int | None = None
        self.heard = False
        self.patience = 1
        self.reading: asyncio.Task[None] | None = None

    @property
    def ended(self) -> bool:
        return self.reading is None or self.reading.done()

    def note(self, heard: Heard, now: float) -> None:
        """Something of the series came."""
        self.heard, self.heard_at, self.patience = True, now, 1
        if heard.positions:
            first, last = min(heard.positions), max(heard.positions)
            self.first = first if self.first is None else min(first, self.first)
            self.last = last if self.last is None else max(last, self.last)

    def covers(self, before: _Leg) -> bool:
        """Whether all that `before` gave last, and all behind it, came here too."""
        if before.last is None:
            return self.heard
        if self.first is None or self.last is None:
            return False
        return self.first <= before.last + 1 and self.last >= before.last


class StreamSession:
    """connections: how many were made. rotations: of these, so many took the place of one that was still good.
    failure: why the newest connection ended, or could not be made.

    streaming: of the series' kind. offset_ms: by how much the exchange's clock is ahead of this machine's.
    rotate_s: the age at which a connection is replaced. draw: a number from 0 to 1.
    """

    def __init__(
        self,
        stream: StreamParts,
        streaming: Streaming,
        series: Series,
        listener: Listener,
        *,
        clock: Clock,
        progress: ProgressTracker,
        log: Log,
        offset_ms: Callable[[], int] = lambda: 0,
        rotate_s: float = ROTATE_S,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self.connections = 0
        self.rotations = 0
        self.failure = ""
        self._stream = stream
        self._streaming = streaming
        self._series = series
        self._listener = listener
        self._clock = clock
        self._progress = progress
        self._log = log
        self._offset_ms = offset_ms
        self._rotate_s = rotate_s
        self._draw = draw
        self._failures = 0
        self._retry_after_s = 0.0
        self._quiet = False
        self._mute_patience = 1
        self._legs: list[_Leg] = []
        self._heard_at: float | None = None

    @property
    def frame_age_s(self) -> float | None:
        """The age of the last frame of any kind, seconds, whether there is a connection now or not; None: none came."""
        before = [] if self._heard_at is None else [self._clock.monotonic() - self._heard_at]
        return min([*(leg.connection.frame_age_s for leg in self._legs), *before], default=None)

    async def run(self) -> NoReturn:
        """Connect, and connect again, until cancelled. Raises PermanentError, or what the listener raises."""
        leg: _Leg | None = None
        try:
            while True:
                if leg is None:
                    leg = await self._connected()
                    self._listener.interrupted()
                before, leg = leg, await self._successor(leg)
                await self._drop(before)
        finally:
            for one in [*self._legs]:
                await self._drop(one)

    async def _connected(self) -> _Leg:
        """A new connection, in use: at once, or after a pause where one failed before."""
        while True:
            if self._failures:
                pause = self._draw() * min(LONGEST_PAUSE_S, 2.0 ** min(self._failures - 1, 30))
                pause = max(pause, self._retry_after_s)
                until_ms = self._clock.now_ms() + int(pause * 1000)
                self._progress.wait(_CONNECTING, f"the exchange's streams: {self.failure}", until_ms)
                await self._clock.sleep(pause)
            try:
                connection = await self._stream.connect(self._streaming.streams(self._series))
            except RetryableError as error:
                self._failed(error)
                continue
            self._progress.wait(_CONNECTING, None)
            self.connections += 1
            leg = _Leg(connection, self._clock.monotonic())
            self._legs.append(leg)
            leg.reading = asyncio.create_task(self._read(leg), name=f"stream {connection.number}")
            return leg

    def _failed(self, error: RetryableError, leg: _Leg | None = None) -> None:
        healthy = leg is not None and self._clock.monotonic() - leg.since >= HEALTHY_S
        self._failures = 1 if healthy else self._failures + 1
        self._retry_after_s = error.retry_after or 0.0
        self.failure = str(error)[:_REASON_CHARACTERS]
        self._log.warning("a connection to the streams failed", error=str(error), failures=self._failures)

    async def _read(self, leg: _Leg) -> NoReturn:
        while True:
            batch = await leg.connection.read()
            payloads, broken = batch.payloads, 0
            for first in range(0, len(payloads), TOGETHER):
                broken += self._hear(leg, payloads[first : first + TOGETHER], batch.received_us)
            if broken:
                raise StreamEnded(EndCause.MALFORMED, f"{broken} messages of the exchange's streams are no JSON")
            await asyncio.sleep(0)  # what came at once may be much

    def _hear(self, leg: _Leg, payloads: Sequence[bytes], received_us: int) -> int:
        """Read some messages for the listener; returns how many of them are no JSON."""
        heard = self._streaming.read(payloads, self._series, received_us // 1000 + self._offset_ms())
        if len(heard.others) + len(heard.refused) < len(payloads):
            leg.note(heard, self._clock.monotonic())
            if self._quiet:
                self._quiet = False
                self._progress.wait(_QUIET, None)
        came = {"connection": leg.connection.number, "received_us": received_us}
        self._listener.hear(msgspec.structs.replace(heard, **came))
        return heard.broken

    async def _successor(self, leg: _Leg) -> _Leg | None:
        """Wait until another connection has taken this one's place, or it has ended; None: there is none yet."""
        rotate_s = self._rotate_s * (1 - ROTATE_JITTER * self._draw())
        taking_over: asyncio.Task[_Leg] | None = None
        asking: asyncio.Task[bool] | None = None
        try:
            while not leg.ended:
                overdue, old = self._listener.overdue(), leg.connection.age_s >= rotate_s
                if taking_over is None and (leg.connection.ending_announced or old or self._is_mute(leg, overdue)):
                    taking_over = asyncio.create_task(self._take_over(leg), name="rotation")
                if taking_over is not None and taking_over.done():
                    return taking_over.result()
                if asking is None and self._quiet_s(leg) >= self._streaming.silence_s * leg.patience:
                    asking = asyncio.create_task(self._is_dead(leg), name="silence")
                if asking is not None and asking.done():
                    if asking.result():
                        await _cancelled(leg.reading)
                        self._failed(RetryableError(f"{self._series.id}: the exchange has more than its stream"), leg)
                        break
                    asking = None
                await self._look(leg, taking_over, asking)
            else:
                self._note_end(leg)
            return None if taking_over is None else await taking_over
        finally:
            await _cancelled(taking_over, asking)

    async def _take_over(self, before: _Leg) -> _Leg:
        """A connection that has given all that `before` gave last; where that has ended, the next one that there is."""
        while True:
            leg = await self._connected()
            while not leg.ended:
                if leg.covers(before):
                    self.rotations += 1
                    return leg
                late = self._clock.monotonic() - leg.since >= OVERLAP_S
                if late and not before.ended and not leg.heard and before.heard_at > leg.since:
                    await _cancelled(leg.reading)
                    self._failed(RetryableError(f"{self._series.id}: a connection gives what another does not"), leg)
                    break
                if before.ended or late or await self._both_silent(leg, before):
                    self._listener.interrupted()
                    return leg
                await self._look(leg, before.reading)
            else:
                self._note_end(leg)
            await self._drop(leg)

    async def _both_silent(self, leg: _Leg, before: _Leg) -> bool:
        """Whether neither gives anything, and the exchange was asked what there is."""
        if min(self._quiet_s(leg), self._quiet_s(before)) < SETTLE_S:
            return False
        try:
            await self._listener.newer()
        except RetryableError as error:
            self._log.warning("what the exchange has is not known", error=str(error))
            leg.asked_at = self._clock.monotonic()
            return False
        return True

    def _quiet_s(self, leg: _Leg) -> float:
        return self._clock.monotonic() - max(leg.heard_at, leg.asked_at)

    async def _is_dead(self, leg: _Leg) -> bool:
        """Whether the exchange has something newer than what the stream, which is silent, gave last."""
        before = leg.heard_at
        try:
            newer = await self._listener.newer()
            if newer:
                await self._clock.sleep(_ARRIVAL_S)
        except RetryableError as error:
            self._log.warning("what the exchange has is not known", error=str(error))
            return False
        finally:
            leg.asked_at = self._clock.monotonic()
        silent = leg.heard_at == before
        if silent and not newer:
            leg.patience = min(2 * leg.patience, MOST_PATIENCE)
            self._quiet = True
            self._progress.wait(_QUIET, f"{self._series.id}: the exchange has nothing newer")
        return silent and newer

    def _is_mute(self, leg: _Leg, overdue: Overdue | None) -> bool:
        """Whether another connection is to take over, without a gap of what goes on, as one of its streams is silent.

        That is so less and less often where it is of no use.
        """
        if overdue is None:
            self._mute_patience = 1
            return False
        limit_s = self._streaming.silence_s * self._mute_patience
        if self._clock.monotonic() - max(overdue.since, leg.since) < limit_s:
            return False
        self._mute_patience = min(2 * self._mute_patience, MOST_PATIENCE)
        self.failure = f"{overdue.stream} said nothing for {limit_s:g} s, though other streams show that it had to"
        self._log.warning("a stream is silent: another connection takes over", error=self.failure)
        return True

    def _note_end(self, leg: _Leg) -> None:
        """Raises what ended the reading, if that is not the connection's end."""
        error = None if leg.reading is None or leg.reading.cancelled() else leg.reading.exception()
        if not isinstance(error, RetryableError):
            raise error or RuntimeError("the reading of a stream was cancelled")
        self._failed(error, leg)

    async def _look(self, leg: _Leg, *also: _Task) -> None:
        """Return after a moment, or once the connection has ended, or one of the other tasks has."""
        moment = asyncio.create_task(self._clock.sleep(_LOOK_S), name="look")
        try:
            waited = {one for one in (moment, leg.reading, *also) if one is not None}
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        finally:
            moment.cancel()

    async def _drop(self, leg: _Leg) -> None:
        if leg in self._legs:
            self._legs.remove(leg)
            heard_at = self._clock.monotonic() - leg.connection.frame_age_s
            self._heard_at = max(heard_at, self._heard_at or heard_at)
            await _cancelled(leg.reading)
            leg.reading = None  # its error's traceback leads back here: a cycle that would keep the connection
            await leg.connection.abort()


async def _cancelled(*tasks: _Task) -> None:
    """End tasks, whatever they raise or have raised."""
    given = [task for task in tasks if task is not None]
    for task in given:
        task.cancel()
    await asyncio.gather(*given, return_exceptions=True)
