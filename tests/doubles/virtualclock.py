"""The clock of a virtual loop."""

from __future__ import annotations

import asyncio

from tests.doubles.virtualloop import VirtualLoop


class VirtualClock:
    """The loop's time. ahead_ms: by how much the wall clock was set on."""

    def __init__(self, loop: VirtualLoop, start_ms: int) -> None:
        self._loop = loop
        self._start_ms = start_ms
        self.ahead_ms = 0

    def now_ms(self) -> int:
        return self._start_ms + self.ahead_ms + round(self._loop.time() * 1000)

    def monotonic(self) -> float:
        return self._loop.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds))
