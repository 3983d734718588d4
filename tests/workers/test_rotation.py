"""A connection is replaced after 23 h 30 min, before the exchange ends it after 24 hours: a day in seconds."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest

from streamforge.exchange.config import ExchangeConfig
from streamforge.workers import loader_ws_trades
from streamforge_utils.ports.clock import SystemClock
from streamforge_utils.runtime.live.stream_session import ROTATE_JITTER, ROTATE_S
from tests.exchange.conftest import DAY, peer
from tests.limits import LIMIT_S
from tests.workers.live import LiveRig
from tests.workers.test_loader_ws_trades import happened

STEP_S = 20
"""As often the exchange pings: no step makes a connection look silent."""
TURNS = 500
"""Of the loop, in which a connection is made: else it would take longer, by the clock, than it may."""


class SteppedClock(SystemClock):
    """The machine's clock, which a test moves on besides."""

    def __init__(self) -> None:
        self.passed_s = 0
        self._moved = asyncio.Event()

    def now_ms(self) -> int:
        return super().now_ms() + self.passed_s * 1000

    def monotonic(self) -> float:
        return super().monotonic() + self.passed_s

    async def sleep(self, seconds: float) -> None:
        until = self.monotonic() + seconds
        while (left := until - self.monotonic()) > 0:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._moved.wait(), left)

    def advance(self, seconds: int) -> None:
        self.passed_s += seconds
        self._moved.set()
        self._moved = asyncio.Event()


@pytest.mark.long
async def test_a_connection_is_replaced_without_a_gap_before_it_is_a_day_old(tmp_path: Path) -> None:
    config = ExchangeConfig(trades_a_minute=6, weight_limit=None, message_limit=None)
    async with peer(config) as exchange:
        streams, clock = exchange.state.streams, SteppedClock()
        rig = LiveRig(tmp_path, exchange.exchange, "ws_trades")
        rig.clock = clock
        rig.environment["STREAMFORGE_HEARTBEAT_SECONDS"] = "0.5"
        await rig.prepare()

        async def step() -> None:
            received = streams.received
            exchange.clock.advance(STEP_S * 1000)
            async with asyncio.timeout(LIMIT_S):
                while streams.received == received:  # noqa: ASYNC110 - it answers the ping behind all that came
                    await asyncio.sleep(0)
            clock.advance(STEP_S)
            for _ in range(TURNS if clock.passed_s > ROTATE_S * (1 - ROTATE_JITTER) else 1):
                await asyncio.sleep(0)

        async with rig.working(loader_ws_trades.DEFINITION):
            first = await rig.told()
            while streams.connects == 1:
                await step()
            assert ROTATE_S * (1 - ROTATE_JITTER) <= clock.passed_s <= ROTATE_S + STEP_S
            while clock.passed_s * 1000 <= DAY:
                await step()
            ids = await happened(exchange, "historicalTrades", "id")
            written = await rig.until_written(ids[-1])
            live = await rig.until_told(lambda live: live.rotations == 1)
        assert (live.reconnects, streams.connects, streams.ended) == (0, 2, {"client": 2})
        assert first is not None
        assert live.backfilled == first.backfilled
        assert written == [*range(written[0], ids[-1] + 1)]
        await rig.close()
