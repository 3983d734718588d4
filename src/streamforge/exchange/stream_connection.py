"""One connection to the exchange's streams: what it sends by the exchange's clock, and what it takes from a client."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections import deque
from collections.abc import Callable
from enum import StrEnum
from typing import Protocol

import msgspec
from aiohttp import ClientConnectionResetError, WSMessage, WSMsgType, web

from streamforge.exchange.state import ExchangeState
from streamforge.exchange.stream_feed import Agenda, Outgoing
from streamforge.exchange.stream_frames import spoilt_frame
from streamforge.exchange.stream_protocol import STREAMS_LIMIT, ControlMessage, Refusal, read_message
from streamforge.exchange.stream_source import StreamEvent, StreamName

PING_MS, PONG_MS, LIFE_MS = 20_000, 60_000, 86_400_000
_SECOND_MS, _STILL_S = 1_000, 60.0
_BURST = 64
"""Messages that are sent before another connection has its turn."""
_SHUTDOWN = StreamName("!serverShutdown", "", "serverShutdown")
_NEVER = float("inf")


class How(StrEnum):
    """How the exchange ends a connection: with a close frame, with the end of the bytes, or with a reset."""

    CLOSE = "close"
    END = "end"
    RESET = "reset"


class Ping(msgspec.Struct, frozen=True):
    """A ping that was sent. sent_ms: by the exchange's clock. sent_s: by that of the event loop."""

    payload: bytes
    sent_ms: int
    sent_s: float


class Ending(msgspec.Struct, frozen=True):
    """The end of a connection. reason: as it is counted, and as the close frame says it."""

    reason: str
    how: How = How.CLOSE
    code: int = 1008


AGED = Ending("24 hours")
"""A connection is as old as one may become."""


class Striking(Protocol):
    """What faults do to an event that is about to be sent."""

    def __call__(self, connection: StreamConnection, outgoing: Outgoing, /) -> list[Outgoing]:
        """What is sent now in its place. May end or silence the connection."""


