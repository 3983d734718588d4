"""A clock that tests move: sleeping takes no real time."""

from __future__ import annotations

import asyncio
import heapq
from itertools import count


class FakeClock:
    """Virtual time. `sleep` moves it to the sleeper's end, the earliest sleeper first.

    start_ms: the wall clock at the beginning, unix milliseconds. limit_s: how much may be slept through before a test
    fails, so that a loop that waits for ever ends. slept: every sleep asked for, in order.
    """

    def __init__(self, start_ms: int = 1_722_470_400_000, *, limit_s: float = 7 * 86_400.0) -> None:
        self.slept: list[float] = []
        self._start_ms = start_ms
        self._limit_s = limit_s
        self._seconds = 0.0
        self._sleepers: list[tuple[float, int]] = []
        self._numbers = count()

    def now_ms(self) -> int:
        return self._start_ms + round(self._seconds * 1000)

    def monotonic(self) -> float:
        return self._seconds

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        if self._seconds + seconds > self._limit_s or len(self.slept) > 100_000:
            raise AssertionError(f"slept through {self._seconds} s of virtual time and asks for {seconds} s more")
        mine = (self._seconds + max(0.0, seconds), next(self._numbers))
        heapq.heappush(self._sleepers, mine)
        try:
            await asyncio.sleep(0)
            while self._seconds < mine[0]:
                if self._sleepers[0] == mine:
                    self._seconds = mine[0]
                else:
                    await asyncio.sleep(0)
        finally:
            self._sleepers.remove(mine)
            heapq.heapify(self._sleepers)

    def advance(self, seconds: float) -> None:
        """Let time pass without anybody sleeping."""
        self._seconds += seconds
