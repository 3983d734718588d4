"""What breaks the broker, its network and its disk: which of them when, drawn from a seed."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

from tests.engines.kafka.broker import Broker
from tests.engines.kafka.disk import SmallDisk
from tests.engines.proxy import Proxy

PAUSE_S = (0.5, 2.5)
"""Between two breaks."""

STALL_S = (1.0, 8.0)
CUT_S = (0.5, 6.0)
REST_S = (0.0, 4.0)
"""How long the broker stays away after it was killed."""

ENDS_WITHIN_S = 60.0
"""So soon a broker whose disk is full is gone."""


class Breaker:
    """Does every break of `breaks`, in an order and with times of the seed. done: what was done, for a person.

    Each break is over before the next begins; after `run` broker, network and disk are whole.
    """

    def __init__(self, broker: Broker, proxy: Proxy, disk: SmallDisk, seed: int, breaks: Sequence[str]) -> None:
        self.done: list[str] = []
        self._broker = broker
        self._proxy = proxy
        self._disk = disk
        self._random = random.Random(f"breaker {seed}")
        self._breaks = self._random.sample(list(breaks), len(breaks))

    async def run(self) -> None:
        """Break. Raises what kept the broker from coming back."""
        for kind in self._breaks:
            await asyncio.sleep(self._random.uniform(*PAUSE_S))
            match kind:
                case "kill":
                    await self._kill()
                case "reset":
                    self.done.append(f"reset {await asyncio.to_thread(self._proxy.reset)} connections")
                case "stall":
                    await self._stall()
                case "cut":
                    await self._cut()
                case "full":
                    await self._fill()
                case _:
                    raise AssertionError(f"nobody knows how to break with {kind}")

    async def _kill(self) -> None:
        rest_s = self._random.uniform(*REST_S)
        self.done.append(f"killed, away for {rest_s:.1f} s and its start")
        await asyncio.to_thread(self._broker.kill)
        await asyncio.sleep(rest_s)
        await asyncio.to_thread(self._broker.start)

    async def _stall(self) -> None:
        stall_s = self._random.uniform(*STALL_S)
        self.done.append(f"stalled for {stall_s:.1f} s")
        await asyncio.to_thread(self._proxy.stall)
        try:
            await asyncio.sleep(stall_s)
        finally:
            await asyncio.to_thread(self._proxy.heal)

    async def _cut(self) -> None:
        cut_s = self._random.uniform(*CUT_S)
        connections = await asyncio.to_thread(self._proxy.cut)
        self.done.append(f"cut {connections} connections for {cut_s:.1f} s")
        try:
            await asyncio.sleep(cut_s)
        finally:
            await asyncio.to_thread(self._proxy.heal)

    async def _fill(self) -> None:
        """No byte is free, until the broker has ended itself; then there is space again."""
        self.done.append("disk full")
        await asyncio.to_thread(self._disk.fill)
        try:
            await asyncio.to_thread(self._broker.wait, ENDS_WITHIN_S)
        finally:
            await asyncio.to_thread(self._disk.empty)
        await asyncio.to_thread(self._broker.start)