class StreamConnection:
    """A connection that is open. number: of the exchange's connections.

    position_ms: everything until then is sent, by the exchange's clock. combined: messages name their stream. micro:
    times are in microseconds. strike: what faults do. caught_up: called when all that is due is sent.
    silent: streams that say nothing until then, unix ms; stalled_ms: the same for all of them. pings: whether they are
    sent meanwhile. held: events that wait for so many more of their stream. patience_s: a client that takes nothing for
    so long is cut.
    """

    def __init__(
        self,
        number: int,
        request: web.Request,
        ws: web.WebSocketResponse,
        agenda: Agenda,
        state: ExchangeState,
        strike: Striking,
        caught_up: Callable[[], None],
    ) -> None:
        self.number, self.agenda, self.combined, self.micro = number, agenda, False, False
        self.position_ms = state.clock.now_ms()
        self.silent: dict[str, float] = {}
        self.stalled_ms, self.pings = -_NEVER, True
        self.held: dict[str, list[tuple[int, Outgoing]]] = {}
        self.patience_s: float | None = None
        self._request, self._ws, self._state, self._strike = request, ws, state, strike
        self._caught_up = caught_up
        self._wake = asyncio.Event()
        self._idle = False
        self._ping_ms = self.position_ms + PING_MS
        self._last: tuple[float, Ending] = (self.position_ms + LIFE_MS, AGED)
        self._unanswered: deque[Ping] = deque()
        self._received: deque[tuple[int, float]] = deque()
        self._ending: Ending | None = None

    @property
    def idle(self) -> bool:
        """Whether all that is due has been taken."""
        return self._idle and not self._wake.is_set()

    def wake(self) -> None:
        """Look again at what is due."""
        self._wake.set()

    def end(self, ending: Ending) -> None:
        """End the connection as soon as may be."""
        if self._ending is None:
            self._ending = ending
            self._state.streams.ended[ending.reason] += 1
            transport = self._request.transport
            if ending.how is How.RESET and transport is not None:
                link = transport.get_extra_info("socket")
                link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                transport.abort()
            self.wake()

    def restart(self) -> None:
        """Look at the streams again: they have changed."""
        self.agenda.restart(self._now(), changed=True)
        self.wake()

    def shut_down(self, now_ms: int, notice_ms: int) -> None:
        """Announce that the server shuts down, and end the connection so much later."""
        event = StreamEvent(now_ms, b'{"e":"serverShutdown","E":%d}' % now_ms)
        self.agenda.add(now_ms, Outgoing(_SHUTDOWN, event))
        # without notice it is announced all the same: timers come before events
        last_ms = now_ms + max(notice_ms, 1)
        self._last = min(self._last, (last_ms, Ending("shutdown", code=1001)), key=lambda one: one[0])
        self.wake()

    async def run(self) -> None:
        """Send and receive until the connection has ended."""
        sending = asyncio.create_task(self._send_all())
        try:
            async for message in self._ws:
                await self._take(message)
                if self._ending is not None or message.type is WSMsgType.ERROR:
                    break
        except ClientConnectionResetError:
            pass  # the client has gone before it was answered
        finally:
            if self._ending is None:
                self._state.streams.ended["client"] += 1
                sending.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await sending

    def _now(self) -> int:
        """Where it is in time: everything until then is sent, or is being sent."""
        if self._idle:
            self.position_ms = max(self.position_ms, self._state.clock.now_ms())
        return self.position_ms

    async def _take(self, message: WSMessage) -> None:
        self._state.streams.received += 1
        sent_ms = self._now()
        if message.type is WSMsgType.PONG:
            sent_ms = self._answered(bytes(message.data), sent_ms)
        limit = self._state.config.message_limit
        if limit is not None and not self._counted(sent_ms, limit):
            self.end(Ending("Too many requests"))
        elif message.type is WSMsgType.PING:
            await self._ws.pong(message.data)
        elif message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
            text = message.data.encode() if isinstance(message.data, str) else message.data
            try:
                await self._obey(read_message(text))
            except Refusal as refusal:
                await self._ws.send_frame(refusal.body, WSMsgType.TEXT)

    def _answered(self, payload: bytes, now_ms: int) -> int:
        """A pong came. Returns when it is counted: with its ping, however far the clock has jumped since."""
        for place, ping in enumerate(self._unanswered):
            if ping.payload == payload:
                for _ in range(place + 1):
                    self._unanswered.popleft()
                self.wake()
                return ping.sent_ms
        return now_ms

    def _counted(self, time_ms: int, limit: int) -> bool:
        """Whether one more message is within the limit of a second.

        While the clock stands still, a minute of the machine's is one too: clients send pings of their own.
        """
        now_s = asyncio.get_running_loop().time()
        received = self._received
        while received and (time_ms - received[0][0] >= _SECOND_MS or now_s - received[0][1] >= _STILL_S):
            received.popleft()
        received.append((time_ms, now_s))
        return len(received) <= limit

    async def _obey(self, message: ControlMessage) -> None:
        """Do what a client asks, and answer. Raises Refusal."""
        result: object = None
        match message.method:
            case "SUBSCRIBE":
                if len({*self.agenda.names, *message.params}) > STREAMS_LIMIT:
                    raise Refusal(2, f"Invalid request: more than {STREAMS_LIMIT} streams", message.id)
            case "LIST_SUBSCRIPTIONS":
                result = self.agenda.names
            case "SET_PROPERTY":
                self.combined = message.params[1]
            case "GET_PROPERTY":
                result = self.combined
            case _:
                self.agenda.unsubscribe(message.params)
        await self._ws.send_frame(message.answer(result), WSMsgType.TEXT)
        if message.method == "SUBSCRIBE":
            self.agenda.subscribe(message.params, self._now())
            self.wake()

    async def _send_all(self) -> None:
        try:
            while self._ending is None:
                now_ms = self._state.clock.now_ms()
                if now_ms < self.position_ms - _SECOND_MS:
                    self._set_back(now_ms)
                await self._send_until(now_ms)
                if self._ending is None:
                    await self._rest()
            if self._ending.how is How.CLOSE:
                await self._ws.close(code=self._ending.code, message=self._ending.reason.encode())
            elif self._ending.how is How.END and self._request.transport is not None:
                self._request.transport.close()
        except ClientConnectionResetError:
            pass  # the client has gone
        except Exception:
            self.end(Ending("error", How.RESET))  # nobody would notice otherwise before the client goes
            raise

    async def _rest(self) -> None:
        """Sleep until something is due: all that was is sent."""
        self._idle = True
        self._caught_up()
        await self._sleep(self._state.clock.seconds_until(min(self._timer_ms(), self.agenda.next_ms)))
        self._idle = False

    async def _sleep(self, seconds: float | None) -> None:
        """Until it is woken, or `seconds` have passed."""
        timer = None if seconds is None else asyncio.get_running_loop().call_later(seconds, self._wake.set)
        try:
            await self._wake.wait()
        finally:
            self._wake.clear()
            if timer is not None:
                timer.cancel()

    def _set_back(self, now_ms: int) -> None:
        """The clock was set back: what is due starts again."""
        self._last = (self._last[0] - self.position_ms + now_ms, self._last[1])
        self.position_ms, self._ping_ms = now_ms, now_ms + PING_MS
        self._unanswered.clear()
        self._received.clear()
        self.agenda.restart(now_ms)

    @property
    def _waits_for_pong(self) -> bool:
        """Whether a ping is not answered that is to be answered within a time of the exchange's clock.

        Of a clock that moves as fast as clients read, days pass within the few messages that a client may send.
        """
        return bool(self._unanswered) and not self._state.paced

    def _timer_ms(self) -> float:
        """When the connection is to end, or a ping or the answer to one is due."""
        pong_ms = self._unanswered[0].sent_ms + PONG_MS if self._waits_for_pong else _NEVER
        return min(self._last[0], self._ping_ms, pong_ms)

    async def _send_until(self, now_ms: int) -> None:
        """Send what is due until `now_ms`, in order."""
        done = 0
        while self._ending is None:
            timer_ms, due_ms = self._timer_ms(), self.agenda.next_ms
            next_ms = min(timer_ms, due_ms)
            if next_ms > now_ms:
                self.position_ms = max(self.position_ms, now_ms)
                return
            self.position_ms = max(self.position_ms, int(next_ms))
            if timer_ms <= due_ms:
                await self._on_timer(int(timer_ms))
            else:
                found = self.agenda.pop()
                if found is not None:
                    await self._send(*found)
            done += 1
            if done % _BURST == 0:
                await asyncio.sleep(0)

    async def _on_timer(self, time_ms: int) -> None:
        if self._last[0] <= time_ms:
            self.end(self._last[1])
        elif self._waits_for_pong and self._unanswered[0].sent_ms + PONG_MS <= time_ms:
            await self._wait_for(self._unanswered[0])
        else:
            self._ping_ms += PING_MS
            due = not self._unanswered or not self._state.paced  # of a paced clock one ping at a time
            if due and (self.pings or time_ms >= self.stalled_ms):
                payload = str(time_ms).encode()
                self._unanswered.append(Ping(payload, time_ms, asyncio.get_running_loop().time()))
                await self._ws.ping(payload)

    async def _wait_for(self, ping: Ping) -> None:
        """Give the client time of the machine's clock to answer, for the exchange's may have jumped."""
        loop = asyncio.get_running_loop()
        until_s = ping.sent_s + self._state.config.pong_s
        while self._ending is None and self._unanswered and self._unanswered[0] is ping:
            if loop.time() >= until_s:
                self.end(Ending("Pong timeout"))
            else:
                await self._sleep(until_s - loop.time())

    async def _send(self, outgoing: Outgoing, added: bool) -> None:
        """Send an event, unless a fault has something else in mind."""
        name, now_ms = outgoing.name.text, self.position_ms
        if now_ms < self.stalled_ms or (self.silent and now_ms < self.silent.get(name, 0)):
            return
        if added:
            await self._write(outgoing)
            return
        waiting = self.held.pop(name, ()) if self.held else ()
        for one in self._strike(self, outgoing) if self._state.faults.active else (outgoing,):
            await self._write(one)
        for left, one in waiting:
            if left > 1:
                self.held.setdefault(name, []).append((left - 1, one))
            else:
                await self._write(one)

    async def _write(self, outgoing: Outgoing) -> None:
        event, name = outgoing.event, outgoing.name.text
        data = event.micro() if self.micro != outgoing.other_unit else event.data
        if self.combined:
            data = b'{"stream":"%s","data":%s}' % (name.encode(), data)
        self._state.streams.sent[name] += 1
        if outgoing.spoilt:
            self._write_spoilt(outgoing.spoilt, data)
        elif self.patience_s is None:
            await self._ws.send_frame(data, WSMsgType.TEXT)
        else:
            try:
                async with asyncio.timeout(self.patience_s):
                    await self._ws.send_frame(data, WSMsgType.TEXT)
            except TimeoutError:
                self.end(Ending("slow client", How.RESET))

    def _write_spoilt(self, kind: str, data: bytes) -> None:
        transport = self._request.transport
        if transport is not None:
            transport.write(spoilt_frame(kind, data))
            if kind == "cut":
                self.end(Ending("fault", How.END))
