"""A container of a pod: its image, what runs in it, again and again if its policy says so, how it is, what it wrote."""

from __future__ import annotations

import errno
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from streamforge.workers import targets
from tests.engines import crun
from tests.engines.crun import Rootfs
from tests.engines.kubernetes.kubelet import status
from tests.engines.kubernetes.kubelet.api import Api, Events
from tests.engines.kubernetes.kubelet.plan import Plan
from tests.engines.kubernetes.kubelet.pod_values import command_line
from tests.engines.kubernetes.kubelet.probes import Probes
from tests.engines.kubernetes.kubelet.process import MARK, Nothing, Process, Run
from tests.engines.kubernetes.kubelet.volumes import Mounted, Mounter
from tests.engines.kubernetes.rest import Object

_TAIL_LINES, _TAIL_BYTES = 80, 2048
"""How much of a log a failed container leaves in its status."""

_NOT_STARTED = 128
_ROOT = Path(__file__).parents[4]
# An image that does nothing until it is told to end, as the real one of that name: a thousand of them cost nothing.
PAUSE = "pause"
# An image whose entry point runs what it is given as arguments (platform/jupyterhub).
JUPYTER = "jupyter-python311"
# No registry has a version of this name.
MISSING_TAG = "missing"


@dataclass(frozen=True)
class Host:
    """What all pods share. mark: see `process`."""

    plan: Plan
    api: Api
    events: Events
    mounter: Mounter
    mark: str


@dataclass(frozen=True)
class Prepared:
    """What a container needs to start. values: the variables that the pod gives it."""

    image: Image
    mounted: Mounted
    values: Mapping[str, str]


class Container:
    """One container of one pod. folder: the pod's."""

    def __init__(self, spec: Object, policy: str, folder: Path) -> None:
        self.spec = spec
        self.name: str = spec["name"]
        self.policy = policy
        self.status = status.ContainerStatus(self.name, spec["image"], status.waiting("ContainerCreating"))
        self.run: Run | None = None
        self.prepared: Prepared | None = None
        self._folder = folder

    @property
    def idle(self) -> bool:
        """Whether it stands for no process."""
        return self.prepared is not None and self.prepared.image.idle

    def log_path(self, run: int) -> Path:
        """The log of a run; `status.restarts` is the last one."""
        return self._folder / "logs" / self.name / f"{run}.log"

    def start(self, host: Host, host_name: str) -> None:
        """Start it, or note that it cannot be."""
        assert self.prepared is not None
        if self.status.last:
            self.status = replace(self.status, restarts=self.status.restarts + 1)
        try:
            self.run = Nothing() if self.idle else self._process(host, host_name, self.prepared)
        except OSError as error:
            told = f"failed to create task: exec: {error.filename or ''}: {error.strerror}"
            self.run = None
            self.status = self.status.at(status.terminated(_NOT_STARTED, status.stamp(), "StartError", told))
            return
        self.status = self.status.at(status.running(), ready=not Probes.wanted(self.spec))

    def ended(self, code: int, reason: str = "") -> None:
        """Note how the run ended."""
        message = read_log(self._message_path)[-_TAIL_BYTES:].decode(errors="replace")
        if (
            not message
            and code != 0
            and not self.idle
            and self.spec.get("terminationMessagePolicy") == "FallbackToLogsOnError"
        ):
            text = read_log(self.log_path(self.status.restarts), tail=_TAIL_LINES)
            message = text[-_TAIL_BYTES:].decode(errors="replace")
        began = self.status.state.get("running", {}).get("startedAt")
        self.status = self.status.at(status.terminated(code, began, reason, message))

    @property
    def _message_path(self) -> Path:
        """What it has for the file that it finds at the path of its last message."""
        return self._folder / "messages" / self.name

    def _process(self, host: Host, host_name: str, prepared: Prepared) -> Process:
        log_path = self.log_path(self.status.restarts)
        mounted, plan, image = prepared.mounted, host.plan, prepared.image
        entry_point = list(image.command)
        if image.rootfs is not None and not self.spec.get("command") and not self.spec.get("args"):
            entry_point += image.rootfs.command
        words = command_line(self.spec, entry_point, prepared.values)
        common = {
            "HOSTNAME": host_name,
            "KUBERNETES_SERVICE_HOST": plan.host,
            "KUBERNETES_SERVICE_PORT": str(plan.api_port),
            "KUBERNETES_SERVICE_PORT_HTTPS": str(plan.api_port),
            **plan.environment,
        }
        scratch = self._folder / "containers" / f"{self.name}-{self.status.restarts}"
        if image.rootfs is not None:
            # Its volumes are its user's, as with an `fsGroup`.
            binds = {mount.path: mount.source for mount in mounted.mounts}
            environment = {**common, **prepared.values, MARK: host.mark}
            asked = crun.Asked(arguments=(), entrypoint=words, environment=environment, binds=binds)
            crun.give(binds.values(), image.rootfs)
            return Process(crun.prepare(image.rootfs, asked, scratch), os.environ, crun.HOME, log_path)
        self._message_path.parent.mkdir(mode=0o700, exist_ok=True)
        self._message_path.write_bytes(b"")
        told = {self.spec.get("terminationMessagePath"): str(self._message_path)}
        temporary = self._folder / "tmp"
        temporary.mkdir(mode=0o700, exist_ok=True)
        environment = {
            "PATH": f"{os.path.dirname(sys.executable)}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(mounted.root),
            "TMPDIR": str(temporary),
            "LANG": "C.UTF-8",
            "PYTHONUNBUFFERED": "1",
            **common,
            **{name: told.get(value) or mounted.rewrite(value) for name, value in prepared.values.items()},
            "KUBELET_POD_ROOT": str(mounted.root),
            MARK: host.mark,
        }
        command = [mounted.rewrite(word) for word in words]
        folder = image.folder or mounted.root
        if shutil.which(command[0], path=environment["PATH"]) is None and not (folder / command[0]).exists():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), command[0])
        return Process(host.mounter.around(command, mounted.mounts, scratch), environment, folder, log_path)


