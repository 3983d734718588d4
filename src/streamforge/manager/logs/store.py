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


SHARED_BYTES = 8 * 1024
"""So much of what a basket wrote of none of its members alone is kept with each of them: many have the same."""


def lines_of(queue_id: str, text: str, *, basket: bool = False, shared_bytes: int | None = None) -> str:
    """The lines of a process' log without those that name another workflow alone: in a basket many write to it.

    There, a line that names no workflow is marked: an object has `"shared": true`, another line begins with `(shared)`.
    basket: it is one's log; else it is taken for one where a line names another workflow. shared_bytes: of the marked
    lines only the last ones, so many bytes at most.
    """
    lines = text.splitlines(keepends=True)
    named = ['"queue_id"' in line for line in lines]
    own = [f'"{queue_id}"' in line for line in lines]
    if not basket and all(mine for mine, names in zip(own, named, strict=True) if names):
        return text
    found, left = list[str](), shared_bytes
    for line, names, mine in reversed(list(zip(lines, named, own, strict=True))):
        if names:
            found += [line] if mine else []
            continue
        marked = f'{{"shared": true, {line[1:]}' if line.startswith('{"') else f"(shared) {line}"
        if left is not None:
            left -= len(marked.encode())
        if left is None or left >= 0:
            found.append(marked)
    return "".join(reversed(found))


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
