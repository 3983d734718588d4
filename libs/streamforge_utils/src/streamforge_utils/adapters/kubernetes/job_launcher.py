"""The launcher on Kubernetes: every job is a Job of its own, made once under a fixed name and never restarted.

One list and one watch of Jobs, and one of pods, serve all of them. How a job ended is stored before it is reported, so
that it is known when the Job and its pods are long gone, also to a manager that was started again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import Coroutine, Sequence
from typing import Any, Final

import msgspec

from streamforge_utils.adapters.kubernetes.api import Api, Denials, Refused, create_refused, list_refused
from streamforge_utils.adapters.kubernetes.diagnosis import wait_of
from streamforge_utils.adapters.kubernetes.evidence import Evidence
from streamforge_utils.adapters.kubernetes.informer import Informer
from streamforge_utils.adapters.kubernetes.job_cache import JOB_UID_LABEL, CachedJob, JobCache
from streamforge_utils.adapters.kubernetes.job_records import JobRecordStore
from streamforge_utils.adapters.kubernetes.manifest import (
    APP,
    INSTANCE_LABEL,
    QUEUE_ANNOTATION,
    Template,
    image_of,
    job_manifest,
)
from streamforge_utils.adapters.kubernetes.objects import JobObject, PodObject
from streamforge_utils.model.errors import ConfigError, ConflictError, RetryableError, StreamForgeError
from streamforge_utils.ports.clock import Clock, SystemClock
from streamforge_utils.ports.instrumentation import NullObserver, Observer
from streamforge_utils.ports.launcher import Job, JobSpec
from streamforge_utils.ports.store import StateStore

GONE_WITHIN_S: Final = 15.0
"""How much longer than its grace a job that was ended may take to be seen gone; then the caller is to ask again."""

LOST_AFTER_S: Final = 60.0
"""A pod that is still there so long after its grace has a node that does not answer: it is removed by force."""

_PENDING_EVERY_S: Final = 3.0
_ASK_AGAIN_S: Final = 1.0
_UNSEEN_S: Final = 5.0
"""How long the informers must fail until `stale_reason` reports it: a watch that is cut begins again soon."""

_NOT_FOUND, _CONFLICT = 404, 409

_log = logging.getLogger(__name__)
_job = msgspec.json.Decoder(JobObject)


class KubernetesLauncher:
    """See `Launcher`. template: cluster, and what all Jobs have in common; instance and namespace are filled in here.

    store: where it is remembered how jobs ended.
    """

    def __init__(
        self,
        template: Template,
        store: StateStore,
        *,
        clock: Clock | None = None,
        observer: Observer | None = None,
    ) -> None:
        self._clock = clock or SystemClock()
        self._observer = observer or NullObserver()
        self._api = Api(template.settings, clock=self._clock, observer=self._observer)
        self._template = template
        self._records = JobRecordStore(store)
        self._cache = JobCache(self._touched, self._pod_leaves)
        self._evidence = Evidence(self._api, self._clock)
        self._denials = Denials(self._clock)
        self._opening = asyncio.Lock()
        self._informers: tuple[Informer[JobObject], Informer[PodObject]] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    def watch(self) -> None:
        """See `Launcher.watch`: pods share no locks."""

    async def start(self, spec: JobSpec) -> None:
        """See `Launcher.start`; returns when the API server has the Job."""
        await self._opened()
        entry = self._cache.entries.get(spec.name)
        if entry is None:
            entry = await self._create(spec)
        owner = entry.record.queue_id
        if owner != spec.queue_id:
            raise ConfigError(
                f"job {spec.name} is there already and belongs to workflow {owner!r}, not {spec.queue_id!r}: "
                "delete it if nobody needs it"
            )
        if not entry.kept:
            await self._records.keep(entry.record)
            entry.kept = True

    async def start_together(self, specs: Sequence[JobSpec]) -> None:
        """See `Launcher.start_together`: each is a Job: how one of many in a container ended could not be seen."""
        for spec in specs:
            await self.start(spec)

    async def jobs(self) -> Sequence[Job]:
        """See `Launcher.jobs`: as the API server last reported them, which is soon after it happens."""
        await self._opened()
        return [entry.seen() for _, entry in sorted(self._cache.entries.items())]

    def image(self, target: str, image: str | None) -> str:
        """See `Launcher.image`."""
        return image_of(target, image, self._template)

    def stale_reason(self) -> str:
        """See `Launcher.stale_reason`: an informer has had no answer for a while."""
        now = self._clock.monotonic()
        for informer in self._informers or ():
            if informer.error is not None and now - informer.error_since >= _UNSEEN_S:
                error = informer.error
                why = list_refused(error, self._template.namespace) if isinstance(error, Refused) else error
                return f"Jobs and pods are not seen, they go on: {str(why) or repr(why)}"
        return ""

    async def stop(self, name: str, *, grace_s: float) -> None:
        """See `Launcher.stop`; a pod's grace is a whole number of seconds, one at least.

        A Job whose pod has ended by itself stays, with its log, whether or not its end is stored yet.
        """
        await self._opened()
        entry = self._cache.entries.get(name)
        if entry is None or entry.ended:
            return
        await self._evidence.remember_wait(entry)
        entry.stopped = True
        grace = max(1, math.ceil(grace_s))
        give_up = self._clock.monotonic() + grace + GONE_WITHIN_S
        while not entry.over.is_set():
            if not entry.pod_ended():
                await self._delete_job(entry)
                for pod in entry.living():
                    await self._delete_pod(entry, pod, grace)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(grace + 1.0, max(0.1, give_up - self._clock.monotonic()))):
                    await entry.over.wait()
            if not entry.over.is_set() and self._clock.monotonic() >= give_up:
                if entry.pod_ended():
                    raise RetryableError(f"job {name} has ended, but how is not stored yet: ask again")
                nodes = ", ".join(sorted({pod.spec.node_name or "none" for pod in entry.living()}))
                raise RetryableError(
                    f"job {name} was deleted, but its pod on node {nodes or 'unknown'} is not seen to end; "
                    f"after {LOST_AFTER_S:.0f} s it is removed by force"
                )

    async def forget(self, name: str) -> None:
        """See `Launcher.forget`; returns when its Job is gone too."""
        await self._opened()
        entry = self._cache.entries.get(name)
        if entry is None:
            return
        if not entry.ended:
            raise ConflictError(f"job {name} runs: stop it first")
        # First, so that another launcher that sees the Job go finds no record of it.
        await self._records.forget(name)
        give_up = self._clock.monotonic() + GONE_WITHIN_S
        while not await self._delete_job(entry):
            if self._clock.monotonic() >= give_up:
                raise RetryableError(f"job {name} was deleted, but its Job is still there; try again")
            await self._clock.sleep(0.1)
        self._cache.drop(entry)

    async def close(self) -> None:
        """See `Launcher.close`; on return nothing is under way, and nothing begins any more."""
        self._closed = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._api.close()

    # Opening

    async def _opened(self) -> None:
        if self._is_open():
            return
        async with self._opening:
            if self._is_open():
                return
            namespace = (await self._api.endpoint()).namespace
            instance = self._template.instance or await self._records.instance()
            self._template = msgspec.structs.replace(self._template, namespace=namespace, instance=instance)
            selector = f"app={APP},{INSTANCE_LABEL}={instance}"
            common: dict[str, Any] = {"clock": self._clock, "observer": self._observer}
            jobs = Informer(self._api, self._api.jobs_path, selector, JobObject, self._cache.jobs, **common)
            pods = Informer(self._api, self._api.pods_path, selector, PodObject, self._cache.pods, **common)
            self._cache.load(await self._records.all())
            try:
                # Pods last: they are reported together with the Jobs that they belong to.
                await jobs.list_all()
                await pods.list_all()
            except Refused as refused:
                error = list_refused(refused, namespace)
                raise error if await self._is_ready() else self._denials.error_of(refused, error) from refused
            for name, work in (("jobs", jobs.run()), ("pods", pods.run()), ("pending", self._watch_pending())):
                self._begin(work, f"kubernetes {name}")
            self._informers = (jobs, pods)
            for entry in list(self._cache.entries.values()):
                if not entry.ended:
                    self._touched(entry)

    async def _is_ready(self) -> bool:
        """Whether the API server has read all that it decides by (`/readyz`); False, too, where it may not be asked."""
        try:
            await self._api.call("GET", "/readyz", patience_s=0.0)
        except StreamForgeError:
            return False
        return True

    def _is_open(self) -> bool:
        return self._informers is not None

    def _begin(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # Starting

    async def _create(self, spec: JobSpec) -> CachedJob:
        manifest = job_manifest(spec, self._template)
        record = await self._records.find(spec.name)
        if record is not None:  # another manager on the same store ran it
            self._cache.load([record])
            return self._cache.entries[spec.name]
        try:
            answer = await self._api.call(
                "POST", self._api.jobs_path, query={"fieldValidation": "Strict"}, body=manifest
            )
        except Refused as refused:
            if refused.status != _CONFLICT or refused.reason != "AlreadyExists":
                raise self._create_refused(refused, spec) from refused
            return await self._there_already(spec)
        self._denials.over()
        return self._cache.add(_job.decode(answer), self._clock.monotonic())

    async def _there_already(self, spec: JobSpec) -> CachedJob:
        try:
            job = _job.decode(await self._api.call("GET", f"{self._api.jobs_path}/{spec.name}"))
        except Refused as refused:
            if refused.status == _NOT_FOUND:
                raise RetryableError(f"job {spec.name} was there and is gone: ask again") from refused
            raise self._create_refused(refused, spec) from refused
        owner = job.metadata.annotation(QUEUE_ANNOTATION)
        if owner != spec.queue_id or job.metadata.label(INSTANCE_LABEL) != self._template.instance:
            raise ConfigError(
                f"job {spec.name} is there already in namespace {self._template.namespace} and is not this manager's "
                f"(it belongs to workflow {owner or 'unknown'!r}): delete it if nobody needs it"
            )
        return self._cache.add(job, self._clock.monotonic())

    def _create_refused(self, refused: Refused, spec: JobSpec) -> StreamForgeError:
        return self._denials.error_of(refused, create_refused(refused, spec, self._template.namespace))

    # Ending

    def _touched(self, entry: CachedJob) -> None:
        if self._informers is None or self._closed:
            return
        if entry.ended:
            for pod in entry.living() if entry.gone else ():
                # It was made while its Job was being deleted: the garbage collector would delete it, but later.
                if not pod.leaving:
                    self._begin(self._end_latecomer(entry, pod), f"late pod of {entry.name}")
            if entry.gone and not entry.looked_up:
                entry.looked_up = True
                self._begin(self._drop_if_forgotten(entry), f"is {entry.name} remembered")
        elif entry.settling is not None:
            return
        elif entry.is_over():
            entry.settling = self._begin(self._settle(entry), f"settle {entry.name}")
        elif not entry.has_begun():
            entry.waited = wait_of(entry.job, list(entry.pods.values()), ()) or entry.waited

    async def _end_latecomer(self, entry: CachedJob, pod: PodObject) -> None:
        try:
            await self._delete_pod(entry, pod, 1)
        except StreamForgeError as error:
            _log.warning("%s", error)

    async def _drop_if_forgotten(self, entry: CachedJob) -> None:
        """Its Job is gone: because its time was over, or because another launcher on the same store forgot it."""
        with contextlib.suppress(StreamForgeError):
            if await self._records.find(entry.name) is None:
                self._cache.drop(entry)

    async def _settle(self, entry: CachedJob) -> None:
        """Find out how it ended, store that, and only then report it."""
        try:
            while not entry.over.is_set():
                try:
                    if entry.living() or not await self._certainly_over(entry):
                        return
                    ended = await self._evidence.conclude(entry)
                    if entry.living():
                        return
                    record = msgspec.structs.replace(entry.record, ended=ended)
                    await self._records.keep(record)
                    entry.end(record)
                except StreamForgeError as error:
                    _log.warning("how job %s ended is not known yet: %s", entry.name, error)
                    await self._clock.sleep(_ASK_AGAIN_S)
        finally:
            entry.settling = None
            if not self._closed and not entry.ended and entry.name in self._cache.entries and entry.is_over():
                # It changed while it was looked at.
                self._begin(self._touch_again(entry), f"settle {entry.name} again")

    async def _touch_again(self, entry: CachedJob) -> None:
        await self._clock.sleep(_ASK_AGAIN_S)
        self._touched(entry)

    async def _certainly_over(self, entry: CachedJob) -> bool:
        """Whether it is so, where only the absence of reports shows it."""
        if entry.pod_ended():
            return True
        if entry.job is not None and not entry.gone and entry.job.condition("Complete", "Failed") is None:
            return False
        if entry.job is None and not entry.gone:
            try:
                job = _job.decode(await self._api.call("GET", f"{self._api.jobs_path}/{entry.name}"))
            except Refused as refused:
                if refused.status != _NOT_FOUND:
                    raise list_refused(refused, self._template.namespace) from refused
                entry.gone = True
            else:
                if job.metadata.uid == entry.uid:
                    entry.job = job
                    return entry.is_over()
                entry.gone = True
        if self._informers is None:
            return False
        # The informer of the pods may be behind that of the Jobs.
        try:
            there, _ = await self._informers[1].everything(f"{JOB_UID_LABEL}={entry.uid}")
        except Refused as refused:
            raise list_refused(refused, self._template.namespace) from refused
        for found in there:
            # One that lives may be gone by now, and the informer reported that: it would not be reported again.
            if found.ended:
                self._cache.pods.changed(found)
        return not entry.living() and all(found.ended for found in there)

    async def _delete_job(self, entry: CachedJob) -> bool:
        """Have the API server delete its Job and, in the background, its pods, which end in order; whether it is gone.

        Raises RetryableError.
        """
        body = {"propagationPolicy": "Background", "preconditions": {"uid": entry.uid}}
        try:
            await self._api.call("DELETE", f"{self._api.jobs_path}/{entry.name}", body=body)
        except Refused as refused:
            # Not found, or another one by the same name: this one is gone.
            if refused.status in (_NOT_FOUND, _CONFLICT):
                entry.gone = True
                self._cache.touched(entry)
                return True
            raise RetryableError(f"job {entry.name} cannot be deleted: {refused}") from refused
        return False

    async def _delete_pod(self, entry: CachedJob, pod: PodObject, grace_s: int) -> None:
        """Have the API server delete a pod; by force where that was asked for long ago. Raises RetryableError."""
        now = self._clock.monotonic()
        first = entry.deletions.setdefault(pod.metadata.uid, now)
        # Without an answer from its node nobody knows whether it runs. Its attempt is fenced, so it does no harm.
        by_force = now - first > grace_s + LOST_AFTER_S
        body = {
            "propagationPolicy": "Background",
            "preconditions": {"uid": pod.metadata.uid},
            "gracePeriodSeconds": 0 if by_force else grace_s,
        }
        try:
            await self._api.call("DELETE", f"{self._api.pods_path}/{pod.metadata.name}", body=body)
        except Refused as refused:
            if refused.status not in (_NOT_FOUND, _CONFLICT):
                raise RetryableError(f"pod {pod.metadata.name} cannot be deleted: {refused}") from refused
            if refused.status == _NOT_FOUND:
                self._cache.pods.removed(pod)

    # Logs and waits

    def _pod_leaves(self, entry: CachedJob, pod: PodObject) -> None:
        if self._informers is None or self._closed:
            return
        if not (entry.ended or entry.stopped or pod.ended):
            entry.reading = self._begin(self._evidence.keep_log(entry, pod), f"log of {pod.metadata.name}")

    async def _watch_pending(self) -> None:
        while True:
            await self._clock.sleep(_PENDING_EVERY_S)
            try:
                await self._evidence.look_at_pending(self._cache.entries.values())
            except Exception:  # of any class: in a moment everything is looked at again
                _log.warning("what jobs wait for is not known at this moment", exc_info=True)
