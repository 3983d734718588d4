"""Loaders of streams as whole workers, on the test exchange's own streams and requests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from streamforge import wiring
from streamforge.exchange.exchange_server import RunningExchange
from streamforge_utils.model.books.records import DepthInterval, kind_name_of
from streamforge_utils.model.kinds.registry import kind_of_type
from streamforge_utils.model.messages import EOS_KEY, Live, progress_of
from streamforge_utils.runtime.life.settings import ExchangeSettings
from streamforge_utils.runtime.life.worker_definition import Definition
from tests.limits import LIMIT_S
from tests.runtime.rig import TOPIC, Rig


class LiveRig(Rig):
    """A worker of a live type, without a time range. exchange: where its streams and its history are."""

    def __init__(self, folder: Path, exchange: RunningExchange | None, type_name: str) -> None:
        super().__init__(folder)
        self.kind = kind_of_type(type_name)
        self.environment |= {"TYPE": type_name}
        if exchange is not None:
            self.environment |= {"STREAMFORGE_EXCHANGE_URL": exchange.url}
        del self.environment["TIME_RANGE"]

    def make_exchange(self, settings: ExchangeSettings, **more: Any) -> Any:
        return wiring.make_exchange(settings, **more) if self.other_exchange is None else self.other_exchange

    async def positions(self) -> list[int]:
        """Those of the records on the topic, in their order."""
        keys = [one.key or b"" for one in await self.read(TOPIC) if one.key != EOS_KEY]
        return [position for position in (self.kind.position_of(key.decode()) for key in keys) if position is not None]

    async def causes(self) -> set[str]:
        """Those of the ledger of an order book."""
        found = [one for one in await self.read(TOPIC) if one.key != EOS_KEY]
        intervals = [one.value for one in found if kind_name_of(one.key or b"") == "depth_interval"]
        return {msgspec.json.decode(one, type=DepthInterval).cause for one in intervals}

    async def told(self) -> Live | None:
        """What the newest event tells of the streams."""
        events = await self.events()
        return progress_of(events[-1]).live if events else None

    async def until_told(self, condition: Callable[[Live], bool]) -> Live:
        """What is told once the condition holds."""
        async with asyncio.timeout(LIMIT_S):
            while True:
                live = await self.told()
                if live is not None and condition(live):
                    return live
                await asyncio.sleep(0.02)

    async def until_written(self, last: int) -> list[int]:
        """The positions once the last one is there."""
        async with asyncio.timeout(LIMIT_S):
            while True:
                found = await self.positions()
                if last in found:
                    return found
                await asyncio.sleep(0.02)

    @asynccontextmanager
    async def working(self, definition: Definition[Any]) -> AsyncIterator[None]:
        """The worker is connected; afterwards it was stopped by command."""
        before = len(await self.events())
        running = asyncio.create_task(self.live(definition))
        try:
            async with asyncio.timeout(LIMIT_S):
                while True:
                    events = await self.events()
                    if len(events) > before and _is_connected(events[-1]):
                        break
                    assert not running.done()
                    await asyncio.sleep(0.02)
            yield
            await self.command("stop")
            assert await running == 0
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


def _is_connected(event: Any) -> bool:
    live = progress_of(event).live
    return live is not None and live.frame_age_s is not None
