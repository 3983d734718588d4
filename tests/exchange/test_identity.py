"""A test exchange names what it serves, and a client that expects another one takes nothing from it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from streamforge import wiring
from streamforge.exchange.config import ExchangeConfig
from streamforge.exchange.server import serve
from streamforge_utils.model.errors import OtherExchange
from streamforge_utils.model.kinds.candles import Interval
from streamforge_utils.model.timeranges import parse_time_range
from streamforge_utils.ports.exchange import Exchange, Identity
from streamforge_utils.runtime.settings import ExchangeSettings
from tests.doubles.candles import candles_of
from tests.exchange.support import NOW


@asynccontextmanager
async def client(settings: ExchangeSettings, identity: Identity | None = None) -> AsyncIterator[Exchange]:
    found = wiring.make_exchange(settings, identity=identity)
    try:
        yield found
    finally:
        await found.close()


async def met_at(config: ExchangeConfig) -> str | None:
    """As whom a client meets the exchange."""
    identity = Identity()
    async with await serve(config) as running, client(ExchangeSettings(urls=(running.url,)), identity) as asking:
        await asking.server_time()
    return identity.met


async def test_its_name_follows_from_what_it_serves_and_from_nothing_else(tmp_path: Path) -> None:
    recordings = tmp_path / "spot ü"
    recordings.mkdir()
    (recordings / "BTCUSDT-1m-2024-08-01.csv").write_text(f"{NOW - NOW % 60_000},1,1,1,1,1,{NOW},1,1,1,1,0\n")
    assert await met_at(ExchangeConfig(now_ms=NOW)) == "test exchange, seed 1"
    assert await met_at(ExchangeConfig(now_ms=NOW, seed=7)) == "test exchange, seed 7"
    assert await met_at(ExchangeConfig(now_ms=NOW, seed=7, faults=("slow:ms=1",))) == "test exchange, seed 7"
    assert await met_at(ExchangeConfig(replay=recordings)) == "test exchange, recordings of spot %C3%BC"


async def test_another_one_than_was_expected_is_refused_with_what_to_do_and_its_candles_are_not_taken() -> None:
    span = parse_time_range("2024-08-01:2024-08-01T01:00Z")
    async with await serve(ExchangeConfig(now_ms=NOW, seed=7)) as running:
        for name, refused in (("test exchange, seed 1", True), ("test exchange, seed 7", False), ("", False)):
            async with client(ExchangeSettings(urls=(running.url,), identity=name)) as asking:
                if not refused:
                    assert len(await candles_of(asking, "BTCUSDT", Interval.M1, span)) == 60
                    continue
                with pytest.raises(OtherExchange) as told:
                    await candles_of(asking, "BTCUSDT", Interval.M1, span)
                assert str(told.value) == (
                    f"{running.url} is the exchange `test exchange, seed 7`, and the data here are of `{name}`: start "
                    "that one again, or name its address with --exchange or STREAMFORGE_EXCHANGE_URL"
                )


async def test_one_on_this_machine_without_a_name_has_that_of_its_address_once_it_answered_well() -> None:
    answers = [web.Response(status=502), web.json_response({"serverTime": NOW})]

    async def handle(_: web.Request) -> web.Response:
        return answers.pop(0)

    app = web.Application()
    app.router.add_get("/api/v3/time", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        port = runner.addresses[0][1]
        settings = ExchangeSettings(urls=(f"http://127.0.0.1:{port}",), request_backoff_seconds=0)
        identity = Identity(f"localhost:{port}")
        async with client(settings, identity) as asking:
            await asking.server_time()  # the 502 is no other exchange
    finally:
        await runner.cleanup()
    assert (identity.met, answers) == (f"localhost:{port}", [])
