"""What is known of the jobs right now: the Kubernetes objects as the informers tell of them, and what was done here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from streamforge_utils.adapters.kubernetes.diagnosis import Wait
from streamforge_utils.adapters.kubernetes.job_records import JobRecord
from streamforge_utils.adapters.kubernetes.manifest import ATTEMPT_LABEL, QUEUE_ANNOTATION, TARGET_LABEL
from streamforge_utils.adapters.kubernetes.objects import JobObject, Metadata, PodObject, milliseconds
from streamforge_utils.ports.launcher import Job, JobState

JOB_NAME_LABEL: Final = "batch.kubernetes.io/job-name"
JOB_UID_LABEL: Final = "batch.kubernetes.io/controller-uid"
_FORGOTTEN: Final = 10_000
"""The latest jobs that were forgotten: what is still heard of them must not bring them back."""


class CachedJob:
    """One job.

    job: its Kubernetes Job as last seen. gone: that was deleted. looked_up: whether it is still remembered was asked
    then. pods: those there are, by uid. last: the last pod that went, in its last state. stopped: we were asked to end
    it. waited: why it has not begun. shown: what was last said about it, and what it waited for then. log: its last
    lines, fetched while it was being deleted, None if they were not; reading: what fetches them. since: when it became
    known, monotonic seconds. kept: its start is remembered. ended: the job as it ended; over is set then.
    """

    __slots__ = (
        "attempt",
        "ended",
        "gone",
        "job",
        "kept",
        "last",
        "log",
        "looked_up",
        "name",
        "over",
        "pods",
        "queue_id",
        "reading",
        "settling",
        "shown",
        "since",
        "started_ms",
        "stopped",
        "target",
        "uid",
        "waited",
    )

    def __init__(self, record: JobRecord, since: float) -> None:
        self.name = record.name
        self.uid = record.uid
        self.target = record.target
        self.queue_id = record.queue_id
        self.attempt = record.attempt
        self.started_ms = record.started_ms
        self.since = since
        self.job: JobObject | None = None
        self.gone = False
        self.looked_up = False
        self.kept = False
        self.pods: dict[str, PodObject] = {}
        self.last: PodObject | None = None
        self.stopped = False
        self.waited: Wait | None = None
        self.log: str | None = None
        self.reading: asyncio.Task[None] | None = None
        self.shown: tuple[Wait | None, Job] | None = None
        self.ended: Job | None = record.ended
        self.over = asyncio.Event()
        self.settling: asyncio.Task[None] | None = None
        if self.ended is not None:
            self.over.set()

    def end(self, ended: Job) -> None:
        """It ended so, and that is remembered: the objects that told it are not needed any more."""
        self.kept = True
        self.ended = ended
        self.job = self.last = self.waited = None
        self.pods.clear()
        self.log = self.reading = None
        self.over.set()

    def record(self) -> JobRecord:
        """What is worth remembering."""
        return JobRecord(
            name=self.name,
            uid=self.uid,
            target=self.target,
            queue_id=self.queue_id,
            attempt=self.attempt,
            started_ms=self.started_ms,
            ended=self.ended,
        )

    def living(self) -> list[PodObject]:
        """Its pods that have not ended."""
        return [pod for pod in self.pods.values() if not pod.ended]

    def final_pod(self) -> PodObject | None:
        """The pod that tells how it ended: one that has, else the last one that was seen."""
        known = [*self.pods.values(), *([self.last] if self.last is not None else [])]
        return next((pod for pod in known if pod.ended), known[0] if known else None)

    def is_over(self) -> bool:
        """Whether nothing of it runs, or will run any more, as far as is known."""
        if self.living():
            return False
        pod = self.final_pod()
        if pod is not None and pod.ended:
            return True
        if self.job is not None and self.job.condition("Complete", "Failed") is not None:
            return True
        # Without its Job ever seen: pods that somebody left behind, and that are gone now.
        return self.gone or (self.job is None and self.last is not None)

    def has_begun(self) -> bool:
        """Whether a container of it runs or ran."""
        return any(pod.status.phase != "Pending" for pod in self.pods.values())

    def seen(self) -> Job:
        """As a launcher tells of it."""
        if self.ended is not None:
            return self.ended
        waited = None if self.has_begun() else self.waited
        if self.shown is not None and self.shown[0] == waited:
            return self.shown[1]
        job = self._running(waited)
        self.shown = (waited, job)
        return job

    def _running(self, waited: Wait | None) -> Job:
        return Job(
            name=self.name,
            target=self.target,
            queue_id=self.queue_id,
            attempt=self.attempt,
            state=JobState.RUNNING,
            started_ms=self.started_ms,
            waiting="" if waited is None else waited.reason,
            waits_for_room=waited is not None and waited.room,
            next_step="" if waited is None else waited.next_step,
        )


class JobCache:
    """All entries. touched: is given each that changed; pod_leaves: of a pod that begins to be deleted."""

    def __init__(
        self, touched: Callable[[CachedJob], None], pod_leaves: Callable[[CachedJob, PodObject], None]
    ) -> None:
        self.entries: dict[str, CachedJob] = {}
        self.by_uid: dict[str, CachedJob] = {}
        self.jobs = _Jobs(self)
        self.pods = _Pods(self)
        self._touched = touched
        self._pod_leaves = pod_leaves
        self._forgotten: dict[str, None] = {}

    def load(self, records: Iterable[JobRecord]) -> None:
        """Know what is remembered. Before everything else: nothing of it is seen yet."""
        for record in records:
            entry = self._put(CachedJob(record, float("-inf")))
            entry.kept = True

    def add(self, job: JobObject, since: float) -> CachedJob:
        """Know a Job that was just made, or found."""
        entry = self._entry(job.metadata, job.metadata.uid, job.metadata.name, since)
        if entry.job is None:
            # Its pod may have been heard of first, and a list of Jobs from before may have lacked it.
            entry.since, entry.gone = max(entry.since, since), False
        if entry.job is None or entry.job.metadata.deletion_timestamp is None:
            entry.job = job
        return entry

    def drop(self, entry: CachedJob) -> None:
        """Know nothing of it any more, also if more is heard of it."""
        if self.entries.get(entry.name) is entry:
            del self.entries[entry.name]
        self.by_uid.pop(entry.uid, None)
        self._forgotten[entry.uid] = None
        if len(self._forgotten) > _FORGOTTEN:
            self._forgotten.pop(next(iter(self._forgotten)))

    def _entry(self, metadata: Metadata, uid: str, name: str, since: float) -> CachedJob:
        known = self.by_uid.get(uid)
        if known is not None:
            return known
        text = metadata.label(ATTEMPT_LABEL)
        record = JobRecord(
            name=name,
            uid=uid,
            target=metadata.label(TARGET_LABEL),
            queue_id=metadata.annotation(QUEUE_ANNOTATION),
            attempt=int(text) if text.isdecimal() else 1,
            started_ms=milliseconds(metadata.creation_timestamp),
        )
        return self._put(CachedJob(record, since))

    def _put(self, entry: CachedJob) -> CachedJob:
        self.entries[entry.name] = entry
        self.by_uid[entry.uid] = entry
        return entry

    def touch(self, entry: CachedJob) -> None:
        """Something of it changed."""
        self._touched(entry)


class _Jobs:
    """What the informer of the Jobs tells."""

    def __init__(self, cache: JobCache) -> None:
        self._cache = cache

    def replaced(self, objects: Sequence[JobObject], asked: float) -> None:
        cache = self._cache
        for job in objects:
            self.changed(job)
        there = {job.metadata.uid for job in objects}
        for entry in list(cache.by_uid.values()):
            # One that was made after the list was asked for may be missing in it.
            if entry.uid not in there and entry.since < asked and not entry.gone:
                entry.gone = True
                cache.touch(entry)

    def changed(self, job: JobObject) -> None:
        cache = self._cache
        if job.metadata.uid in cache._forgotten:
            return
        entry = cache._entry(job.metadata, job.metadata.uid, job.metadata.name, float("-inf"))
        if entry.ended is None:
            entry.job = job
            cache.touch(entry)

    def removed(self, job: JobObject) -> None:
        cache = self._cache
        entry = cache.by_uid.get(job.metadata.uid)
        if entry is not None:
            entry.gone = True
            if entry.ended is None:
                entry.job = job
            cache.touch(entry)


class _Pods:
    """What the informer of the pods tells."""

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
        if entry is None or (entry.ended is not None and pod.ended):
            return
        before = entry.pods.get(pod.metadata.uid)
        entry.pods[pod.metadata.uid] = pod
        leaves = pod.metadata.deletion_timestamp is not None
        if leaves and (before is None or before.metadata.deletion_timestamp is None):
            self._cache._pod_leaves(entry, pod)
        self._cache.touch(entry)

    def removed(self, pod: PodObject) -> None:
        entry = self._entry(pod)
        if entry is None:
            return
        known = entry.pods.pop(pod.metadata.uid, None)
        if entry.ended is not None:
            return
        # The last word is the server's, unless it has forgotten more than was told before.
        entry.last = known if known is not None and known.ended and not pod.ended else pod
        self._cache.touch(entry)

    def _entry(self, pod: PodObject) -> CachedJob | None:
        owner = pod.owner()
        uid = pod.metadata.label(JOB_UID_LABEL) or (owner.uid if owner is not None else "")
        name = pod.metadata.label(JOB_NAME_LABEL) or (owner.name if owner is not None else "")
        if not uid or not name or uid in self._cache._forgotten:
            return None
        if uid not in self._cache.by_uid and pod.ended:
            return None  # left over from a Job that nobody remembers
        return self._cache._entry(pod.metadata, uid, name, float("-inf"))
