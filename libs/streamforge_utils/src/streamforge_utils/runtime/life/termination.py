"""How an attempt ended, and what follows from it: the terminal event and the exit code."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from math import inf
from typing import Any, Literal

import msgspec

from streamforge_utils.model.errors import BannedError, ConfigError, PermanentError, StreamForgeError

EXIT_DONE = 0
"""Finished, or stopped by command."""
EXIT_FAILED = 1
"""Failed, or ended by a signal: worth another attempt."""
EXIT_CONFIG = 2
"""Bad configuration."""


class Termination(msgspec.Struct, frozen=True, kw_only=True):
    """The end of an attempt. extra: what the terminal event's `extra` holds beside the progress."""

    event: Literal["finished", "interrupted", "error"]
    exit_code: int
    message: str = ""
    error_message: str | None = None
    extra: dict[str, Any] = {}


FINISHED = Termination(event="finished", exit_code=EXIT_DONE, message="all is done", extra={"exit_code": EXIT_DONE})


def failed(error: BaseException) -> Termination:
    """The termination of an attempt that raised `error`."""
    root = root_of(error)
    code = EXIT_CONFIG if isinstance(root, ConfigError) else EXIT_FAILED
    extra: dict[str, Any] = {"exit_code": code}
    if isinstance(root, (PermanentError, ConfigError)):
        extra["permanent"] = True
    if isinstance(root, BannedError):
        extra["banned_until_ms"] = root.until_ms
    text = str(root) if isinstance(root, StreamForgeError) and str(root) else f"{type(root).__name__}: {root}"
    return Termination(event="error", exit_code=code, error_message=text, extra=extra)


def root_of(error: BaseException) -> BaseException:
    """The first single error inside groups of errors."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


class StopRequest:
    """Whether the worker must stop, and why: a command (exit code 0), a signal or the manager's silence (1)."""

    def __init__(self) -> None:
        self._asked = asyncio.Event()
        self._at_once = asyncio.Event()
        self._command = False
        self.upstream_ended = False
        self.drain_s = inf
        self._signal: int | None = None
        self._silence_s: float | None = None

    def by_command(self, *, upstream_ended: bool = False, drain_s: float = inf) -> None:
        """The command `stop` arrived. upstream_ended: the loaders have ended, according to the command. drain_s: what a
        sink has for what they have sent."""
        self.drain_s = min(self.drain_s, drain_s)
        self._command = True
        self.upstream_ended = self.upstream_ended or upstream_ended
        self._asked.set()

    def by_signal(self, number: int) -> bool:
        """A signal arrived. Returns False if it is not the first: the worker must end at once."""
        first = self._signal is None
        self._signal = number
        self._at_once.set()
        self._asked.set()
        return first

    def by_silence(self, seconds: float) -> None:
        """No command came for this long: the worker has lost its manager."""
        self._silence_s = seconds
        self._at_once.set()
        self._asked.set()

    @property
    def asked(self) -> bool:
        return self._asked.is_set()

    @property
    def by_command_alone(self) -> bool:
        """Whether only the command `stop` asked for it."""
        return self._command and not self._at_once.is_set()

    async def wait(self) -> None:
        """Return once the worker must stop."""
        await self._asked.wait()

    async def wait_at_once(self) -> None:
        """Return once the stop is urgent: by a signal or the manager's silence."""
        await self._at_once.wait()

    @asynccontextmanager
    async def hurrying(self, left_s: float) -> AsyncIterator[None]:
        """The block must end within `left_s` once the stop is urgent. Raises TimeoutError where it does not."""
        async with asyncio.timeout(None) as limit:
            hurry = asyncio.create_task(self._hurry(limit, left_s), name="hurry")
            try:
                yield
            finally:
                hurry.cancel()

    async def _hurry(self, limit: asyncio.Timeout, left_s: float) -> None:
        await self._at_once.wait()
        limit.reschedule(asyncio.get_running_loop().time() + left_s)

    def termination(self) -> Termination:
        """The termination of a worker that was stopped in order."""
        code, message = EXIT_FAILED, "stopped"
        if self._command or (self._signal is None and self._silence_s is None):
            code, message = EXIT_DONE, "stopped by command"
        elif self._signal is not None:
            message = f"stopped by {signal.Signals(self._signal).name}"
        else:
            message = f"no command was heard for {self._silence_s:.0f} s: there is no manager any more"
        return Termination(event="interrupted", exit_code=code, message=message, extra={"exit_code": code})
