"""What actions found out and what people ask for, until the loop has stored what follows from it.

The loop alone writes the document of a workflow that has not ended. Where no loop runs (a manager that only answers
questions), who asks for something stores it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Container, Sequence

import msgspec

from streamforge.manager.actor import actor
from streamforge.manager.engine.document import Workflow
from streamforge.manager.engine.lifecycle.facts import Request, apply, grant
from streamforge.manager.engine.lifecycle.findings import Fact
from streamforge.manager.engine.refusals import no_workflow
from streamforge.manager.engine.request_notes import with_asked
from streamforge.manager.engine.services import Services
from streamforge.manager.persistence.change_notes import WORKFLOW
from streamforge_utils.model.errors import RetryableError

MOST_FACTS = 100
"""Of one workflow; each of its actions finds out one thing between two looks at it."""

MOST_ASKED = 1000
"""Requests that may wait at once; more are refused for now."""


class Inbox:
    """Facts by workflow, and requests that are answered once they are stored.

    driven: a loop answers. arrived: called with the workflow whenever something came, or was stored, for it.
    """

    def __init__(self, deps: Services, arrived: Callable[[str], None]) -> None:
        self._deps = deps
        self._arrived = arrived
        self._facts: dict[str, list[Fact]] = {}
        self._asked: deque[_Asked] = deque()
        self._waiting = asyncio.Event()
        self.driven = False

    def put(self, queue_id: str, fact: Fact) -> None:
        """Keep the fact until the loop folds it. Raises RetryableError if the workflow has too many."""
        facts = self._facts.setdefault(queue_id, [])
        if len(facts) >= MOST_FACTS:
            raise RetryableError(f"workflow {queue_id}: {MOST_FACTS} facts wait to be stored")
        facts.append(fact)
        self._arrived(queue_id)

    def facts(self, queue_id: str) -> Sequence[Fact]:
        """The workflow's facts, oldest first; they stay until they are `folded`."""
        return tuple(self._facts.get(queue_id, ()))

    def folded(self, queue_id: str, facts: Sequence[Fact]) -> None:
        """What follows from these facts, the oldest of the workflow, is stored."""
        if facts:
            left = self._facts[queue_id][len(facts) :]
            if left:
                self._facts[queue_id] = left
            else:
                del self._facts[queue_id]

    def forget(self, live: Container[str]) -> None:
        """Drop the facts about workflows that have ended: they are out of date."""
        if self._facts:
            self._facts = {queue_id: facts for queue_id, facts in self._facts.items() if queue_id in live}

    async def ask(self, queue_id: str, what: Request | Fact) -> Workflow:
        """The workflow after `what`, once that is stored.

        Raises NotFound, NotNow, Unreadable, or RetryableError if the store does not answer or the manager ends.
        """
        if len(self._asked) >= MOST_ASKED:
            raise RetryableError(f"{MOST_ASKED} requests wait to be stored: try again", retry_after=1)
        asked = _Asked(queue_id, what, asyncio.get_running_loop().create_future(), actor())
        self._asked.append(asked)
        self._waiting.set()
        self._arrived(queue_id)
        if not self.driven:
            await self.answer()
        return await asked.answer

    async def wait(self) -> None:
        """Return once somebody asks for something."""
        await self._waiting.wait()

    async def answer(self) -> None:
        """Store what is asked for, one request after the other, and answer each."""
        self._waiting.clear()
        while self._asked:
            asked = self._asked.popleft()
            if asked.answer.done():
                continue  # nobody waits for it any more
            try:
                workflow = await self._stored(asked)
            except BaseException as error:
                _answer(asked, error)
                if not isinstance(error, Exception):
                    raise
            else:
                _answer(asked, workflow)
                self._arrived(asked.queue_id)

    def close(self) -> None:
        """The loop has ended: what it has not stored is refused for now."""
        self.driven = False
        while self._asked:
            _answer(self._asked.popleft(), _ends())

    async def _stored(self, asked: _Asked) -> Workflow:
        deps = self._deps

        def change(workflow: Workflow) -> Workflow:
            if isinstance(asked.what, Fact):
                return apply(workflow, asked.what, deps.policy)
            now_ms = deps.clock.now_ms()
            granted = grant(workflow, asked.what, now_ms)
            return granted if granted is workflow else with_asked(granted, asked.what.name, asked.by, now_ms)

        stored = await deps.workflows.change(asked.queue_id, change)
        if stored is None:
            removed = await deps.removals.said(WORKFLOW, asked.queue_id)
            raise no_workflow(asked.queue_id, await deps.workflows.near(asked.queue_id), removed)
        return stored.workflow


class _Asked(msgspec.Struct, frozen=True):
    """A request. answer: of who waits for it. by: who asks."""

    queue_id: str
    what: Request | Fact
    answer: asyncio.Future[Workflow]
    by: str


def _answer(asked: _Asked, answer: Workflow | BaseException) -> None:
    if asked.answer.done():
        return
    if not isinstance(answer, BaseException):
        asked.answer.set_result(answer)
        return
    asked.answer.set_exception(answer if isinstance(answer, Exception) else _ends())
    asked.answer.exception()  # who asked may have left: nothing is to be logged about it


def _ends() -> RetryableError:
    return RetryableError("the manager ends before this was stored: try again", retry_after=1)
