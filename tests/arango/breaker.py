"""What breaks the server: which of it when, drawn from a seed."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Any

from tests.doubles.arangoprocess import ArangoProcess

PAUSE_S = (0.3, 1.5)
"""Between two breaks."""

LASTS_S = (0.5, 3.0)
REST_S = (0.0, 3.0)
"""How long the server stays away after it was killed."""

FAULTS: dict[str, dict[str, Any]] = {
    "queue-full": {"kind": "queue-full", "share": 0.5},
    "maintenance": {"kind": "maintenance"},
    "leader": {"kind": "leader-resigned", "share": 0.4},
    "cut-before": {"kind": "cut-before", "share": 0.3},
    "cut-after": {"kind": "cut-after", "share": 0.3},
    "failed-after": {"kind": "error-after", "number": 1457, "share": 0.3},
    "conflict": {"kind": "conflict", "share": 0.4, "method": "POST|PATCH"},
    "element": {"kind": "element", "number": 1200, "share": 0.01},
    "slow": {"kind": "slow", "seconds": 0.2},
}
KILLS = 3


class Breaker:
    """Does every fault of `FAULTS` and kills the server `KILLS` times, in an order and with times of the seed.

    done: what was done, for a person. After `run` the server is whole.
    """

    def __init__(self, double: ArangoProcess, seed: int, *, rounds: int = 1) -> None:
        self.done: list[str] = []
        self._double = double
        self._random = random.Random(f"breaker {seed}")
        kinds = [*FAULTS, *["kill"] * KILLS] * rounds
        self._breaks: Sequence[str] = self._random.sample(kinds, len(kinds))

    async def run(self) -> None:
        """Break. Raises what kept the server from coming back."""
        for number, kind in enumerate(self._breaks):
            await asyncio.sleep(self._random.uniform(*PAUSE_S))
            if kind == "kill":
                await self._kill()
                continue
            lasts_s = self._random.uniform(*LASTS_S)
            await asyncio.to_thread(self._double.fail, **{**FAULTS[kind], "seed": number})
            await asyncio.sleep(lasts_s)
            hits = await asyncio.to_thread(self._double.hits, FAULTS[kind]["kind"])
            await asyncio.to_thread(self._double.behave)
            self.done.append(f"{kind} for {lasts_s:.1f} s, {hits} hits so far")

    async def _kill(self) -> None:
        rest_s = self._random.uniform(*REST_S)
        await asyncio.to_thread(self._double.kill)
        await asyncio.sleep(rest_s)
        await asyncio.to_thread(self._double.start)
        self.done.append(f"killed, away for {rest_s:.1f} s and its start")
