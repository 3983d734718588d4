"""How long a live workflow takes to stop, in which all that the bus has confirmed is stored. On a virtual clock.

    make test ARGS="tests/runtime/live/test_live_stop.py -s"

prints the seconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from streamforge_utils.model.daily_collections import Placement
from streamforge_utils.model.kinds import trades
from streamforge_utils.model.messages import EOS_KEY, EndOfStream, encode_marker
from streamforge_utils.model.topic_reading import Upstream
from streamforge_utils.ports.bus import Message, Received
from streamforge_utils.ports.store import Answer, Document, Outcome
from streamforge_utils.runtime.input.dead_letter_replay import Choice, ReplaySettings
from streamforge_utils.runtime.input.worker_input import Input
from streamforge_utils.runtime.live.stream_loader import load_ids
from streamforge_utils.runtime.sink.conversion import Converted, convert
from streamforge_utils.runtime.sink.sinks import SinkParameters, store_input
from tests.doubles.virtualclock import VirtualClock
from tests.runtime.live_rig import TOPIC, TradeMarket, play

RATE = 5_000
"""Trades a second."""
BEFORE_S = 3


def convert_trades(records: Sequence[Received]) -> Converted:
    return convert(trades.KIND, [one.key for one in records], [one.value for one in records])


class SlowStore:
    """Takes so many documents a second."""

    upserts_at_once = 1

    def __init__(self, clock: VirtualClock, per_second: int) -> None:
        self.clock, self.per_second = clock, per_second
        self.keys: list[str] = []

    async def upsert(self, collection: str, documents: Sequence[Document], *, patience_s: float) -> Sequence[Answer]:
        await self.clock.sleep(len(documents) / self.per_second)
        self.keys += [one.key for one in documents]
        return [Answer(Outcome.STORED)] * len(documents)


def stop_takes(per_second: int) -> float:
    """Seconds from the command to the end of the sink; all that is on the topic is stored then."""

    async def act(market: TradeMarket) -> float:
        await market.begin()
        await market.clock.sleep(1)
        group, store = "sink", SlowStore(market.clock, per_second)
        consumer = await market.bus.consumer(TOPIC, group=group)
        topic = Input(consumer, market.bus, TOPIC, group, [Upstream("loader")], market.instruments)
        ctx: Any = SimpleNamespace(
            store=store,
            input=topic,
            dead_letters=SimpleNamespace(send=nothing_refused),
            choice=Choice(ReplaySettings(), "sink"),
            parameters=SinkParameters(),
            kind=trades.KIND,
            placement=Placement("c"),
            upsert=store.upsert,
        )
        sink = asyncio.create_task(store_input(ctx, convert_trades))
        for _ in range(BEFORE_S * 100):
            market.trade(RATE // 100)
            await market.clock.sleep(0.01)
        asked_at = market.clock.monotonic()
        await market.stop()
        marker = EndOfStream(producer="loader", attempt=1, records=len(market.written), reason="interrupted")
        market.bus.append(TOPIC, Message(EOS_KEY, encode_marker(marker)))
        topic.drain(upstream_ended=True)
        await sink
        assert market.written == [*range(100, 100 + BEFORE_S * RATE)]
        assert store.keys == [market.kind.key(market.series, number) for number in market.written]
        assert market.bus.committed[TOPIC, group] >= len(market.written)
        return market.clock.monotonic() - asked_at

    return play(load_ids, act)


async def nothing_refused(*refused: object) -> None:
    assert not refused


@pytest.mark.parametrize(("per_second", "at_most_s"), [(100_000, 0.5), (8_000, 2.0), (4_000, 3.0)])
def test_all_that_was_confirmed_is_stored_in_the_time_that_the_store_takes_for_it(
    per_second: int, at_most_s: float
) -> None:
    """A store that is slower than the stream has a part of it left: a thousand for each second before."""
    took_s = stop_takes(per_second)
    print(f"\n{RATE:,} trades a second, a store that takes {per_second:,}: stopped after {took_s:.2f} s")
    assert took_s <= at_most_s
