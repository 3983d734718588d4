"""Recorded messages of streams come again as they came, and REST has the rows that follow from them."""

from __future__ import annotations

import asyncio
import gzip
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.frames import Opcode

from streamforge.exchange.config import ExchangeConfig
from streamforge.exchange.exchange_server import serve
from streamforge_utils.model.errors import PermanentError
from tests.exchange.conftest import DAY, MINUTE, Peer, ms, peer
from tests.exchange.sockets import Json, socket
from tests.places import market_data

APRIL = ms("2021-04-04T20:03:00")
AUGUST = ms("2024-08-08T23:54:00")


def messages(path: Path) -> list[Json]:
    content = path.read_bytes()
    lines = (gzip.decompress(content) if path.suffix == ".gz" else content).splitlines()
    found = (line[line.find(b'{"stream"') :] for line in lines if b'{"stream"' in line)
    return [msgspec.json.decode(line, type=Json) for line in found]


async def oracle(exchange: Peer, endpoint: str, **more: Any) -> list[Any]:
    now_ms = exchange.clock.now_ms()
    answer = await exchange.get(f"/oracle/{endpoint}", startTime=now_ms - DAY, endTime=now_ms, **more)
    return msgspec.json.decode(answer.body, type=list[Any])


async def test_trades_come_again_and_rest_has_them() -> None:
    folder = market_data("ws-trade")
    recorded = messages(folder / "spot_BTCUSDT_trade_2024-08-08T2354_2024-08-09T0000.jsonl")
    async with peer(ExchangeConfig(replay=folder), AUGUST) as exchange:
        async with socket(exchange, "/stream?streams=btcusdt@trade") as client:
            sent = await client.sent(10 * MINUTE)
        assert sent == recorded
        rows = await oracle(exchange, "historicalTrades", symbol="BTCUSDT")
        assert [(row["id"], row["price"], row["qty"], row["time"]) for row in rows] == [
            (one["t"], one["p"], one["q"], one["T"]) for one in (message["data"] for message in recorded)
        ]
        first = recorded[0]["data"]
        assert float(rows[0]["quoteQty"]) == pytest.approx(float(first["p"]) * float(first["q"]))


async def test_aggregated_trades_and_candles_come_again_and_rest_has_them(tmp_path: Path) -> None:
    files = [next(market_data(folder).glob("*.jsonl")) for folder in ("ws-aggtrade", "ws-kline")]
    for file in files:
        shutil.copy(file, tmp_path)
    recorded = [message for file in files for message in messages(file)]
    names = sorted({message["stream"] for message in recorded})
    async with peer(ExchangeConfig(replay=tmp_path), APRIL) as exchange:
        async with socket(exchange, f"/stream?streams={'/'.join(names)}") as client:
            sent = await client.sent(10 * MINUTE)
        for name in names:
            assert [one for one in sent if one["stream"] == name] == [one for one in recorded if one["stream"] == name]
        aggregates = await oracle(exchange, "aggTrades", symbol="ETHUSDT")
        assert aggregates == [
            {name: one["data"][name] for name in "apqflTmM"} for one in recorded if one["stream"] == "ethusdt@aggTrade"
        ]
        bars = await oracle(exchange, "klines", symbol="DOTUSDT", interval="1m")
        closed = [one["data"]["k"] for one in recorded if one["stream"] == "dotusdt@kline_1m" and one["data"]["k"]["x"]]
        assert len(closed) == 1
        assert bars == [
            [
                *(bar[name] for name in ("t", *"ohlcv", "T", *"qnVQB")),
            ]
            for bar in closed
        ]


@pytest.mark.long
async def test_raw_recordings_are_read_and_what_is_in_two_files_is_sent_once(tmp_path: Path) -> None:
    raw = market_data("ws-recordings-raw")
    recorded: list[Json] = []
    for file in sorted(raw.glob("spot_BTCUSDT_depth*.gz")):
        shutil.copy(file, tmp_path)
        recorded += messages(file)
    shutil.copy(next(market_data("ws-trade").glob("*.jsonl")), tmp_path)
    names = ["btcusdt@trade", "btcusdt@depth@100ms", "btcusdt@bookTicker"]
    async with peer(ExchangeConfig(replay=tmp_path), AUGUST) as exchange:
        assert exchange.state.ignored == {}
        async with socket(exchange, f"/stream?streams={'/'.join(names)}") as client:
            sent = await client.sent(20 * MINUTE)
    for name in names:
        assert [one for one in sent if one["stream"] == name] == [one for one in recorded if one["stream"] == name]
    assert len(sent) == len(recorded) == 99_573


