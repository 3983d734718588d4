"""How a basket and its members end: by signals, and while the bus does not take what they say."""

# ruff: noqa: ASYNC110 - events lie on a bus, which sets no event

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from streamforge.exchange.config import ExchangeConfig
from streamforge_utils.ports.basket_members import read_exits
from streamforge_utils.runtime.live import basket_process
from streamforge_utils.runtime.live.basket_process import Basket
from tests.exchange.conftest import peer
from tests.limits import LIMIT_S
from tests.runtime.rig import EVENTS, words
from tests.workers.test_basket import BasketRig, connected, queue_of


async def test_a_signal_is_the_second_only_to_those_that_the_first_has_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def leave(code: int) -> None:
        raise SystemExit(code)

    monkeypatch.setattr(os, "_exit", leave)
    async with peer(ExchangeConfig(trades_a_minute=1667, message_limit=None)) as exchange:
        rig = BasketRig(tmp_path, exchange, ["BTCUSDT", "ETHUSDT"], STREAMFORGE_LEAVING_SECONDS="1000")
        await rig.prepare()
        basket = Basket(rig.definition, rig, rig.members(), folder=rig.jobs)
        running = asyncio.create_task(basket.run())
        try:
            await rig.until(connected(rig.symbols))
            basket.signalled(signal.SIGTERM)
            await rig.until(lambda told: all(one.leaving for one in told.values()))
            basket.signalled(signal.SIGTERM)
            with pytest.raises(SystemExit):
                basket.signalled(signal.SIGTERM)
            async with asyncio.timeout(LIMIT_S):
                assert await running == 1
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        assert [rig.exit_code(symbol) for symbol in rig.symbols] == [1, 1]
        for symbol in rig.symbols:
            assert words(await rig.events_of(symbol)) == ["started", "interrupted"]
        await rig.close()


@pytest.mark.e2e
async def test_a_member_whose_end_nobody_else_tells_tries_for_a_while_to_publish_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(basket_process, "TERMINAL_MOST_S", LIMIT_S)
    async with peer(ExchangeConfig(message_limit=None)) as exchange:
        rig = BasketRig(tmp_path, exchange, ["BTCUSDT", "ETHUSDT"], STREAMFORGE_STOP_GRACE_SECONDS="8")
        await rig.prepare()
        report = tmp_path / "report"
        report.touch()
        running = asyncio.create_task(Basket(rig.definition, rig, rig.members(), report=report).run())
        try:
            await rig.until(connected(rig.symbols))
            held = rig.bus.held[EVENTS] = asyncio.Event()
            await rig.command("stop", queue_id=queue_of("BTCUSDT"), payload={"handover": True})
            await asyncio.sleep(4)  # longer than a worker tries that is alone
            assert report.read_text() == ""
            del rig.bus.held[EVENTS]
            held.set()
            async with asyncio.timeout(LIMIT_S):
                while read_exits(report.read_text()) != [0, None]:
                    await asyncio.sleep(0.02)
            assert words(await rig.events_of("BTCUSDT")) == ["started", "interrupted"]
            assert not running.done()
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        await rig.close()
