"""A container of a pod: what runs in it, again and again if its policy says so, and how it is."""

from __future__ import annotations

import errno
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from tests.engines import crun
from tests.engines.kubernetes.kubelet import status
from tests.engines.kubernetes.kubelet.environment import command_line
from tests.engines.kubernetes.kubelet.images import Image
from tests.engines.kubernetes.kubelet.logs import last_words
from tests.engines.kubernetes.kubelet.mounting import Mounter
from tests.engines.kubernetes.kubelet.plan import Plan
from tests.engines.kubernetes.kubelet.probes import Probes
from tests.engines.kubernetes.kubelet.process import Nothing, Process, Run
from tests.engines.kubernetes.kubelet.reaper import MARK, Reaper
from tests.engines.kubernetes.kubelet.status import ContainerStatus, Terminated, Waiting
from tests.engines.kubernetes.kubelet.volumes import TERMINATION_LOG, Mounted
from tests.engines.kubernetes.rest import Object

_MESSAGE_BYTES = 4096


@dataclass(frozen=True)
class Prepared:
    """What a container needs to start. values: the variables that the pod gives it."""

    image: Image
    mounted: Mounted
    values: Mapping[str, str]


@dataclass(frozen=True)
class Machine:
    """What containers run on."""

    plan: Plan
    reaper: Reaper
    mounter: Mounter


