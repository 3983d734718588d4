"""Work that goes on beside the loop: one task per key, a limited number of each kind at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from enum import IntEnum, unique
from typing import TypeVar

from streamforge.manager.lifecycle.actions import Action, EndJob, Prepare, Prove, SendStop
from streamforge.manager.workflow import Workflow

Key = tuple[str, ...]
T = TypeVar("T")


TRIED = {
    "Prepare": "the exchange's answer",
    "Launch": "the start of its workers",
    "SendStop": "the stop of its workers",
    "EndJob": "the end of its workers",
    "WriteTerminalEvent": "the terminal event of a worker",
    "Prove": "the proof",
    "RemoveTopics": "the removal of its topics",
}
"""Every action in words, by the first part of its key."""


def key_of(workflow: Workflow, action: Action) -> Key:
    """What an action is known by: its name, its workflow and what of it is meant.

    What finds something out does so for one epoch: in the next one it is another action.
    """
    match action:
        case Prepare():
            what = str(workflow.epoch)
        case Prove(ask):
            what = f"{'ask' if ask else 'survey'} {workflow.epoch}"
        case EndJob(job):
            what = job
        case SendStop(target):
            step = workflow.step(target)
            what = target if step is None or step.attempt is None else step.attempt.job
        case _:
            what = getattr(action, "target", "")
    return type(action).__name__, workflow.queue_id, what


@unique
class Kind(IntEnum):
    """How many run at once. None holds up another kind: a proof may walk through a year of seconds.

    Ending a job waits until it is gone, a minute where its node is lost: all of a node's must hold up nothing else.
    """

    RETAINING = 1
    VERIFYING = 2
    SURVEYING = 3
    PROVING = 4
    PLANNING = 6
    SHORT = 16
    ENDING = 64


def kind_of(action: Action) -> Kind:
    """The kind of an action."""
    match action:
        case Prepare():
            return Kind.PLANNING
        case Prove(ask):
            return Kind.PROVING if ask else Kind.SURVEYING
        case EndJob():
            return Kind.ENDING
    return Kind.SHORT


class Tasks:
    """The tasks that run. ended: called after each, with its key."""

    def __init__(self, ended: Callable[[Key], None]) -> None:
        self._ended = ended
        self._running: dict[Key, asyncio.Task[None]] = {}
        self._named: dict[str, set[Key]] = {}
        self._of: dict[str, set[Key]] = {}
        self.limits = {kind: asyncio.Semaphore(kind) for kind in Kind}

    def __iter__(self) -> Iterator[Key]:
        return iter(self._running)

    def named(self, name: str) -> frozenset[Key]:
        """The keys of those that run whose key begins with `name`."""
        return frozenset(self._named.get(name, ()))

    def begin(
        self,
        key: Key,
        kind: Kind,
        work: Coroutine[None, None, T],
        *,
        succeeded: Callable[[T], object],
        failed: Callable[[Exception], Awaitable[None]],
    ) -> None:
        """Do `work`, unless something of the same key is being done.

        succeeded: called with what it gave. failed: awaited, still under the key, with what either raised.
        """
        if key in self._running:
            work.close()
            return

        async def bounded() -> None:
            try:
                async with self.limits[kind]:
                    found = await work
                succeeded(found)
            except Exception as error:
                await failed(error)

        def ended(_: asyncio.Task[None]) -> None:
            # Also of a task that was cancelled before it began: it would seem to run for ever.
            work.close()
            self._running.pop(key, None)
            self._named[key[0]].discard(key)
            self._of[key[1]].discard(key)
            if not self._of[key[1]]:
                del self._of[key[1]]
            self._ended(key)

        self._running[key] = task = asyncio.create_task(bounded(), name=" ".join(key))
        self._named.setdefault(key[0], set()).add(key)
        self._of.setdefault(key[1], set()).add(key)
        task.add_done_callback(ended)

    def cancel_outdated(self, workflow: Workflow) -> None:
        """Stop what was begun in another epoch of the workflow and would find something out: it counts no more."""
        begun = self._of.get(workflow.queue_id)
        if begun:
            current = {key_of(workflow, action) for action in (Prepare(), Prove(ask=True), Prove(ask=False))}
            for key in begun - current:
                if key[0] in (Prepare.__name__, Prove.__name__):
                    self._running[key].cancel()

    async def close(self) -> None:
        """Cancel everything, and wait until it has ended."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
