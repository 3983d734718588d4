"""One pod on its node: prepared, run, ended, reported, and deleted when it is to be."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from tests.engines.kubernetes.kubelet import faults
from tests.engines.kubernetes.kubelet.api import STRATEGIC, UNREACHABLE, Api
from tests.engines.kubernetes.kubelet.container import Container, Machine
from tests.engines.kubernetes.kubelet.events import Events
from tests.engines.kubernetes.kubelet.node import Node
from tests.engines.kubernetes.kubelet.plan import Plan
from tests.engines.kubernetes.kubelet.preparing import Preparing, Trouble
from tests.engines.kubernetes.kubelet.probes import Probes
from tests.engines.kubernetes.kubelet.process import Run
from tests.engines.kubernetes.kubelet.sources import Sources
from tests.engines.kubernetes.kubelet.status import (
    FAILED,
    PLAIN,
    SUCCEEDED,
    PodStatus,
    Terminated,
    Verdict,
    Waiting,
    phase_of,
    stamp,
)
from tests.engines.kubernetes.rest import ApiError, Object

_log = logging.getLogger(__name__)
_RESTART_MAX_S = 300.0
_KILLED = 137
_EVICTED = Verdict("Evicted", "The node was low on resource: memory.", "TerminationByKubelet", failed=True)
_DEADLINE = Verdict("DeadlineExceeded", "Pod was active on the node longer than the specified deadline", failed=True)


@dataclass(frozen=True)
class Host:
    """What all pods share."""

    api: Api
    sources: Sources
    events: Events
    machine: Machine

    @property
    def plan(self) -> Plan:
        """What the kubelet was told."""
        return self.machine.plan


@dataclass(frozen=True)
class Stop:
    """Why a pod is to end. grace_s: between SIGTERM and SIGKILL; reason, code: how its containers are said to end."""

    grace_s: float
    verdict: Verdict = PLAIN
    reason: str = ""
    code: int | None = None


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
        self._before = [Container(given, policy, self._folder, init=True) for given in spec.get("initContainers", [])]
        self._mains = [Container(given, policy, self._folder) for given in spec["containers"]]
        self._status = PodStatus(host.plan.host, pod["status"].get("startTime") or stamp())
        self._writing = asyncio.Lock()
        self._news = asyncio.Event()
        self._stopping = asyncio.Event()
        self._stop: Stop | None = None
        self._kill_at = math.inf
        self._gone = False
        self._running = False
        self._look()
        self._task = self._loop.create_task(self._main())

    @property
    def containers(self) -> list[Container]:
        """All of them, those that run first first."""
        return [*self._before, *self._mains]

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
        elif not self._running:
            # A template may have it from the start: it comes to what runs.
            return
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
        known = self.pod["status"]
        statuses = [*known.get("initContainerStatuses", []), *known.get("containerStatuses", [])]
        return any("waiting" not in status["state"] or status.get("lastState") for status in statuses)

    @property
    def _marker(self) -> Path:
        """It is there from the first start on, though nobody could hear of it."""
        return self._folder / "started"

    async def _report_lost(self) -> None:
        told = "The container could not be located when the pod was terminated"
        for container in self.containers:
            lost = Terminated(_KILLED, None, stamp(), "ContainerStatusUnknown", told)
            container.status = container.status.at(lost)
        await self._write(FAILED)

    async def _live(self) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if await self._prepare():
            deadline = self.pod["spec"].get("activeDeadlineSeconds")
            grace = float(self.pod["spec"].get("terminationGracePeriodSeconds", 30))
            timer = None if deadline is None else self._loop.call_later(deadline, self._ask, Stop(grace, _DEADLINE))
            running = self._loop.create_task(self._run())
            try:
                await self._supervise(running)
            finally:
                running.cancel()
                if timer is not None:
                    timer.cancel()
        verdict = self._stop.verdict if self._stop is not None else PLAIN
        phase = FAILED if verdict.failed else phase_of([container.status for container in self._mains])
        _log.info("pod %s: %s %s", self._name, phase, verdict.reason)
        await self._write(phase, verdict)

    async def _prepare(self) -> bool:
        """Whether everything it needs is there before it is to end."""
        preparing = Preparing(self._host, self._folder)
        told: Trouble | None = None
        while self._stop is None:
            try:
                await preparing.prepare(self.pod, self.containers)
                return True
            except Trouble as trouble:
                if str(told) != str(trouble):
                    self._host.events.tell(self.pod, trouble.event, trouble.told, warning=True)
                again = trouble.again if told is not None else trouble
                if str(told) != str(again):
                    self._note(again)
                    await self._write("Pending")
                told = again
            except (ApiError, *UNREACHABLE) as error:
                _log.info("pod %s: %s", self._name, error)
            await self._pause(self._host.plan.retry_s)
        return False

    def _note(self, trouble: Trouble) -> None:
        for container in self.containers:
            held = container.name in trouble.containers
            waiting = Waiting(trouble.reason, trouble.told) if held else Waiting("ContainerCreating")
            container.status = container.status.at(waiting)

    async def _run(self) -> None:
        """Run the containers to their end."""
        sidecars = list[asyncio.Task[None]]()
        try:
            for container in self._before:
                if container.sidecar:
                    sidecars.append(self._loop.create_task(self._keep(container)))
                    continue
                await self._keep(container)
                state = container.status.state
                if not isinstance(state, Terminated) or state.code != 0:
                    return
            await asyncio.gather(*(self._keep(container) for container in self._mains))
            for container in self._before:
                if container.sidecar and container.run is not None:
                    container.policy = "Never"
                    container.run.terminate()
            await asyncio.gather(*sidecars)
        finally:
            for task in sidecars:
                task.cancel()

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
            container.start(self._host.machine, self.pod["metadata"]["name"])
            if container.run is not None:
                if not container.idle:
                    self._host.events.tell(
                        self.pod, "Started", f"Started container {container.name}", container=container.name
                    )
                await self._write("Pending" if container.init and not container.sidecar else "Running")
                if not container.init:
                    self._running = True
                    self._look()
                code = await self._attended(container, container.run)
                container.run = None
                over = self._ended(container, code)
            else:
                assert isinstance(container.status.state, Terminated)
                over = container.status.state
                self._host.events.tell(self.pod, "Failed", over.message, container=container.name, warning=True)
            again = container.policy == "Always" or (container.policy == "OnFailure" and over.code != 0)
            if not again or self._stop is not None:
                return
            told = f"back-off {wait:g}s restarting failed container={container.name} pod={self._name}"
            container.status = replace(
                container.status.at(Waiting("CrashLoopBackOff", told)),
                last=over,
            )
            await self._write("Pending" if container.init and not container.sidecar else "Running")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), wait)
            wait = min(wait * 2, _RESTART_MAX_S)
        if isinstance(container.status.state, Waiting) and container.status.last is not None:
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

        async def execute(command: list[str]) -> int:
            return await container.execute(self._host.machine, self.pod["metadata"]["name"], command)

        failed = await Probes(container.spec, self._host.plan.host, execute, ready).attend()
        told = f"{failed} probe failed: container {container.name} will be stopped"
        self._host.events.tell(self.pod, "Unhealthy", told, container=container.name, warning=True)
        run.terminate()
        await asyncio.sleep(self.pod["spec"].get("terminationGracePeriodSeconds", 30))
        run.kill()

    def _ended(self, container: Container, code: int) -> Terminated:
        stop = self._stop
        if stop is not None and code == _KILLED and stop.code is not None:
            return container.ended(stop.code)
        if stop is not None and code == _KILLED:
            return container.ended(code, stop.reason)
        return container.ended(code)

    async def _pause(self, limit_s: float) -> None:
        """Wait, or until something is new."""
        self._news.clear()
        if self._stop is None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), limit_s)

    # What is said of it

    async def _write(self, phase: str, verdict: Verdict | None = None) -> None:
        """Write its status, however long that takes; without effect on a pod that is gone."""
        async with self._writing:
            self._status.init = [container.status for container in self._before]
            self._status.containers = [container.status for container in self._mains]
            told = self._status.encode(phase, verdict)
            meta = self.pod["metadata"]
            patch = {"metadata": {"uid": meta["uid"]}, "status": told}
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
