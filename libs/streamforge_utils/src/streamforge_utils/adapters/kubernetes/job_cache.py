"""The jobs as known at this moment: their Kubernetes objects as the informers report them, and our own acts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import msgspec

from streamforge_utils.adapters.kubernetes.diagnosis import Wait
from streamforge_utils.adapters.kubernetes.job_records import FORMAT, JobRecord
from streamforge_utils.adapters.kubernetes.manifest import (
    ATTEMPT_LABEL,
    MEMBERS,
    QUEUE_ANNOTATION,
    TARGET_LABEL,
    named_members,
)
from streamforge_utils.adapters.kubernetes.objects import JobObject, Metadata, PodObject, milliseconds
from streamforge_utils.ports.launcher import Job, JobState

JOB_NAME_LABEL: Final = "batch.kubernetes.io/job-name"
JOB_UID_LABEL: Final = "batch.kubernetes.io/controller-uid"
_FORGOTTEN: Final = 10_000
"""The latest jobs that were forgotten: a late report about one must not bring it back."""


class CachedJob(msgspec.Struct, eq=False, kw_only=True):
    """One job, or a basket, which has one Kubernetes Job for its members.

    record: with how it ended, once that is known; kept: that record is stored; changing: is held while a basket's is
    changed. since: when it became known, monotonic seconds. job: its Kubernetes Job as last seen; gone: that was
    deleted. pods: those there are, by uid; last: the last one that went, in its last state. stopped: the launcher was
    asked to end it; ending: which of its jobs it was asked to end. waited: why it has not begun. log: its last lines,
    fetched while it was being deleted, None if they were not; reading: the task that fetches them. settling: the task
    that finds out how it ended. looked_up: its record was looked for once it was gone. deletions: since when each of
    its pods was asked to be deleted. reported: its jobs as they were reported last, and of what.
    """

    record: JobRecord
    since: float = float("-inf")
    kept: bool = False
    job: JobObject | None = None
    gone: bool = False
    pods: dict[str, PodObject] = {}
    last: PodObject | None = None
    stopped: bool = False
    ending: set[str] = set()
    waited: Wait | None = None
    log: str | None = None
    reading: asyncio.Task[None] | None = None
    settling: asyncio.Task[None] | None = None
    looked_up: bool = False
    deletions: dict[str, float] = {}
    reported: tuple[list[Job], JobRecord | None, JobObject | None, Wait | None] = ([], None, None, None)
    changing: asyncio.Lock = msgspec.field(default_factory=asyncio.Lock)
    over: asyncio.Event = msgspec.field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        if self.ended:
            self.over.set()

    @property
    def name(self) -> str:
        """The name of its Kubernetes Job: the job's own, unless it is a basket."""
        return self.record.name

    @property
    def uid(self) -> str:
        """The uid of its Kubernetes Job."""
        return self.record.uid

    @property
    def ended(self) -> bool:
        """Whether it is known how it ended, of a basket as a whole."""
        return self.record.ended is not None

    def job_of(self, name: str) -> JobRecord:
        """The record of one of its jobs."""
        return next((one for one in self.record.members if one.name == name), self.record)

    def with_job(self, name: str, *changed: JobRecord) -> JobRecord:
        """Its record with that of a member changed, or without it."""
        members = [one for one in self.record.members if one.name != name]
        return msgspec.structs.replace(self.record, members=(*members, *changed))

    def noted(self, name: str, exit_code: int, now_ms: int) -> JobRecord | None:
        """Its record once a member has ended by itself; None where that is known already."""
        member = self.job_of(name)
        if member.name != name or member.ended is not None:
            return None
        reason, ended_ms = f"exit code {exit_code}" if exit_code else "", max(now_ms, member.started_ms)
        ended = member.as_job(JobState.ENDED, exit_code=exit_code, reason=reason, ended_ms=ended_ms)
        return self.with_job(name, msgspec.structs.replace(member, ended=ended))

    def ended_as(self, process: Job) -> JobRecord:
        """Its record now that all of it has ended like this; of members may be told how each ended."""
        pod = self.final_pod()
        codes = {} if pod is None else dict(zip(_names_in(pod.metadata), pod.exits, strict=False))
        members = [
            one if one.ended is not None else msgspec.structs.replace(one, ended=_end_of(one, process, codes))
            for one in self.record.members
        ]
        return msgspec.structs.replace(self.record, ended=process, members=tuple(members))

    def end(self, record: JobRecord) -> None:
        """It ended as the record says, which is stored: the objects that showed it are not needed any more."""
        self.kept = True
        self.record = record
        self.job = self.last = self.waited = None
        self.pods.clear()
        self.deletions.clear()
        self.log = self.reading = None
        self.over.set()

    def living(self) -> list[PodObject]:
        """Its pods that have not ended."""
        return [pod for pod in self.pods.values() if not pod.ended]

    def grace_s(self, least: int) -> int:
        """How many seconds its pods have to end: while a member goes on that is to end with them alone, their own."""
        goes_on = any(one.ended is None and one.name not in self.ending for one in self.record.members)
        own = [pod.spec.termination_grace_period_seconds for pod in self.living() if pod.status.phase != "Pending"]
        return max([least, *own]) if goes_on else least

    def final_pod(self) -> PodObject | None:
        """The pod that shows how it ended: one that has, else the last one that was seen."""
        known = [*self.pods.values(), *([self.last] if self.last is not None else [])]
        return next((pod for pod in known if pod.ended), known[0] if known else None)

    def pod_ended(self) -> bool:
        """Whether its pod has ended, so that how it ended is about to be known."""
        pod = self.final_pod()
        return not self.living() and pod is not None and pod.ended

    def is_over(self) -> bool:
        """Whether nothing of it runs, or will run any more, as far as is known."""
        if self.living():
            return False
        if self.pod_ended():
            return True
        if self.job is not None and self.job.condition("Complete", "Failed") is not None:
            return True
        # Without its Job ever seen: pods that somebody left behind, and that are gone now.
        return self.gone or (self.job is None and self.last is not None)

    def has_begun(self) -> bool:
        """Whether a container of it runs or ran."""
        return any(pod.status.phase != "Pending" for pod in self.pods.values())

    def seen(self) -> list[Job]:
        """Its jobs as a launcher reports them: often, and the same ones until something of it changes."""
        waited = None if self.has_begun() else self.waited
        jobs, *of = self.reported
        if of[0] is not self.record or of[1] is not self.job or of[2] is not waited:
            some = self.record.members or (self.record,)
            jobs = [self._seen(one, waited) if one.ended is None else one.ended for one in some]
            self.reported = jobs, self.record, self.job, waited
        return jobs

    def _seen(self, record: JobRecord, waited: Wait | None) -> Job:
        image = "" if self.job is None else self.job.image
        if waited is None:
            return record.as_job(JobState.RUNNING, image=image)
        return record.as_job(
            JobState.RUNNING,
            image=image,
            waiting=waited.reason,
            waits_for_room=waited.room,
            next_step=waited.next_step,
        )


