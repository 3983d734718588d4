"""Records of jobs, which outlive their Kubernetes objects: anybody may delete those, and they end by themselves.

They lie in the store, beside the workflows: every later manager on the same store knows its jobs.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from streamforge_utils.model.errors import ConfigError, ConflictError
from streamforge_utils.ports.launcher import Job, JobState
from streamforge_utils.ports.store import StateStore

FORMAT: Final = 2
"""Of a basket; 1: of a job that is alone."""
JOB_KIND: Final = "kubernetes-job"
INSTANCE_KIND: Final = "kubernetes-instance"
_PAGE = 500


class JobRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A job that was started, or a basket of several, the `members`. started_ms: unix ms.

    uid: of its Kubernetes Job; basket: of a member, the name of that. ended: how, once it is known.
    """

    format: int = 1
    name: str
    uid: str
    target: str
    queue_id: str
    attempt: int
    started_ms: int
    basket: str = ""
    ended: Job | None = None
    members: tuple[JobRecord, ...] = ()

    def as_job(self, state: JobState, **more: Any) -> Job:
        """The job as a launcher reports it. more: other fields of it."""
        return Job(
            name=self.name,
            target=self.target,
            queue_id=self.queue_id,
            attempt=self.attempt,
            started_ms=self.started_ms,
            state=state,
            basket=self.basket,
            **more,
        )


_decoder = msgspec.json.Decoder(JobRecord)


class JobRecordStore:
    """The records of one installation's jobs. Every method raises RetryableError where the store does not answer."""

    def __init__(self, store: StateStore) -> None:
        self._store = store

    async def instance(self) -> str:
        """The label of this store's Jobs, unlike that of others in the same namespace; made at the first call."""
        kept = await self._store.get(INSTANCE_KIND, INSTANCE_KIND)
        if kept is None:
            name = f"sf-{secrets.token_hex(4)}"
            try:
                kept = await self._store.put(INSTANCE_KIND, INSTANCE_KIND, name.encode(), expected=None)
            except ConflictError:
                return await self.instance()
        return kept.body.decode()

    async def all(self) -> Sequence[JobRecord]:
        """Every record. Raises ConfigError for one of a newer version."""
        found: list[JobRecord] = []
        after: str | None = None
        while page := await self._store.find(JOB_KIND, after=after, limit=_PAGE):
            found += [_read(state.body) for state in page]
            after = page[-1].id
        return found

    async def find(self, name: str) -> JobRecord | None:
        """The record of the job, if there is one."""
        state = await self._store.get(JOB_KIND, name)
        return None if state is None else _read(state.body)

    async def keep(self, record: JobRecord) -> None:
        """Write the record; durable on return. How a job that is alone ended stays: no later write changes it."""
        while True:
            state = await self._store.get(JOB_KIND, record.name)
            if state is not None:
                known = _read(state.body)
                if known == record or (known.uid == record.uid and known.ended is not None and not known.members):
                    return
            body = msgspec.json.encode(record)
            try:
                await self._store.put(
                    JOB_KIND,
                    record.name,
                    body,
                    expected=None if state is None else state.revision,
                    created_ms=record.started_ms,
                )
                return
            except ConflictError:
                continue  # another manager on the same store wrote it meanwhile

    async def forget(self, name: str) -> None:
        """Remove the record."""
        while (state := await self._store.get(JOB_KIND, name)) is not None:
            try:
                await self._store.remove(JOB_KIND, name, expected=state.revision)
                return
            except ConflictError:
                continue


def _read(body: bytes) -> JobRecord:
    record = _decoder.decode(body)
    if record.format > FORMAT:
        raise ConfigError(
            f"the record of job {record.name} has format {record.format}, written by a newer StreamForge; this one "
            f"knows formats up to {FORMAT}: use the newer version"
        )
    return record
