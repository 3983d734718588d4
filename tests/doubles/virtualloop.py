"""An event loop without a wall clock: its time moves on when nothing is left to do, to the end of the next wait."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Stalled(RuntimeError):
    """Every task waits for something that no passing of time will bring, or the loop has done more than it may."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """Runs tasks that wait for each other and for time, never for the world outside.

    What is given to a thread is done at once, in the loop's own. turns: how often the loop has gone round; more
    than `most_turns` raise Stalled.
    """

    def __init__(self, *, most_turns: int = 2_000_000) -> None:
        self.turns = 0
        self._most_turns = most_turns
        self._seconds = 0.0
        super().__init__(_Selector(self._pass))

    def time(self) -> float:
        return self._seconds

    def run_in_executor(self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:
        future: asyncio.Future[T] = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:
            future.set_exception(error)
        return future

    def _pass(self, seconds: float | None) -> None:
        self.turns += 1
        if seconds is None:
            raise Stalled("every task waits, and none of them for time")
        if self.turns > self._most_turns:
            raise Stalled(f"the loop has gone round {self.turns} times")
        self._seconds += max(0.0, seconds)


class _Selector(selectors.DefaultSelector):
    """Where a loop would wait for the world outside, time passes."""

    def __init__(self, passed: Callable[[float | None], None]) -> None:
        super().__init__()
        self._passed = passed

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, Any]]:
        self._passed(timeout)
        return []