class JobCache:
    """All entries, by the names of their Kubernetes Jobs and by the uids of these.

    touched: is given each that changed; pod_leaves: is given a pod that begins to be deleted.
    """

    def __init__(
        self, touched: Callable[[CachedJob], None], pod_leaves: Callable[[CachedJob, PodObject], None]
    ) -> None:
        self.entries: dict[str, CachedJob] = {}
        self.by_uid: dict[str, CachedJob] = {}
        self._by_member: dict[str, CachedJob] = {}
        self.jobs = _Jobs(self)
        self.pods = _Pods(self)
        self.touched = touched
        self.pod_leaves = pod_leaves
        self.forgotten: dict[str, None] = {}

    def find(self, name: str) -> CachedJob | None:
        """The entry of a job."""
        return self.entries.get(name) or self._by_member.get(name)

    def load(self, records: Iterable[JobRecord]) -> None:
        """Add what is stored. Before everything else: nothing of it is seen yet."""
        for record in records:
            self._put(CachedJob(record=record, kept=True))

    def add(self, job: JobObject, since: float) -> CachedJob:
        """Add a Job that was just made, or found."""
        entry = self.entry(job.metadata, job.metadata.uid, job.metadata.name, since)
        if entry.job is None:
            # A report about its pod may have come first, and a list of Jobs from before may have lacked it.
            entry.since, entry.gone = max(entry.since, since), False
        if entry.job is None or entry.job.metadata.deletion_timestamp is None:
            entry.job = job
        return entry

    def drop(self, entry: CachedJob) -> None:
        """Remove it for good; later reports about it are ignored."""
        if self.entries.get(entry.name) is entry:
            del self.entries[entry.name]
        for member in entry.record.members:
            self.drop_member(entry, member.name)
        self.by_uid.pop(entry.uid, None)
        self.forgotten[entry.uid] = None
        if len(self.forgotten) > _FORGOTTEN:
            self.forgotten.pop(next(iter(self.forgotten)))

    def drop_member(self, entry: CachedJob, name: str) -> None:
        """Know nothing more of a member."""
        if self._by_member.get(name) is entry:
            del self._by_member[name]

    def entry(self, metadata: Metadata, uid: str, name: str, since: float = float("-inf")) -> CachedJob:
        """The entry with the uid; made from the labels of its Job or pod if there is none."""
        known = self.by_uid.get(uid)
        if known is not None:
            return known
        return self._put(CachedJob(record=_record_of(metadata, uid, name), since=since))

    def _put(self, entry: CachedJob) -> CachedJob:
        self.entries[entry.name] = entry
        self.by_uid[entry.uid] = entry
        self._by_member |= {member.name: entry for member in entry.record.members}
        return entry


