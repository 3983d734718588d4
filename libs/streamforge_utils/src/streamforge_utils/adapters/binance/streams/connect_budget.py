"""Keeps a worker to its share of the connections that the exchange lets an address try to make.

The exchange allows an address 300 in five minutes, from all processes together. Attempts count, not successes.
"""

from __future__ import annotations

import asyncio
from collections import deque

from streamforge_utils.adapters.binance.waits import Waits
from streamforge_utils.model.errors import RetryableError
from streamforge_utils.ports.clock import Clock

CONNECT_WINDOW_S = 300.0
REASON = "connections to the exchange's streams"


class ConnectBudget:
    """Hands out attempts in order of asking; at most `connects` in any five minutes."""

    def __init__(self, connects: int, clock: Clock, waits: Waits) -> None:
        self._clock = clock
        self._waits = waits
        self._turn = asyncio.Lock()
        self._changed = asyncio.Event()
        self._taken: deque[float] = deque()
        self.set_share(connects)

    def set_share(self, connects: int) -> None:
        """The share from now on; who waits is judged by it at once. 0 holds all back."""
        if connects < 0:
            raise ValueError(f"a share of {connects} connections in five minutes is negative")
        self._share = connects
        self._changed.set()

    async def take(self) -> None:
        """Return once a connection may be tried. Raises RetryableError if that takes longer than five minutes."""
        waited = 0.0
        async with self._turn:
            while True:
                now = self._clock.monotonic()
                while self._taken and self._taken[0] <= now - CONNECT_WINDOW_S:
                    self._taken.popleft()
                if len(self._taken) < self._share:
                    self._taken.append(now)
                    return
                rest = (self._taken[0] if self._share else now) + CONNECT_WINDOW_S - now
                if waited >= CONNECT_WINDOW_S:
                    raise RetryableError(
                        f"this worker's share of {self._share} connections in five minutes allowed none: give it a "
                        "larger one, or run fewer loaders of streams",
                        retry_after=rest,
                    )
                self._changed.clear()
                waited += await self._waits.sleep(REASON, rest, self._changed)
