"""The loop that keeps every workflow going: look at the jobs, hear the events, fold, decide, store, act; again.

It is driven by state, not by events: an event only says "look now". Whatever is lost, a later look finds.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Coroutine, Mapping, Sequence

import msgspec
import structlog

from streamforge.manager.acting import counters
from streamforge.manager.acting.actor import Actor
from streamforge.manager.acting.budget import Budget
from streamforge.manager.acting.hearing import Ear
from streamforge.manager.acting.repeats import Repeats
from streamforge.manager.acting.retaining import Retaining
from streamforge.manager.acting.tasks import TRIED, Key, Kind, Tasks, key_of
from streamforge.manager.deciding.actions import Action, Launch, Prepare, Prove, SayLastWord
from streamforge.manager.deciding.decide import World, decide, live
from streamforge.manager.deciding.fold import hear, observe
from streamforge.manager.keeping.workflows import Stored, Unreadable
from streamforge.manager.parts import Parts
from streamforge.manager.workflow import Attempt, Status, Step, Workflow
from streamforge_utils.model import names
from streamforge_utils.model.commands import ANY_QUEUE, Command
from streamforge_utils.model.errors import ConflictError, PermanentError, RetryableError, StreamForgeError
from streamforge_utils.model.events import Event, Progress, decode_event
from streamforge_utils.ports.launcher import Job, JobState

_replace = msgspec.structs.replace
_log = structlog.get_logger(__name__)

MOST_LEFT = 1000
"""Events kept for a workflow that cannot be reconciled."""

_SHOWN = 300

Listener = Callable[[Event, float], None]
"""Called with each event heard and the time (unix seconds) at which it was."""


class Reconciler:
    """Drives the live workflows. `run` goes on until it is cancelled; `wake` makes it look now."""

    LOOK_EVERY_S = 1.0
    HURRY_S = 0.05
    NOTE_EVERY_MS = 3_000
    RETAIN_EVERY_S = 60.0
    GAP_MS = 5_000
    YIELD_EVERY = 20

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self.actor = Actor(parts, Budget(parts.policy.weight_per_minute))
        self.listeners: set[Listener] = set()
        self.last_look: float | None = None
        self.last_error: str | None = None
        self._wake = asyncio.Event()
        self.tasks = Tasks(self.wake, self._action_failed)
        self._ear = Ear(parts.bus, parts.admin, parts.events_topic)
        self._retaining = Retaining(parts, self.actor)
        self._jobs: dict[str, Job] = {}
        self._jobs_at = float("-inf")
        self._retained_at = float("-inf")
        self._called_at = float("-inf")
        self._stored_ms: dict[str, int] = {}
        self._deaf = False
        self._everything_at = float("-inf")
        self._known: dict[str, object] = {}
        self._looked_ms = 0
        self._hearing_since_ms = 0
        self._started = 0
        self._launching_then: frozenset[Key] = frozenset()
        self._launching: dict[str, frozenset[str]] = {}
        self._failing: dict[str, _Failing] = {}
        self._failures: dict[Key, int] = {}
        self._troubles: dict[Key, str] = {}
        counters.begin_at_zero(parts.observer)

    def wake(self) -> None:
        """Look at the workflows now: something was changed."""
        self._wake.set()

    async def run(self) -> None:
        """Reconcile until cancelled. An error, of bus, store or launcher or of our own, is logged, and tried again."""
        try:
            while True:
                try:
                    await self._ear.wait(self._wake, self.HURRY_S if self._hurried() else self.LOOK_EVERY_S)
                    self._wake.clear()
                    await self.turn()
                    self.last_look, self.last_error = self._parts.clock.monotonic(), None
                except Exception as error:
                    self.last_error = str(error) or repr(error)
                    unexpected = not isinstance(error, StreamForgeError)
                    _log.warning("reconciling failed, trying again", error=self.last_error, exc_info=unexpected)
                    self._parts.observer.count("reconcile_failures_total")
                    await self._parts.clock.sleep(self.LOOK_EVERY_S)
        finally:
            await self.close()

    async def close(self) -> None:
        """Leave what is being done, wherever it is, and stop listening."""
        await self.tasks.close()
        await self._ear.close()

    async def turn(self) -> None:
        """Look once at the jobs and at every workflow, with what was heard; the actions go on beside it."""
        if self._parts.lease is not None:
            self._parts.lease.check()
        await self._refresh_jobs()
        # Deaf: it is not yet known whether they were silent, so no last word is written for them.
        self._deaf = self._ended_silently() and not await self._ear.read_all()
        await self._look()

    def _hurried(self) -> bool:
        """Whether a job is about to be seen: it was just launched, or has said its last word."""
        return any(
            not attempt.observed or attempt.last_word is not None
            for stored in self._parts.workflows.live.values()
            for step in stored.workflow.steps
            if (attempt := live(step)) is not None
        )

    def _ended_silently(self) -> bool:
        """Whether a job is gone whose last word was not heard: then all that is on the topic must be read first."""
        return any(
            attempt.last_word is None and self._is_gone(attempt)
            for stored in self._parts.workflows.live.values()
            for step in stored.workflow.steps
            if (attempt := step.attempt) is not None and attempt.outcome is None
        )

    def _is_gone(self, attempt: Attempt) -> bool:
        job = self._jobs.get(attempt.job)
        return attempt.ended_ms is not None or (attempt.observed if job is None else job.state is JobState.ENDED)

    async def _refresh_jobs(self) -> None:
        # Before the events are read: what a job said before it was seen ended is then certainly among them.
        now = self._parts.clock.monotonic()
        if now - self._jobs_at >= self.LOOK_EVERY_S or (self._hurried() and now - self._jobs_at >= self.HURRY_S):
            launching = self._launches()
            self._jobs = {job.name: job for job in await self._parts.launcher.jobs()}
            self._launching_then = launching
            self._jobs_at = now

    async def _look(self) -> None:
        now_ms = self._parts.clock.now_ms()
        if self._ear.behind or not 0 <= now_ms - self._looked_ms <= self.GAP_MS:
            # It slept, it could not read, or events waited: the workers were not silent, it was not listening.
            self._hearing_since_ms = now_ms
        heard = await self._hear()
        await self._end_orphans()
        live = self._parts.workflows.live
        self._started = sum(stored.workflow.status is not Status.PENDING for stored in live.values())
        launching: dict[str, frozenset[str]] = {}
        for _, queue_id, target in self._launching_then | self._launches():
            launching[queue_id] = launching.get(queue_id, frozenset()) | {target}
        self._launching = launching
        everything = self._parts.clock.monotonic() - self._everything_at >= self.LOOK_EVERY_S
        if everything:
            self._everything_at = self._parts.clock.monotonic()
        for number, queue_id in enumerate(list(live)):
            if everything or queue_id in heard or queue_id in self._failing or self._is_news(queue_id):
                await self._reconcile_alone(queue_id, heard.get(queue_id, ()))
                self._known[queue_id] = self._facts(queue_id)
            if number % self.YIELD_EVERY == self.YIELD_EVERY - 1:
                await asyncio.sleep(0)  # whoever asks meanwhile is answered
        self._known = {queue_id: facts for queue_id, facts in self._known.items() if queue_id in live}
        self._failing = {queue_id: failing for queue_id, failing in self._failing.items() if queue_id in live}
        self._troubles = {key: trouble for key, trouble in self._troubles.items() if key[1] in live}
        await self._ear.commit()
        await self.actor.deal_budget()
        await self._call()
        self._retain()
        self._looked_ms = now_ms

    def _is_news(self, queue_id: str) -> bool:
        """Whether anything but the time differs from what the latest look at the workflow saw.

        Looks come as fast as events do; what only time decides can wait for the next one at everything.
        """
        return queue_id not in self._known or self._known[queue_id] != self._facts(queue_id)

    def _facts(self, queue_id: str) -> object:
        stored = self._parts.workflows.live.get(queue_id)
        if stored is None:
            return None
        jobs = [self._jobs.get(attempt.job) for step in stored.workflow.steps if (attempt := step.attempt) is not None]
        # It is mostly the very same document, which costs nothing to compare.
        return stored.workflow, stored.revision, jobs, self._deaf, self._world(stored.workflow)

    def _launches(self) -> frozenset[Key]:
        return frozenset(key for key in self.tasks if key[0] == Launch.__name__)

    async def _hear(self) -> Mapping[str, Sequence[Event]]:
        heard: dict[str, list[Event]] = defaultdict(list)
        kept: list[tuple[str, int, bytes]] = []
        ours: dict[str, Workflow | None] = {}
        repeats = Repeats()
        now_s = self._parts.clock.now_ms() / 1000
        for received in self._ear.heard:
            try:
                event = decode_event(received.value)
            except PermanentError as error:
                self._parts.observer.count("events_malformed_total")
                _log.debug("event ignored", error=str(error), offset=received.offset)
                continue
            for listener in tuple(self.listeners):
                listener(event, now_s)
            if event.queue_id not in ours:
                ours[event.queue_id] = await self._ours(event.queue_id)
            workflow = ours[event.queue_id]
            if workflow is None:
                self._parts.observer.count("events_foreign_total")
                continue
            self._parts.observer.count("events_heard_total", event=event.event)
            if repeats.is_one(workflow, event):
                self._parts.observer.count("events_repeated_total")
            elif event.event != "pong":
                kept.append((event.queue_id, received.offset, received.value))
            heard[event.queue_id].append(event)
            until_ms = (event.extra or {}).get("banned_until_ms")
            if isinstance(until_ms, int):
                await self.actor.remember_ban(until_ms, event.error_message or "")
        await self._parts.history.append(kept)
        return heard

    async def _ours(self, queue_id: str) -> Workflow | None:
        try:
            stored = await self._parts.workflows.get(queue_id) if names.is_queue_id(queue_id) else None
        except Unreadable:
            return None
        return None if stored is None else stored.workflow

    async def _reconcile_alone(self, queue_id: str, events: Sequence[Event]) -> None:
        """Reconcile one workflow so that what is wrong with it (or with us) holds up no other one."""
        failing = self._failing.get(queue_id)
        if failing is not None:
            events = (*failing.events, *events)[-MOST_LEFT:]
            if self._parts.clock.monotonic() < failing.until:
                self._failing[queue_id] = _replace(failing, events=events)
                return
        try:
            await self._reconcile(queue_id, events)
        except RetryableError:
            raise  # bus or store do not answer: that holds up all of them
        except Exception as error:
            tries = 1 if failing is None else failing.tries + 1
            until = self._parts.clock.monotonic() + min(60.0, self.LOOK_EVERY_S * 2 ** min(tries - 1, 6))
            self._failing[queue_id] = _Failing(tries=tries, until=until, events=events)
            self._parts.observer.count("workflow_failures_total")
            unexpected = not isinstance(error, StreamForgeError)
            _log.error(
                "a workflow cannot be reconciled, it will be tried again",
                queue_id=queue_id,
                error=str(error) or repr(error),
                exc_info=unexpected,
            )
        else:
            self._failing.pop(queue_id, None)

    async def _reconcile(self, queue_id: str, events: Sequence[Event]) -> None:
        for _ in range(5):
            stored = self._parts.workflows.live.get(queue_id)
            if stored is None:
                return
            now_ms = self._parts.clock.now_ms()
            workflow = stored.workflow
            for event in events:
                workflow = hear(workflow, event, now_ms)
            workflow = observe(workflow, self._jobs, now_ms)
            workflow, actions = decide(workflow, now_ms, self._parts.policy, self._world(workflow))
            workflow = self._troubled(workflow, actions)
            try:
                await self._store(stored, workflow, now_ms)
            except ConflictError:
                continue
            if stored.workflow.status is Status.PENDING and workflow.status is not Status.PENDING:
                self._started += 1
            for action in actions:
                if not (self._deaf and isinstance(action, SayLastWord)):
                    await self._begin(workflow, action)
            return
        raise ConflictError(f"workflow {queue_id} was changed by others again and again")

    def _world(self, workflow: Workflow) -> World:
        return World(
            may_start=self._started < self._parts.policy.max_running,
            banned_until_ms=self.actor.banned_until_ms,
            ban_reason=self.actor.ban_reason,
            exchange_waits=None if self._parts.exchange_waits is None else self._parts.exchange_waits.reason,
            hearing_since_ms=self._hearing_since_ms,
            launching=self._launching.get(workflow.queue_id, frozenset()),
        )

    async def _store(self, stored: Stored, workflow: Workflow, now_ms: int) -> None:
        queue_id = workflow.queue_id
        if workflow == stored.workflow and not stored.noted:
            return
        recent = now_ms - self._stored_ms.get(queue_id, 0) < self.NOTE_EVERY_MS
        if recent and _without_progress(workflow) == _without_progress(stored.workflow):
            self._parts.workflows.note(stored, workflow)
            return
        await self._parts.workflows.replace(stored, workflow)
        self._stored_ms[queue_id] = now_ms
        if workflow.status is not stored.workflow.status:
            _log.info("workflow", queue_id=queue_id, status=workflow.status.value)
            self._parts.observer.count("workflow_changes_total", status=workflow.status.value)
        if workflow.ended:
            self._stored_ms.pop(queue_id, None)
            self._parts.history.wake(queue_id)

    def _troubled(self, workflow: Workflow, actions: Sequence[Action]) -> Workflow:
        """The workflow, saying which of the actions is tried in vain, and why."""
        for action in actions:
            trouble = self._troubles.get(key_of(workflow, action))
            if trouble is not None and not workflow.ended:
                return _replace(
                    workflow, waiting_for=f"{TRIED[type(action).__name__]}, tried again and again: {trouble}"
                )
        return workflow

    async def _begin(self, workflow: Workflow, action: Action) -> None:
        if isinstance(action, SayLastWord):
            # Awaited, so that it is heard before the workflow is looked at again: it is said once.
            await self.actor.act(workflow, action)
            return
        if isinstance(action, Prove) and not action.ask:
            # It was asked to stop: what the exchange has does not matter any more.
            self.tasks.cancel((Prove.__name__, workflow.queue_id, "ask"))
        key = key_of(workflow, action)
        kind = Kind.LONG if isinstance(action, Prepare | Prove) else Kind.SHORT
        self._do(key, kind, self.actor.act(workflow, action))

    def _do(self, key: Key, kind: Kind, work: Coroutine[None, None, None]) -> None:
        self.tasks.begin(key, kind, work, succeeded=lambda: self._succeeded(key))

    def _succeeded(self, key: Key) -> None:
        self._failures.pop(key, None)
        self._troubles.pop(key, None)

    async def _action_failed(self, key: Key, error: Exception) -> None:
        unexpected = not isinstance(error, StreamForgeError)
        self._parts.observer.count("action_failures_total", action=key[0])
        _log.warning(
            "an action failed, it will be tried again",
            action=key[0],
            queue_id=key[1],
            error=str(error) or repr(error),
            exc_info=unexpected,
        )
        self._troubles[key] = (str(error) or repr(error))[:_SHOWN]
        if not isinstance(error, RetryableError | ConflictError):
            # Bus, store and launcher come back; what is wrong in itself is tried a limited number of times.
            self._failures[key] = self._failures.get(key, 0) + 1
            if self._failures[key] >= self._parts.policy.max_action_failures:
                del self._failures[key]
                try:
                    await self.actor.give_up(key[1], key[0], error)
                except StreamForgeError as failed:
                    _log.warning("the workflow could not be given up yet", queue_id=key[1], error=str(failed))
        await self._parts.clock.sleep(self.LOOK_EVERY_S)

    async def _call(self) -> None:
        """Let the workers hear now and then that there is a manager: one that hears nothing ends by itself."""
        now = self._parts.clock.monotonic()
        if now - self._called_at < self._parts.policy.call_every_s:
            return
        if any(live(step) for stored in self._parts.workflows.live.values() for step in stored.workflow.steps):
            await self.actor.send(Command(command="ping", queue_id=ANY_QUEUE))
            self._called_at = now

    async def _end_orphans(self) -> None:
        """End every job that runs but is not the current attempt of a live workflow."""
        current = {
            attempt.job
            for stored in self._parts.workflows.live.values()
            for step in stored.workflow.steps
            if (attempt := live(step)) is not None
        }
        for job in self._jobs.values():
            if job.queue_id in self._parts.workflows.unreadable:
                continue
            if job.state is JobState.RUNNING and job.name not in current:
                _log.warning("ending an orphaned job", job=job.name, queue_id=job.queue_id)
                self._parts.observer.count("orphans_ended_total")
                stopping = self._parts.launcher.stop(job.name, grace_s=self._parts.policy.kill_grace_s)
                self._do(("orphan", job.queue_id, job.name), Kind.SHORT, stopping)

    def _retain(self) -> None:
        now = self._parts.clock.monotonic()
        every_s = min(self.RETAIN_EVERY_S, max(self.LOOK_EVERY_S, self._parts.policy.topic_retention_s))
        if now - self._retained_at < every_s:
            return
        self._retained_at = now
        # Beside the loop: there may be many ended workflows.
        self._do(("Retain", "", ""), Kind.LONG, self._retaining.retain())


class _Failing(msgspec.Struct, frozen=True, kw_only=True):
    """A workflow that could not be reconciled `tries` times in a row. events: what it has still to hear."""

    tries: int
    until: float
    events: Sequence[Event]


def _without_progress(workflow: Workflow) -> Workflow:
    return _replace(workflow, waiting_for="", steps=tuple(_bare(step) for step in workflow.steps))


def _bare(step: Step) -> Step:
    attempt = step.attempt
    if attempt is None:
        return step
    bare: Attempt = _replace(attempt, seen_ms=None, progressed_ms=None, progress=Progress(), message="")
    return _replace(step, attempts=(*step.attempts[:-1], bare))
