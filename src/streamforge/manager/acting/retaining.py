"""What is over is removed after its time: topics, jobs, reservations, old collections."""

from __future__ import annotations

import structlog

from streamforge.manager.acting.actor import Actor
from streamforge.manager.acting.ageing import Ageing
from streamforge.manager.acting.inbox import Inbox
from streamforge.manager.acting.measuring import Measuring
from streamforge.manager.deciding.actions import RemoveTopics
from streamforge.manager.deciding.decide import retention
from streamforge.manager.deciding.facts import Fact
from streamforge.manager.parts import Parts
from streamforge.manager.workflow import Workflow
from streamforge_utils.model.errors import StreamForgeError

EXPIRE_EVERY_S = 600.0
_PAGE = 200

_log = structlog.get_logger(__name__)


class Retaining:
    """Called now and then by the loop, beside it."""

    def __init__(self, parts: Parts, actor: Actor, inbox: Inbox) -> None:
        self._parts = parts
        self._actor = actor
        self._inbox = inbox
        self._expired_at = float("-inf")
        self._ageing = Ageing(parts)
        self._measuring = Measuring(parts.store, parts.clock, parts.observer)

    async def retain(self) -> None:
        """Remove what has been kept long enough. Raises RetryableError."""
        await self._parts.workflows.adopt()
        await self._expire()
        await self.remove_topics()
        try:
            await self._measuring.measure()
        except StreamForgeError as error:
            # Room is made all the same.
            self._parts.observer.count("action_failures_total", action="Measure")
            _log.warning("the room that the data take could not be measured", error=str(error))
        await self._ageing.age()

    async def remove_topics(self) -> int:
        """Remove the topics of ended workflows that were kept long enough; returns how many workflows lost some.

        Raises RetryableError.
        """
        removed = 0
        after: str | None = None
        while True:
            page = await self._parts.workflows.find(where={"topics": ["data", "dlq"]}, after=after, limit=_PAGE)
            for workflow in page:
                # The document may be newer than the label by which it was found: it may go on again.
                for action in retention(workflow, self._parts.clock.now_ms(), self._parts.policy):
                    removed += await self._do(workflow, action)
            if len(page) < _PAGE:
                return removed
            after = page[-1].queue_id

    async def _expire(self) -> None:
        now = self._parts.clock.monotonic()
        if now - self._expired_at < EXPIRE_EVERY_S:
            return
        self._expired_at = now
        await self._finish_removals()
        jobs = {job.queue_id for job in await self._parts.launcher.jobs()}
        topics = {name.removesuffix("-dlq").removesuffix("-data") for name in await self._parts.admin.topics()}
        await self._parts.reservations.expire(jobs | topics)

    async def _finish_removals(self) -> None:
        """Remove what an earlier manager, or an earlier try, had only struck from the coverage."""
        try:
            await self._parts.removing.finish_all()
        except StreamForgeError as error:
            self._parts.observer.count("action_failures_total", action="Remove")
            _log.warning("what is left of removed records could not be removed yet", error=str(error))

    async def _do(self, workflow: Workflow, action: RemoveTopics) -> bool:
        """Whether they are removed, and that is stored."""
        # One after the other: there may be thousands, and they are in no hurry.
        try:
            found = await self._actor.act(workflow, action)
            if found is None:
                return False
            await self._inbox.ask(workflow.queue_id, Fact(workflow.epoch, found))
        except StreamForgeError as error:
            self._parts.observer.count("action_failures_total", action=type(action).__name__)
            _log.warning("what is over could not be removed yet", queue_id=workflow.queue_id, error=str(error))
            return False
        return True
