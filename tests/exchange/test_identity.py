"""A test exchange names what it serves, and a client that expects another one takes nothing from it."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamforge import wiring
from streamforge.exchange.config import ExchangeConfig
from streamforge.exchange.exchange_server import serve
from streamforge_utils.model.errors import OtherExchange
from streamforge_utils.ports.exchange import Identity
from streamforge_utils.runtime.settings import ExchangeSettings
from tests.exchange.support import NOW


async def met_at(config: ExchangeConfig, expected: str = "") -> str | None:
    """The name that a client reads from the exchange. expected: by the client's settings."""
    identity = None if expected else Identity()
    async with await serve(config) as running:
        asking = wiring.make_exchange(ExchangeSettings(urls=(running.url,), identity=expected), identity=identity)
        try:
            await asking.server_time()
        finally:
            await asking.close()
    return None if identity is None else identity.met


async def test_its_name_follows_from_what_it_serves_and_from_nothing_else(tmp_path: Path) -> None:
    recordings = tmp_path / "spot ü"
    recordings.mkdir()
    (recordings / "BTCUSDT-1m-2024-08-01.csv").write_text(f"{NOW - NOW % 60_000},1,1,1,1,1,{NOW},1,1,1,1,0\n")
    for config, name in (
        (ExchangeConfig(now_ms=NOW), "test exchange, seed 1"),
        (ExchangeConfig(seed=7, faults=("slow:ms=1",)), "test exchange, seed 7"),
        (ExchangeConfig(replay=recordings), "test exchange, recordings of spot %C3%BC"),
    ):
        assert await met_at(config) == name
        await met_at(config, name)


async def test_another_one_than_was_expected_is_refused_with_the_next_step() -> None:
    with pytest.raises(OtherExchange) as refused:
        await met_at(ExchangeConfig(seed=7), "test exchange, seed 1")
    assert str(refused.value).endswith(
        " is the exchange `test exchange, seed 7`, and the data here are of `test exchange, seed 1`: start that one "
        "again, or name its address with --exchange or STREAMFORGE_EXCHANGE_URL"
    )
