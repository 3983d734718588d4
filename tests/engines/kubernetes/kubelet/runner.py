"""One pod on its node: prepared, run, ended, reported, and deleted when it is to be."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tests.engines.kubernetes.kubelet import faults, status
from tests.engines.kubernetes.kubelet.api import STRATEGIC, UNREACHABLE
from tests.engines.kubernetes.kubelet.container import Container, Host, ImageMissing, Prepared, find_image
from tests.engines.kubernetes.kubelet.node import Node
from tests.engines.kubernetes.kubelet.pod_values import SourceMissing, environment
from tests.engines.kubernetes.kubelet.probes import Probes
from tests.engines.kubernetes.kubelet.process import Run
from tests.engines.kubernetes.kubelet.status import FAILED, PLAIN, SUCCEEDED, Verdict
from tests.engines.kubernetes.kubelet.volumes import Volumes
from tests.engines.kubernetes.rest import ApiError, Object

_log = logging.getLogger(__name__)
_RESTART_MAX_S = 300.0
_KILLED = 137
_EVICTED = Verdict("Evicted", "The node was low on resource: memory.", "TerminationByKubelet", failed=True)


@dataclass(frozen=True)
class Stop:
    """Why a pod is to end. grace_s: between SIGTERM and SIGKILL; reason, code: how its containers are said to end."""

    grace_s: float
    verdict: Verdict = PLAIN
    reason: str = ""
    code: int | None = None


class Unprepared(Exception):
    """Why a pod cannot start yet. reason: the containers'; event: what people are told; later: the reason from then on.

    containers: those that it holds up.
    """

    def __init__(self, reason: str, told: str, event: str, containers: Sequence[str], later: str = "") -> None:
        super().__init__(f"{reason}: {told}")
        self.reason = reason
        self.told = told
        self.event = event
        self.containers = tuple(containers)
        self._later = later

    @property
    def again(self) -> Unprepared:
        """The same, once it was tried before."""
        if not self._later:
            return self
        told = f"Back-off pulling image: {self.reason}: {self.told}"
        return Unprepared(self._later, told, "BackOff", self.containers)


class PodRunner:
    """Runs one pod as long as its object is there. It starts by itself."""

    def __init__(self, host: Host, node: Node, pod: Object) -> None:
        self.pod = pod
        self.node = node
        self._host = host
        self._loop = asyncio.get_running_loop()
        self._folder: Path = Path(host.plan.folder) / pod["metadata"]["uid"]
        spec = pod["spec"]
        policy = spec.get("restartPolicy", "Always")
        self.containers = [Container(given, policy, self._folder) for given in spec["containers"]]
        self._began: str = pod["status"].get("startTime") or status.stamp()
        self._writing = asyncio.Lock()
        self._news = asyncio.Event()
        self._stopping = asyncio.Event()
        self._stop: Stop | None = None
        self._kill_at = math.inf
        self._gone = False
        self._look()
        self._task = self._loop.create_task(self._main())

    # What is heard of it

    def update(self, pod: Object) -> None:
        """Its object has changed."""
        self.pod = pod
        self._look()
        self._news.set()

    def gone(self) -> None:
        """Its object is gone: nothing may run on."""
        self._gone = True
        self._ask(Stop(0))
        self._news.set()

    async def close(self) -> None:
        """End what it runs at once, and say nothing to anyone."""
        self._task.cancel()
        await asyncio.wait([self._task])

    async def ended(self) -> None:
        """Wait until nothing of it is left."""
        await asyncio.wait([self._task])

    def _look(self) -> None:
        meta = self.pod["metadata"]
        if "deletionTimestamp" in meta:
            self._ask(Stop(float(meta.get("deletionGracePeriodSeconds", 30))))
        fault = faults.annotation(self.pod, faults.FAULT)
        if fault == faults.EVICTED:
            self._ask(Stop(0, _EVICTED))
        elif fault == faults.OOM_KILLED:
            self._ask(Stop(0, reason=fault))
        elif (code := faults.code_of(fault)) is not None:
            self._ask(Stop(0, code=code))

    def _ask(self, stop: Stop) -> None:
        if self._stop is None:
            self._stop = stop
        # A second one may shorten the grace, never lengthen it.
        self._kill_at = min(self._kill_at, self._loop.time() + stop.grace_s)
        self._stopping.set()

    # Its life

    async def _main(self) -> None:
        try:
            phase = self.pod["status"].get("phase")
            if phase not in (SUCCEEDED, FAILED):
                if self._ran_before():
                    await self._report_lost()
                else:
                    await self._live()
            while not self._gone and "deletionTimestamp" not in self.pod["metadata"]:
                self._news.clear()
                await self._news.wait()
            await self._delete()
            while not self._gone:
                self._news.clear()
                await self._news.wait()
        except asyncio.CancelledError:
            raise
        except Exception:
            _log.exception("pod %s", self._name)
        finally:
            for container in self.containers:
                if container.run is not None:
                    container.run.kill()
                    with contextlib.suppress(asyncio.CancelledError):
                        await container.run.ended()
            if self._gone:
                shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def _name(self) -> str:
        return f"{self.pod['metadata']['namespace']}/{self.pod['metadata']['name']}"

    def _ran_before(self) -> bool:
        """Whether it has run where we know nothing of: under a kubelet or on a node that ended."""
        if self._marker.exists():
            return True
        known = self.pod["status"].get("containerStatuses", [])
        return any("waiting" not in one["state"] or one.get("lastState") for one in known)

    @property
    def _marker(self) -> Path:
        """It is there from the first start on, though nobody could hear of it."""
        return self._folder / "started"

    async def _report_lost(self) -> None:
        told = "The container could not be located when the pod was terminated"
        for container in self.containers:
            lost = status.terminated(_KILLED, None, "ContainerStatusUnknown", told)
            container.status = container.status.at(lost)
        await self._write(FAILED)

    async def _live(self) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if await self._prepare():
            running = self._loop.create_task(self._run())
            try:
                await self._supervise(running)
            finally:
                running.cancel()
        verdict = self._stop.verdict if self._stop is not None else PLAIN
        good = not verdict.failed and all(container.status.succeeded for container in self.containers)
        phase = SUCCEEDED if good else FAILED
        _log.info("pod %s: %s %s", self._name, phase, verdict.reason)
        await self._write(phase, verdict)

    async def _prepare(self) -> bool:
        """Whether everything it needs is there before it is to end."""
        plan = self._host.plan
        volumes = Volumes(self._host.api, self._folder, plan.host, Path(plan.folder) / "disk")
        told: Unprepared | None = None
        while self._stop is None:
            try:
                try:
                    await volumes.make(self.pod)
                except SourceMissing as error:
                    reason = f"MountVolume.SetUp failed: {error}"
                    raise Unprepared("ContainerCreating", reason, "FailedMount", ()) from error
                for container in self.containers:
                    container.prepared = await self._prepared(container, volumes)
                return True
            except Unprepared as missing:
                if str(told) != str(missing):
                    self._host.events.tell(self.pod, missing.event, missing.told, warning=True)
                again = missing.again if told is not None else missing
                if str(told) != str(again):
                    self._note(again)
                    await self._write("Pending")
                told = again
            except (ApiError, *UNREACHABLE) as error:
                _log.info("pod %s: %s", self._name, error)
            await self._pause(plan.retry_s)
        return False

    async def _prepared(self, container: Container, volumes: Volumes) -> Prepared:
        name, plan = container.spec["image"], self._host.plan
        try:
            image = find_image(name, has_command="command" in container.spec, real=plan.images)
        except ImageMissing as error:
            told = f'Failed to pull image "{name}": failed to resolve reference: {error}'
            raise Unprepared("ErrImagePull", told, "Failed", [container.name], "ImagePullBackOff") from error
        try:
            values = await environment(self._host.api, self.pod, container.spec, plan.host)
        except SourceMissing as error:
            raise Unprepared("CreateContainerConfigError", str(error), "Failed", [container.name]) from error
        return Prepared(image, volumes.mount(container.spec), values)

    def _note(self, missing: Unprepared) -> None:
        for container in self.containers:
            held = container.name in missing.containers
            state = status.waiting(missing.reason, missing.told) if held else status.waiting("ContainerCreating")
            container.status = container.status.at(state)

    async def _run(self) -> None:
        """Run the containers to their end."""
        await asyncio.gather(*(self._keep(container) for container in self.containers))

    async def _supervise(self, running: asyncio.Task[None]) -> None:
        """Wait until all has ended, and end it when it is to be."""
        stopping = self._loop.create_task(self._stopping.wait())
        try:
            await asyncio.wait([running, stopping], return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
        if not running.done():
            self._host.events.tell(self.pod, "Killing", "Stopping the containers")
            asked = False
            while not running.done():
                left = self._kill_at - self._loop.time()
                for container in self.containers:
                    if container.run is not None and (left <= 0 or not asked):
                        (container.run.kill if left <= 0 else container.run.terminate)()
                asked = True
                self._news.clear()
                news = self._loop.create_task(self._news.wait())
                limit = left if left > 0 else 1.0
                await asyncio.wait([running, news], timeout=limit, return_when=asyncio.FIRST_COMPLETED)
                news.cancel()
        await running

    async def _keep(self, container: Container) -> None:
        """Run one container until it has ended for good."""
        wait = self._host.plan.restart_s
        while self._stop is None:
            self._marker.touch()
            container.start(self._host, self.pod["metadata"]["name"])
            if container.run is not None:
                if not container.idle:
                    self._host.events.tell(self.pod, "Started", f"Started container {container.name}")
                await self._write("Running")
                code = await self._attended(container, container.run)
                container.run = None
                self._ended(container, code)
            else:
                message = container.status.state["terminated"]["message"]
                self._host.events.tell(self.pod, "Failed", message, warning=True)
            over = container.status.state
            again = container.policy == "Always" or (container.policy == "OnFailure" and not container.status.succeeded)
            if not again or self._stop is not None:
                return
            told = f"back-off {wait:g}s restarting failed container={container.name} pod={self._name}"
            container.status = replace(container.status.at(status.waiting("CrashLoopBackOff", told)), last=over)
            await self._write("Running")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), wait)
            wait = min(wait * 2, _RESTART_MAX_S)
        if "waiting" in container.status.state and container.status.last:
            container.status = container.status.at(container.status.last)

    async def _attended(self, container: Container, run: Run) -> int:
        """Probe it while it runs, and wait for its end."""
        if not Probes.wanted(container.spec):
            return await run.ended()
        attending = self._loop.create_task(self._attend(container, run))
        try:
            return await run.ended()
        finally:
            attending.cancel()

    async def _attend(self, container: Container, run: Run) -> None:
        async def ready(holds: bool) -> None:
            if container.run is run:
                container.status = replace(container.status, ready=holds)
                await self._write("Running")

        failed = await Probes(container.spec, self._host.plan.host, ready).attend()
        told = f"{failed} probe failed: container {container.name} will be stopped"
        self._host.events.tell(self.pod, "Unhealthy", told, warning=True)
        run.terminate()
        await asyncio.sleep(self.pod["spec"].get("terminationGracePeriodSeconds", 30))
        run.kill()

    def _ended(self, container: Container, code: int) -> None:
        stop = self._stop
        if stop is None or code != _KILLED:
            container.ended(code)
        elif stop.code is not None:
            container.ended(stop.code)
        else:
            container.ended(code, stop.reason)

    async def _pause(self, limit_s: float) -> None:
        """Wait, or until something is new."""
        self._news.clear()
        if self._stop is None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), limit_s)

    # What is said of it

    async def _write(self, phase: str, verdict: Verdict = PLAIN) -> None:
        """Write its status, however long that takes; without effect on a pod that is gone."""
        async with self._writing:
            statuses = [container.status for container in self.containers]
            told = status.pod_status(self._host.plan.host, self._began, statuses, phase, verdict)
            patch = {"metadata": {"uid": self.pod["metadata"]["uid"]}, "status": told}
            await self._insist("PATCH", f"{self._path}/status", patch)

    async def _delete(self) -> None:
        """Let the object go; finalizers of others may keep it a while."""
        options = {"gracePeriodSeconds": 0, "preconditions": {"uid": self.pod["metadata"]["uid"]}}
        await self._insist("DELETE", self._path, options)

    @property
    def _path(self) -> str:
        meta = self.pod["metadata"]
        return f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}"

    async def _insist(self, method: str, path: str, body: Object) -> None:
        kind = STRATEGIC if method == "PATCH" else "application/json"
        while not self._gone:
            await self.node.online.wait()
            try:
                await self._host.api.request(method, path, body, kind=kind)
                return
            except ApiError as error:
                if error.status not in (404, 409):  # it is gone, or another has its name
                    _log.warning("pod %s: %s %s: %s", self._name, method, path, error)
                if error.status in (404, 409, 422):
                    return
            except UNREACHABLE as error:
                _log.info("pod %s: %r", self._name, error)
            await asyncio.sleep(self._host.plan.retry_s)
