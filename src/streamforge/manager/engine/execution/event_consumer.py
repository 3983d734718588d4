"""Reads the topic of events for the manager, sorts the events by workflow, and keeps them in the history."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

import structlog

from streamforge.manager.engine.document import Workflow
from streamforge.manager.engine.lifecycle.ban import Banned
from streamforge.manager.engine.persistence.bans import Bans
from streamforge.manager.engine.services import Services
from streamforge_utils.model import names
from streamforge_utils.model.errors import PermanentError, RetryableError
from streamforge_utils.model.messages import TERMINAL_EVENTS, Event, decode_event
from streamforge_utils.ports.bus import Bus, BusAdmin, Consumer, Received
from streamforge_utils.ports.clock import Clock

GROUP = "queue-manager"
POLL_S = 0.25
"""How long one poll waits."""

READ_ALL_S = 15.0
"""Longer than a manager that was killed stays a member of its group."""

_AT_ONCE = 1000
MOST_RECEIVED = 10_000
"""Events taken in at once; the rest waits on the topic."""

_log = structlog.get_logger(__name__)

Listener = Callable[[Event], None]
"""Called with each event when it arrives, before anything is done about it."""


class EventConsumer:
    """Events that were received and not yet committed. What was not committed before a restart is received again.

    behind: more was waiting on the topic than the latest poll could take. listeners: called at once, also in a `rest`.
    """

    def __init__(self, bus: Bus, admin: BusAdmin, topic: str) -> None:
        self._bus = bus
        self._admin = admin
        self._topic = topic
        self._consumer: Consumer | None = None
        self._polling: asyncio.Task[Sequence[Received]] | None = None
        self._next: dict[int, int] = {}
        self.received: list[Received] = []
        self.behind = False
        self.listeners: set[Listener] = set()

    async def wait(self, waking: asyncio.Event, timeout_s: float) -> None:
        """Return when an event came, `waking` is set, or `timeout_s` is over. Raises RetryableError."""
        if self.received or waking.is_set():
            return
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout_s
        wake = asyncio.create_task(waking.wait())
        try:
            while not self.received and not wake.done() and (left := until - loop.time()) > 0:
                poll = await self._poll()
                await asyncio.wait({poll, wake}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
                if poll.done():
                    await self._take(poll)
        finally:
            wake.cancel()

    async def rest(self, clock: Clock, seconds: float) -> None:
        """Only receive for so long: nothing ends it sooner. Raises RetryableError."""
        resting = asyncio.ensure_future(clock.sleep(seconds))
        try:
            while not resting.done() and len(self.received) < MOST_RECEIVED:
                poll = await self._poll()
                await asyncio.wait({poll, resting}, return_when=asyncio.FIRST_COMPLETED)
                if poll.done():
                    await self._take(poll)
            await resting
        finally:
            resting.cancel()

    async def read_all(self) -> bool:
        """Take in all that was sent before this call. False: more than `MOST_RECEIVED` are there, the rest is unread.

        Raises RetryableError, also if it does not all come within `READ_ALL_S`.
        """
        # Counted: where many workers send, a poll that finds nothing may never come, and one that finds nothing proves
        # nothing, as the bus may have waited for a broker or for a former member of the group to be given up. By their
        # offsets: a part of what was received may be committed without our knowing it.
        sent = (await self._admin.lag(self._topic, GROUP)).ranges
        loop = asyncio.get_running_loop()
        give_up = loop.time() + READ_ALL_S
        while (left := self._left(sent)) and len(self.received) < MOST_RECEIVED:
            if not await self._take(await self._poll()):
                # What was trimmed meanwhile will not come.
                now = (await self._admin.lag(self._topic, GROUP)).ranges
                sent = {p: (max(first, now[p][0]), end) for p, (first, end) in sent.items() if p in now}
                if (left := self._left(sent)) and loop.time() > give_up:
                    raise RetryableError(
                        f"topic {self._topic}: {left} events were sent and do not come; "
                        f"does another manager read as group {GROUP}?"
                    )
        return not left

    def _left(self, sent: Mapping[int, tuple[int, int]]) -> int:
        """How many messages of these offsets [first, end) of partitions are still to be received."""
        return sum(max(0, end - max(first, self._next.get(p, first))) for p, (first, end) in sent.items())

    async def commit(self) -> None:
        """What was received need not be received again. Raises RetryableError."""
        if self.received and self._consumer is not None:
            await self._consumer.commit({r.partition: r.offset + 1 for r in self.received})
        self.received = []

    async def close(self) -> None:
        """Leave the group."""
        polling, self._polling = self._polling, None
        if polling is not None:
            polling.cancel()
            await asyncio.gather(polling, return_exceptions=True)
        if self._consumer is not None:
            await self._consumer.close()
            self._consumer = None

    async def _poll(self) -> asyncio.Task[Sequence[Received]]:
        if self._consumer is None:
            self._consumer = await self._bus.consumer(self._topic, group=GROUP)
        if self._polling is None:
            self._polling = asyncio.create_task(self._consumer.poll(_AT_ONCE, POLL_S), name="receive events")
            self._polling.add_done_callback(self._notify)
        return self._polling

    def _notify(self, poll: asyncio.Task[Sequence[Received]]) -> None:
        if not self.listeners or poll.cancelled() or poll.exception() is not None:
            return
        for one in poll.result():
            with suppress(PermanentError):  # no event
                event = decode_event(one.value)
                for listener in tuple(self.listeners):
                    listener(event)

    async def _take(self, poll: asyncio.Task[Sequence[Received]]) -> bool:
        try:
            received = await poll
        except PermanentError:
            # The topic was removed, perhaps made again: this consumer does not notice.
            consumer, self._consumer, self._next = self._consumer, None, {}
            if consumer is not None:
                await consumer.close()
            raise
        finally:
            if poll.done():
                self._polling = None
        self.received += received
        for one in received:
            self._next[one.partition] = one.offset + 1
        self.behind = len(received) == _AT_ONCE
        return bool(received)


async def sort_events(deps: Services, bans: Bans, received: Sequence[Received]) -> Mapping[str, Sequence[Event]]:
    """The events by workflow, in their order; on return they are in the history. Raises RetryableError.

    What is no event, or of no workflow, is counted and left out.
    """
    by_workflow: dict[str, list[Event]] = defaultdict(list)
    kept: list[tuple[str, int, bytes]] = []
    ours: dict[str, Workflow | None] = {}
    repeats = DuplicateEvents()
    now_ms = deps.clock.now_ms()
    for one in received:
        try:
            event = decode_event(one.value)
        except PermanentError as error:
            deps.observer.count("events_malformed_total")
            _log.debug("event ignored", error=str(error), offset=one.offset)
            continue
        if event.queue_id not in ours:
            is_one = names.is_queue_id(event.queue_id)
            ours[event.queue_id] = await deps.workflows.readable(event.queue_id) if is_one else None
        workflow = ours[event.queue_id]
        if workflow is None:
            deps.observer.count("events_foreign_total")
            continue
        deps.observer.count("events_heard_total", event=event.event)
        if repeats.is_one(workflow, event):
            deps.observer.count("events_repeated_total")
        elif event.event != "pong":
            kept.append((event.queue_id, one.offset, one.value))
        by_workflow[event.queue_id].append(event)
        until_ms = (event.extra or {}).get("banned_until_ms")
        if isinstance(until_ms, int):
            # An event's time is the worker's own: none counts as later than now, and no time counts as now.
            said_ms = int(min(max(event.timestamp * 1000, 0), now_ms)) or now_ms
            bans.hear(Banned(until_ms=until_ms, said_ms=said_ms, reason=event.error_message or ""))
    await deps.history.append(kept)
    return by_workflow


class DuplicateEvents:
    """Finds repetitions among the events of one look. The workflows are those of before the look.

    A bus delivers at least once, and a worker sends again what was not confirmed: the second copy may come late. What
    was received is in the workflow's document, so that a manager that was restarted knows it too.
    """

    def __init__(self) -> None:
        self._started: set[tuple[str, str, int]] = set()
        self._ended: set[tuple[str, str, int]] = set()

    def is_one(self, workflow: Workflow, event: Event) -> bool:
        """Whether the event is a second `started` of its attempt, or comes after the attempt's terminal event.

        A pong is an answer, never a repetition.
        """
        if event.event == "pong":
            return False
        who = (event.queue_id, event.target, event.attempt)
        step = workflow.step(event.target)
        attempts = (
            () if step is None or step.telemetry_id != event.producer else (*step.attempts, *step.shadows, step.shadow)
        )
        attempt = next((one for one in attempts if one is not None and one.number == event.attempt), None)
        if who in self._ended or (attempt is not None and attempt.terminal_event is not None):
            return True
        if event.event == "started":
            if who in self._started or (attempt is not None and attempt.started_ms is not None):
                return True
            self._started.add(who)
        elif event.event in TERMINAL_EVENTS:
            self._ended.add(who)
        return False
