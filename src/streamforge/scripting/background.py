"""Coroutines for code that is not asynchronous: each runs in a loop of a thread of its own, also where a loop runs
already, as in a notebook."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable, Coroutine
from queue import SimpleQueue
from typing import Any, Generic, TypeVar, cast

T = TypeVar("T")


class Background(Generic[T]):
    """A coroutine in a thread. Made in the thread that waits for it; `make` is called in the other one, with this."""

    def __init__(self, make: Callable[[Background[T]], Coroutine[Any, Any, T]], name: str) -> None:
        self._make = make
        self._outcome: T | None = None
        self._error: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[T] | None = None
        self._ready = threading.Event()
        self._messages: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        context = contextvars.copy_context()
        self._thread = threading.Thread(target=lambda: context.run(self._run), name=name, daemon=True)
        self._thread.start()
        self._ready.wait()

    def tell(self, message: Callable[[], object]) -> None:
        """Called in the thread: let the waiting one call `message`."""
        self._messages.put(message)

    def call(self, call: Callable[[], object]) -> None:
        """Called in the waiting thread: let the loop call `call`; nothing happens if it has ended."""
        if self._loop is not None and self._thread.is_alive():
            try:
                self._loop.call_soon_threadsafe(call)
            except RuntimeError:
                return  # it has just ended

    def cancel(self) -> None:
        """Cancel the coroutine; `wait` then raises CancelledError."""
        if self._task is not None:
            self.call(self._task.cancel)

    def wait(self) -> T:
        """Pass on what is told until the end; the outcome, or the error. KeyboardInterrupt leaves the coroutine as it
        is: `wait` again, or `cancel` it first."""
        while (message := self._messages.get()) is not None:
            message()
        self._thread.join()
        if self._error is not None:
            raise self._error
        return cast("T", self._outcome)

    def _run(self) -> None:
        try:
            asyncio.run(self._watched())
        except BaseException as error:
            self._error = error
        finally:
            self._ready.set()
            self._messages.put(None)

    async def _watched(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._task = cast("asyncio.Task[T]", asyncio.current_task())
        self._ready.set()
        self._outcome = await self._make(self)
