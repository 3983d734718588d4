"""One connection to the exchange's streams: messages are checked and held, pings answered, silence noticed."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

import msgspec
from picows import WSFrame, WSListener, WSMsgType, WSTransport

from streamforge_utils.adapters.binance.streams.message_frames import Inflation, MalformedFrame, MessageAssembly
from streamforge_utils.adapters.binance.streams.message_pace import MessagePace
from streamforge_utils.adapters.binance.streams.subscriptions import StreamAnswer, checked_streams, subscribe
from streamforge_utils.ports.clock import Clock
from streamforge_utils.ports.instrumentation import Observer
from streamforge_utils.ports.stream import EndCause, StreamBatch, StreamEnded

HELD_BYTES = 4 * 1024 * 1024
"""Of unread messages; beyond it nothing more is received."""

HELD_BYTES_UNACKNOWLEDGED = 32 * 1024 * 1024
"""The same while streams are subscribed to: acknowledgements come behind messages that nobody reads yet."""

AT_ONCE_BYTES = 8 * 1024 * 1024
"""Of messages in one read of the socket, which has itself about a megabyte: more was packed to do harm."""

MESSAGE_COST = 64
"""Bytes that a message takes beside its text."""

_COMBINED, _OF_EXCHANGE = b'{"stream":"', b"!"
_BEHIND, _NEXT = len(_COMBINED), len(_COMBINED) + 1
_SHUTDOWN = "serverShutdown"
_PING, _PONG, _CLOSE = WSMsgType.PING, WSMsgType.PONG, WSMsgType.CLOSE


class BinanceConnection(WSListener):
    """A connection of `ports.stream`. number: as the port has it. shown: the server, for messages.

    silence_s: the connection ends if no frame of any kind comes for so long. now_us: this machine's clock.
    """

    def __init__(
        self,
        number: int,
        shown: str,
        inflation: Inflation | None,
        *,
        silence_s: float,
        clock: Clock,
        now_us: Callable[[], int],
        observer: Observer,
    ) -> None:
        self.number = number
        self.ending_announced = False
        self.pace = MessagePace(clock)
        self._shown = shown
        self._assembly = MessageAssembly(inflation)
        self._silence_s = silence_s
        self._clock = clock
        self._now_us = now_us
        self._observer = observer
        self._made = self._heard = self._listening = clock.monotonic()
        self._unread: list[bytes] = []
        self._held, self._most_held = 0, HELD_BYTES_UNACKNOWLEDGED
        self._paused = self._unstamped = self._acknowledged = False
        self._received_us = 0
        self._came = asyncio.Event()
        self._answers: deque[StreamAnswer] = deque(maxlen=1024)
        self._answered = asyncio.Event()
        self._asking = asyncio.Lock()
        self._requests = 0
        self._end: tuple[EndCause, str] | None = None
        self._ping: bytes | None = None
        self._watching: asyncio.Task[None] | None = None
        self._lost: asyncio.Task[None] | None = None
        self._ponging: asyncio.Task[None] | None = None

    @property
    def age_s(self) -> float:
        """How long ago it was made, seconds."""
        return self._clock.monotonic() - self._made

    @property
    def frame_age_s(self) -> float:
        """How long ago the last frame of any kind came, seconds."""
        return self._clock.monotonic() - self._heard

    async def read(self) -> StreamBatch:
        """All messages that have come and were not read, see `ports.stream`."""
        while not self._unread:
            self._raise_if_ended()
            self._came.clear()
            await self._came.wait()
        unread, self._unread, self._held = self._unread, [], 0
        if self._paused and self._end is None:
            self._paused, self._listening = False, self._clock.monotonic()
            self._transport.underlying_transport.resume_reading()
        return StreamBatch(unread, self._received_us)

    async def subscribe(self, streams: Sequence[str]) -> None:
        """Ask for more streams, see `ports.stream`."""
        async with self._asking:
            await subscribe(self, checked_streams(streams), self._clock)

    async def unsubscribe(self, streams: Sequence[str]) -> None:
        """Ask for these no longer, see `ports.stream`."""
        async with self._asking:
            await subscribe(self, checked_streams(streams), self._clock, "UNSUBSCRIBE")

    def send(self, text: bytes) -> None:
        """Send a message now; `pace` says when one may be sent. Raises StreamEnded."""
        self._raise_if_ended()
        self.pace.count()
        self._transport.send(WSMsgType.TEXT, text)

    def next_request(self) -> int:
        """The number of the next request of this connection."""
        self._requests += 1
        return self._requests

    def expect_answers(self) -> None:
        """Messages that are none of a stream are answers, until `acknowledged`."""
        self._acknowledged = False
        self._most_held = HELD_BYTES_UNACKNOWLEDGED
        self._answers.clear()

    async def answer(self) -> StreamAnswer:
        """The next message that is none of a stream, until `acknowledged`. Raises StreamEnded."""
        while not self._answers:
            self._raise_if_ended()
            self._answered.clear()
            await self._answered.wait()
        return self._answers.popleft()

    def acknowledged(self) -> None:
        """No answer is waited for: from now on they are messages as others are, and less is held."""
        self._acknowledged = True
        self._most_held = HELD_BYTES
        self._pause_if_full(just_acknowledged=True)

    async def abort(self) -> None:
        """End it at once; what it has received can still be read."""
        self._finish(EndCause.ABORTED, "this side ended the connection")
        tasks = [task for task in (self._watching, self._lost, self._ponging) if task is not None]
        await asyncio.gather(*tasks, return_exceptions=True)
        # Each leads back here: what it holds would stay in cycles until the collector comes, which is seldom.
        self._watching = self._lost = self._ponging = None
        if hasattr(self, "_transport"):
            del self._transport

    # What picows calls

    def on_ws_connected(self, transport: WSTransport) -> None:
        """The exchange has agreed to the connection."""
        self._transport = transport
        self._watching = asyncio.create_task(self._watch())
        self._lost = asyncio.create_task(self._until_lost())

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """A frame has come."""
        if self._end is not None:
            return None
        try:
            kind = frame.msg_type
            if kind is _PING or kind is _PONG or kind is _CLOSE:
                self._control(kind, frame)
            elif (message := self._assembly.add(kind, frame)) is not None:
                # Without calls as far as it goes: this runs for each message.
                of_stream = message[:_BEHIND] == _COMBINED and message[_BEHIND:_NEXT] != _OF_EXCHANGE
                if of_stream or not self._is_for_us(message):
                    self._unread.append(message)
                    self._held += len(message) + MESSAGE_COST
                    if not self._unstamped:
                        self._unstamped = True
                        self._came.set()
                    if self._held > self._most_held:
                        self._pause_if_full()
        except MalformedFrame as error:
            return self._finish(EndCause.MALFORMED, str(error))
        if frame.last_in_buffer:
            self._heard = self._clock.monotonic()
            self._stamp()
        return None

    def _control(self, kind: WSMsgType, frame: WSFrame) -> None:
        if frame.rsv1 or frame.rsv2 or frame.rsv3:
            raise MalformedFrame("a control frame has a reserved bit")
        if kind is _PING:
            self._pong(frame.get_payload_as_bytes())
        elif kind is _CLOSE:
            self._closed_by_exchange(frame)

    # Messages

    def _stamp(self) -> None:
        if self._unstamped:
            self._unstamped, self._received_us = False, self._now_us()

    def _is_for_us(self, message: bytes) -> bool:
        """Whether the message is for this adapter alone."""
        try:
            answer = msgspec.json.decode(message, type=StreamAnswer)
        except (msgspec.MsgspecError, RecursionError):
            return False
        if _SHUTDOWN in (answer.e, (answer.stream or "").removeprefix("!")):
            self.ending_announced = True
            return True
        if answer.stream is not None or answer.e is not None or self._acknowledged:
            return False
        self._answers.append(answer)
        self._answered.set()
        return True

    def _pause_if_full(self, *, just_acknowledged: bool = False) -> None:
        if self._held <= self._most_held or self._end is not None:
            return None
        if self._held > self._most_held + AT_ONCE_BYTES and not just_acknowledged:
            return self._finish(EndCause.MALFORMED, f"{self._held} bytes of messages came at once")
        if not self._paused:
            self._paused = True
            self._observer.count("stream_pauses_total")
            self._transport.underlying_transport.pause_reading()
        return None

    # Signs of life

    def _pong(self, payload: bytes) -> None:
        waiting, self._ping = self._ping is not None, payload
        if waiting:
            return  # of several pings the last one alone needs an answer (RFC 6455, section 5.5.3)
        if self.pace.rest_s() > 0:
            self._ponging = asyncio.create_task(self._pong_later())
            return
        self._send_pong()

    async def _pong_later(self) -> None:
        await self._clock.sleep(self.pace.rest_s())
        self._send_pong()

    def _send_pong(self) -> None:
        payload, self._ping = self._ping, None
        if self._end is None:
            self.pace.count()
            self._transport.send_pong(payload)

    async def _watch(self) -> None:
        while True:
            now = self._clock.monotonic()
            if self._paused:  # nothing is received: its silence says nothing of the exchange
                self._listening = now
            rest = max(self._heard, self._listening) + self._silence_s - now
            if rest <= 0:
                return self._finish(EndCause.SILENT, f"no frame came for {self._silence_s:g} s")
            await self._clock.sleep(rest)

    # The end

    def _closed_by_exchange(self, frame: WSFrame) -> None:
        payload = frame.get_payload_as_bytes()
        code = int.from_bytes(payload[:2], "big")
        reason = payload[2:].decode(errors="replace")
        self._transport.send(WSMsgType.CLOSE, payload[:2])
        self._finish(EndCause.CLOSED, f"it was closed with code {code or 1005}{reason and f': {reason}'}")

    async def _until_lost(self) -> None:
        try:
            await self._transport.wait_disconnected()
        except Exception as error:  # picows has met what is no frame
            self._finish(EndCause.MALFORMED, str(error) or repr(error))
        else:
            self._finish(EndCause.CLOSED, "it broke off")

    def _finish(self, cause: EndCause, message: str) -> None:
        if self._end is not None:
            return
        self._end = cause, f"connection {self.number} to {self._shown}: {message}"
        self._observer.count("stream_ends_total", cause=cause)
        self._stamp()
        for task in (self._watching, self._ponging):
            if task is not None:
                task.cancel()
        self._came.set()
        self._answered.set()
        self._transport.disconnect(graceful=False)

    def _raise_if_ended(self) -> None:
        if self._end is not None:
            raise StreamEnded(*self._end)
