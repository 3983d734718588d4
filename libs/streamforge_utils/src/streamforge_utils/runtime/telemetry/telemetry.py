"""What a worker publishes on `queue-events`: one `started`, heartbeats, pongs, and exactly one terminal event."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from streamforge_utils.model.messages import TERMINAL_EVENTS, Event, encode_event
from streamforge_utils.ports.bus import Message, Producer
from streamforge_utils.runtime.life.termination import Termination
from streamforge_utils.runtime.telemetry.instruments import Instruments
from streamforge_utils.runtime.telemetry.logs import Redactor

PATIENCE_S = 20.0
"""How long a bus that does not answer is asked again before that is the worker's error."""

_OUTBOX_EVENTS = 1000
_OWN_EVENTS = 100
"""Of these, so many may be the work's own."""
_MESSAGE_CHARACTERS = 2000


EventKind = Literal["started", "loading", "finished", "interrupted", "error", "pong"]


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """The worker that publishes, as every event names it."""

    queue_id: str
    producer: str
    target: str
    symbol: str = ""
    type: str = ""
    attempt: int = 1


class Telemetry:
    """Sends the events of one attempt, one after another; after the terminal event it sends nothing.

    `run` must run in a task of its own: it empties the outbox, so that neither a ping nor the work waits for the bus.
    """

    def __init__(
        self,
        producer: Producer,
        topic: str,
        identity: Identity,
        instruments: Instruments,
        redactor: Redactor,
    ) -> None:
        self._producer = producer
        self._topic = topic
        self._identity = identity
        self._instruments = instruments
        self._progress, self._clock = instruments.progress, instruments.clock
        self._redact = redactor
        self._outbox: asyncio.Queue[Event | None] = asyncio.Queue(_OUTBOX_EVENTS)
        self._heartbeat: Event | None = None  # in the outbox
        self._own_events = asyncio.Semaphore(_OWN_EVENTS)
        self._ended = False
        self._confirmed_at = self._clock.monotonic()
        instruments.metrics.gauge_by("heartbeat_age_seconds", lambda: self._clock.monotonic() - self._confirmed_at)

    async def started(self, extra: dict[str, Any], message: str = "") -> None:
        """Publish `started`; confirmed on return. Raises RetryableError once patience is spent."""
        await self._send([self._event("started", message=message, extra=extra)], PATIENCE_S)

    def heartbeat(self) -> None:
        """Publish `loading` with the progress of now; left out while an earlier one still waits for the bus."""
        if self._heartbeat is None:
            event = self._event("loading", extra=self._progress_now())
            self._heartbeat = event if self._put(event) else None

    async def loading(self, extra: Mapping[str, Any], *, confirmed: bool = False) -> None:
        """Publish `loading` with the progress of now and `extra`, after earlier events; waits while the bus is slow.

        It is not yet confirmed on return, but goes before the terminal event. confirmed: it is, and may overtake
        earlier events; raises RetryableError once patience is spent.
        """
        if confirmed:
            await self._send([self._event("loading", extra=self._progress_now() | dict(extra))], PATIENCE_S)
            return
        await self._own_events.acquire()
        if not self._put(self._event("loading", extra=self._progress_now() | dict(extra))):
            self._own_events.release()

    def pong(self, ping_ts: float | None) -> None:
        """Answer a ping. ping_ts: when it was sent, unix seconds."""
        self._put(self._event("pong", ping_ts=ping_ts, ponged_at=self._clock.now_ms() / 1000))

    async def run(self) -> None:
        """Send what is in the outbox until `publish_terminal`. Raises RetryableError once patience is spent."""
        while True:
            batch = [await self._outbox.get()]
            while not self._outbox.empty():
                batch.append(self._outbox.get_nowait())
            events = [event for event in batch if event is not None]
            own = sum(event.event == "loading" and event is not self._heartbeat for event in events)
            if any(event is self._heartbeat for event in events):
                self._heartbeat = None
            if events:
                await self._send(events, PATIENCE_S, fleeting=True)
            for _ in range(own):
                self._own_events.release()
            if len(events) < len(batch):
                return

    async def publish_terminal(
        self, termination: Termination, *, publisher: asyncio.Task[None] | None, patience_s: float
    ) -> None:
        """Publish how it ended; confirmed on return. What is in the outbox goes first.

        publisher: the task that runs `run`. Raises RetryableError or TimeoutError once patience is spent.
        """
        if self._ended:
            raise RuntimeError("the terminal event was published already")
        self._ended = True
        await self._drain(publisher, patience_s / 2)
        text = termination.error_message
        event = self._event(
            termination.event,
            message=termination.message,
            error_message=None if text is None else self._redact(text)[:_MESSAGE_CHARACTERS],
            extra=self._progress_now() | termination.extra,
        )
        async with asyncio.timeout(patience_s):
            await self._send([event], patience_s)

    async def _drain(self, publisher: asyncio.Task[None] | None, patience_s: float) -> None:
        if publisher is None or publisher.done():
            return
        while self._outbox.full():
            self._outbox.get_nowait()
        self._outbox.put_nowait(None)
        await asyncio.wait([publisher], timeout=patience_s)
        if not publisher.done():
            publisher.cancel()
            await asyncio.wait([publisher], timeout=patience_s)

    def _put(self, event: Event) -> bool:
        if self._ended:
            return False
        try:
            self._outbox.put_nowait(event)
        except asyncio.QueueFull:
            self._instruments.log.debug("an event was left out: the bus is slow", event_kind=event.event)
            return False
        return True

    async def _send(self, events: list[Event], patience_s: float, *, fleeting: bool = False) -> None:
        key = self._identity.queue_id.encode()
        messages = [Message(key, encode_event(event)) for event in events]
        await self._instruments.retry(
            "events",
            lambda: self._producer.send(self._topic, messages, fleeting=fleeting),
            patience_s=patience_s,
        )
        self._confirmed_at = self._clock.monotonic()
        for event in events:
            self._instruments.metrics.count("events", event=event.event)

    def _event(self, kind: EventKind, **fields: Any) -> Event:
        return Event(
            event=kind,
            status=None if kind == "pong" else kind,
            **msgspec.structs.asdict(self._identity),
            records_written=self._progress.records,
            finished=kind in TERMINAL_EVENTS,
            timestamp=self._clock.now_ms() / 1000,
            **fields,
        )

    def _progress_now(self) -> dict[str, Any]:
        fields: dict[str, Any] = msgspec.to_builtins(self._progress.snapshot())
        return fields
