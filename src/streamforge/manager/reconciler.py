"""The loop that keeps every workflow going: look at the jobs, hear the events, fold, decide, store, act; again.

It is driven by state, not by events: an event only says "look now". Whatever is lost, a later look finds.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Coroutine, Mapping, Sequence

import msgspec
import structlog

from streamforge.manager.acting import Actor
from streamforge.manager.actions import Action, EndJob, Prepare, Prove, SayLastWord
from streamforge.manager.budget import Budget
from streamforge.manager.deciding import World, decide, live
from streamforge.manager.fold import hear, observe
from streamforge.manager.hearing import Ear
from streamforge.manager.parts import Parts
from streamforge.manager.repository import Stored
from streamforge.manager.workflow import Attempt, Status, Step, Workflow
from streamforge_utils.model.errors import ConflictError, PermanentError, RetryableError
from streamforge_utils.model.events import Event, Progress, decode_event
from streamforge_utils.ports.launcher import Job, JobState

_replace = msgspec.structs.replace
_log = structlog.get_logger(__name__)

Listener = Callable[[Event, float], None]
"""Called with each event heard and the time (unix seconds) at which it was."""


class Reconciler:
    """Drives the live workflows. `run` goes on until it is cancelled; `wake` makes it look now."""

    LOOK_EVERY_S = 1.0
    HURRY_S = 0.05
    NOTE_EVERY_MS = 3_000
    RETAIN_EVERY_S = 60.0
    LONG_AT_ONCE = 4
    SHORT_AT_ONCE = 16

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self.actor = Actor(parts, Budget(parts.policy.weight_per_minute))
        self.listeners: set[Listener] = set()
        self.last_look: float | None = None
        self.last_error: str | None = None
        self._wake = asyncio.Event()
        self._running: dict[tuple[str, ...], asyncio.Task[None]] = {}
        self._long = asyncio.Semaphore(self.LONG_AT_ONCE)
        self._short = asyncio.Semaphore(self.SHORT_AT_ONCE)
        self._ear = Ear(parts.bus, parts.events_topic)
        self._jobs: dict[str, Job] = {}
        self._jobs_at = float("-inf")
        self._retained_at = float("-inf")
        self._stored_ms: dict[str, int] = {}

    def wake(self) -> None:
        """Look at the workflows now: something was changed."""
        self._wake.set()

    async def run(self) -> None:
        """Reconcile until cancelled. An error of bus, store or launcher is logged, and tried again."""
        try:
            while True:
                try:
                    await self._ear.wait(self._wake, self.HURRY_S if self._hurried() else self.LOOK_EVERY_S)
                    self._wake.clear()
                    await self._refresh_jobs()
                    if self._ended_silently():
                        await self._ear.read_all()
                    await self._look()
                    self.last_look, self.last_error = self._parts.clock.monotonic(), None
                except (RetryableError, PermanentError, ConflictError) as error:
                    self.last_error = str(error)
                    _log.warning("reconciling failed, trying again", error=str(error))
                    self._parts.observer.count("reconcile_failures_total")
                    await self._parts.clock.sleep(self.LOOK_EVERY_S)
        finally:
            tasks = list(self._running.values())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._ear.close()

    def _hurried(self) -> bool:
        """Whether a job is about to be seen: it was just launched, or has said its last word."""
        return any(
            not attempt.observed or attempt.last_word is not None
            for stored in self._parts.workflows.live.values()
            for step in stored.workflow.steps
            if (attempt := live(step)) is not None
        )

    def _ended_silently(self) -> bool:
        """Whether a job has ended whose last word was not heard: then all that is on the topic must be read first."""
        return any(
            attempt.last_word is None and (job := self._jobs.get(attempt.job)) and job.state is JobState.ENDED
            for stored in self._parts.workflows.live.values()
            for step in stored.workflow.steps
            if (attempt := step.attempt) is not None and attempt.outcome is None
        )

    async def _refresh_jobs(self) -> None:
        # Before the events are read: what a job said before it was seen ended is then certainly among them.
        now = self._parts.clock.monotonic()
        if now - self._jobs_at >= self.LOOK_EVERY_S or (self._hurried() and now - self._jobs_at >= self.HURRY_S):
            self._jobs = {job.name: job for job in await self._parts.launcher.jobs()}
            self._jobs_at = now

    async def _look(self) -> None:
        heard = await self._hear()
        await self._end_orphans()
        for queue_id in list(self._parts.workflows.live):
            await self._reconcile(queue_id, heard.get(queue_id, ()))
        await self._ear.commit()
        await self.actor.deal_budget()
        await self._retain()

    async def _hear(self) -> Mapping[str, Sequence[Event]]:
        heard: dict[str, list[Event]] = defaultdict(list)
        kept: list[tuple[str, int, bytes]] = []
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
            if await self._parts.workflows.get(event.queue_id) is None:
                self._parts.observer.count("events_foreign_total")
                continue
            self._parts.observer.count("events_heard_total", event=event.event)
            if event.event != "pong":
                kept.append((event.queue_id, received.offset, received.value))
            heard[event.queue_id].append(event)
            until_ms = (event.extra or {}).get("banned_until_ms")
            if isinstance(until_ms, int):
                await self.actor.remember_ban(until_ms)
        await self._parts.history.append(kept)
        return heard

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
            try:
                await self._store(stored, workflow, now_ms)
            except ConflictError:
                continue
            for action in actions:
                await self._begin(workflow, action)
            return
        raise ConflictError(f"workflow {queue_id} was changed by others again and again")

    def _world(self, workflow: Workflow) -> World:
        running = sum(stored.workflow.status is not Status.PENDING for stored in self._parts.workflows.live.values())
        return World(may_start=running < self._parts.policy.max_running, banned_until_ms=self.actor.banned_until_ms)

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

    async def _begin(self, workflow: Workflow, action: Action) -> None:
        if isinstance(action, SayLastWord):
            # Awaited, so that it is heard before the workflow is looked at again: it is said once.
            await self.actor.act(workflow, action)
            return
        what = action.job if isinstance(action, EndJob) else getattr(action, "target", "")
        limit = self._long if isinstance(action, Prepare | Prove) else self._short
        self._do((type(action).__name__, workflow.queue_id, what), self.actor.act(workflow, action), limit)

    def _do(self, key: tuple[str, ...], work: Coroutine[None, None, None], limit: asyncio.Semaphore) -> None:
        if key in self._running:
            work.close()
            return

        async def bounded() -> None:
            try:
                async with limit:
                    await work
            except (RetryableError, PermanentError, ConflictError) as error:
                self._parts.observer.count("action_failures_total", action=key[0])
                _log.warning(
                    "an action failed, it will be tried again", action=key[0], queue_id=key[1], error=str(error)
                )
                await self._parts.clock.sleep(self.LOOK_EVERY_S)
            finally:
                work.close()
                self._running.pop(key, None)
                self.wake()

        self._running[key] = asyncio.create_task(bounded(), name=" ".join(key))

    async def _end_orphans(self) -> None:
        """End every job that runs but is not the current attempt of a live workflow."""
        current = {
            attempt.job
            for stored in self._parts.workflows.live.values()
            for step in stored.workflow.steps
            if (attempt := live(step)) is not None
        }
        for job in self._jobs.values():
            if job.state is JobState.RUNNING and job.name not in current:
                _log.warning("ending an orphaned job", job=job.name, queue_id=job.queue_id)
                self._parts.observer.count("orphans_ended_total")
                stopping = self._parts.launcher.stop(job.name, grace_s=self._parts.policy.kill_grace_s)
                self._do(("orphan", job.queue_id, job.name), stopping, self._short)

    async def _retain(self) -> None:
        now = self._parts.clock.monotonic()
        every_s = min(self.RETAIN_EVERY_S, max(self.LOOK_EVERY_S, self._parts.policy.topic_retention_s))
        if now - self._retained_at < every_s:
            return
        self._retained_at = now
        after: str | None = None
        while True:
            page = await self._parts.workflows.find(where={"topics": ["data", "dlq"]}, after=after, limit=200)
            for workflow in page:
                _, actions = decide(workflow, self._parts.clock.now_ms(), self._parts.policy, World())
                for action in actions:
                    await self._begin(workflow, action)
            if len(page) < 200:
                return
            after = page[-1].queue_id


def _without_progress(workflow: Workflow) -> Workflow:
    return _replace(workflow, steps=tuple(_bare(step) for step in workflow.steps))


def _bare(step: Step) -> Step:
    attempt = step.attempt
    if attempt is None:
        return step
    bare: Attempt = _replace(attempt, seen_ms=None, progressed_ms=None, progress=Progress(), message="")
    return _replace(step, attempts=(*step.attempts[:-1], bare))
