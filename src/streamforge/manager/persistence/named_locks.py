"""Mutual exclusion inside one manager: of what counts the records of a series and what removes some, and of changes to
its coverage."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from streamforge_utils.model.errors import RetryableError


class NamedLocks:
    """One holder for each name at a time; the others get it in the order in which they asked for it."""

    WAIT_S = 300.0

    def __init__(self) -> None:
        self._held: dict[str, _Guard] = {}

    @asynccontextmanager
    async def hold(self, *names: str, within_s: float = WAIT_S) -> AsyncIterator[None]:
        """Hold all of `names` for the time of the block. Raises RetryableError if one is not free within `within_s`."""
        async with AsyncExitStack() as held:
            for name in sorted(set(names)):  # in one order everywhere, so that nobody waits for each other
                await held.enter_async_context(self._one(name, within_s))
            yield

    @asynccontextmanager
    async def _one(self, name: str, within_s: float) -> AsyncIterator[None]:
        guard = self._held.setdefault(name, _Guard())
        guard.users += 1
        try:
            try:
                # Not `wait_for`, which may lose a cancellation that comes together with the lock.
                async with asyncio.timeout(None if guard.users == 1 else within_s):
                    await guard.lock.acquire()
            except TimeoutError:
                raise RetryableError(
                    f"{name} has been counted, changed or removed by others for more than {within_s:g} s", retry_after=5
                ) from None
            try:
                yield
            finally:
                guard.lock.release()
        finally:
            guard.users -= 1
            if not guard.users:
                self._held.pop(name, None)


class _Guard:
    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.users = 0
