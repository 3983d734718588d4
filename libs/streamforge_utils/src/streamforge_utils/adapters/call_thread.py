"""A thread for blocking calls: it runs one at a time, also after the task that awaits a call was cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, ParamSpec, TypeVar

from streamforge_utils.model.errors import PermanentError

P = ParamSpec("P")
T = TypeVar("T")

CALLS = 64
"""So many calls are queued or run at most; a further one waits until one of them has ended."""


class Lane:
    """Runs calls in its own thread, in the order in which they were given."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self._room = asyncio.Semaphore(CALLS)
        self._last: asyncio.Future[Any] | None = None
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    @property
    def busy(self) -> bool:
        """Whether a call is running."""
        return self._last is not None and not self._last.done()

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of `call`. A cancelled `run` does not interrupt the call: `until_idle` waits for its end."""
        self.require_open()
        await self._room.acquire()
        try:
            self.require_open()
            future = self._start(partial(call, *args, **kwargs))
        except BaseException:
            self._room.release()
            raise
        future.add_done_callback(lambda _: self._room.release())
        return await asyncio.shield(future)

    def require_open(self) -> None:
        """Raises PermanentError once closed."""
        if self._closed:
            raise PermanentError(f"the {self._name} is closed")

    async def until_idle(self) -> None:
        """Return once no call is running."""
        while self._last is not None and not self._last.done():
            await asyncio.wait({self._last})

    async def close(self, last: Callable[[], None]) -> None:
        """Run `last` after everything else and end the thread. A second `close` does nothing."""
        if self._closed:
            return
        self._closed = True
        ending = self._start(last)
        self._executor.shutdown(wait=False)
        await asyncio.shield(ending)

    def _start(self, call: Callable[[], T]) -> asyncio.Future[T]:
        future = asyncio.get_running_loop().run_in_executor(self._executor, call)
        future.add_done_callback(_retrieve)
        self._last = future
        return future


def _retrieve(future: asyncio.Future[Any]) -> None:
    # The task that awaited it may have been cancelled: the error is taken here, or asyncio would complain.
    if not future.cancelled():
        future.exception()
