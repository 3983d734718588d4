"""Trades, single and aggregated, by loader-api-trades and arango-trades: loaded by id, stored once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from streamforge import wiring
from streamforge.exchange.exchange_server import RunningExchange
from streamforge.workers import arango_trades, loader_api_trades
from streamforge_utils.model.kinds.registry import kind_of_type
from streamforge_utils.runtime.life.settings import ExchangeSettings
from tests.exchange.conftest import Peer, peer
from tests.runtime.rig import COLLECTION, Rig

START, MINUTE = 1_722_470_400_000, 60_000
TYPES = pytest.mark.parametrize(
    ("type_name", "path", "id_member"), [("api_trades", "historicalTrades", "id"), ("api_agg_trades", "aggTrades", "a")]
)


async def expected(exchange: Peer, path: str) -> list[dict[str, Any]]:
    """The rows of the quarter of an hour."""
    bounds = {"startTime": START, "endTime": START + 15 * MINUTE}
    answer = await exchange.get(f"/oracle/{path}", symbol="BTCUSDT", **bounds)
    return msgspec.json.decode(answer.body, type=list[dict[str, Any]])


def rig_of(folder: Path, exchange: RunningExchange, type_name: str) -> Rig:
    rig = Rig(folder)
    rig.environment |= {
        "TYPE": type_name,
        "TIME_RANGE": "2024-08-01:2024-08-01T00:15Z",
        "STREAMFORGE_UPSTREAM": "loader-api-trades__abc123:1",
    }
    rig.other_exchange = wiring.make_exchange(ExchangeSettings(urls=(exchange.url,)))
    return rig


@TYPES
async def test_each_trade_of_the_range_is_stored_once(
    tmp_path: Path, type_name: str, path: str, id_member: str
) -> None:
    kind = kind_of_type(type_name)
    async with peer() as exchange:
        rig = rig_of(tmp_path, exchange.exchange, type_name)
        await rig.prepare()
        assert await rig.live(loader_api_trades.DEFINITION) == 0
        assert await rig.live(arango_trades.DEFINITION) == 0
        wanted = [row[id_member] for row in await expected(exchange, path)]
        keys = await rig.stored.keys(COLLECTION, limit=10_000)
        positions = [position for position in map(kind.position_of, keys) if position is not None]
        # A millisecond more at both ends: other trades may share it with what is lacking.
        assert [one for one in positions if one in range(wanted[0], wanted[-1] + 1)] == wanted
        assert len(set(keys)) == len(keys)
        await rig.close()