async def test_trades_of_csv_come_in_the_order_in_which_they_came(tmp_path: Path) -> None:
    """Of a day with a halt of two hours; rows of REST are in the order of ids all the same."""
    folder = market_data("trades-and-aggtrades")
    shutil.copy(folder / "spot_trade-events-csv_WAVESUSDT_2019-06-07_outage.csv.gz", tmp_path)
    async with peer(ExchangeConfig(replay=tmp_path), ms("2019-06-07T00:00")) as exchange:
        async with socket(exchange, "/ws/wavesusdt@trade") as client:
            sent = await client.sent(DAY - 1)
        rows = await oracle(exchange, "historicalTrades", symbol="WAVESUSDT")
    ids = [one["t"] for one in sent]
    assert (len(ids), sum(before > after for before, after in pairwise(ids))) == (6_820, 2_315)
    first = {"e": "trade", "E": 1559865768019, "s": "WAVESUSDT", "t": 965790, "p": "2.30600000", "q": "84.00000000"}
    assert sent[0] == first | {"T": 1559865768015, "m": True, "M": True}
    assert [row["id"] for row in rows] == list(range(min(ids), min(ids) + 6_820))


async def test_a_symbol_is_listed_before_its_first_event_comes() -> None:
    async with peer(ExchangeConfig(replay=market_data("ws-trade")), AUGUST) as exchange:
        answer: Any = (await exchange.get("/api/v3/exchangeInfo", symbol="BTCUSDT")).json
        assert [(one["symbol"], one["status"]) for one in answer["symbols"]] == [("BTCUSDT", "TRADING")]


async def test_times_of_recorded_events_in_microseconds() -> None:
    config, path = ExchangeConfig(replay=market_data("ws-kline")), "/ws/ethusdt@kline_1m?timeUnit=MICROSECOND"
    async with peer(config, APRIL) as exchange, socket(exchange, path) as client:
        first = (await client.sent(MINUTE))[0]
    assert (first["E"], first["k"]["t"], first["k"]["T"]) == (1617566591776000, 1617566580000000, 1617566639999999)


async def test_a_line_that_is_no_message_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"stream":"btcusdt@trade","data":{"E":1}}\n{"stream":"btcusdt@trade","data":}\n')
    with pytest.raises(PermanentError, match=r"a\.jsonl: line 2 is no message of a stream: "):
        async with peer(ExchangeConfig(replay=tmp_path)):
            pass


async def test_an_event_that_is_none_of_its_stream_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"stream":"btcusdt@trade","data":{"e":"trade","E":1617566591776}}\n')
    with pytest.raises(PermanentError, match=r'this is no event of btcusdt@trade: .*"E":1617566591776'):
        async with peer(ExchangeConfig(replay=tmp_path)):
            pass


async def test_a_file_without_messages_is_ignored_with_the_reason(tmp_path: Path) -> None:
    shutil.copy(next(market_data("ws-kline").glob("*.jsonl")), tmp_path)
    (tmp_path / "notes.txt").write_text("nothing\n")
    async with peer(ExchangeConfig(replay=tmp_path)) as exchange:
        assert exchange.state.ignored == {"notes.txt": "without a message of a stream"}


async def test_a_replay_as_fast_as_clients_read_ends_at_the_speed_of_the_machine() -> None:
    folder = market_data("ws-trade")
    recorded = messages(folder / "spot_BTCUSDT_trade_2024-08-08T2354_2024-08-09T0000.jsonl")
    config = ExchangeConfig(replay=folder, speed=float("inf"), now_ms=AUGUST)
    async with await serve(config) as running:
        clock = running.state.clock
        assert (clock.now_ms(), clock.speed) == (AUGUST, 0.0), "nobody listens yet"
        url = f"ws://127.0.0.1:{running.port}/stream?streams=btcusdt@trade"
        async with connect(url, ping_interval=None) as one, connect(url, ping_interval=None) as other:

            async def read(client: ClientConnection) -> list[Json]:
                found: list[Json] = []
                while not found or found[-1] != recorded[-1]:
                    found.append(msgspec.json.decode(await client.recv(), type=Json))
                return found

            first, second = await asyncio.gather(read(one), read(other))
        assert first == recorded
        assert second == recorded[-len(second) :], "from when it has connected"
        assert running.state.paced is False
        assert clock.speed == 1.0
        assert clock.now_ms() >= recorded[-1]["data"]["E"]


async def test_a_paced_clock_can_be_stopped_and_moves_on_for_who_reads(exchange: Peer) -> None:
    async def clock(**asked: object) -> float:
        answer = await exchange.send("POST", "/control/clock", asked)
        return msgspec.json.decode(answer.body, type=dict[str, float])["speed"]

    async with socket(exchange, "/ws/btcusdt@trade") as client:
        assert await clock(paced=True) == 0.0
        ids = [(await client.next())["t"] for _ in range(500)]
        assert ids == list(range(ids[0], ids[0] + 500))
        assert await clock(speed=0) == 0.0
        stopped_ms = exchange.clock.now_ms()
        await client.sent()
        assert exchange.clock.now_ms() == stopped_ms


async def test_a_paced_clock_does_not_wait_for_the_answers_to_pings(exchange: Peer) -> None:
    async with socket(exchange, "/ws/btcusdt@trade") as client:
        receive = client.ws.protocol.recv_frame
        client.ws.protocol.recv_frame = (  # type: ignore[method-assign]
            lambda frame: None if frame.opcode is Opcode.PING else receive(frame)
        )
        await exchange.send("POST", "/control/clock", {"paced": True})
        until_ms = exchange.clock.now_ms() + 10 * MINUTE
        while (await client.next())["E"] < until_ms:
            pass
        assert exchange.state.streams.received == 0
