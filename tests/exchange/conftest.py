"""A test exchange in the test's own process, and a plain client of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import aiohttp
import msgspec
import pytest

from streamforge.exchange.config import ExchangeConfig
from streamforge.exchange.exchange_server import RunningExchange, serve
from streamforge.exchange.recordings import load_recordings
from streamforge.exchange.state import ExchangeClock, Load
from streamforge_utils.model.timeranges import TimeRange
from tests.limits import LIMIT_S

Row = list[int | str]
NOW = 1_722_513_645_000  # 2024-08-01T12:00:45Z
MINUTE = 60_000
HOUR = 3_600_000
DAY = 86_400_000


def ms(text: str) -> int:
    """An ISO instant in UTC as unix milliseconds."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1000


class Answer(msgspec.Struct):
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def rows(self) -> list[Row]:
        assert self.status == 200, (self.status, self.body)
        return msgspec.json.decode(self.body, type=list[Row])

    @property
    def opens(self) -> list[int]:
        return [int(row[0]) for row in self.rows]

    @property
    def json(self) -> dict[str, object]:
        return msgspec.json.decode(self.body, type=dict[str, object])


class Peer:
    """An exchange in this process with a clock that stands still at `NOW`, and a plain client of it."""

    def __init__(self, exchange: RunningExchange, clock: ExchangeClock, session: aiohttp.ClientSession) -> None:
        self.exchange, self.clock, self.state = exchange, clock, exchange.state
        self._session = session

    async def get(self, path: str, headers: Mapping[str, str] | None = None, /, **params: object) -> Answer:
        query = {name: str(value) for name, value in params.items()}
        async with self._session.get(self.exchange.url + path, params=query, headers=headers) as response:
            return Answer(response.status, response.headers, await response.read())

    async def klines(self, headers: Mapping[str, str] | None = None, /, **params: object) -> Answer:
        query: dict[str, object] = {"symbol": "BTCUSDT", "interval": "1m", **params}
        return await self.get("/api/v3/klines", headers, **query)

    async def oracle(self, span: TimeRange, symbol: str = "BTCUSDT", interval: str = "1m") -> list[Row]:
        bounds = {"startTime": span.start_ms, "endTime": span.end_ms}
        return (await self.get("/oracle/klines", symbol=symbol, interval=interval, **bounds)).rows

    async def send(self, method: str, path: str, body: object = None) -> Answer:
        data = None if body is None else msgspec.json.encode(body)
        async with self._session.request(method, self.exchange.url + path, data=data) as response:
            return Answer(response.status, response.headers, await response.read())


@asynccontextmanager
async def peer(
    config: ExchangeConfig | None = None, now_ms: int = NOW, load: Load = load_recordings
) -> AsyncIterator[Peer]:
    """pong_s of the config: 0 stays; else a client in this busy process has as long as any wait of a test."""
    clock, config = ExchangeClock(now_ms, frozen=True), config if config is not None else ExchangeConfig()
    if config.pong_s:
        config = msgspec.structs.replace(config, pong_s=LIMIT_S)
    async with (
        await serve(config, clock, load) as exchange,
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=LIMIT_S)) as session,
    ):
        yield Peer(exchange, clock, session)


@pytest.fixture
async def exchange() -> AsyncIterator[Peer]:
    """A seeded exchange without faults."""
    async with peer() as found:
        yield found
