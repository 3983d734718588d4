"""Bad input of each loader of streams: it ends, or tells what is wrong, and loses nothing without a name."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from streamforge.exchange.config import ExchangeConfig
from streamforge.workers import loader_ws_candles, loader_ws_orderbook, loader_ws_trades
from streamforge_utils.model.messages import Live, progress_of
from streamforge_utils.runtime.life.worker_definition import Definition
from tests.doubles.streamserver import Peer as StreamPeer
from tests.doubles.streamserver import scripted_server
from tests.engines.process import free_ports
from tests.engines.proxy import Proxy
from tests.engines.tls import Authority
from tests.exchange.conftest import Peer, peer
from tests.limits import LIMIT_S
from tests.runtime.rig import words
from tests.workers.live import LiveRig

LOADERS: dict[str, Definition[Any]] = {
    "ws_trades": loader_ws_trades.DEFINITION,
    "ws_candles_1s": loader_ws_candles.DEFINITION,
    "ws_orderbook": loader_ws_orderbook.DEFINITION,
}
STEPS = {"ws_trades": 1, "ws_candles_1s": 1_000}
"""Between a record and the next one, where that is known."""
OF_EACH = pytest.mark.parametrize("type_name", LOADERS)


class BadRig(LiveRig):
    """One of the loaders."""

    def __init__(self, folder: Path, exchange: Peer, type_name: str, **environment: str) -> None:
        super().__init__(folder, exchange.exchange, type_name)
        self.exchange_peer, self.type_name = exchange, type_name
        self.environment |= environment

    @asynccontextmanager
    async def loading(self) -> AsyncIterator[None]:
        """The loader runs, connected or not; afterwards it was stopped by command."""
        running = asyncio.create_task(self.live(LOADERS[self.type_name]))
        try:
            yield
            await self.command("stop")
            assert await running == 0
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    async def passes(self, condition: Callable[[Live], bool]) -> Live:
        """What is told once the condition holds; time passes at the exchange meanwhile."""
        async with asyncio.timeout(LIMIT_S):
            while True:
                live = await self.told()
                if live is not None and condition(live):
                    return live
                if not self.exchange_peer.clock.speed:
                    self.exchange_peer.clock.advance(1_000)
                await asyncio.sleep(0.05)

    async def flows(self) -> None:
        """What happens from now on is written, too."""
        from_ms = self.exchange_peer.clock.now_ms()
        await self.passes(lambda live: (live.last_time or 0) > from_ms + 2_000)

    async def check(self, cause: str) -> None:
        """Nothing lacks; of an order book the ledger names the cause of what does."""
        if self.type_name not in STEPS:
            assert cause in await self.causes()
            return
        written = await self.positions()
        assert written
        assert {after - before for before, after in pairwise(written)} <= {STEPS[self.type_name]}


@asynccontextmanager
async def exchange_of(type_name: str, *faults: str) -> AsyncIterator[Peer]:
    """An exchange whose time a test moves; loaders of candles estimate its clock, which runs for them."""
    async with peer(ExchangeConfig(faults=faults, trades_a_minute=600)) as found:
        if "candles" in type_name:
            found.clock.run(1.0)
        yield found


async def waits(server: StreamPeer) -> None:
    await server.gone()


@asynccontextmanager
async def bad_server(case: str, folder: Path) -> AsyncIterator[str]:
    """The URL of streams that can never be had."""
    if case == "CA":
        (folder / "server.pem").write_text(Authority.create().issue())
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(folder / "server.pem")
        async with scripted_server(waits, tls=tls) as url:
            yield url
    else:
        agreement = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\r\n"
        async with scripted_server(waits, answer=agreement) as url:
            yield url


@OF_EACH
@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ("symbol", "NOPEUSDT"),
        ("path", "(HTTP 404): check STREAMFORGE_STREAM_URL"),
        ("CA", "is not trusted"),
        ("proxy", "`Connection: keep-alive, Upgrade`"),
    ],
)
async def test_what_can_never_be_had_ends_a_loader_with_the_reason(
    tmp_path: Path, type_name: str, case: str, reason: str
) -> None:
    async with exchange_of(type_name) as exchange, bad_server(case, tmp_path) as url:
        streams = f"{exchange.exchange.url.replace('http', 'ws')}/nowhere" if case == "path" else url
        bad = {"SYMBOL": "NOPEUSDT"} if case == "symbol" else {"STREAMFORGE_STREAM_URL": streams}
        rig = BadRig(tmp_path, exchange, type_name, **bad)
        await rig.prepare()
        assert await rig.live(LOADERS[type_name]) == 1
        events = await rig.events()
        assert words(events) == ["started", "error"]
        assert (events[-1].extra or {})["permanent"]
        assert reason in (events[-1].error_message or "")
        await rig.close()


@pytest.mark.e2e
@OF_EACH
@pytest.mark.parametrize(
    ("case", "most", "reason"),
    [("handshake", 40, "no connection to"), ("frame", 9_000, "it broke off")],
)
async def test_a_proxy_that_cuts_is_told_and_nothing_is_lost_without_a_name(
    tmp_path: Path, type_name: str, case: str, most: int, reason: str
) -> None:
    async with exchange_of(type_name) as exchange:
        with Proxy(("127.0.0.1", free_ports(1)[0]), ("127.0.0.1", exchange.exchange.port)) as proxy:
            url = f"ws://127.0.0.1:{proxy.listen[1]}"
            rig = BadRig(tmp_path, exchange, type_name, STREAMFORGE_STREAM_URL=url)
            await rig.prepare()
            proxy.cut_after(min(most, 700) if "candles" in type_name else most)
            async with rig.loading():
                assert url in (await rig.passes(lambda live: reason in live.failure)).failure
                waiting = progress_of((await rig.events())[-1]).waiting
                assert waiting is None or "streams" in waiting
                proxy.cut_after(None)
                await rig.flows()
            await rig.check("disconnect" if case == "frame" else "")
            await rig.close()


@pytest.mark.e2e
@OF_EACH
async def test_microseconds_where_milliseconds_were_expected_are_refused_and_told(
    tmp_path: Path, type_name: str
) -> None:
    is_heard = (
        "candles" not in type_name
    )  # these come by requests after a time, see tests/e2e/test_stream_fault_matrix.py
    async with exchange_of(type_name, "stream-unit:" + ("" if type_name in STEPS else "after=40,count=20")) as exchange:
        # As a manager tells it: who has heard nothing that can be read does not know where to begin.
        rig = BadRig(tmp_path, exchange, type_name, STREAMFORGE_RANGES="2024-08-01T12:01:00Z:9999")
        await rig.prepare()
        async with rig.working(LOADERS[type_name]):
            assert "13 digits" in (await rig.passes(lambda live: live.refused > 0)).refusal
            if is_heard:
                await rig.flows()
        if is_heard:
            await rig.check("bad content")
        await rig.close()
