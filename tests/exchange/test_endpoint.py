"""An endpoint beside those of candles: seeded or recorded, with faults, weight and oracle, as candles have them."""

from __future__ import annotations

import shutil
from collections.abc import Hashable, Sequence
from pathlib import Path

import msgspec
import pytest

from streamforge.exchange import state
from streamforge.exchange.config import ExchangeConfig, SymbolSpec
from streamforge.exchange.endpoint import RowsEndpoint
from streamforge.exchange.endpoints import endpoint_classes
from streamforge.exchange.windows import SeededRows
from tests.exchange.conftest import DAY, NOW, Peer, ms, peer
from tests.places import market_data


class SeededTicks(SeededRows):
    """One every ten seconds since the listing."""

    def at(self, time_ms: int) -> int:
        return max(0, -(-(time_ms - self.spec.listed_ms) // 10_000))

    def rows(self, first: int, last: int, now_ms: int) -> list[bytes]:
        return [row(n, "1.5", "2.0", n, n, self.spec.listed_ms + n * 10_000) for n in range(first, last + 1)]


class Ticks(RowsEndpoint):
    paths = ("ticks",)
    weight = 4

    def seeded(self, spec: SymbolSpec, variant: Hashable) -> SeededTicks:
        return SeededTicks(spec, self.holes(spec.symbol))

    def recorded_variant(self, name: str) -> Hashable:
        if name != "ticks":
            raise ValueError("is no recording of aggregated trades")
        return None

    def recorded_row(self, cells: Sequence[str]) -> tuple[int, int, int, bytes]:
        number, price, quantity, first, last, time = cells[:6]
        return int(number), int(time), int(time), row(int(number), price, quantity, int(first), int(last), int(time))


def row(number: int, price: str, quantity: str, first: int, last: int, time: int) -> bytes:
    return msgspec.json.encode({"a": number, "p": price, "q": quantity, "f": first, "l": last, "T": time, "m": True})


START = ms("2024-08-01")
FIRST = (START - 1_502_942_400_000) // 10_000
"""The id of the first trade of the day."""


@pytest.fixture(autouse=True)
def another_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "endpoint_classes", lambda: [*endpoint_classes(), Ticks])


async def ids(exchange: Peer, **params: object) -> list[int]:
    answer = await exchange.get("/api/v3/ticks", symbol="BTCUSDT", **params)
    assert answer.status == 200, answer.body
    return [row["a"] for row in msgspec.json.decode(answer.body)]


async def test_it_is_paged_by_id_and_by_time(exchange: Peer) -> None:
    assert await ids(exchange, fromId=FIRST + 7, limit=3) == [FIRST + 7, FIRST + 8, FIRST + 9]
    assert await ids(exchange, startTime=START, endTime=START + 30_000) == [*range(FIRST, FIRST + 4)]
    newest = (NOW - 1_502_942_400_000) // 10_000
    assert await ids(exchange, limit=2) == [newest - 1, newest]
    assert await ids(exchange, fromId=newest + 1) == []
    assert (await exchange.get("/api/v3/ticks", symbol="NO")).json["code"] == -1121
    assert (await exchange.get("/api/v3/ticks", symbol="BTCUSDT", interval="1m")).json["code"] == -1104
    used = (await exchange.get("/api/v3/ping")).headers["X-MBX-USED-WEIGHT-1M"]
    assert used == str(6 * 4 + 1)


async def test_faults_strike_it_by_its_name_and_each_row_once() -> None:
    async with peer(ExchangeConfig(faults=("missing:rows=2,path=ticks",))) as exchange:
        whole = {"fromId": FIRST, "limit": 5}
        first = await ids(exchange, **whole)
        assert len(first) == 3
        seen = set(first)
        for _ in range(3):
            seen |= set(await ids(exchange, **whole))
        assert seen == set(range(FIRST, FIRST + 5))
        assert len((await exchange.klines(limit=5)).rows) == 5
    async with peer(ExchangeConfig(faults=("bad-number:kind=nan,path=ticks",))) as exchange:
        answer = await exchange.get("/api/v3/ticks", symbol="BTCUSDT", fromId=FIRST, limit=1)
        assert b'"q":"NaN"' in answer.body
    async with peer(ExchangeConfig(faults=("shifted:by=-1,path=ticks", "empty:path=klines"))) as exchange:
        assert await ids(exchange, fromId=FIRST, limit=2) == [FIRST - 1, FIRST]


async def test_the_oracle_gives_all_of_a_range(exchange: Peer) -> None:
    bounds = {"startTime": START - DAY, "endTime": START}
    rows = msgspec.json.decode((await exchange.get("/oracle/ticks", symbol="BTCUSDT", **bounds)).body)
    assert [row["a"] for row in rows] == [*range(FIRST - 8640, FIRST)]


async def test_recordings_are_served_by_id_and_by_time(tmp_path: Path) -> None:
    folder = tmp_path / "recorded"
    folder.mkdir()
    source = market_data("trades-and-aggtrades", "spot_aggTrades-vision_FXSUSDT_2023-10-29_5rows.csv")
    shutil.copyfile(source, folder / "FXSUSDT-ticks-2023-10-29.csv")
    lines = [line.split(",") for line in source.read_text().split()]
    async with peer(ExchangeConfig(replay=folder)) as exchange:
        assert list(exchange.state.symbols) == ["FXSUSDT"]
        for window in ({"fromId": lines[0][0]}, {"startTime": lines[0][5], "endTime": lines[-1][5]}):
            answer = await exchange.get("/api/v3/ticks", symbol="FXSUSDT", **window)
            rows = msgspec.json.decode(answer.body)
            assert [[str(row[name]) for name in "apqflT"] for row in rows] == [line[:6] for line in lines]
        assert (await exchange.klines(symbol="FXSUSDT")).rows == []
