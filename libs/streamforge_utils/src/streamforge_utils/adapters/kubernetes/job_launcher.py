"""The launcher on Kubernetes: a job is a Job of its own, or a member of a basket, which is one; none is restarted.

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

from streamforge_utils.adapters.kubernetes import job_deletion
from streamforge_utils.adapters.kubernetes.api import Api, Denials, Refused, list_refused
from streamforge_utils.adapters.kubernetes.diagnosis import wait_of
from streamforge_utils.adapters.kubernetes.evidence import Evidence
from streamforge_utils.adapters.kubernetes.informer import Informer
from streamforge_utils.adapters.kubernetes.job_cache import JOB_UID_LABEL, CachedJob, JobCache
from streamforge_utils.adapters.kubernetes.job_creation import JobCreation
from streamforge_utils.adapters.kubernetes.job_records import JobRecord, JobRecordStore
from streamforge_utils.adapters.kubernetes.manifest import APP, INSTANCE_LABEL, Template
from streamforge_utils.adapters.kubernetes.objects import JobObject, PodObject
from streamforge_utils.model.errors import ConfigError, ConflictError, RetryableError, StreamForgeError
from streamforge_utils.ports.basket_members import groups_of
from streamforge_utils.ports.clock import Clock, SystemClock
from streamforge_utils.ports.instrumentation import NullObserver, Observer
from streamforge_utils.ports.launcher import Job, JobSpec
from streamforge_utils.ports.store import StateStore

GONE_WITHIN_S: Final = 15.0
"""How much longer than its grace a job that was ended may take to be seen gone; then the caller is to ask again."""

MEMBER_GRACE_S: Final = 15.0
"""A member of a basket has so long to end by itself, its terminal event included: with its pod all others would."""

_PENDING_EVERY_S: Final = 3.0
_LOOK_EVERY_S: Final = 0.1
_ASK_AGAIN_S: Final = 1.0
_UNSEEN_S: Final = 5.0
"""How long the informers must fail until `stale_reason` reports it: a watch that is cut begins again soon."""

_NOT_FOUND = 404

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
        self._deletion = job_deletion.JobDeletion(self._api, self._cache, self._clock)
        self._denials = Denials(self._clock)
        self._creation: JobCreation | None = None
        self._opening = asyncio.Lock()
        self._informers: tuple[Informer[JobObject], Informer[PodObject]] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    def watch(self) -> None:
        """See `Launcher.watch`: pods share no locks."""

    async def start(self, spec: JobSpec) -> None:
        """See `Launcher.start`; returns when the API server has the Job."""
        creation = await self._opened()
        entry = await creation.found(spec.name) or await creation.create(spec)
        owner = entry.job_of(spec.name).queue_id
        if owner != spec.queue_id:
            raise ConfigError(
                f"job {spec.name} is there already and belongs to workflow {owner!r}, not {spec.queue_id!r}: "
                "delete it if it is not needed"
            )
        await self._keep(entry)

    async def start_together(self, specs: Sequence[JobSpec]) -> None:
        """See `Launcher.start_together`: one Job, or several where their environments are too large for one."""
        creation = await self._opened()
        fresh = [spec for spec in specs if await creation.found(spec.name) is None]
        for group in groups_of(fresh) if fresh else ():
            if len(group) > 1:
                await self._keep(await creation.create_together(group))
        for spec in specs:
            await self.start(spec)

    async def jobs(self) -> Sequence[Job]:
        """See `Launcher.jobs`: as the API server last reported them, which is soon after it happens."""
        await self._opened()
        seen = [job for entry in self._cache.entries.values() for job in entry.seen()]
        return sorted(seen, key=lambda job: job.name)

    def image(self, target: str, image: str | None) -> str:
        """See `Launcher.image`."""
        return self._template.image(target, image)

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

        A Job whose pod has ended by itself stays, with its log, whether or not its end is stored yet. A member of a
        basket hears of its end by a command alone: it is given time, then its pod is ended. As long as others go on in
        it, that has its own grace, as if it were drained: they are handed over meanwhile.
        """
        await self._opened()
        entry = self._cache.find(name)
        if entry is None or entry.ended:
            return
        entry.ending.add(name)
        if await self._member_ended(entry, name):
            return
        await self._evidence.remember_wait(entry)
        entry.stopped = True
        least = max(1, math.ceil(grace_s))
        give_up = self._clock.monotonic() + entry.grace_s(least) + GONE_WITHIN_S
        while not entry.over.is_set():
            if not entry.pod_ended():
                grace = entry.grace_s(least)
                await self._deletion.delete_job(entry)
                for pod in entry.living():
                    await self._deletion.delete_pod(entry, pod, grace)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(least + 1.0, max(0.1, give_up - self._clock.monotonic()))):
                    await entry.over.wait()
            if not entry.over.is_set() and self._clock.monotonic() >= give_up:
                if entry.pod_ended():
                    raise RetryableError(f"job {name} has ended, but how is not stored yet: ask again")
                nodes = ", ".join(sorted({pod.spec.node_name or "none" for pod in entry.living()}))
                raise RetryableError(
                    f"job {name} was deleted, but its pod on node {nodes or 'unknown'} is not seen to end; "
                    f"after {job_deletion.LOST_AFTER_S:.0f} s it is removed by force"
                )

    async def note_end(self, name: str, exit_code: int) -> None:
        """See `Launcher.note_end`."""
        await self._opened()
        entry = self._cache.find(name)
        if entry is None or not entry.record.members:
            return
        async with entry.changing:
            if (record := entry.noted(name, exit_code, self._clock.now_ms())) is not None:
                await self._change(entry, record)

    async def log(self, name: str) -> str | None:
        """See `Launcher.log`: it is there as long as the pod, and for a while after a pod that was deleted."""
        await self._opened()
        entry = self._cache.find(name)
        if entry is None or self._informers is None:
            return None
        pods = list(entry.pods.values())
        if entry.ended:  # of one that has ended they are not remembered
            try:
                pods, _ = await self._informers[1].everything(f"{JOB_UID_LABEL}={entry.uid}")
            except Refused as refused:
                raise list_refused(refused, self._template.namespace) from refused
        return await self._evidence.tail(entry, pods)

    async def forget(self, name: str) -> None:
        """See `Launcher.forget`; returns when its Job is gone too, if no other is a member of it."""
        await self._opened()
        entry = self._cache.find(name)
        if entry is None:
            return
        async with entry.changing:
            if entry.job_of(name).ended is None:
                raise ConflictError(f"job {name} runs: stop it first")
            rest = entry.with_job(name)
            if rest.members:
                await self._change(entry, rest)
                self._cache.drop_member(entry, name)
                return
            if not entry.ended:  # the pod of its basket has not quite ended, and does with its Job
                entry.end(msgspec.structs.replace(rest, ended=entry.job_of(name).ended))
        # First, so that another launcher that sees the Job go finds no record of it.
        await self._records.forget(entry.name)
        give_up = self._clock.monotonic() + GONE_WITHIN_S
        while not await self._deletion.delete_job(entry):
            if self._clock.monotonic() >= give_up:
                raise RetryableError(f"job {name} was deleted, but its Job is still there; try again")
            await self._clock.sleep(0.1)
        self._cache.drop_member(entry, name)
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

    async def _opened(self) -> JobCreation:
        if (made := self._creation) is not None:
            return made
        async with self._opening:
            if (made := self._creation) is not None:
                return made
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
            self._creation = JobCreation(
                self._api, self._template, self._records, self._cache, self._denials, self._clock
            )
            return self._creation

    async def _is_ready(self) -> bool:
        """Whether the API server has read all that it decides by (`/readyz`); False, too, where it may not be asked."""
        try:
            await self._api.call("GET", "/readyz", patience_s=0.0)
        except StreamForgeError:
            return False
        return True

    def _begin(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _keep(self, entry: CachedJob) -> None:
        if not entry.kept:
            async with entry.changing:
                await self._records.keep(entry.record)
                entry.kept = True

    async def _change(self, entry: CachedJob, record: JobRecord) -> None:
        await self._records.keep(record)
        entry.record, entry.kept = record, True

    # Ending

    async def _member_ended(self, entry: CachedJob, name: str) -> bool:
        """Whether it is a member of a basket that ends in time while others go on. Who has not begun hears nothing."""
        give_up = self._clock.monotonic() + MEMBER_GRACE_S
        while entry.record.members and not entry.ended:
            if entry.job_of(name).ended is not None:
                return True
            unheard = entry.pod_ended() or (entry.waited is not None and not entry.has_begun())
            if unheard or self._clock.monotonic() >= give_up:
                return False
            await self._clock.sleep(_LOOK_EVERY_S)
        return entry.ended

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
            await self._deletion.delete_pod(entry, pod, 1)
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
                    async with entry.changing:
                        if not entry.ended:
                            record = entry.ended_as(ended)
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
