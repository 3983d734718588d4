"""A clock that stands still until a test moves it."""

from __future__ import annotations

import asyncio


class ManualClock:
    """`sleep` returns once `advance` has moved the time to its end."""

    def __init__(self, start_ms: int = 1_722_600_000_000) -> None:
        self._start_ms = start_ms
        self._seconds = 0.0
        self._sleepers: list[tuple[float, asyncio.Event]] = []

    def now_ms(self) -> int:
        return self._start_ms + round(self._seconds * 1000)

    def monotonic(self) -> float:
        return self._seconds

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        sleeper = (self._seconds + seconds, asyncio.Event())
        self._sleepers.append(sleeper)
        try:
            await sleeper[1].wait()
        finally:
            self._sleepers.remove(sleeper)

    async def sleeping(self, count: int) -> None:
        """Return once at least `count` calls sleep (the test's own time limit bounds it)."""
        while len(self._sleepers) < count:  # noqa: ASYNC110 (no event tells it)
            await asyncio.sleep(0.001)

    def advance(self, seconds: float) -> None:
        """Move the time on and wake whose time has come."""
        self._seconds += seconds
        for end, event in self._sleepers:
            if end <= self._seconds + 1e-9:
                event.set()