class Container:
    """One container of one pod. folder: the pod's; init: it runs before the others."""

    def __init__(self, spec: Object, policy: str, folder: Path, *, init: bool = False) -> None:
        self.spec = spec
        self.name: str = spec["name"]
        self.init = init
        # A sidecar runs beside the others and ends after them.
        self.sidecar = init and spec.get("restartPolicy") == "Always"
        # What an init container failed at is tried again by every policy but Never.
        again = "OnFailure" if init and policy != "Never" else policy
        self.policy: str = spec.get("restartPolicy", again)
        self.status = ContainerStatus(
            self.name, spec["image"], Waiting("PodInitializing" if init else "ContainerCreating")
        )
        self.run: Run | None = None
        self.prepared: Prepared | None = None
        self._folder = folder
        self._overlays = 0

    @property
    def idle(self) -> bool:
        """Whether it stands for no process."""
        return self.prepared is not None and self.prepared.image.idle

    def log_path(self, run: int | None = None) -> Path:
        """The log of a run, by default of the last one."""
        return self._folder / "logs" / self.name / f"{self.status.restarts if run is None else run}.log"

    def start(self, machine: Machine, host_name: str) -> None:
        """Start it, or note that it cannot be."""
        assert self.prepared is not None
        moment = status.stamp()
        if self.status.last is not None:
            self.status = replace(self.status, restarts=self.status.restarts + 1)
        if self.prepared.image.idle:
            self.run = Nothing()
        else:
            try:
                self.run = self._process(machine, host_name, self._words(), self.log_path())
            except OSError as error:
                told = f"failed to create task: exec: {error.filename or ''}: {error.strerror}"
                self.run = None
                self.status = self.status.at(
                    Terminated(status.STARTED_WITH_TROUBLE, moment, moment, "StartError", told)
                )
                return
        self.status = self.status.at(status.Running(moment), ready=not Probes.wanted(self.spec))

    async def execute(self, machine: Machine, host_name: str, command: list[str]) -> int:
        """Run another command in it, as a probe does; its exit code. Raises OSError if there is no such program."""
        run = self._process(machine, host_name, command, self._folder / "probes" / f"{self.name}.log")
        try:
            return await run.ended()
        finally:
            run.kill()

    def ended(self, code: int, reason: str = "") -> Terminated:
        """Note how the run ended."""
        began = self.status.state.since if isinstance(self.status.state, status.Running) else None
        found = Terminated(code, began, status.stamp(), reason, self._message(code))
        self.status = self.status.at(found)
        return found

    def _words(self) -> list[str]:
        assert self.prepared is not None
        image = self.prepared.image
        entry_point = list(image.command)
        if image.rootfs is not None and not self.spec.get("command") and not self.spec.get("args"):
            entry_point += image.rootfs.command
        return command_line(self.spec, entry_point, self.prepared.values)

    def _process(self, machine: Machine, host_name: str, words: list[str], log_path: Path) -> Process:
        prepared, plan = self.prepared, machine.plan
        assert prepared is not None
        mounted = prepared.mounted
        if prepared.image.rootfs is not None:
            return self._contained(machine, host_name, words, log_path)
        temporary = self._folder / "tmp"
        temporary.mkdir(mode=0o700, exist_ok=True)
        base = {
            "PATH": f"{os.path.dirname(sys.executable)}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(mounted.root),
            "TMPDIR": str(temporary),
            "HOSTNAME": host_name,
            "LANG": "C.UTF-8",
            "PYTHONUNBUFFERED": "1",
            "KUBERNETES_SERVICE_HOST": plan.host,
            "KUBERNETES_SERVICE_PORT": str(plan.api_port),
            "KUBERNETES_SERVICE_PORT_HTTPS": str(plan.api_port),
            **plan.environment,
        }
        own = {name: mounted.rewrite(value) for name, value in prepared.values.items()}
        found = {**base, **own, "KUBELET_POD_ROOT": str(mounted.root), MARK: machine.reaper.mark}
        command = [mounted.rewrite(word) for word in words]
        folder = self._working_folder(prepared)
        if shutil.which(command[0], path=found["PATH"]) is None and not (folder / command[0]).exists():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), command[0])
        self._overlays += 1
        scratch = self._folder / "overlays" / f"{self.name}-{self._overlays}"
        command = machine.mounter.around(command, mounted.mounts, scratch)
        return Process.start(command, found, folder, log_path, machine.reaper)

    def _contained(self, machine: Machine, host_name: str, words: list[str], log_path: Path) -> Process:
        """Run it in its image, with its volumes, which are its user's, as with an `fsGroup`."""
        prepared, plan = self.prepared, machine.plan
        assert prepared is not None
        assert prepared.image.rootfs is not None
        mounted = prepared.mounted
        told = str(self.spec.get("terminationMessagePath", TERMINATION_LOG))
        (mounted.root / told.lstrip("/")).touch()
        binds = {told: mounted.root / told.lstrip("/")} | {mount.path: mount.source for mount in mounted.mounts}
        asked = crun.Asked(
            arguments=(),
            entrypoint=words,
            environment={
                "HOSTNAME": host_name,
                "KUBERNETES_SERVICE_HOST": plan.host,
                "KUBERNETES_SERVICE_PORT": str(plan.api_port),
                "KUBERNETES_SERVICE_PORT_HTTPS": str(plan.api_port),
                **plan.environment,
                **prepared.values,
                MARK: machine.reaper.mark,
            },
            binds=binds,
            directory=self.spec.get("workingDir", ""),
        )
        crun.give(binds.values(), prepared.image.rootfs)
        self._overlays += 1
        command = crun.prepare(
            prepared.image.rootfs, asked, self._folder / "containers" / f"{self.name}-{self._overlays}"
        )
        return Process.start(command, os.environ, crun.HOME, log_path, machine.reaper)

    def _working_folder(self, prepared: Prepared) -> Path:
        wanted = self.spec.get("workingDir")
        if wanted is None:
            return prepared.image.folder or prepared.mounted.root
        mapped = Path(prepared.mounted.rewrite(wanted))
        if mapped == Path(wanted):
            # In its image it would be there.
            mapped = prepared.mounted.root / wanted.lstrip("/")
            mapped.mkdir(parents=True, exist_ok=True)
        return mapped

    def _message(self, code: int) -> str:
        """What it left in its termination log, or, if it failed and wants that, the end of its log."""
        if self.prepared is None:
            return ""
        path = self.prepared.mounted.root / str(self.spec.get("terminationMessagePath", TERMINATION_LOG)).lstrip("/")
        try:
            told = path.read_text(errors="replace")[:_MESSAGE_BYTES]
        except OSError:
            told = ""
        if told or code == 0 or self.spec.get("terminationMessagePolicy") != "FallbackToLogsOnError":
            return told
        return last_words(self.log_path())