class _Jobs:
    """The listener of the Jobs' informer."""

    def __init__(self, cache: JobCache) -> None:
        self._cache = cache

    def replaced(self, objects: Sequence[JobObject], asked: float) -> None:
        for job in objects:
            self.changed(job)
        there = {job.metadata.uid for job in objects}
        for entry in list(self._cache.by_uid.values()):
            # One that was made after the list was asked for may be missing in it.
            if entry.uid not in there and entry.since < asked and not entry.gone:
                entry.gone = True
                self._cache.touched(entry)

    def changed(self, job: JobObject) -> None:
        if job.metadata.uid in self._cache.forgotten:
            return
        entry = self._cache.entry(job.metadata, job.metadata.uid, job.metadata.name)
        if not entry.ended:
            entry.job = job
            self._cache.touched(entry)

    def removed(self, job: JobObject) -> None:
        entry = self._cache.by_uid.get(job.metadata.uid)
        if entry is not None:
            entry.gone = True
            if not entry.ended:
                entry.job = job
            self._cache.touched(entry)


class _Pods:
    """The listener of the pods' informer."""

    def __init__(self, cache: JobCache) -> None:
        self._cache = cache

    def replaced(self, objects: Sequence[PodObject], asked: float) -> None:
        there = {pod.metadata.uid for pod in objects}
        for entry in list(self._cache.by_uid.values()):
            for pod in list(entry.pods.values()):
                if pod.metadata.uid not in there:
                    self.removed(pod)
        for pod in objects:
            self.changed(pod)

    def changed(self, pod: PodObject) -> None:
        entry = self._entry(pod)
        if entry is None or (entry.ended and pod.ended):
            return
        before = entry.pods.get(pod.metadata.uid)
        entry.pods[pod.metadata.uid] = pod
        if pod.leaving and (before is None or not before.leaving):
            self._cache.pod_leaves(entry, pod)
        self._cache.touched(entry)

    def removed(self, pod: PodObject) -> None:
        entry = self._entry(pod)
        if entry is None:
            return
        known = entry.pods.pop(pod.metadata.uid, None)
        if entry.ended:
            return
        # The last state is the server's, unless that lacks an end that was reported before.
        entry.last = known if known is not None and known.ended and not pod.ended else pod
        self._cache.touched(entry)

    def _entry(self, pod: PodObject) -> CachedJob | None:
        uid, name = pod.metadata.label(JOB_UID_LABEL), pod.metadata.label(JOB_NAME_LABEL)
        if not uid or not name or uid in self._cache.forgotten:
            return None
        if uid not in self._cache.by_uid and pod.ended:
            return None  # left over from a Job that nobody remembers
        return self._cache.entry(pod.metadata, uid, name)


def _names_in(metadata: Metadata) -> list[str]:
    return [member.job for member in named_members(metadata.annotation(MEMBERS))]


def _record_of(metadata: Metadata, uid: str, name: str) -> JobRecord:
    """What labels and annotations of a Job, or of its pod, say of it."""
    target, started_ms = metadata.label(TARGET_LABEL), milliseconds(metadata.creation_timestamp)
    attempt = metadata.label(ATTEMPT_LABEL)
    members = [
        JobRecord(
            name=member.job,
            uid=uid,
            target=target,
            queue_id=member.queue_id,
            attempt=member.attempt,
            started_ms=started_ms,
            basket=name,
        )
        for member in named_members(metadata.annotation(MEMBERS))
    ]
    return JobRecord(
        format=FORMAT if members else 1,
        name=name,
        uid=uid,
        target=target,
        queue_id=metadata.annotation(QUEUE_ANNOTATION),
        attempt=int(attempt) if attempt.isdecimal() else 1,
        started_ms=started_ms,
        members=tuple(members),
    )


def _end_of(member: JobRecord, process: Job, codes: Mapping[str, int | None]) -> Job:
    """How a member ended: as the process did, unless that told before that it had ended by itself."""
    code = codes.get(member.name)
    ended = member.as_job(
        JobState.ENDED,
        ended_ms=process.ended_ms,
        exit_code=process.exit_code,
        signal=process.signal,
        reason=process.reason,
        next_step=process.next_step,
    )
    if code is None:
        return ended
    if code == 0:
        return msgspec.structs.replace(ended, exit_code=0, signal=None, reason="", next_step="")
    return msgspec.structs.replace(
        ended, exit_code=code, signal=None, reason=f"exit code {code}; its process: {process.reason}"
    )
