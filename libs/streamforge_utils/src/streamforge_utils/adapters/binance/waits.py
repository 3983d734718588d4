"""Waiting, so that everybody can see it: each wait is reported with its reason and its end."""

from __future__ import annotations

import asyncio

from streamforge_utils.ports.clock import Clock
from streamforge_utils.ports.observing import Observer


class Waits:
    """Waits on a clock and tells the observer; of several waits at once the last to end clears the report."""

    def __init__(self, clock: Clock, observer: Observer) -> None:
        self._clock = clock
        self._observer = observer
        self._under_way = 0

    async def sleep(self, reason: str, seconds: float, wake: asyncio.Event | None = None) -> float:
        """Wait for `seconds`, or until `wake` is set. Returns how many seconds it was."""
        if seconds <= 0:
            return 0.0
        started = self._clock.monotonic()
        self._under_way += 1
        self._observer.waiting(reason, self._clock.now_ms() + int(seconds * 1000))
        try:
            if wake is None:
                await self._clock.sleep(seconds)
            else:
                await self._sleep_or_wake(seconds, wake)
        finally:
            elapsed = self._clock.monotonic() - started
            self._observer.count("exchange_wait_seconds_total", elapsed, reason=reason)
            self._under_way -= 1
            if not self._under_way:
                self._observer.waiting(None)
        return elapsed

    async def _sleep_or_wake(self, seconds: float, wake: asyncio.Event) -> None:
        tasks = {asyncio.ensure_future(self._clock.sleep(seconds)), asyncio.ensure_future(wake.wait())}
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
