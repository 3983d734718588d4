"""The parent's end of a training process: it is started, heard, answered, and gone whatever happens."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Self

from streamforge.analytics.models.training_messages import LENGTH, FromProcess, ToProcess, framed, from_process
from streamforge_utils.model.errors import RetryableError

_MODULE = "streamforge.analytics.models.training"
_KEPT_VARIABLES = ("CUDA", "HOME", "LANG", "LC_", "LD_", "NVIDIA", "PATH", "PYTHON", "TMPDIR", "TZ", "VIRTUAL_ENV")


class TrainingProcess:
    """One training in a process of its own, which ends with the block, and with this process if that is killed."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", _MODULE),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=environment(os.environ, self._threads),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        process = self._of()
        with suppress(ProcessLookupError):
            process.kill()  # it holds nothing that it has not told
        await process.wait()

    async def send(self, message: ToProcess) -> None:
        """Raises RetryableError where the process has ended."""
        stdin = self._of().stdin
        try:
            if stdin is not None:
                stdin.write(framed(message))
                await stdin.drain()
        except (BrokenPipeError, ConnectionResetError) as error:
            raise await self._gone() from error

    async def messages(self) -> AsyncIterator[FromProcess]:
        """What it tells, until its end. Raises RetryableError where that comes without a last message."""
        stdout = self._of().stdout
        if stdout is None:
            return
        while True:
            try:
                (length,) = LENGTH.unpack(await stdout.readexactly(LENGTH.size))
                content = await stdout.readexactly(length)
            except asyncio.IncompleteReadError as error:
                raise await self._gone() from error
            yield from_process(content)

    def _of(self) -> asyncio.subprocess.Process:
        if self._process is None:
            raise RuntimeError("the process is started by the block")
        return self._process

    async def _gone(self) -> RetryableError:
        code = await self._of().wait()
        if code >= 0:
            return RetryableError(f"the training process ended with exit code {code}: the log of the attempt says why")
        memory = "; it may have had too little memory" if -code == signal.SIGKILL else ""
        return RetryableError(f"the training process was ended by {signal.Signals(-code).name}{memory}")


def environment(given: Mapping[str, str], threads: int) -> dict[str, str]:
    """Of the environment nothing secret; the threads of its arithmetic; what a step frees is kept for the next one."""
    kept = {name: value for name, value in given.items() if name.startswith(_KEPT_VARIABLES)}
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    # What a killed pool of processes leaves is taken away by the standard library, which warns of it: that is no news.
    warnings = ",".join(filter(None, (given.get("PYTHONWARNINGS"), "ignore:resource_tracker")))
    # Threads that wait by spinning take the processor from each other.
    others = {"OMP_WAIT_POLICY": "PASSIVE", "CUBLAS_WORKSPACE_CONFIG": ":4096:8", "PYTHONWARNINGS": warnings}
    memory = dict.fromkeys(("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"), str(16 * 1024 * 1024))
    return kept | dict.fromkeys(names, str(threads)) | others | memory
