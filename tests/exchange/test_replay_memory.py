"""Of what is replayed a bounded part is in memory, however much there is, and all of it is served."""

from __future__ import annotations

import gzip
from pathlib import Path

import msgspec
import pytest

from streamforge.exchange import recorded_rows
from streamforge.exchange.config import ExchangeConfig
from streamforge_utils.adapters.embedded.store.embedded_store import EmbeddedStore
from streamforge_utils.model.kinds.registry import kind_named
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.ports.store import Document
from tests.exchange.conftest import DAY, MINUTE, Peer, ms, peer
from tests.exchange.sockets import socket
from tests.exchange.stored import load_of

START, MEGABYTE = ms("2024-08-01"), 1_000_000
A_DAY, DAYS = 1440, 6
TRADES, SECOND = 20_000, 1000
EVENT = (
    b'{"stream":"ethusdt@trade","data":{"e":"trade","E":%d,"s":"ETHUSDT","t":%d,'
    b'"p":"1","q":"1","T":%d,"m":true,"M":true}}'
)


async def held(exchange: Peer) -> int:
    found = (await exchange.get("/control/stats")).json["rows_held"]
    assert isinstance(found, int)
    return found


@pytest.mark.long
async def test_of_recorded_files_only_those_of_late_are_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorded_rows, "MOST_BYTES", MEGABYTE)
    for day in range(DAYS):
        opens = [START + day * DAY + minute * MINUTE for minute in range(A_DAY)]
        lines = [f"{at},7.1,7.2,7.0,7.1,51.64,{at + MINUTE - 1},3712.1,493,19.5,140.8,0" for at in opens]
        (tmp_path / f"BTCUSDT-1m-2024-08-{day + 1:02}.csv").write_text("\n".join(lines))
        text = b"\n".join(EVENT % (at, at // MINUTE, at) for at in opens)
        (tmp_path / f"ethusdt-{day}.gz").write_bytes(gzip.compress(text))
    async with peer(ExchangeConfig(replay=tmp_path), START - 1) as exchange:
        most = 0
        for day in range(DAYS):
            async with socket(exchange, "/ws/ethusdt@trade") as client:
                assert len(await client.sent(DAY - 1)) == A_DAY
            exchange.clock.advance(1)
            span = TimeRange(START + day * DAY, START + day * DAY + DAY)
            closed = range(span.start_ms, exchange.clock.now_ms() - MINUTE, MINUTE)
            assert [row[0] for row in await exchange.oracle(span)] == [*closed]
            most = max(most, await held(exchange))
        for first in range(0, DAYS * A_DAY, 1000):
            page = await exchange.klines(startTime=START + first * MINUTE, limit=1000)
            assert page.opens[0] == START + first * MINUTE
            most = max(most, await held(exchange))
    # A row takes over 200 bytes; and one file of each sort may come on top.
    assert A_DAY <= most <= MEGABYTE // 200 + 2 * A_DAY


@pytest.mark.e2e
async def test_of_what_is_stored_only_pages_of_late_are_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorded_rows, "MOST_BYTES", MEGABYTE)
    store, kind = EmbeddedStore(tmp_path / "store"), kind_named("trades")
    for name, ids, version in (("first", range(12_000), 2), ("then", range(10_000, TRADES), 1)):
        records = [
            {
                "_key": f"ETHUSDT_{one:012}",
                "_version": version,
                "symbol": "ETHUSDT",
                "trade_id": one,
                "price": f"{version}.00000000",
                "quantity": "0.10000000",
                "timestamp": START + one // 3 * SECOND,  # three make an aggregated one
                "is_buyer_maker": True,
            }
            for one in ids
        ]
        documents = [Document(*kind.document(None, msgspec.json.encode(one))) for one in records]
        await store.upsert(f"{name}_trades", documents)
    await store.close()
    async with peer(ExchangeConfig(replay=tmp_path), START + DAY, load_of(tmp_path)) as exchange:
        most, rows = 0, []
        for first in range(0, TRADES, 1000):
            answer = await exchange.get("/api/v3/historicalTrades", symbol="ETHUSDT", fromId=first, limit=1000)
            rows += msgspec.json.decode(answer.body)
            most = max(most, await held(exchange))
        assert [(row["id"], row["price"][0]) for row in rows] == [
            (one, "2" if one < 12_000 else "1") for one in range(TRADES)
        ]
        answer = await exchange.get("/oracle/aggTrades", symbol="ETHUSDT", startTime=START, endTime=START + DAY)
        found = msgspec.json.decode(answer.body)
        assert [(row["a"], row["f"], row["l"]) for row in found] == [
            (one, one * 3, min(one * 3 + 2, TRADES - 1)) for one in range(len(found))
        ]
        assert found[-1]["l"] == TRADES - 1
        most = max(most, await held(exchange))
    assert 5000 <= most <= MEGABYTE // 200 + 5000
