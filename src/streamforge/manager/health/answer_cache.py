"""Answers that are kept for a while, so that it costs the same however many ask."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from streamforge_utils.ports.clock import Clock

T = TypeVar("T")


class Kept(Generic[T]):
    """What `ask` answers; all wait for one answer. fresh_s: for how many seconds an answer holds."""

    def __init__(self, ask: Callable[[], Awaitable[T]], clock: Clock, fresh_s: Callable[[T], float]) -> None:
        self._ask = ask
        self._clock = clock
        self._fresh_s = fresh_s
        self._answer: tuple[float, T] | None = None
        self._asking: asyncio.Task[T] | None = None

    async def get(self) -> T:
        """The answer. Raises what `ask` raises."""
        if self._answer is not None:
            answered_at, answer = self._answer
            if self._clock.monotonic() - answered_at < self._fresh_s(answer):
                return answer
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask_now(), name="health")
        return await asyncio.shield(self._asking)

    async def _ask_now(self) -> T:
        try:
            answer = await self._ask()
            self._answer = self._clock.monotonic(), answer
            return answer
        finally:
            self._asking = None
