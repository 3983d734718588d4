"""Trades, single and aggregated, on ArangoDB: recorded ones, and the documents there against the oracle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from tests import backends
from tests.doubles import arangoprocess
from tests.e2e import rig
from tests.e2e.test_trades import *  # noqa: F403 - every test and fixture of it

SAMPLED = (
    "spot_aggTrades-rest_BTCUSDT_2021-10-22.json",
    "spot_trade-events-csv_WAVESUSDT_2019-06-08_lost-trades.csv.gz",
)
START_MS, END_MS = 1_722_470_400_000, 1_722_474_000_000
"""2024-08-01, the first hour: more than a page."""
BOTH = ("price", "quantity", "timestamp", "is_buyer_maker")
FIELDS = {
    "api_trades": ("historicalTrades", {"trade_id": "id"}, ("price", "qty", "time", "isBuyerMaker")),
    "api_agg_trades": (
        "aggTrades",
        {"trade_id": "a", "first_trade_id": "f", "last_trade_id": "l"},
        ("p", "q", "T", "m"),
    ),
}


def is_sampled(item: pytest.Function) -> bool:
    """A recording of each kind, one of them with a hole: the others ask the exchange's files, not the store."""
    found = item.callspec.params if hasattr(item, "callspec") else {}
    return "type_name" in found or found.get("loaded") in SAMPLED


def asked(server: dict[str, str], method: str, path: str, body: Any = None) -> Any:
    """The answer of the server to another client than StreamForge."""
    status, answer = arangoprocess.ask(server, method, f"/_db/{server['ARANGO_DB']}/_api/{path}", body)
    assert status < 300, answer
    return answer


@pytest.mark.parametrize("type_name", FIELDS)
def test_documents_are_what_the_exchange_has_and_a_query_by_time_has_an_index(
    type_name: str, quiet: rig.Exchange, tmp_path: Path
) -> None:
    path, ids, members = FIELDS[type_name]
    with rig.manager(tmp_path / "data", quiet.url) as manager:
        workflow = manager.loaded("BTCUSDT", type_name, "2024-08-01:2024-08-01T01:00:00Z")
        name, server = workflow["collection"], backends.store_environment(manager.data)
        query = {
            "query": "FOR d IN @@c FILTER d.timestamp >= @start AND d.timestamp < @end SORT d._key RETURN d",
            "bindVars": {"@c": name, "start": START_MS, "end": END_MS},
            "batchSize": 100_000,
        }
        stored = asked(server, "POST", "cursor", query)["result"]
        indexes = asked(server, "GET", f"index?collection={name}")["indexes"]
    asking: dict[str, str | int] = {"symbol": "BTCUSDT", "startTime": START_MS, "endTime": END_MS}
    rows = httpx.get(f"{quiet.url}/oracle/{path}", params=asking, timeout=60).raise_for_status().json()
    assert len(rows) > 1000
    fields = ids | dict(zip(BOTH, members, strict=True))
    numbers = ("price", "quantity")
    assert [
        {name: value for name, value in one.items() if name not in ("_id", "_rev", "_version")} for one in stored
    ] == [
        {"_key": f"BTCUSDT_{row[ids['trade_id']]:012d}", "symbol": "BTCUSDT"}
        | {field: float(row[member]) if field in numbers else row[member] for field, member in fields.items()}
        for row in rows
    ]
    assert [index["fields"] for index in indexes] == [["_key"], ["timestamp"]]
