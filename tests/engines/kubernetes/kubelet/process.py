"""One run of a container: a local process in a session of its own, or nothing that waits to be told to end.

`python -m ….process MARK` is the reaper: it ends everything that a kubelet's pods started, once the kubelet is gone.
Its stdin is a pipe whose other end the kubelet holds: however that ends, SIGKILL included, the pipe closes. What is to
end has MARK in its environment.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

_POLL_S = 0.05
MARK = "KUBELET_POD_MARK"


class Run(Protocol):
    """What the pod needs to know of it."""

    async def ended(self) -> int:
        """Wait for its end; its exit code as a container has it, 128 + N after signal N."""

    def terminate(self) -> None:
        """Ask it to end (SIGTERM)."""

    def kill(self) -> None:
        """End it at once (SIGKILL)."""


class Nothing:
    """No process. SIGTERM ends it with 0, as the image `pause`."""

    def __init__(self) -> None:
        self._code: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def ended(self) -> int:
        """See Run."""
        return await asyncio.shield(self._code)

    def terminate(self) -> None:
        """See Run."""
        self._end(0)

    def kill(self) -> None:
        """See Run."""
        self._end(128 + signal.SIGKILL)

    def _end(self, code: int) -> None:
        if not self._code.done():
            self._code.set_result(code)


class Process:
    """A process, started here; what it writes goes to `log_path`. What it leaves in its process group ends with it.

    Raises OSError if there is no such program.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], folder: Path, log_path: Path) -> None:
        log_path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with log_path.open("ab") as log:
            self._popen = subprocess.Popen(
                list(command),
                env=dict(environment),
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._ending = asyncio.get_running_loop().create_task(self._end())

    async def ended(self) -> int:
        """See Run."""
        return await asyncio.shield(self._ending)

    def terminate(self) -> None:
        """See Run. As in a container, its first process alone is told."""
        if self._popen.returncode is None:
            self._popen.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """See Run."""
        if self._popen.returncode is None:
            self._kill_group()

    async def _end(self) -> int:
        try:
            # It is not reaped before its group was killed: until then the group's number is nobody else's.
            await self._exited()
        finally:
            self._kill_group()
            code = self._popen.wait()
        return code if code >= 0 else 128 - code

    async def _exited(self) -> None:
        if not hasattr(os, "pidfd_open"):
            while self._popen.poll() is None:  # noqa: ASYNC110 - the system has nothing to wait on
                await asyncio.sleep(_POLL_S)
            return
        exited, loop = asyncio.Event(), asyncio.get_running_loop()
        handle = os.pidfd_open(self._popen.pid)
        loop.add_reader(handle, exited.set)
        try:
            await exited.wait()
        finally:
            loop.remove_reader(handle)
            os.close(handle)

    def _kill_group(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._popen.pid, signal.SIGKILL)


class Reaper:
    """The reaper's other end; the reaper is started, out of reach of what ends us."""

    def __init__(self, mark: str) -> None:
        command = [sys.executable, "-m", __name__, mark]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)

    def close(self) -> None:
        """Have it end what is left, and wait for that."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(10)


def main() -> int:
    """Wait for the kubelet's end."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.read()
    # Twice: what was just being started is found the second time.
    for _ in range(2):
        for path in Path("/proc").glob("[0-9]*/environ"):
            with suppress(OSError):
                if f"{MARK}={sys.argv[1]}".encode() in path.read_bytes().split(b"\0"):
                    os.kill(int(path.parent.name), signal.SIGKILL)
    return 0


if __name__ == "__main__":
    sys.exit(main())
