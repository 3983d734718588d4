"""Keeping a rate."""

from __future__ import annotations

from streamforge_utils.ports.clock import Clock

STEP_S = 0.1
LARGEST_STEP = 1000


class Pace:
    """Lets `rate` things a second pass, counted from its first call; 0: all of them.

    What was late is caught up with, so that the rate holds on the whole.
    """

    def __init__(self, clock: Clock, rate: float) -> None:
        self._clock = clock
        self._rate = rate
        self._begun: float | None = None
        self._passed = 0

    @property
    def step(self) -> int:
        """How many things to let pass at once."""
        return LARGEST_STEP if not self._rate else max(1, min(LARGEST_STEP, int(self._rate * STEP_S)))

    async def let(self, count: int) -> None:
        """Return when `count` more may pass; the first ones at once."""
        if not self._rate:
            return
        now = self._clock.monotonic()
        if self._begun is None:
            self._begun = now
        pause = self._begun + self._passed / self._rate - now
        self._passed += count
        if pause > 0:
            await self._clock.sleep(pause)
