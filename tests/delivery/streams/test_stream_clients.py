"""Others' clients of the streams, as published, at the test exchange: what they give under faults, and what ours gives.

They need an environment of their own (`make stream-clients`). The tests on ccxt and python-binance are in
tests/exchange, as both are installed beside ours. Time passes at the exchange only when a test moves it, and a fault
strikes an event that is counted: who loses what does not depend on the machine.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from streamforge.exchange.config import ExchangeConfig
from streamforge.workers import loader_ws_trades
from tests.delivery.streams.stand_in import Client, client
from tests.exchange.conftest import MINUTE, NOW, Peer, peer
from tests.limits import LIMIT_S
from tests.workers.live import LiveRig

SYMBOL = "BTCUSDT"
TRADES = ("unicorn_trades", "sdk_trades", "cryptofeed_trades")
NO_RECONNECT_S = 8.0
"""The SDK's own time for a reconnect is 5 s."""


class Told(NamedTuple):
    """trades: what a client told, up to one. oracle: what the exchange has from the first of these to that one."""

    trades: list[list[Any]]
    oracle: list[list[Any]]

    @property
    def flaws(self) -> set[str]:
        """What is wrong with the ids."""
        told, true = ([one[0] for one in trades] for trades in self)
        return {
            *(["lost"] if set(true) - set(told) else []),
            *(["twice"] if len(told) > len(set(told)) else []),
            *(["disordered"] if told != sorted(told) else []),
        }


async def happened(exchange: Peer, *, aggregated: bool) -> list[list[Any]]:
    """All trades since the beginning, as clients tell them."""
    path, names = ("aggTrades", "apqT") if aggregated else ("historicalTrades", ("id", "price", "qty", "time"))
    bounds = {"startTime": NOW - MINUTE, "endTime": exchange.clock.now_ms() + 1}
    answer = await exchange.get(f"/oracle/{path}", symbol=SYMBOL, **bounds)
    rows = msgspec.json.decode(answer.body, type=list[dict[str, Any]])
    return [[row[names[0]], float(row[names[1]]), float(row[names[2]]), row[names[3]]] for row in rows]


def struck(exchange: Peer) -> int:
    return sum(fault.struck for fault in exchange.state.faults.active)


async def told_by(name: str, fault: str, folder: Path) -> Told:
    """What a client tells of a minute in which a fault strikes once. Where that cuts, time passes until it is back."""
    config = ExchangeConfig(faults=(fault,) if fault else (), trades_a_minute=600)
    async with (
        asyncio.timeout(LIMIT_S),
        peer(config) as exchange,
        client(name, SYMBOL, exchange.exchange.port, folder / name) as running,
    ):
        clock, streams = exchange.clock, exchange.state.streams
        while not running.lines or (fault and not struck(exchange)):
            clock.advance(1_000)
            await running.step()
        if fault.startswith(("stream-reset", "stream-shutdown")):
            while streams.open:
                clock.advance(100)
                await running.step(0.01)
            clock.advance(10_000)  # nobody is connected
        aggregated = name.startswith("cryptofeed")
        goal = (await happened(exchange, aggregated=aggregated))[-1][0]
        await back(exchange, running, goal)
        true = await happened(exchange, aggregated=aggregated)
        first = running.lines[0][0]
        given = [one for one in running.lines if one[0] <= goal]
        return Told(given, [one for one in true if first <= one[0] <= goal])


async def back(exchange: Peer, running: Client, goal: int) -> None:
    """Time passes until the client has told a trade behind the goal, or has not come back within its own time."""
    loop = asyncio.get_running_loop()
    alone_since = loop.time()
    while running.lines[-1][0] <= goal:
        exchange.clock.advance(1_000)
        await running.step()
        if exchange.state.streams.open:
            alone_since = loop.time()
        elif loop.time() - alone_since > NO_RECONNECT_S:
            return


async def told_by_ours(fault: str, folder: Path) -> Told:
    """The same of loader-ws-trades."""
    config = ExchangeConfig(faults=(fault,) if fault else (), trades_a_minute=600)
    async with asyncio.timeout(LIMIT_S), peer(config) as exchange:
        rig = LiveRig(folder / "ours", exchange.exchange, "ws_trades")
        await rig.prepare()
        async with rig.working(loader_ws_trades.DEFINITION):
            while not await rig.positions() or (fault and not struck(exchange)):
                exchange.clock.advance(1_000)
                await asyncio.sleep(0.05)
            if fault.startswith(("stream-reset", "stream-shutdown")):
                exchange.clock.advance(10_000)
            true = await happened(exchange, aggregated=False)
            written = await rig.until_written(true[-1][0])
        await rig.close()
        return Told([[one] for one in written], [one for one in true if one[0] >= written[0]])


async def all_told(fault: str, folder: Path) -> dict[str, Told]:
    """What each client tells, each at an exchange of its own."""
    found = await asyncio.gather(*(told_by(name, fault, folder) for name in TRADES), told_by_ours(fault, folder))
    return dict(zip((*TRADES, "ours"), found, strict=True))


async def test_without_a_fault_each_gives_what_the_exchange_has(tmp_path: Path) -> None:
    for name, told in (await all_told("", tmp_path)).items():
        assert told.flaws == set(), name
        if name != "ours":
            assert told.trades == told.oracle, name


@pytest.mark.parametrize(
    ("fault", "flaw"),
    [
        ("stream-missing:after=30,count=1", "lost"),
        ("stream-duplicate:after=30,count=1", "twice"),
        ("stream-disordered:after=30,count=1,rows=2", "disordered"),
        ("stream-reset:after=30,count=1", "lost"),
        ("stream-shutdown:after=30,count=1,seconds=1", "lost"),
    ],
)
async def test_others_pass_on_what_goes_wrong_and_ours_has_each_trade_once(
    fault: str, flaw: str, tmp_path: Path
) -> None:
    """A trade that is not sent, comes twice or too late is told so. What happens between two connections is told by
    nobody, also where the exchange has announced the end; binance-sdk-spot does not even connect again.
    """
    told = await all_told(fault, tmp_path)
    assert {name: one.flaws for name, one in told.items()} == {name: {flaw} for name in TRADES} | {"ours": set()}
    if flaw == "lost" and "missing" not in fault:
        sdk = told["sdk_trades"]
        assert sdk.oracle[-1][0] - sdk.trades[-1][0] > 50
