"""Whatever streams, exchange, bus and kills do in any mixture: what happened is written, in order, each once."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from streamforge_utils.model.errors import RetryableError
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.ports.stream import EndCause
from streamforge_utils.runtime.live.live_worker import LiveParameters
from streamforge_utils.runtime.live.stream_loader import load_ids
from tests.runtime.live_rig import START_MS, TradeMarket, play

CASES = int(os.environ.get("STREAMFORGE_STREAM_CASES", "150"))

ACTIONS: dict[str, int] = {
    "trade": 12,
    "burst": 2,
    "drop": 3,
    "double": 3,
    "reorder": 3,
    "repeat": 1,
    "corrupt": 1,
    "partly": 2,
    "cut": 2,
    "all silent": 1,
    "announce": 2,
    "refuse connects": 1,
    "exchange fails": 1,
    "exchange lags": 1,
    "bus stalls": 1,
    "bus fails": 1,
    "kill": 1,
    "stop": 1,
    "shadow": 2,
    "hand over": 2,
    "end shadow": 1,
    "wait": 2,
}


class Chaos:
    """Does what it is told to a market. seed: for what an action leaves open."""

    def __init__(self, market: TradeMarket, seed: int) -> None:
        self.market = market
        self.dice = random.Random(seed)
        self.until: list[tuple[float, Callable[[], None]]] = []

    async def do(self, action: str) -> None:
        await getattr(self, f"_{action.replace(' ', '_')}")()
        await self.market.clock.sleep(self.dice.choice((0.0, 0.01, 0.3, 1.0, 7.0)))
        now = self.market.clock.monotonic()
        over = [end for at, end in self.until if at <= now]
        self.until = [one for one in self.until if one[0] > now]
        for end in over:
            end()
        if self.market.loader is not None and self.market.loader.done():
            assert isinstance(self._failure(), ExceptionGroup)
            await self._again()

    def _failure(self) -> BaseException | None:
        assert self.market.loader is not None
        return self.market.loader.exception()

    async def _again(self) -> None:
        self.market.loader = None
        if self.market.shadow is None:
            await self.market.begin()
        else:
            self.market.take_over()

    async def _trade(self) -> None:
        self.market.trade(self.dice.randint(1, 3))

    async def _burst(self) -> None:
        self.market.trade(self.dice.randint(20, 200))

    async def _drop(self) -> None:
        self.market.happen(self.dice.randint(1, 30))

    async def _double(self) -> None:
        ids = self.market.happen(3)
        self.market.send(*ids, *ids)

    async def _reorder(self) -> None:
        ids = self.market.happen(6)
        self.dice.shuffle(ids)
        for number in ids:
            self.market.send(number)

    async def _repeat(self) -> None:
        known = [*self.market.exchange.records]
        if known:
            self.market.send(*self.dice.sample(known, min(5, len(known))))

    async def _corrupt(self) -> None:
        (number,) = self.market.happen()
        text = self.market.message(number)
        bad = self.dice.choice((text[:-7], text.replace(b'"T":17', b'"T":1700017'), b"\xff", b"[]"))
        for one in self.market.stream.live:
            one.give(bad)

    async def _partly(self) -> None:
        """Each connection gets another part of what happens."""
        ids = self.market.happen(8)
        for one in self.market.stream.live:
            one.give(*(self.market.message(n) for n in ids if self.dice.random() < 0.6))

    async def _cut(self) -> None:
        for one in self.market.stream.live:
            one.end(self.dice.choice((EndCause.CLOSED, EndCause.MALFORMED, EndCause.SILENT)))

    async def _all_silent(self) -> None:
        self.market.happen(2)
        await self.market.clock.sleep(65)

    async def _announce(self) -> None:
        for one in self.market.stream.live:
            one.announced = True

    async def _refuse_connects(self) -> None:
        self.market.stream.failures.extend(RetryableError("no route") for _ in range(self.dice.randint(1, 4)))

    async def _exchange_fails(self) -> None:
        self.market.exchange.failing = RetryableError("HTTP 503")
        self._later(lambda: setattr(self.market.exchange, "failing", None))

    async def _exchange_lags(self) -> None:
        self.market.exchange.lag_ms = 700
        self._later(lambda: setattr(self.market.exchange, "lag_ms", 0))

    async def _bus_stalls(self) -> None:
        self.market.bus_stalls = True
        self._later(lambda: setattr(self.market, "bus_stalls", False))

    async def _bus_fails(self) -> None:
        self.market.bus_failing = RetryableError("the bus does not answer")
        self._later(lambda: setattr(self.market, "bus_failing", None))

    async def _kill(self) -> None:
        await self.market.kill()
        self.market.happen(self.dice.randint(0, 5))
        await self._again()

    async def _stop(self) -> None:
        await self.market.stop()
        await self._again()

    async def _shadow(self) -> None:
        if self.market.shadow is None:
            await self.market.begin(shadow=True)

    async def _hand_over(self) -> None:
        if self.market.shadow is not None:
            await self.market.hand_over()

    async def _end_shadow(self) -> None:
        if self.market.shadow is not None:
            await self.market.shadow.stop()
            self.market.shadow = None

    async def _wait(self) -> None:
        await self.market.clock.sleep(self.dice.choice((3, 20)))

    def _later(self, end: Callable[[], None]) -> None:
        self.until.append((self.market.clock.monotonic() + self.dice.choice((1.0, 5.0, 20.0)), end))

    async def calm(self) -> None:
        """All faults are over, and some trades follow."""
        market = self.market
        market.stream.failures.clear()
        for _, end in self.until:
            end()
        market.exchange.failing, market.bus_failing = None, None
        market.exchange.lag_ms, market.bus_stalls = 0, False
        if market.loader is None or market.loader.done():
            await self._again()
        for _ in range(60):
            market.trade()
            await market.clock.sleep(2)
        await market.clock.sleep(5)


@settings(max_examples=CASES, deadline=None)
@given(
    actions=st.lists(st.sampled_from([name for name, times in ACTIONS.items() for _ in range(times)]), max_size=40),
    seed=st.integers(0, 2**32),
    tight=st.booleans(),
    ranges=st.booleans(),
)
def test_what_is_written_is_what_happened_in_order_each_once(
    actions: list[str], seed: int, tight: bool, ranges: bool
) -> None:
    async def act(market: TradeMarket) -> Any:
        if tight:
            market.parameters = LiveParameters(buffer_bytes=3_000, spill_bytes=9_000, limit=7)
        market.weight_per_minute = 12_000
        if ranges:  # all of them belong to it, also those that happen before anything is heard
            market.given_ranges = (TimeRange(START_MS, START_MS + 10**9),)
        await market.begin()
        if not ranges:
            await market.clock.sleep(1)
            market.trade()
            await market.clock.sleep(0.1)
        chaos = Chaos(market, seed)
        for action in actions:
            await chaos.do(action)
        await chaos.calm()
        assert market.written == [*range(100, 100 + len(market.exchange.records))]
        assert market.bodies == market.oracle
        assert market.live.held_bytes == 0
        assert market.live.skipped == 0

    play(load_ids, act)
