"""Order books that were recorded are replayed from the store, and recorded again."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamforge.exchange.config import ExchangeConfig
from streamforge.workers import loader_ws_orderbook
from tests.exchange.conftest import peer
from tests.exchange.stored import load_of
from tests.workers.test_orderbook import BookRig

pytestmark = pytest.mark.e2e

SPAN_MS = 30_000


async def test_what_was_recorded_is_recorded_again_from_its_replay(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    async with peer() as exchange:
        rig = BookRig(first, exchange.exchange)
        await rig.prepare()
        async with rig.working(loader_ws_orderbook.DEFINITION):
            await rig.verified(exchange)
            await rig.passed(exchange, SPAN_MS)
        end_ms = exchange.clock.now_ms()
    await rig.sink()
    begin_ms = (await rig.documents("depth_checkpoint"))[0].timestamp
    async with peer(ExchangeConfig(replay=first), begin_ms + 200, load_of(first)) as replay:
        again = BookRig(second, replay.exchange)
        await again.prepare()
        async with again.working(loader_ws_orderbook.DEFINITION):
            await again.verified(replay)
            await again.passed(replay, end_ms - replay.clock.now_ms() - 1_000)
    await again.sink()
    diffs = await again.diffs()
    ids = range(diffs[0].last_id, diffs[-1].last_id + 1)
    assert len(diffs) > 100
    assert diffs == [one for one in await rig.diffs() if one.last_id in ids]
    tops = {one.timestamp: one for one in await rig.documents("depth_top")}
    common = [one for one in await again.documents("depth_top") if one.timestamp in tops]
    assert len(common) > 10
    for one in common:
        assert one == tops[one.timestamp]
    assert {one.trust for one in (await again.documents("depth_interval"))[1:]} == {"verified"}
    await rig.close()
    await again.close()
