"""Work that goes on beside the loop: one task per key, a limited number of each kind at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from enum import IntEnum

from streamforge.manager.deciding.actions import Action, EndJob, Prove
from streamforge.manager.workflow import Workflow

Key = tuple[str, ...]


TRIED = {
    "Prepare": "the exchange's answer",
    "Launch": "the start of its workers",
    "SendStop": "the stop of its workers",
    "EndJob": "the end of its workers",
    "SayLastWord": "the last word of a worker",
    "Prove": "the proof",
    "RemoveTopics": "the removal of its topics",
}
"""Actions in words, by the first part of their key."""


def key_of(workflow: Workflow, action: Action) -> Key:
    """What an action is known by: its name, its workflow and what of it is meant."""
    match action:
        case Prove(ask):
            what = "ask" if ask else ""
        case EndJob(job):
            what = job
        case _:
            what = getattr(action, "target", "")
    return type(action).__name__, workflow.queue_id, what


class Kind(IntEnum):
    """How many run at once: what asks the exchange or walks the store is long, all else is short.

    Ending a job waits until it is gone, a minute where its node is lost: all of a node's must hold up nothing else.
    """

    LONG = 4
    SHORT = 16
    ENDING = 64


class Tasks:
    """The tasks that run. ended: called after each, with its key; failed: awaited, inside it, with what it raised."""

    def __init__(self, ended: Callable[[Key], None], failed: Callable[[Key, Exception], Awaitable[None]]) -> None:
        self._ended = ended
        self._failed = failed
        self._running: dict[Key, asyncio.Task[None]] = {}
        self._named: dict[str, set[Key]] = {}
        self.limits = {kind: asyncio.Semaphore(kind) for kind in Kind}

    def __iter__(self) -> Iterator[Key]:
        return iter(self._running)

    def named(self, name: str) -> frozenset[Key]:
        """The keys of those that run whose key begins with `name`."""
        return frozenset(self._named.get(name, ()))

    def begin(self, key: Key, kind: Kind, work: Coroutine[None, None, None], succeeded: Callable[[], object]) -> None:
        """Do `work`, and then call `succeeded`, unless something of the same key is being done."""
        if key in self._running:
            work.close()
            return

        async def bounded() -> None:
            try:
                async with self.limits[kind]:
                    await work
                succeeded()
            except Exception as error:
                await self._failed(key, error)

        def ended(_: asyncio.Task[None]) -> None:
            # Also of a task that was cancelled before it began: it would seem to run for ever.
            work.close()
            self._running.pop(key, None)
            self._named[key[0]].discard(key)
            self._ended(key)

        self._running[key] = task = asyncio.create_task(bounded(), name=" ".join(key))
        self._named.setdefault(key[0], set()).add(key)
        task.add_done_callback(ended)

    def cancel(self, key: Key) -> None:
        """Stop what is done under `key`, if anything is."""
        if (task := self._running.get(key)) is not None:
            task.cancel()

    async def close(self) -> None:
        """Cancel everything, and wait until it has ended."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
