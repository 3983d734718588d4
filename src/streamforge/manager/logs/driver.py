"""Keeps the end of the log of each attempt once its job has ended, while its launcher still has it."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

import structlog

from streamforge.manager.dependencies import Dependencies
from streamforge.manager.logs.store import SHARED_BYTES, lines_of
from streamforge_utils.model.errors import RetryableError, StreamForgeError
from streamforge_utils.ports.launcher import Job, JobState

_AT_ONCE = 100
_log = structlog.get_logger(__name__)


class LogKeeper:
    """Hears of every job that the loop sees; what it has not kept when the manager is killed, the next one keeps."""

    def __init__(self, deps: Dependencies) -> None:
        self._deps = deps
        self._ended: dict[str, Job] = {}

    def hear(self, jobs: Iterable[Job]) -> bool:
        """Note which of the jobs have ended; whether there is something to keep."""
        self._ended |= {job.name: job for job in jobs if job.state is JobState.ENDED and job.queue_id}
        return bool(self._ended)

    async def keep(self) -> None:
        """Keep the logs of the jobs that have ended. Raises RetryableError: call it again."""
        while self._ended:
            some = list(islice(self._ended.values(), _AT_ONCE))
            for job in await self._deps.logs.lacking(some):
                try:
                    await self._keep(job)
                except RetryableError:
                    raise
                except StreamForgeError as error:  # of one workflow, or one log
                    _log.warning("the log of an attempt is not kept", job=job.name, error=str(error))
            for job in some:
                self._ended.pop(job.name, None)

    async def _keep(self, job: Job) -> None:
        deps = self._deps
        if await deps.workflows.get(job.queue_id) is None:
            return
        text = await deps.launcher.log(job.name)
        if text is None:
            return  # it is not to be had
        basket = job.basket != ""
        own = lines_of(job.queue_id, deps.redact(text), basket=basket, shared_bytes=SHARED_BYTES)
        await deps.logs.keep(job, own)
        if await deps.workflows.get(job.queue_id) is None:  # it was removed meanwhile
            await deps.logs.remove(job.queue_id)
