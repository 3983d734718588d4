"""The loop that drives every workflow: look at the jobs, receive the events, fold, decide, store, act; again.

It is driven by state, not by events: an event only wakes it. What is lost, a later look finds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from typing import TypeVar

import msgspec
import structlog

from streamforge.manager.engine.document import Attempt, Status, Workflow
from streamforge.manager.engine.execution.dispatcher import (
    BesideTheLoop,
    Dispatcher,
    Key,
    Kind,
    Upkeep,
    Work,
    begin_at_zero,
    by_workflow,
)
from streamforge.manager.engine.execution.event_consumer import EventConsumer, sort_events
from streamforge.manager.engine.execution.exchange_limits import Budget
from streamforge.manager.engine.execution.executor import Executor
from streamforge.manager.engine.execution.inbox import Inbox
from streamforge.manager.engine.execution.orphans import Orphans
from streamforge.manager.engine.execution.overview import Overview
from streamforge.manager.engine.execution.reconciliation_failure import MOST_LEFT, Failing
from streamforge.manager.engine.lifecycle.actions import Action, WriteTerminalEvent
from streamforge.manager.engine.lifecycle.conditions import Conditions
from streamforge.manager.engine.lifecycle.decision import decide
from streamforge.manager.engine.lifecycle.facts import apply
from streamforge.manager.engine.lifecycle.fold import fold_event, fold_jobs, without_progress
from streamforge.manager.engine.lifecycle.launches import waits_to_connect
from streamforge.manager.engine.persistence.bans import Bans
from streamforge.manager.engine.persistence.workflow_store import Stored
from streamforge.manager.engine.registry import form_of
from streamforge.manager.engine.services import Services
from streamforge_utils.model.errors import ConflictError, RetryableError, StreamForgeError
from streamforge_utils.model.messages import ANY_QUEUE, Command, Event
from streamforge_utils.ports.launcher import Job, JobState

T = TypeVar("T")
_replace = msgspec.structs.replace
_log = structlog.get_logger(__name__)


class Reconciler:
    """Drives the live workflows. `run` goes on until it is cancelled; `wake` makes it look now.

    came_round: when `run` began, or last completed a look, by the monotonic clock (seconds) and the other (ms).
    upkeep, batches: what is done beside the workflows; None: nothing.
    REST: times as long as a look takes it rests after it, HURRY_S at most, so that looks at many workflows leave time
    for what they have begun.
    """

    LOOK_EVERY_S = 1.0
    HURRY_S = 0.05
    REST = 2.0
    NOTE_EVERY_MS = 3_000
    RETAIN_EVERY_S = 60.0
    GAP_MS = 5_000
    YIELD_EVERY = 20

    def __init__(self, deps: Services) -> None:
        self._deps = deps
        self._overview = Overview(deps.workflows.live)
        self.bans = Bans(deps.store, deps.clock, deps.observer)
        self.executor = Executor(deps, self.bans, Budget(deps.policy.weight_per_minute), self._overview)
        self.last_look: float | None = None
        self.came_round: tuple[float, int] | None = None
        self.last_error: str | None = None
        self._wake = asyncio.Event()
        self._events = EventConsumer(deps.bus, deps.admin, deps.events_topic)
        self.listeners = self._events.listeners
        self.inbox = Inbox(deps, self._arrived)
        self.dispatcher = Dispatcher(
            deps, self.executor, self.inbox, self.bans, self._arrived, pause_s=self.LOOK_EVERY_S
        )
        self.executor.baskets.expected = lambda: self._overview.beginning
        self.executor.baskets.begun = lambda: len(self.dispatcher.gathering)
        self.upkeep: Upkeep | None = None
        self.batches: BesideTheLoop | None = None
        self._jobs: dict[str, Job] = {}
        self._running: set[str] = set()
        self._jobs_at = self._retained_at = self._pinged_at = self._everything_at = float("-inf")
        self._stored_ms: dict[str, int] = {}
        self._unread = False
        self._news: set[str] = set()
        self._common: object = None
        self._looked_ms = self._now_ms = self._listening_since_ms = 0
        self._orphans = Orphans(deps, self._overview)
        self._unseen = ""
        self._unseen_since = 0.0
        self._launching_then: frozenset[Key] = frozenset()
        self._launching: Mapping[str, set[str]] = {}
        self._failing: dict[str, Failing] = {}
        begin_at_zero(deps.observer)

    def wake(self) -> None:
        """Look at the workflows now: something was changed."""
        self._wake.set()

    async def run(self) -> None:
        """Reconcile until cancelled. An error, of bus, store or launcher or of our own, is logged, and tried again."""
        self.inbox.driven = True
        self.came_round = self._deps.clock.monotonic(), self._deps.clock.now_ms()
        try:
            while True:
                try:
                    patience_s = self.HURRY_S if self._hurried() else self.LOOK_EVERY_S
                    await self._answering(self._events.wait(self._wake, patience_s))
                    self._wake.clear()
                    began = self._deps.clock.monotonic()
                    await self.turn()
                    self.last_look, self.last_error = self._deps.clock.monotonic(), None
                    self.came_round = self.last_look, self._deps.clock.now_ms()
                    await self._events.rest(self._deps.clock, min(self.HURRY_S, self.REST * (self.last_look - began)))
                except Exception as error:
                    self.last_error = str(error) or repr(error)
                    unexpected = not isinstance(error, StreamForgeError)
                    _log.warning("reconciling failed, trying again", error=self.last_error, exc_info=unexpected)
                    self._deps.observer.count("reconcile_failures_total")
                    await self._answering(self._deps.clock.sleep(self.LOOK_EVERY_S))
        finally:
            await self.close()
            await self.bans.store_last()

    async def close(self) -> None:
        """Leave what is being done, wherever it is, and stop listening."""
        self.inbox.close()
        await self.dispatcher.close()
        await self._events.close()

    async def turn(self) -> None:
        """Look once at the jobs and at every workflow, with the received events; the actions go on beside it."""
        await self.inbox.answer()
        self._deps.fence()
        await self._answering(self._refresh_jobs())
        # Unread: jobs have ended whose terminal events may still be on the topic, so none is written for them yet.
        self._unread = self._ended_silently() and not await self._answering(self._events.read_all())
        await self._look()

    async def _answering(self, work: Coroutine[None, None, T]) -> T:
        """Do `work`, which may wait for bus or launcher; what people ask for meanwhile is stored and answered."""
        task = asyncio.create_task(work)
        try:
            while not task.done():
                asked = asyncio.create_task(self.inbox.wait())
                await asyncio.wait({task, asked}, return_when=asyncio.FIRST_COMPLETED)
                asked.cancel()
                await self.inbox.answer()
            return task.result()
        finally:
            if not task.done():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    def _hurried(self) -> bool:
        """Whether a job is about to be seen: it was just launched, or has sent its terminal event."""
        self._overview.refresh()
        return bool(self._overview.hurried)

    def _ended_silently(self) -> bool:
        """Whether a job is gone without a terminal event: then all that is on the topic must be read first."""
        self._overview.refresh()
        silent = self._overview.silent
        return any(self._is_gone(silent[job]) for job in silent.keys() - self._running)

    def _is_gone(self, attempt: Attempt) -> bool:
        job = self._jobs.get(attempt.job)
        return attempt.ended_ms is not None or (attempt.observed if job is None else job.state is JobState.ENDED)

    async def _refresh_jobs(self) -> None:
        # Before the events are read: those that a job sent before it was seen ended are then certainly among them.
        now = self._deps.clock.monotonic()
        if now - self._jobs_at >= self.LOOK_EVERY_S or (self._hurried() and now - self._jobs_at >= self.HURRY_S):
            launching = self.dispatcher.launching()
            await self.executor.note_ends()
            with self.dispatcher.looking():
                found = {job.name: job for job in await self._deps.launcher.jobs()}
            before = self._jobs
            changed = {name for name, job in found.items() if (was := before.get(name)) is not job and was != job}
            changed |= before.keys() - found.keys()
            owners = self._overview.owners
            self._news |= {owners[name] for name in changed if name in owners}
            self._jobs = self.executor.jobs = found
            if self.upkeep is not None:
                self.dispatcher.begin_work(*self.upkeep.after_changes(found[name] for name in changed & found.keys()))
            self._running = {name for name, job in found.items() if job.state is JobState.RUNNING}
            self._launching_then = launching
            self._jobs_at = now

    async def _look(self) -> None:
        # One time for the whole look: should it be held up, or the clock be set, the next one notices.
        now_ms = self._now_ms = self._deps.clock.now_ms()
        if self._events.behind or not 0 <= now_ms - self._looked_ms <= self.GAP_MS:
            # It slept, it could not read, or events waited: the workers were not silent, it was not listening.
            self._listening_since_ms = now_ms
        events = await sort_events(self._deps, self.bans, self._events.received)
        await self.bans.store()
        await self.executor.baskets.hear(self._jobs.values(), self._events.received)
        self._overview.refresh()
        for job in self._orphans.found(self._jobs, self._running):
            self.dispatcher.begin_work(
                Work(("orphan", job.queue_id, job.name), Kind.ENDING, self.executor.end(job.name))
            )
        self._launching = by_workflow(self._launching_then | self.dispatcher.launching())
        self._check_launcher()
        everything = self._is_time_for_everything()
        news = self._news | self._overview.changed | events.keys() | self._failing.keys()
        self._news = set()
        self._overview.changed.clear()
        live = self._deps.workflows.live
        try:
            # In their order: who has waited longest gets the next free slot.
            with self.executor.baskets.looking():
                for number, queue_id in enumerate([one for one in live if everything or one in news], start=1):
                    await self._reconcile_alone(queue_id, events.get(queue_id, ()))
                    if number % self.YIELD_EVERY == 0:
                        await asyncio.sleep(0)  # requests that came meanwhile are answered
                        await self.inbox.answer()
        except BaseException:
            self._everything_at = float("-inf")  # those that were not looked at are, next time
            raise
        self._failing = {queue_id: failing for queue_id, failing in self._failing.items() if queue_id in live}
        self.dispatcher.forget(live)
        self.inbox.forget(live)
        await self._answering(self._events.commit())
        await self._answering(self.executor.deal_budget())
        await self._answering(self._ping())
        self._retain()
        if everything and self.upkeep is not None:
            self.upkeep.observe((one.workflow for one in live.values()), now_ms)
        if self.batches is not None and self.batches.is_due():
            self.dispatcher.begin_work(Work(("Batches", "", ""), Kind.BATCHING, self.batches.look()))
        self._looked_ms = now_ms

    def _check_launcher(self) -> None:
        now = self._deps.clock.monotonic()
        unseen = self._deps.launcher.stale_reason()
        if unseen and not self._unseen:
            _log.warning("what the jobs do is not seen", error=unseen)
            self._unseen_since = now
        if self._unseen and not unseen:
            self._listening_since_ms = self._now_ms  # how they ended is found out from now on
        self._unseen = unseen
        self._deps.observer.gauge("launcher_unseen_seconds", now - self._unseen_since if unseen else 0)

    def _is_time_for_everything(self) -> bool:
        """Whether to look at all workflows, also at those that nothing is new about.

        Looks come as fast as events do; what only time decides can wait for the next one at everything. What all of
        them depend on is news for each.
        """
        now = self._deps.clock.monotonic()
        conditions = self._conditions(None)
        common = (self._unread, conditions)
        if common == self._common and now - self._everything_at < self.LOOK_EVERY_S:
            return False
        self._common, self._everything_at = common, now
        return True

    async def _reconcile_alone(self, queue_id: str, events: Sequence[Event]) -> None:
        """Reconcile one workflow so that what is wrong with it (or with us) holds up no other one."""
        failing = self._failing.get(queue_id)
        if failing is not None:
            events = (*failing.events, *events)[-MOST_LEFT:]
            if self._deps.clock.monotonic() < failing.until:
                self._failing[queue_id] = _replace(failing, events=events)
                return
        try:
            await self._reconcile(queue_id, events)
        except RetryableError:
            raise  # bus or store do not answer: that holds up all of them
        except Exception as error:
            tries = 1 if failing is None else failing.tries + 1
            until = self._deps.clock.monotonic() + min(60.0, self.LOOK_EVERY_S * 2 ** min(tries - 1, 6))
            self._failing[queue_id] = Failing(tries=tries, until=until, events=events)
            self._deps.observer.count("workflow_failures_total")
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
            stored = self._deps.workflows.live.get(queue_id)
            if stored is None:
                return
            now_ms = self._now_ms
            workflow = stored.workflow
            facts = self.inbox.facts(queue_id)
            for fact in facts:
                workflow = apply(workflow, fact, self._deps.policy)
            for event in events:
                workflow = fold_event(workflow, event, now_ms)
            workflow = fold_jobs(workflow, self._jobs, now_ms)
            workflow, actions = decide(workflow, now_ms, self._deps.policy, self._conditions(workflow))
            failing = self.dispatcher.repeated_failure(workflow, actions)
            if failing and not workflow.ended:
                workflow = _replace(workflow, waiting_for=failing)
            try:
                await self.bans.store()  # first: a ban that an action met since is not found out again
                await self._store(stored, workflow, now_ms)
            except ConflictError:
                continue
            self.inbox.folded(queue_id, facts)
            self.dispatcher.cancel_outdated(workflow)
            self._overview.known(queue_id)
            for action in actions:
                if not (self._unread and isinstance(action, WriteTerminalEvent)):
                    await self._begin(workflow, action)
            return
        raise ConflictError(f"workflow {queue_id} was changed by others again and again")

    def _conditions(self, workflow: Workflow | None) -> Conditions:
        """What the decision about a workflow depends on; None: what that about every workflow does."""
        launching = () if workflow is None else self._launching.get(workflow.queue_id, ())
        slotless = workflow is not None and not form_of(workflow).holds_slot(workflow)
        may_start = slotless or self._overview.started < self._deps.policy.max_running
        waits = may_start and workflow is not None and workflow.status is Status.PENDING
        return Conditions(
            may_start=may_start,
            ahead=self._overview.ahead_of(workflow) if waits and workflow is not None else None,
            banned_until_ms=self.bans.ban.until_ms,
            ban_reason=self.bans.ban.reason,
            exchange_waits=None if self._deps.exchange_waits is None else self._deps.exchange_waits.reason,
            listening_since_ms=self._listening_since_ms,
            launching=frozenset(launching),
            unseen=self._unseen,
            continuous=0 if workflow is None else self._overview.continuous,
            stopping=0 if workflow is None else self._overview.most_stopping,
            abandoned=workflow is not None and self._overview.is_abandoned(workflow),
            may_connect=not waits_to_connect(workflow) or self.executor.may_connect(workflow, self._now_ms),
            runs=self.executor.runs(workflow),
            may_hand_over=self.executor.handovers.may_begin(workflow, self._jobs),
            may_begin=self.executor.starts.left(workflow, self._now_ms),
        )

    async def _store(self, stored: Stored, workflow: Workflow, now_ms: int) -> None:
        queue_id = workflow.queue_id
        if workflow == stored.workflow and not stored.noted:
            return
        recent = now_ms - self._stored_ms.get(queue_id, 0) < self.NOTE_EVERY_MS
        if recent and without_progress(workflow) == without_progress(stored.workflow):
            self._deps.workflows.note(stored, workflow)
            return
        await self._deps.workflows.replace(stored, workflow)
        self._stored_ms[queue_id] = now_ms
        if workflow.status is not stored.workflow.status:
            _log.info("workflow", queue_id=queue_id, status=workflow.status.value)
            self._deps.observer.count("workflow_changes_total", status=workflow.status.value)
        if workflow.ended:
            self._stored_ms.pop(queue_id, None)
            self._deps.history.wake(queue_id)

    async def _begin(self, workflow: Workflow, action: Action) -> None:
        if isinstance(action, WriteTerminalEvent):
            # Awaited, so that it is received before the workflow is looked at again: it is sent once.
            await self._answering(self.executor.act(workflow, action))
            return
        self.dispatcher.begin(workflow, action)

    def _arrived(self, queue_id: str) -> None:
        """There is news for the workflow."""
        self._news.add(queue_id)
        self.wake()

    async def _ping(self) -> None:
        """Ping the workers now and then: one that receives nothing ends by itself."""
        now = self._deps.clock.monotonic()
        if now - self._pinged_at < self._deps.policy.call_every_s:
            return
        if self._overview.current:
            await self.executor.send(Command(command="ping", queue_id=ANY_QUEUE))
            self._pinged_at = now

    def _retain(self) -> None:
        now = self._deps.clock.monotonic()
        every_s = min(self.RETAIN_EVERY_S, max(self.LOOK_EVERY_S, self._deps.policy.topic_retention_s))
        if now - self._retained_at < every_s:
            return
        self._retained_at = now
        if self.upkeep is not None:
            self.dispatcher.begin_work(*self.upkeep.now_and_then())
