"""Waiting that can be seen: each wait is reported with its reason and its end, and a failure until it is over."""

from __future__ import annotations

import asyncio

from streamforge_utils.ports.clock import Clock
from streamforge_utils.ports.instrumentation import Observer


class Waits:
    """Waits on a clock and reports to the observer.

    Of several waits at once the last to end clears the report, or brings back that of a call that goes on failing.
    """

    def __init__(self, clock: Clock, observer: Observer) -> None:
        self._clock = clock
        self._observer = observer
        self._under_way = 0
        self._failing: dict[object, str] = {}

    def failed(self, call: object, reason: str) -> None:
        """The last try of `call` failed: reported from its next wait on, until the call ends or another succeeds."""
        self._failing.pop(call, None)
        self._failing[call] = reason

    def ended(self, call: object) -> None:
        """Nothing of `call` is reported any more."""
        if self._failing.pop(call, None) is not None:
            self._report()

    def succeeded(self) -> None:
        """The exchange answered: earlier failures of all calls are over."""
        if self._failing:
            self._failing.clear()
            self._report()

    async def sleep(self, reason: str, seconds: float, wake: asyncio.Event | None = None) -> float:
        """Wait for `seconds`, or until `wake` is set. Returns how many seconds it was."""
        if seconds <= 0:
            self._report()
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
            self._report()
        return elapsed

    def _report(self) -> None:
        if not self._under_way:
            self._observer.waiting(next(reversed(self._failing.values()), None))

    async def _sleep_or_wake(self, seconds: float, wake: asyncio.Event) -> None:
        tasks = {asyncio.ensure_future(self._clock.sleep(seconds)), asyncio.ensure_future(wake.wait())}
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
