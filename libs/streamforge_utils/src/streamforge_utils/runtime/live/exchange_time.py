"""The exchange's clock, measured again and again beside the work of a worker that has no end."""

from __future__ import annotations

import asyncio
from typing import NoReturn

from streamforge_utils.model.errors import RetryableError
from streamforge_utils.ports.clock import Clock
from streamforge_utils.ports.exchange import Exchange
from streamforge_utils.ports.retry import backoff_s

MEASURE_S = 300.0
_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 60.0


class ExchangeTime:
    """offset_ms: by how much the exchange's clock is ahead of this machine's; 0 before it was measured.

    measured: set once it was.
    """

    def __init__(self, exchange: Exchange, clock: Clock) -> None:
        self.offset_ms = 0
        self.measured = asyncio.Event()
        self._exchange = exchange
        self._clock = clock

    def now_ms(self) -> int:
        """The exchange's clock, unix milliseconds."""
        return self._clock.now_ms() + self.offset_ms

    async def follow(self) -> NoReturn:
        """Measure until cancelled. Raises PermanentError."""
        failures = 0
        while True:
            try:
                self.offset_ms = await self._exchange.server_time() - self._clock.now_ms()
                failures, pause = 0, MEASURE_S
                self.measured.set()
            except RetryableError as error:
                failures += 1
                pause = backoff_s(failures, first_s=_FIRST_PAUSE_S, longest_s=_LONGEST_PAUSE_S)
                pause = max(pause, error.retry_after or 0.0)
            await self._clock.sleep(pause)
