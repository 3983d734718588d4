"""Containers of images, as a kubelet starts them under Pod Security *restricted*: crun, a root file system that cannot
be written to, the image's user, no capability, no new privileges, a process tree of its own. They have the machine's
network: what they speak to is on its loopback.

`python -m tests.engines.crun FOLDER` runs one in the foreground. SIGTERM is passed on to it; however we end, and
the one that started us, nothing of it is left: it lives in a process namespace whose first process dies with us.
"""

from __future__ import annotations

import ctypes
import json
import os
import secrets
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CONFIGURATION = "config.json"
HOME = Path(__file__).parents[2]
"""The folder in which the command of `prepare` is run."""
# Of the machine's control groups nothing is there: crun wants one version of them, or none. It looks at its own
# processes in /proc, so that must be of their namespace.
_SCRIPT = 'mount -t proc proc /proc && mount -t tmpfs none /sys/fs/cgroup && exec "$@"'
_CLONE_NEWNS, _CLONE_NEWPID = 0x20000, 0x20000000
_MS_REC_PRIVATE = 0x4000 | 0x40000
_PR_SET_PDEATHSIG = 1
_STOP_S = 20.0


@dataclass(frozen=True)
class Rootfs:
    """An image that can be started. configuration: what it says of its user, its variables and its command."""

    path: str
    configuration: dict[str, Any]

    @property
    def entrypoint(self) -> list[str]:
        """The words before the arguments."""
        return list(self.configuration.get("Entrypoint") or ())

    @property
    def command(self) -> list[str]:
        """The arguments, if none are given."""
        return list(self.configuration.get("Cmd") or ())

    @property
    def environment(self) -> dict[str, str]:
        """Its variables."""
        return dict(one.split("=", 1) for one in self.configuration.get("Env") or ())


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


def words(rootfs: Rootfs, asked: Asked) -> list[str]:
    """What runs in it."""
    if asked.entrypoint is None:
        return [*rootfs.entrypoint, *(rootfs.command if asked.arguments is None else asked.arguments)]
    return [*asked.entrypoint, *(asked.arguments or ())]


def specification(rootfs: Rootfs, asked: Asked) -> dict[str, Any]:
    """The container as OCI's runtime specification has it."""
    user, _, group = str(rootfs.configuration.get("User", "0:0")).partition(":")
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
            "args": words(rootfs, asked),
            "env": [f"{name}={value}" for name, value in {**rootfs.environment, **asked.environment}.items()],
            "cwd": asked.directory or rootfs.configuration.get("WorkingDir") or "/",
            "capabilities": {},
            "noNewPrivileges": True,
        },
        "root": {"path": rootfs.path, "readonly": True},
        "mounts": mounts,
        "linux": {
            "namespaces": [{"type": kind} for kind in ("pid", "mount", "ipc", "uts")],
            "maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/timer_list"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    }


def give(paths: Iterable[Path], rootfs: Rootfs) -> None:
    """Make files, and folders with all that is in them, the image's user's."""
    user, _, group = str(rootfs.configuration.get("User", "0:0")).partition(":")
    for path in paths:
        for found in (path, *path.rglob("*")):
            os.chown(found, int(user), int(group or 0), follow_symlinks=False)


def prepare(rootfs: Rootfs, asked: Asked, folder: Path) -> list[str]:
    """The command that runs the container in the foreground. folder: where crun keeps what it needs; made here."""
    folder.mkdir(parents=True)
    (folder / CONFIGURATION).write_text(json.dumps(specification(rootfs, asked)))
    return [sys.executable, "-m", "tests.engines.crun", str(folder)]


class Container:
    """A container that runs. folder: for what belongs to it; made here."""

    def __init__(self, rootfs: Rootfs, asked: Asked, folder: Path) -> None:
        command = prepare(rootfs, asked, folder)
        self._log = folder / "log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, cwd=HOME, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.told = shlex.join(words(rootfs, asked))

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


def main() -> int:
    """Run the container of a folder; its exit code."""
    folder = Path(sys.argv[1])
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if libc.unshare(_CLONE_NEWNS | _CLONE_NEWPID) or libc.mount(b"none", b"/", None, _MS_REC_PRIVATE, None):
        print(f"crun: no namespaces: {os.strerror(ctypes.get_errno())}", file=sys.stderr)
        return 1
    # Nothing is lost that comes before crun listens: it is passed on later.
    wanted = {signal.SIGTERM, signal.SIGINT, signal.SIGCHLD}
    signal.pthread_sigmask(signal.SIG_BLOCK, wanted)
    child = os.fork()
    if not child:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, wanted)
        name = f"streamforge-{secrets.token_hex(6)}"
        crun = ["crun", "--root", str(folder / "state"), "--cgroup-manager=disabled", "run", "--bundle", str(folder)]
        os.execvp("sh", ["sh", "-c", _SCRIPT, "sh", *crun, name])
    while True:
        found = signal.sigwait(wanted)
        if found != signal.SIGCHLD:
            os.kill(child, found)
            continue
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main())
