"""Recorded trades, streamed as fast as they are taken, come out of the store as they were recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from streamforge.workers import arango_trades, loader_ws_trades
from streamforge_utils.model.kinds.paging import Page, Question
from streamforge_utils.model.series import Series
from tests.doubles.candles import FixedExchange
from tests.doubles.streamserver import stream_server
from tests.places import market_data
from tests.runtime.rig import COLLECTION
from tests.workers.live import LiveRig


class NoHistory(FixedExchange):
    """An exchange that has nothing beside its streams."""

    async def page(self, series: Series, question: Question) -> Page:
        return Page([], [], [], [])


@pytest.mark.parametrize(
    ("type_name", "symbol", "id_member"),
    [
        ("ws_trades", "BTCUSDT", "t"),
        ("ws_agg_trades", "BTCUSDT", "a"),
        ("ws_agg_trades", "ETHUSDT", "a"),
        ("ws_agg_trades", "DOTUSDT", "a"),
    ],
)
async def test_recorded_trades_come_out_equal(tmp_path: Path, type_name: str, symbol: str, id_member: str) -> None:
    (file,) = market_data("ws-trade" if type_name == "ws_trades" else "ws-aggtrade").glob("*.jsonl")
    lines = file.read_text().splitlines()
    rows = {row[id_member]: row for row in (msgspec.json.decode(one)["data"] for one in lines) if row["s"] == symbol}
    rig = LiveRig(tmp_path, None, type_name)
    rig.other_exchange = NoHistory()
    rig.environment |= {"SYMBOL": symbol, "STREAMFORGE_UPSTREAM": "loader-ws-trades__abc123:1"}
    await rig.prepare()
    async with stream_server() as server:
        rig.environment["STREAMFORGE_STREAM_URL"] = server.url
        async with rig.working(loader_ws_trades.DEFINITION):
            for line in lines:
                await server.clients[0].send(line)
            await rig.until_written(max(rows))
    assert await rig.live(arango_trades.DEFINITION) == 0
    found = [
        msgspec.json.decode(one.body, type=dict[str, Any]) for one in await rig.stored.read(COLLECTION, limit=10_000)
    ]
    assert [(one["trade_id"], one["timestamp"], one["is_buyer_maker"]) for one in found] == [
        (number, row["T"], row["m"]) for number, row in sorted(rows.items())
    ]
    assert [(one["price"], one["quantity"]) for one in found] == [
        (float(row["p"]), float(row["q"])) for _, row in sorted(rows.items())
    ]
    await rig.close()
