"""The end of the log of each attempt that has ended, kept when its process or pod is long gone.

Of each step the newest `ATTEMPTS_KEPT`, each as large as `ports.job_log` bounds it; removed with the workflow.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from streamforge_utils.model.errors import PermanentError
from streamforge_utils.ports.launcher import Job
from streamforge_utils.ports.store import Document, Outcome, Store

COLLECTION = "streamforge-logs"
"""Not a collection of records: see that of the history."""

ATTEMPTS_KEPT = 16
_MOST_KEYS = 1000


class KeptLog(msgspec.Struct, frozen=True, kw_only=True):
    """text: without secrets."""

    job: str
    text: str


_decode = msgspec.json.Decoder(KeptLog).decode


def lines_of(queue_id: str, text: str) -> str:
    """The lines of a process' log without those that name another workflow alone: in a basket many write to it."""
    lines = text.splitlines(keepends=True)
    return "".join(line for line in lines if '"queue_id"' not in line or f'"{queue_id}"' in line)


class AttemptLogs:
    """The logs of ended attempts, by workflow, target and number. Every method raises RetryableError."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def lacking(self, jobs: Sequence[Job]) -> Sequence[Job]:
        """Those of the jobs of which nothing is kept."""
        there = await self._store.present(COLLECTION, [_key(one.queue_id, one.target, one.attempt) for one in jobs])
        return [one for one in jobs if _key(one.queue_id, one.target, one.attempt) not in there]

    async def keep(self, job: Job, text: str) -> None:
        """Keep what the job wrote, and forget that of older attempts of its step beyond `ATTEMPTS_KEPT`.

        Raises PermanentError if the store refuses it.
        """
        body = msgspec.json.encode(KeptLog(job=job.name, text=text))
        document = Document(_key(job.queue_id, job.target, job.attempt), job.ended_ms or job.started_ms, body)
        (answer,) = await self._store.upsert(COLLECTION, [document])
        if answer.outcome is Outcome.REFUSED:
            raise PermanentError(f"the log of job {job.name} could not be kept: {answer.reason}")
        first, last = f"{job.queue_id}:{job.target}:", f"{job.queue_id}:{job.target};"
        keys = await self._store.keys(COLLECTION, first=first, last=last, limit=_MOST_KEYS)
        if len(keys) > ATTEMPTS_KEPT:
            await self._store.delete(COLLECTION, first=first, last=keys[-ATTEMPTS_KEPT])

    async def read(self, queue_id: str, target: str, attempt: int) -> KeptLog | None:
        """What is kept of the attempt."""
        key = _key(queue_id, target, attempt)
        found = await self._store.read(COLLECTION, first=key, last=f"{key}!", limit=1)
        return _decode(found[0].body) if found else None

    async def remove(self, queue_id: str) -> None:
        """Forget the logs of the workflow."""
        await self._store.delete(COLLECTION, first=f"{queue_id}:", last=f"{queue_id};")


def _key(queue_id: str, target: str, attempt: int) -> str:
    return f"{queue_id}:{target}:{attempt:08d}"
