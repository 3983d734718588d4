"""Live workflows on a secured broker of their own, which is killed as everything else is."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests import backends
from tests.chaos.disturbance import BREAKING
from tests.chaos.live_killer import LIVE_SETTINGS, SERIES, Returning, survive
from tests.engines.kafka.broker import Broker

WEIGHTS = {"loader": 4, "sink": 4, "manager": 1, "exchange": 2, "broker": 6}


async def survive_on_kafka(folder: Path, *, kills: int, seed: int) -> str:
    """Do as `survive` of tests/chaos does, with fewer series. Six of 17 kills hit the broker."""
    broker = Broker(folder / "broker", secured=True)
    await asyncio.to_thread(broker.start)
    returning = Returning(broker.kill, broker.start)
    try:
        with backends.on_bus(broker.environment()):
            return await survive(
                folder,
                kills=kills,
                seed=seed,
                weights=WEIGHTS,
                freezes=0,
                series=SERIES[:3],
                settings=LIVE_SETTINGS | BREAKING,
                others={"broker": returning},
            )
    finally:
        await asyncio.gather(returning.back(), return_exceptions=True)
        broker.kill()
