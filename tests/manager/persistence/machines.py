"""Managers on machines of their own, for the tests of the lease."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from streamforge.manager.origin import Origin
from streamforge.manager.persistence.installation import Claim, Installations
from streamforge.manager.persistence.lease import Lease
from tests.doubles.manualclock import ManualClock
from tests.doubles.memorystore import MemoryStore

LEASE_S = 20.0
SINCE = 1_722_600_000_000


def claim(name: str, *, place: str = "", told: list[str] | None = None) -> Claim:
    return Claim(
        name=name,
        where="the store",
        elsewhere="name another",
        switch="--exchange ",
        shared=True,
        origin=Origin("test"),
        place=place,
        lease_s=LEASE_S,
        tell=lambda text: None if told is None else told.append(text),
    )


class Machine:
    """A manager on a machine of its own: its clock begins anywhere, and stands until it is moved."""

    def __init__(self, store: MemoryStore, name: str, *, place: str = "", started_ms: int = SINCE) -> None:
        self.clock = ManualClock(started_ms)
        self.told: list[str] = []
        self.lease = Lease(store, self.clock, claim(name, place=place, told=self.told))

    async def passes(self, seconds: float, task: asyncio.Task[None] | None = None) -> None:
        """Let time pass here, in steps so small that nothing is overslept; what sleeps goes on."""
        for _ in range(round(seconds / 0.25)):
            self.clock.advance(0.25)
            for _ in range(20):
                await asyncio.sleep(0)
            if task is not None and task.done():
                return

    @asynccontextmanager
    async def alive(self) -> AsyncIterator[asyncio.Task[None]]:
        """It renews its lease until the end of the block."""
        keeping = asyncio.create_task(self.lease.keep())
        await self.clock.sleeping(1)
        yield keeping
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)


async def holder_of(store: MemoryStore) -> str | None:
    kept, _ = await Installations(store).read()
    return None if kept.holder is None else kept.holder.name
