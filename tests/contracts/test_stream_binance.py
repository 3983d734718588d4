from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from streamforge.exchange.config import ExchangeConfig
from streamforge_utils.adapters.binance.streams import message_pace
from streamforge_utils.adapters.binance.streams.binance_stream import BinanceStream
from streamforge_utils.adapters.binance.streams.stream_address import stream_address
from streamforge_utils.ports.clock import SystemClock
from streamforge_utils.ports.instrumentation import NullObserver
from tests.contracts.stream import KnownStreams, StreamContract
from tests.doubles.streamserver import stream_server
from tests.engines.tls import Authority
from tests.exchange.conftest import MINUTE, peer
from tests.exchange.sockets import socket


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection need not rest between its messages: no server here counts them."""
    monkeypatch.setattr(message_pace, "WINDOW_S", 0.0)


NAMES = ("btcusdt@trade", "ethusdt@depth@100ms", "这是测试币456@trade", "btcusdt@kline_1m")


class TestPlain(StreamContract):
    def known_streams(self) -> AbstractAsyncContextManager[KnownStreams]:
        return _served()


class TestPacked(StreamContract):
    def known_streams(self) -> AbstractAsyncContextManager[KnownStreams]:
        return _served(compression="deflate")


class TestTls(StreamContract):
    @pytest.fixture(autouse=True)
    def _authority(self, tmp_path: Path) -> None:
        self.folder = tmp_path

    def known_streams(self) -> AbstractAsyncContextManager[KnownStreams]:
        authority = Authority.create()
        (self.folder / "ca.pem").write_text(authority.pem)
        (self.folder / "server.pem").write_text(authority.issue())
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(self.folder / "server.pem")
        return _served(tls=tls, ca_path=self.folder / "ca.pem")


@asynccontextmanager
async def _served(
    *, compression: str | None = None, tls: ssl.SSLContext | None = None, ca_path: Path | None = None
) -> AsyncIterator[KnownStreams]:
    numbers = count(1)
    async with stream_server(compression=compression, tls=tls) as server:
        stream = BinanceStream(
            stream_address(f"{server.url}/ws", (), ca_path), connects=30, clock=SystemClock(), observer=NullObserver()
        )

        async def happen() -> Mapping[str, Sequence[Any]]:
            found: dict[str, list[Any]] = {name: [] for name in NAMES}
            for name in NAMES * 3:
                found[name].append({"e": "event", "t": next(numbers)})
                await server.publish(name, found[name][-1])
            return found

        async def cut() -> None:
            for client in list(server.clients):
                await client.close(1001)

        yield KnownStreams(stream=stream, names=NAMES, unknown="nosuch@trade", happen=happen, cut=cut)


class TestOfTestExchange(StreamContract):
    def known_streams(self) -> AbstractAsyncContextManager[KnownStreams]:
        return _test_exchange()


TRADES = ("btcusdt@trade", "ethusdt@aggTrade", "这是测试币456@trade", "btcusdt@kline_1m")


@asynccontextmanager
async def _test_exchange() -> AsyncIterator[KnownStreams]:
    async with peer(ExchangeConfig(message_limit=None)) as exchange:
        stream = BinanceStream(
            stream_address("", (exchange.exchange.url,)), connects=30, clock=SystemClock(), observer=NullObserver()
        )

        async def happen() -> Mapping[str, Sequence[Any]]:
            async with socket(exchange, f"/stream?streams={quote('/'.join(TRADES))}") as witness:
                sent = await witness.sent(MINUTE)
            found: dict[str, list[Any]] = {name: [] for name in TRADES}
            for message in sent:
                found[message["stream"]].append(message["data"])
            return found

        async def cut() -> None:
            await exchange.send("POST", "/control/shutdown", {"notice_s": 0})
            exchange.clock.advance(1)

        yield KnownStreams(stream=stream, names=TRADES, unknown="nosuch@trade", happen=happen, cut=cut)
