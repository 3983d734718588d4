"""Waiting, so that everybody can see it: each is reported with its reason and its end, and trouble until it is over."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from streamforge_utils.ports.clock import Clock
from streamforge_utils.ports.instrumentation import Observer


class Trouble:
    """What one call has met."""

    def __init__(self, known: dict[Trouble, str]) -> None:
        self._known = known

    def met(self, reason: str) -> None:
        """Its last try failed for this reason; reported after its next wait, which tells it itself."""
        self._known.pop(self, None)
        self._known[self] = reason


class Waits:
    """Waits on a clock and tells the observer.

    Of several waits at once the last to end clears the report, or brings back that of a call that is still in trouble.
    """

    def __init__(self, clock: Clock, observer: Observer) -> None:
        self._clock = clock
        self._observer = observer
        self._under_way = 0
        self._troubles: dict[Trouble, str] = {}

    @contextmanager
    def trouble(self) -> Iterator[Trouble]:
        """For one call: what it meets stays reported, also while it tries again, until it ends or another succeeds."""
        mine = Trouble(self._troubles)
        try:
            yield mine
        finally:
            if self._troubles.pop(mine, None) is not None:
                self._report()

    def succeeded(self) -> None:
        """The exchange answered: what other calls met before is over."""
        if self._troubles:
            self._troubles.clear()
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
            self._observer.waiting(next(reversed(self._troubles.values()), None))

    async def _sleep_or_wake(self, seconds: float, wake: asyncio.Event) -> None:
        tasks = {asyncio.ensure_future(self._clock.sleep(seconds)), asyncio.ensure_future(wake.wait())}
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
