"""A thread that does an adapter's blocking work in order, so that the event loop never waits for a disk."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class WorkThread:
    """One thread, started on first use. What runs in it may keep connections: they belong to it alone."""

    def __init__(self, name: str) -> None:
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self._closed = False

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do `work` in the thread, after what was given to it before.

        A caller that is cancelled stops waiting; the work itself is done all the same.
        """
        if self._closed:
            raise RuntimeError("the store is closed")
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, lambda: work(*args, **kwargs))

    async def close(self, last: Callable[[], None]) -> None:
        """Do what was given before, then `last`, then end the thread. A second call does nothing."""
        if self._closed:
            return
        self._closed = True
        future = self._pool.submit(last)
        self._pool.shutdown(wait=False)
        await asyncio.wrap_future(future)
