"""Starts containers of images as a kubelet would under Pod Security *restricted*: crun, a root file system that cannot
be written to, the image's user, no capability, no new privileges, a process tree of its own.

They have the machine's network: what they speak to is on its loopback.
"""

from __future__ import annotations

import json
import secrets
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.images.storage import Storage

_STOP_S = 20.0
# In a namespace of its own nothing of the machine's control groups is there: crun wants one version of them, or none.
_ENTER = ("unshare", "--mount", "--", "sh", "-c", 'mount -t tmpfs none /sys/fs/cgroup 2>/dev/null; exec "$@"', "sh")


@dataclass(frozen=True)
class Rootfs:
    """An image that can be started. configuration: what it says of its user, its variables and its command."""

    path: Path
    configuration: Mapping[str, Any]

    @classmethod
    def of(cls, storage: Storage, reference: str) -> Rootfs:
        """Mount an image."""
        return cls(storage.mount(reference), storage.inspect(reference)["config"])


@dataclass(frozen=True)
class Asked:
    """How a container is to run. arguments: in place of the image's CMD; entrypoint: in place of its ENTRYPOINT.

    binds: folders or files of the machine by their place in the container, read-only where that ends in `:ro`.
    """

    arguments: Sequence[str] | None = None
    entrypoint: Sequence[str] | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    binds: Mapping[str, Path] = field(default_factory=dict)
    directory: str = ""
    terminal: bool = False


def specification(rootfs: Rootfs, asked: Asked) -> dict[str, Any]:
    """The container as OCI's runtime specification has it."""
    config = rootfs.configuration
    entrypoint = list(config.get("Entrypoint", ()) if asked.entrypoint is None else asked.entrypoint)
    command = list(config.get("Cmd", ()) if asked.entrypoint is None else ())
    arguments = command if asked.arguments is None else list(asked.arguments)
    user, _, group = str(config.get("User", "0:0")).partition(":")
    variables = {**dict(one.split("=", 1) for one in config.get("Env", ())), **asked.environment}
    mounts: list[dict[str, Any]] = [
        {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=64k"]},
        {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["nosuid", "nodev", "mode=1777"]},
        {"destination": "/tmp", "type": "tmpfs", "source": "tmp", "options": ["nosuid", "nodev", "mode=1777"]},
    ]
    mounts += [
        {"destination": path, "type": "bind", "source": path, "options": ["bind", "ro"]}
        for path in ("/etc/hosts", "/etc/resolv.conf")
    ]
    for place, source in asked.binds.items():
        path, _, mode = place.partition(":")
        options = ["rbind", mode or "rw", "nosuid", "nodev"]
        mounts.append({"destination": path, "type": "bind", "source": str(source), "options": options})
    return {
        "ociVersion": "1.0.2",
        "process": {
            "terminal": False,
            "user": {"uid": int(user), "gid": int(group or 0)},
            "args": [*entrypoint, *arguments],
            "env": [f"{name}={value}" for name, value in variables.items()],
            "cwd": asked.directory or config.get("WorkingDir") or "/",
            "capabilities": {},
            "noNewPrivileges": True,
        },
        "root": {"path": str(rootfs.path), "readonly": True},
        "mounts": mounts,
        "linux": {
            "namespaces": [{"type": kind} for kind in ("pid", "mount", "ipc", "uts")],
            "maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/timer_list"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    }


def command_of(rootfs: Rootfs, asked: Asked, folder: Path) -> list[str]:
    """The command line that runs the container in the foreground. folder: for what crun keeps of it; made here."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(specification(rootfs, asked)))
    name = f"streamforge-{secrets.token_hex(6)}"
    state = folder / "state"
    return [*_ENTER, "crun", "--root", str(state), "--cgroup-manager=disabled", "run", "--bundle", str(folder), name]


class Container:
    """A container that runs, its output in a file."""

    def __init__(self, rootfs: Rootfs, asked: Asked, folder: Path) -> None:
        command = command_of(rootfs, asked, folder)
        self._log = folder / "log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.told = shlex.join(specification(rootfs, asked)["process"]["args"])

    def wait(self, limit_s: float) -> int:
        """Wait for its end; its exit code."""
        return self._process.wait(limit_s)

    def log(self) -> str:
        """What it has written."""
        return self._log.read_text(errors="replace")

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def stop(self) -> int:
        """Ask it to end, and wait for that; its exit code."""
        if self.running:
            self._process.terminate()
        return self.wait(_STOP_S)

    def close(self) -> None:
        """End it, by force if it does not hear."""
        try:
            self.stop()
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(_STOP_S)


def run(rootfs: Rootfs, asked: Asked, folder: Path, *, limit_s: float = 60.0) -> tuple[int, str]:
    """Run a container to its end; its exit code and what it wrote."""
    container = Container(rootfs, asked, folder / f"container-{secrets.token_hex(4)}")
    try:
        code = container.wait(limit_s)
    except subprocess.TimeoutExpired:
        container.close()
        raise AssertionError(f"{container.told} did not end within {limit_s} s:\n{container.log()[-4000:]}") from None
    return code, container.log()