def read_log(path: Path, *, offset: int = 0, tail: int | None = None) -> bytes:
    """What a run wrote. offset: bytes to pass over; tail: only the last so many lines."""
    try:
        with path.open("rb") as file:
            file.seek(offset)
            found = file.read()
    except OSError:
        return b""
    if tail is None:
        return found
    return b"".join(found.splitlines(keepends=True)[-tail:]) if tail else b""


@dataclass(frozen=True)
class Image:
    """An image that is there. command: its entry point; folder: where it starts. idle: it runs no process.

    rootfs: what it really is, if it is one.
    """

    name: str
    command: tuple[str, ...]
    folder: Path | None = None
    idle: bool = False
    rootfs: Rootfs | None = None


class ImageMissing(Exception):
    """The registry does not have it."""


def find_image(image: str, *, has_command: bool, real: Mapping[str, Rootfs] = {}) -> Image:
    """What `image` is. has_command: the container brings its own command, so any name will do. Raises ImageMissing.

    real: the images there are, by name; where there are any, there are no others.
    """
    if real:
        if image not in real:
            raise ImageMissing(f"{image}: not found")
        return Image(image, tuple(real[image].entrypoint), rootfs=real[image])
    path = image.partition("@")[0]
    name, _, tag = path.rpartition("/")[2].partition(":")
    if tag == MISSING_TAG:
        raise ImageMissing(f"{image}: not found")
    if name == PAUSE and not has_command:
        return Image(name, (), idle=True)
    if name == JUPYTER:
        return Image(name, ())
    folder = _ROOT / "services" / name
    where = folder if folder.is_dir() else None
    if name in targets():
        return Image(name, (sys.executable, "-m", "streamforge.workers", name), where)
    if where is not None:
        return Image(name, (sys.executable, "-m", "app.main"), where)
    if has_command:
        return Image(name, ())
    raise ImageMissing(f"{image}: not found")
