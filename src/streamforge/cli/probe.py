"""Sends commands to workers and waits for the events that answer them: the work behind `debug_producer.py`."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from streamforge_utils.model.errors import ConfigError, PermanentError, RetryableError
from streamforge_utils.model.messages import ANY_QUEUE, Command, Event, decode_event, encode_command
from streamforge_utils.ports.bus import Consumer, Message, Producer, Start
from streamforge_utils.ports.clock import Clock
from streamforge_utils.ports.retry import retry
from streamforge_utils.runtime.life.context import MessageBus

PONG = "pong"
_SAME_S = 1e-6
"""Times that differ by less are equal: the JSON of another client may have fewer digits."""
_POLL_S = 1.0
_POLL_MESSAGES = 1000
CONNECT_S = 10.0
"""How long connecting may take, where the time-out for an answer is shorter."""
_TOPICS_S = 3.0
_LOOK_S = 0.2
_REMEMBERED = 1000
"""How many of the latest commands an answer is compared with."""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What is sent, how often, and what is waited for. queue_id: `*` for all. target: None for every worker.

    command: None sends nothing. expect: the event that must follow each command; None waits for none. interval_s: from
    one command to the next. timeout_s: how long one answer is waited for, and how long the bus may be silent.
    """

    queue_id: str
    command: str | None = None
    target: str | None = None
    payload: dict[str, Any] | None = None
    expect: str | None = None
    repeat: int = 1
    interval_s: float = 1.0
    timeout_s: float = 10.0
    follow: bool = False


class Connected(msgspec.Struct, frozen=True, tag_field="kind", tag="connected"):
    """The events are subscribed to."""


class Sending(msgspec.Struct, frozen=True, tag_field="kind", tag="sending"):
    """A command is given to the bus; the first has number 1."""

    number: int
    command: Command


class Answer(msgspec.Struct, frozen=True, tag_field="kind", tag="answer"):
    """An expected event came, or another worker's pong to the same ping. rtt_ms: of a pong."""

    number: int
    rtt_ms: float | None
    event: Event


class Missing(msgspec.Struct, frozen=True, tag_field="kind", tag="missing"):
    """An expected event did not come."""

    number: int
    expected: str
    timeout_s: float


class Heard(msgspec.Struct, frozen=True, tag_field="kind", tag="event"):
    """An event of the queue, where events are followed."""

    event: Event


class Summary(msgspec.Struct, frozen=True, tag_field="kind", tag="summary"):
    """The totals. rtt_ms: the median (`p50`), `p99` and `max` of the round trips."""

    repeat: int
    sent: int
    expected: str | None
    answered: int
    rtt_ms: dict[str, float] | None


Happening = Connected | Sending | Answer | Missing | Heard | Summary
Report = Callable[[Happening], object]
"""Receives what happens, as it happens."""


@dataclass(eq=False)
class _Wait:
    """The wait for the answer to one command. begun: by the performance counter."""

    number: int
    command: Command
    begun: float
    over: asyncio.Event = field(default_factory=asyncio.Event)
    expired: bool = False


