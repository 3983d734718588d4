"""One run of a container: a local process in a session of its own, or nothing that waits to be told to end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from tests.engines.kubernetes.kubelet.logs import LogFile
from tests.engines.kubernetes.kubelet.reaper import Reaper

# How long the end of the output may come after the end of the process, in seconds.
_DRAIN_S = 1.0
_POLL_S = 0.05
_CHUNK = 64 * 1024


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
    """A process. It is the first of its session, and everything it leaves in its process group ends with it."""

    def __init__(self, popen: subprocess.Popen[bytes], output: int, log: LogFile, reaper: Reaper) -> None:
        self._popen = popen
        self._output = output
        self._log = log
        self._reaper = reaper
        self._drained = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._ending = self._loop.create_task(self._end())

    @classmethod
    def start(
        cls, command: Sequence[str], environment: Mapping[str, str], folder: Path, log_path: Path, reaper: Reaper
    ) -> Process:
        """Start it. Raises OSError if there is no such program."""
        reading, writing = os.pipe()
        try:
            popen = subprocess.Popen(
                list(command),
                env=dict(environment),
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=writing,
                stderr=writing,
                start_new_session=True,
                restore_signals=True,
            )
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        reaper.add(popen.pid)
        return cls(popen, reading, LogFile(log_path), reaper)

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
        os.set_blocking(self._output, False)
        self._loop.add_reader(self._output, self._read)
        try:
            # It is not reaped before its group was killed: until then the group's number is nobody else's.
            await self._exited()
            self._kill_group()
            code = self._popen.wait()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._drained.wait(), _DRAIN_S)
        finally:
            if self._popen.returncode is None:
                self._kill_group()
                self._popen.wait()
            self._loop.remove_reader(self._output)
            os.close(self._output)
            self._log.close()
            self._reaper.remove(self._popen.pid)
        return code if code >= 0 else 128 - code

    async def _exited(self) -> None:
        exited = asyncio.Event()
        if hasattr(os, "pidfd_open"):
            handle = os.pidfd_open(self._popen.pid)
            self._loop.add_reader(handle, exited.set)
            try:
                await exited.wait()
            finally:
                self._loop.remove_reader(handle)
                os.close(handle)
        else:
            while self._popen.poll() is None:  # noqa: ASYNC110 - the system has nothing to wait on
                await asyncio.sleep(_POLL_S)

    def _read(self) -> None:
        try:
            data = os.read(self._output, _CHUNK)
        except BlockingIOError:
            return
        if data:
            self._log.write(data)
        else:
            self._loop.remove_reader(self._output)
            self._drained.set()

    def _kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._popen.pid, signal.SIGKILL)
