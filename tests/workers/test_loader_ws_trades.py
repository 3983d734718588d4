"""Trades as they happen, single and aggregated, by loader-ws-trades and arango-trades: none lacks, none comes twice."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from streamforge.exchange.config import ExchangeConfig
from streamforge.exchange.exchange_server import serve
from streamforge.workers import arango_trades, loader_ws_trades
from streamforge_utils.model.timeranges import parse_time_range
from streamforge_utils.runtime.life.worker_definition import ALL_TIME
from streamforge_utils.runtime.life.worker_process import load_worker
from tests.cleanenv import environment
from tests.exchange.conftest import MINUTE, NOW, Peer, peer
from tests.limits import LIMIT_S
from tests.runtime.rig import COLLECTION, markers, words
from tests.workers.live import LiveRig

TYPES = pytest.mark.parametrize(
    ("type_name", "path", "id_member"), [("ws_trades", "historicalTrades", "id"), ("ws_agg_trades", "aggTrades", "a")]
)


async def happened(exchange: Peer, path: str, id_member: str) -> list[int]:
    """The ids of what has happened since the beginning."""
    bounds = {"startTime": NOW - MINUTE, "endTime": exchange.clock.now_ms() + 1}
    answer = await exchange.get(f"/oracle/{path}", symbol="BTCUSDT", **bounds)
    return [row[id_member] for row in msgspec.json.decode(answer.body, type=list[dict[str, Any]])]


@TYPES
async def test_what_happens_is_written_and_stored_each_once(
    tmp_path: Path, type_name: str, path: str, id_member: str
) -> None:
    async with peer() as exchange:
        rig = LiveRig(tmp_path, exchange.exchange, type_name)
        await rig.prepare()
        async with rig.working(loader_ws_trades.DEFINITION):
            exchange.clock.advance(MINUTE)
            ids = await happened(exchange, path, id_member)
            written = await rig.until_written(ids[-1])
        assert written == [*range(written[0], ids[-1] + 1)]
        live = await rig.until_told(lambda live: live.last_id == ids[-1])
        assert NOW < (live.last_time or 0) <= NOW + MINUTE
        assert [one.reason for one in await markers(rig)] == ["interrupted"]
        assert words(await rig.events()) == ["started", "interrupted"]
        rig.environment["STREAMFORGE_UPSTREAM"] = "loader-ws-trades__abc123:1"
        assert await rig.live(arango_trades.DEFINITION) == 0
        assert len(await rig.stored.keys(COLLECTION, limit=10_000)) == len(written)
        await rig.close()


@pytest.mark.e2e
@pytest.mark.parametrize(
    "fault",
    [
        "stream-missing:after=3,count=4",
        "stream-duplicate:after=3,count=4",
        "stream-disordered:after=3,count=2,rows=3",
        "stream-unit:after=3,count=2",
        "stream-unknown:after=3,count=2",
        "stream-reset:after=3,count=1",
        "stream-close:after=3,count=1",
        "stream-shutdown:after=3,count=1,seconds=5",
        "stream-frame:after=3,count=1,kind=json",
        "stream-frame:after=3,count=1,kind=utf8",
        "stream-frame:after=3,count=1,kind=masked",
        "stream-frame:after=3,count=1,kind=cut",
        "stream-frame:after=3,count=1,kind=fragment",
        "stream-frame:after=3,count=1,kind=reserved",
        "stream-frame:after=3,count=1,kind=length",
        "stream-old:after=3,count=1",
        "stream-refused:count=2",
    ],
)
async def test_faults_of_the_streams_lose_nothing_and_double_nothing(tmp_path: Path, fault: str) -> None:
    async with peer(ExchangeConfig(faults=(fault,))) as exchange:
        rig = LiveRig(tmp_path, exchange.exchange, "ws_trades")
        await rig.prepare()
        ids, written = list[int](), list[int]()
        async with rig.working(loader_ws_trades.DEFINITION):
            for _ in range(4):
                exchange.clock.advance(15_000)
                ids = await happened(exchange, "historicalTrades", "id")
                written = await rig.until_written(ids[-1])
        assert exchange.state.faults.strikes
        assert written == [*range(written[0], ids[-1] + 1)]
        await rig.close()


async def test_the_next_attempt_goes_on_behind_the_last_trade(tmp_path: Path) -> None:
    async with peer() as exchange:
        rig = LiveRig(tmp_path, exchange.exchange, "ws_trades")
        await rig.prepare()
        ids, written = list[int](), list[int]()
        for attempt in (1, 2, 3):
            rig.environment |= {"STREAMFORGE_ATTEMPT": str(attempt), "STREAMFORGE_LAUNCHED_AT": repr(attempt * 1e11)}
            async with rig.working(loader_ws_trades.DEFINITION):
                exchange.clock.advance(MINUTE)
                ids = await happened(exchange, "historicalTrades", "id")
                written = await rig.until_written(ids[-1])
            exchange.clock.advance(MINUTE)
        assert written == [*range(written[0], ids[-1] + 1)]
        await rig.close()


@pytest.mark.e2e
async def test_a_process_that_is_killed_leaves_no_gap_and_nothing_twice(tmp_path: Path) -> None:
    async with await serve(ExchangeConfig(trades_a_minute=5000)) as exchange:
        rig = LiveRig(tmp_path, exchange, "ws_trade")
        await rig.prepare()
        written = list[int]()
        for ending, code in ((signal.SIGKILL, -9), (signal.SIGKILL, -9), (signal.SIGTERM, 1)):
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "streamforge.workers", "loader-ws-trades"),
                env=environment(**rig.environment),
                stderr=asyncio.subprocess.DEVNULL,
            )
            before = len(written)
            try:
                async with asyncio.timeout(LIMIT_S):
                    while len(written) < before + 100:
                        assert process.returncode is None
                        await asyncio.sleep(0.02)
                        written = await rig.positions()
                    process.send_signal(ending)
                    assert await process.wait() == code
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
        written = await rig.positions()
        assert written == [*range(written[0], written[0] + len(written))]
        await rig.close()


@pytest.mark.parametrize("given", [{}, {"TIME_RANGE": "null"}])
def test_the_first_generations_environment_works(tmp_path: Path, given: dict[str, str]) -> None:
    environ = {
        "QUEUE_ID": "wf-btcusdt-ws_trades-20240801-abc123",
        "SYMBOL": "btcusdt",
        "TYPE": "ws_trade",
        "KAFKA_TOPIC": "t",
        "STREAMFORGE_DATA_DIR": str(tmp_path),
        "BINANCE_WS_URL": "wss://stream.binance.com:9443/ws",
        "BINANCE_API_URL": "https://api.binance.com",
        "BINANCE_API_SECRET": "not needed",
        "CONTROL_TOPIC": "control",
        "TELEMETRY_TOPIC": "telemetry",
        "TELEMETRY_INTERVAL": "7",
        "LIMIT": "500",
        "DEBUG": "true",
        **given,
    }
    settings, parameters = load_worker(loader_ws_trades.DEFINITION, environ)
    assert (settings.type, settings.symbol, settings.debug) == ("ws_trades", "BTCUSDT", True)
    assert settings.stream.other_url == "wss://stream.binance.com:9443/ws"
    assert parameters.limit == 500
    assert settings.exchange.urls == ("https://api.binance.com",)
    assert (settings.control_topic, settings.events_topic, settings.heartbeat_seconds) == ("control", "telemetry", 7.0)
    assert settings.ranges == ()
    assert settings.time_range == parse_time_range(ALL_TIME)
    assert (
        load_worker(loader_ws_trades.DEFINITION, environ | {"STREAMFORGE_LIMIT": "7", "DEBUG": "app:*"})[1].limit == 7
    )