class Probe:
    """One run of a request.

    rtts_s: the time from the moment at which a ping is given to the bus until a pong to it was read.
    """

    def __init__(
        self,
        request: Request,
        bus: MessageBus,
        report: Report,
        *,
        control_topic: str,
        events_topic: str,
        clock: Clock,
    ) -> None:
        self.sent = self.answered = 0
        self.rtts_s: list[float] = []
        self._request = request
        self._bus = bus
        self._report = report
        self._control = control_topic
        self._events = events_topic
        self._clock = clock
        self._waits: deque[_Wait] = deque(maxlen=_REMEMBERED)
        self._last_ms = 0
        self._consumer: Consumer | None = None
        self._producer: Producer | None = None

    async def connect(self) -> Consumer:
        """Subscribe to the events, then make ready to send: no answer can be missed, and none waits for a connection.

        Raises RetryableError (also if it takes longer than the time-out and `CONNECT_S`), PermanentError or ConfigError
        (a topic is missing: who only asks makes none).
        """
        within_s = max(self._request.timeout_s, CONNECT_S)
        try:
            async with asyncio.timeout(within_s):
                if self._request.command is not None:
                    # Before the rest: it connects meanwhile.
                    self._producer = await self._bus.producer()
                await self._require_topics()
                consumer = self._consumer = await self._bus.consumer(self._events, start=Start.LATEST)
        except TimeoutError:
            raise RetryableError(f"the bus did not answer within {within_s:g} s") from None
        self._report(Connected())
        return consumer

    async def run(self) -> bool:
        """Connect, send and wait as the request says; true if every expected answer came.

        With `follow` it ends by cancelling. Raises as `connect` does.
        """
        consumer = self._consumer or await self.connect()
        reading = asyncio.create_task(self._read(consumer), name="events")
        sending = asyncio.create_task(self._send_all(), name="commands")
        try:
            await asyncio.wait({reading, sending}, return_when=asyncio.FIRST_COMPLETED)
            if reading.done():
                await reading
            await sending
            if self._request.follow:
                await reading
        finally:
            for task in (reading, sending):
                task.cancel()
            await asyncio.wait({reading, sending})
        return self.complete

    def summary(self) -> Summary:
        """The totals so far."""
        ranks = {"p50": 50, "p99": 99, "max": 100} if self.rtts_s else {}
        rtt_ms = {name: milliseconds(percentile(self.rtts_s, percent)) for name, percent in ranks.items()}
        return Summary(self._request.repeat, self.sent, self._request.expect, self.answered, rtt_ms or None)

    @property
    def complete(self) -> bool:
        """Whether every command was sent and every expected answer came."""
        wanted = self._request.repeat if self._request.command is not None else 0
        return self.sent == wanted and (self._request.expect is None or self.answered == wanted)

    async def _require_topics(self) -> None:
        wanted = {"QUEUE_EVENTS_TOPIC": self._events}
        if self._request.command is not None:
            wanted["QUEUE_CONTROL_TOPIC"] = self._control
        # A service that was started just before may be making them.
        give_up = self._clock.monotonic() + _TOPICS_S
        while missing := {name: topic for name, topic in wanted.items() if topic not in await self._bus.topics()}:
            if self._clock.monotonic() >= give_up:
                told = " and ".join(f"no topic {topic} ({name})" for name, topic in missing.items())
                raise ConfigError(
                    f"there is {told}, or this user has no ACL to see it: is the name right? The first service that "
                    "is started on the bus makes its topics"
                )
            await self._clock.sleep(_LOOK_S)

    async def _send_all(self) -> None:
        request = self._request
        if request.command is None:
            return
        for number in range(1, request.repeat + 1):
            begun = self._clock.monotonic()
            wait = await self._send(number, request.command)
            if request.expect is not None:
                await self._wait_for(wait)
            if number < request.repeat:
                await self._clock.sleep(max(0.0, begun + request.interval_s - self._clock.monotonic()))

    async def _send(self, number: int, name: str) -> _Wait:
        request = self._request
        # A pong tells by the time which ping it answers: no two have the same.
        self._last_ms = max(self._clock.now_ms(), self._last_ms + 1)
        now = self._last_ms / 1000
        command = Command(
            command=name,
            queue_id=request.queue_id,
            target=request.target,
            payload=request.payload,
            timestamp=now,
            sent_at=now,
        )
        assert self._producer is not None, "connect first"  # noqa: S101
        wait = _Wait(number, command, time.perf_counter())
        self._waits.append(wait)
        self._report(Sending(number, command))
        try:
            async with asyncio.timeout(request.timeout_s):
                await self._producer.send(
                    self._control,
                    [Message(request.queue_id.encode(), encode_command(command))],
                    fleeting=command.command == "ping",
                )
        except TimeoutError:
            raise RetryableError(
                f"topic {self._control}: the bus did not take the command within {request.timeout_s:g} s"
            ) from None
        self.sent += 1
        return wait

    async def _wait_for(self, wait: _Wait) -> None:
        try:
            async with asyncio.timeout(self._request.timeout_s):
                await wait.over.wait()
        except TimeoutError:
            wait.expired = True
            self._report(Missing(wait.number, self._request.expect or "", self._request.timeout_s))

    async def _read(self, consumer: Consumer) -> None:
        while True:
            received = await retry(
                lambda: consumer.poll(_POLL_MESSAGES, _POLL_S), clock=self._clock, patience_s=self._request.timeout_s
            )
            for message in received:
                try:
                    event = decode_event(message.value)
                except PermanentError:
                    continue  # it lies on the topic and answers nothing
                self._heard(event)

    def _heard(self, event: Event) -> None:
        request = self._request
        if request.queue_id not in (event.queue_id, ANY_QUEUE) or request.target not in (None, event.target):
            return
        if request.follow:
            self._report(Heard(event))
        if event.event != request.expect:
            return
        for wait in self._waits:
            if event.event == PONG:
                if _is_same(event.ping_ts, wait.command.sent):
                    self._answer(wait, event, time.perf_counter() - wait.begun)
                    return
            elif not wait.over.is_set() and not wait.expired:
                self._answer(wait, event, None)
                return

    def _answer(self, wait: _Wait, event: Event, rtt_s: float | None) -> None:
        if rtt_s is not None:
            self.rtts_s.append(rtt_s)
        if not wait.over.is_set() and not wait.expired:
            self.answered += 1
            wait.over.set()
        self._report(Answer(wait.number, None if rtt_s is None else milliseconds(rtt_s), event))


def milliseconds(seconds: float) -> float:
    """To the microsecond."""
    return round(seconds * 1000, 3)


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest of `values` (not empty) that `percent` % of them do not exceed."""
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]


def _is_same(one: float | None, other: float | None) -> bool:
    return one is not None and other is not None and abs(one - other) < _SAME_S
