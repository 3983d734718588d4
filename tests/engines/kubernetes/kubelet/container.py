"""A container of a pod: what runs in it, again and again if its policy says so, and how it is."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.engines.kubernetes.kubelet import status
from tests.engines.kubernetes.kubelet.environment import command_line
from tests.engines.kubernetes.kubelet.images import Image
from tests.engines.kubernetes.kubelet.logs import last_words
from tests.engines.kubernetes.kubelet.plan import Plan
from tests.engines.kubernetes.kubelet.process import Nothing, Process, Run
from tests.engines.kubernetes.kubelet.reaper import MARK, Reaper
from tests.engines.kubernetes.kubelet.status import ContainerStatus, Terminated, Waiting
from tests.engines.kubernetes.kubelet.volumes import TERMINATION_LOG, Rewrite
from tests.engines.kubernetes.rest import Object

_MESSAGE_BYTES = 4096


@dataclass(frozen=True)
class Prepared:
    """What a container needs to start. root: what its paths are mapped to; values: the pod's variables."""

    image: Image
    root: Path
    rewrite: Rewrite
    values: Mapping[str, str]


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

    @property
    def idle(self) -> bool:
        """Whether it stands for no process."""
        return self.prepared is not None and self.prepared.image.idle

    def log_path(self, run: int | None = None) -> Path:
        """The log of a run, by default of the last one."""
        return self._folder / "logs" / self.name / f"{self.status.restarts if run is None else run}.log"

    def start(self, plan: Plan, reaper: Reaper, host_name: str) -> None:
        """Start it, or note that it cannot be."""
        assert self.prepared is not None
        moment = status.stamp()
        if self.prepared.image.idle:
            self.run = Nothing()
        else:
            try:
                self.run = self._process(plan, reaper, host_name)
            except OSError as error:
                told = f"failed to create task: exec: {error.filename or ''}: {error.strerror}"
                self.run = None
                self.status = self.status.at(
                    Terminated(status.STARTED_WITH_TROUBLE, moment, moment, "StartError", told)
                )
                return
        self.status = self.status.at(status.Running(moment), ready=True)

    def ended(self, code: int, reason: str = "") -> Terminated:
        """Note how the run ended."""
        began = self.status.state.since if isinstance(self.status.state, status.Running) else None
        found = Terminated(code, began, status.stamp(), reason, self._message(code))
        self.status = self.status.at(found)
        return found

    def _process(self, plan: Plan, reaper: Reaper, host_name: str) -> Process:
        prepared = self.prepared
        assert prepared is not None
        temporary = self._folder / "tmp"
        temporary.mkdir(mode=0o700, exist_ok=True)
        base = {
            "PATH": f"{os.path.dirname(sys.executable)}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(prepared.root),
            "TMPDIR": str(temporary),
            "HOSTNAME": host_name,
            "LANG": "C.UTF-8",
            "PYTHONUNBUFFERED": "1",
            "KUBERNETES_SERVICE_HOST": plan.host,
            "KUBERNETES_SERVICE_PORT": str(plan.api_port),
            "KUBERNETES_SERVICE_PORT_HTTPS": str(plan.api_port),
            **plan.environment,
        }
        own = {name: prepared.rewrite(value) for name, value in prepared.values.items()}
        found = {**base, **own, "KUBELET_POD_ROOT": str(prepared.root), MARK: reaper.mark}
        words = command_line(self.spec, prepared.image.command, {**base, **prepared.values})
        command = [prepared.rewrite(word) for word in words]
        return Process.start(command, found, self._working_folder(prepared), self.log_path(), reaper)

    def _working_folder(self, prepared: Prepared) -> Path:
        wanted = self.spec.get("workingDir")
        if wanted is None:
            return prepared.image.folder or prepared.root
        mapped = Path(prepared.rewrite(wanted))
        if mapped == Path(wanted):
            # In its image it would be there.
            mapped = prepared.root / wanted.lstrip("/")
            mapped.mkdir(parents=True, exist_ok=True)
        return mapped

    def _message(self, code: int) -> str:
        """What it left in its termination log, or, if it failed and wants that, the end of its log."""
        if self.prepared is None:
            return ""
        path = self.prepared.root / str(self.spec.get("terminationMessagePath", TERMINATION_LOG)).lstrip("/")
        try:
            told = path.read_text(errors="replace")[:_MESSAGE_BYTES]
        except OSError:
            told = ""
        if told or code == 0 or self.spec.get("terminationMessagePolicy") != "FallbackToLogsOnError":
            return told
        return last_words(self.log_path())
