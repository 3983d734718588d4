"""Carrying out actions beside the loop: one task per key, a limited number of each kind at a time."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Collection, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from enum import IntEnum, unique
from typing import Any, NamedTuple, Protocol

import structlog

from streamforge.manager.engine.document import Status, Workflow
from streamforge.manager.engine.execution.executor import Executor
from streamforge.manager.engine.execution.inbox import Inbox
from streamforge.manager.engine.lifecycle.actions import (
    Action,
    Compare,
    EndJob,
    Launch,
    Prepare,
    Prove,
    SendStop,
    TakeOver,
)
from streamforge.manager.engine.lifecycle.facts import failed
from streamforge.manager.engine.lifecycle.findings import Compared, Fact, Finding, Unanswered
from streamforge.manager.engine.lifecycle.handovers import launching
from streamforge.manager.engine.persistence.bans import Bans
from streamforge.manager.engine.registry import form_of
from streamforge.manager.engine.services import Services
from streamforge_utils.model.errors import ConflictError, RetryableError, StreamForgeError
from streamforge_utils.ports.instrumentation import Observer
from streamforge_utils.ports.launcher import Job
from streamforge_utils.runtime.life.worker_definition import Source

STOP_AGAIN_S = 2.0
"""A worker that has not ended so long after the stop command gets it again: the first one may be lost."""

_SHOWN = 300

_log = structlog.get_logger(__name__)

Key = tuple[str, ...]

TRIED = {
    "Prepare": "the exchange's answer",
    "Launch": "the start of its workers",
    "SendStop": "the stop of its workers",
    "TakeOver": "the handover of a loader",
    "EndJob": "the end of its workers",
    "WriteTerminalEvent": "the terminal event of a worker",
    "Prove": "the proof",
    "Compare": "the comparison of what is stored",
}
"""Every action in words, by the first part of its key."""


def key_of(workflow: Workflow, action: Action) -> Key:
    """What an action is known by: its name, its workflow and what of it is meant.

    What finds something out does so for one epoch: in the next one it is another action.
    """
    match action:
        case Prepare() | Compare():
            what = str(workflow.epoch)
        case Prove(ask):
            what = f"{'ask' if ask else 'survey'} {workflow.epoch}"
        case EndJob(job):
            what = job
        case Launch(target, shadow) if shadow:
            what = launching(target)
        case SendStop(target) | TakeOver(target):
            step = workflow.step(target)
            what = target if step is None or step.attempt is None else step.attempt.job
        case _:
            what = getattr(action, "target", "")
    return type(action).__name__, workflow.queue_id, what


def by_workflow(keys: Iterable[Key]) -> Mapping[str, set[str]]:
    """What is meant by the keys, for each workflow: of a thousand each would look through those of all others."""
    found: dict[str, set[str]] = defaultdict(set)
    for _, queue_id, what in keys:
        found[queue_id].add(what)
    return found


@unique
class Kind(IntEnum):
    """How many run at once. None holds up another kind: a proof may walk through a year of seconds.

    Ending a job waits until it is gone, a minute where its node is lost: all of a node's must hold up nothing else.
    Launches of loaders of streams wait for each other. The end of a live workflow has a limit of time, which must not
    pass while it waits for proofs and comparisons whose store does not answer.
    """

    VERIFYING = 2
    SURVEYING = 3
    PROVING = 4
    BATCHING = 5
    PLANNING = 6
    COMPARING = 7
    KEEPING = 8
    RETAINING = 9
    SHORT = 16
    CLOSING = 32
    ENDING = 64
    GATHERING = 256


def kind_of(workflow: Workflow, action: Action) -> Kind:
    """The kind of an action."""
    match action:
        case Launch() if _gathers(workflow, action):
            return Kind.GATHERING
        case Prove() if form_of(workflow).ends_in_time(workflow):
            return Kind.CLOSING
        case Prepare():
            return Kind.PLANNING
        case Prove(ask):
            return Kind.PROVING if ask else Kind.SURVEYING
        case Compare():
            return Kind.COMPARING
        case EndJob():
            return Kind.ENDING
    return Kind.SHORT


def _gathers(workflow: Workflow, action: Action) -> bool:
    step = workflow.step(action.target) if isinstance(action, Launch) else None
    return step is not None and step.source is Source.STREAM


class BesideTheLoop(Protocol):
    """Work that the loop begins again and again, beside the workflows."""

    def is_due(self) -> bool:
        """Whether there is something to do now."""

    async def look(self) -> None:
        """Do it."""


class Work(NamedTuple):
    """Work beside the workflows: what it is known by, its kind, and what does it."""

    key: Key
    kind: Kind
    work: Coroutine[None, None, None]


class Upkeep(Protocol):
    """What is done beside the workflows; it finds out nothing about them."""

    def after_changes(self, jobs: Iterable[Job]) -> Iterable[Work]:
        """What follows from jobs that have changed."""

    def now_and_then(self) -> Iterable[Work]:
        """What is done again and again."""

    def observe(self, workflows: Iterable[Workflow], now_ms: int) -> None:
        """Report the workflows that have not ended, as they are now."""


class Dispatcher:
    """The actions that are being carried out, and how they went until what they found out is folded.

    ended: called with the workflow after each. pause_s: how long one that failed rests before it may be begun again.
    gathering: the launches under way of which several may become one process.
    """

    def __init__(
        self,
        deps: Services,
        executor: Executor,
        inbox: Inbox,
        bans: Bans,
        ended: Callable[[str], None],
        *,
        pause_s: float,
    ) -> None:
        self._deps = deps
        self._bans = bans
        self._executor = executor
        self._inbox = inbox
        self._ended = ended
        self._pause_s = pause_s
        self.running: dict[Key, asyncio.Task[None]] = {}
        self._running_of: dict[str, set[Key]] = defaultdict(set)
        self.gathering: set[Key] = set()
        self.limits = {kind: asyncio.Semaphore(kind) for kind in Kind}
        self._launched: set[Key] = set()
        self._stopped_at: dict[Key, float] = {}
        self._errors: dict[Key, str] = {}

    def begin(self, workflow: Workflow, action: Action) -> None:
        """Carry out what was decided, unless that is being done or need not be done again."""
        key = key_of(workflow, action)
        if key in self.running or key in self._launched:
            return  # launched: its job is there, and will be seen when the jobs are looked at next
        if self._deps.clock.monotonic() - self._stopped_at.get(key, float("-inf")) < STOP_AGAIN_S:
            return  # it has the command, and a moment to end
        kind = kind_of(workflow, action)
        if kind is Kind.GATHERING:
            self.gathering.add(key)
        self._start(key, kind, self._executor.act(workflow, action), (workflow, action))

    def begin_work(self, *work: Work) -> None:
        """Do what was not decided about a workflow; it finds out nothing."""
        for one in work:
            self._start(one.key, one.kind, one.work)

    def launching(self) -> frozenset[Key]:
        """The keys of the launches that are being carried out."""
        return frozenset(key for key in self.running if key[0] == Launch.__name__)

    @contextmanager
    def looking(self) -> Iterator[None]:
        """In the block the jobs are looked at: those that were launched before it are seen."""
        launched, self._launched = self._launched, set()
        try:
            yield
        except BaseException:
            self._launched |= launched
            raise

    def repeated_failure(self, workflow: Workflow, actions: Sequence[Action]) -> str:
        """Which of the actions fails again and again, and why; empty if none does."""
        for action in actions:
            error = self._errors.get(key_of(workflow, action))
            if error is not None:
                return f"{TRIED[type(action).__name__]}, tried again and again: {error}"
        return ""

    def forget(self, live: Collection[str]) -> None:
        """Forget how actions for other workflows went."""
        self._errors = {key: error for key, error in self._errors.items() if key[1] in live}
        self._stopped_at = {key: at for key, at in self._stopped_at.items() if key[1] in live}

    def cancel_outdated(self, workflow: Workflow) -> None:
        """Stop what was begun in another epoch of the workflow and would find something out: it counts no more."""
        begun = self._running_of.get(workflow.queue_id)
        if begun:
            asking = (Prepare(), Prove(ask=True), Prove(ask=False), Compare(ask=True))
            for key in begun - {key_of(workflow, action) for action in asking}:
                if key[0] in (Prepare.__name__, Prove.__name__, Compare.__name__):
                    self.running[key].cancel()

    async def close(self) -> None:
        """Cancel everything, and wait until it has ended."""
        tasks = list(self.running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _start(
        self,
        key: Key,
        kind: Kind,
        work: Coroutine[None, None, Finding | None],
        decided: tuple[Workflow, Action] | None = None,
    ) -> None:
        if key in self.running:
            work.close()
            return

        def ended(_: Any) -> None:
            # Also of a task that was cancelled before it began: it would seem to run for ever.
            work.close()
            del self.running[key]
            self.gathering.discard(key)
            self._running_of[key[1]].discard(key)
            if not self._running_of[key[1]]:
                del self._running_of[key[1]]
            self._ended(key[1])

        self.running[key] = task = asyncio.create_task(self._carry_out(key, kind, work, decided), name=" ".join(key))
        self._running_of[key[1]].add(key)
        task.add_done_callback(ended)

    async def _carry_out(
        self,
        key: Key,
        kind: Kind,
        work: Coroutine[None, None, Finding | None],
        decided: tuple[Workflow, Action] | None,
    ) -> None:
        try:
            async with self.limits[kind]:
                found = await work
            self._succeeded(key, found, 0 if decided is None else decided[0].epoch)
        except Exception as error:
            # Bus, store and launcher come back; what is wrong in itself is tried a limited number of times.
            if decided is not None and not isinstance(error, RetryableError | ConflictError):
                failure = failed(*decided, str(error) or repr(error))
                if failure is not None:
                    with suppress(RetryableError):  # too many facts: at the next failure, then
                        self._inbox.put(key[1], Fact(decided[0].epoch, failure))
            await self._failed(key, error)

    def _succeeded(self, key: Key, found: Finding | None, epoch: int) -> None:
        self._errors.pop(key, None)
        if key[0] == Launch.__name__:
            self._launched.add(key)
        elif key[0] in (SendStop.__name__, TakeOver.__name__):
            self._stopped_at[key] = self._deps.clock.monotonic()
        if isinstance(found, Unanswered | Compared) and found.ban is not None:
            self._bans.hear(found.ban)
        if found is not None:
            self._inbox.put(key[1], Fact(epoch, found))

    async def _failed(self, key: Key, error: Exception) -> None:
        unexpected = not isinstance(error, StreamForgeError)
        self._deps.observer.count("action_failures_total", action=key[0])
        _log.warning(
            "an action failed, it will be tried again",
            action=key[0],
            queue_id=key[1],
            error=str(error) or repr(error),
            exc_info=unexpected,
        )
        self._errors[key] = (str(error) or repr(error))[:_SHOWN]
        await self._deps.clock.sleep(self._pause_s)


def begin_at_zero(observer: Observer) -> None:
    """Report 0 for each counter that alerts look at.

    A series that appears with its first count has not grown in Prometheus' eyes: the first failure would go unseen.
    """
    for name in ("reconcile_failures_total", "workflow_failures_total", "orphans_ended_total", "missing_records_total"):
        observer.count(name, 0)
    for status in Status:
        observer.count("workflow_changes_total", 0, status=status.value)
    for action in (*TRIED, "RemoveTopics", "orphan"):
        observer.count("action_failures_total", 0, action=action)
