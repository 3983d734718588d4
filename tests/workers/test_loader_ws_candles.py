"""Candles as they close, by loader-ws-candles and arango-candles, on an exchange whose clock runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamforge.exchange.config import ExchangeConfig
from streamforge.exchange.exchange_server import RunningExchange, serve
from streamforge.workers import arango_candles, loader_ws_candles
from streamforge_utils.runtime.life.worker_process import load_worker
from tests.runtime.rig import COLLECTION, TOPIC, markers, words
from tests.workers.live import LiveRig

pytestmark = pytest.mark.e2e


def rig_of(folder: Path, exchange: RunningExchange) -> LiveRig:
    return LiveRig(folder, exchange, "ws_candles_1s")


@pytest.mark.parametrize("fault", ["", "stream-open-bar:count=2", "stream-reset:after=2,count=1"])
async def test_each_candle_is_written_once_it_is_closed_and_as_history_has_it(tmp_path: Path, fault: str) -> None:
    faults = (fault,) if fault else ()
    async with await serve(ExchangeConfig(faults=faults)) as exchange:
        rig = rig_of(tmp_path, exchange)
        await rig.prepare()
        async with rig.working(loader_ws_candles.DEFINITION):
            live = await rig.until_told(lambda live: live.last_time is not None)
            first = live.last_time or 0
            written = await rig.until_written(first + 4000)
        assert written == [*range(written[0], written[-1] + 1, 1000)]
        values = {one.key: one.value for one in await rig.read(TOPIC)}
        assert [one.reason for one in await markers(rig)] == ["interrupted"]
        assert words(await rig.events()) == ["started", "interrupted"]
        rig.environment["STREAMFORGE_UPSTREAM"] = "loader-ws-candles__abc123:1"
        assert await rig.live(arango_candles.DEFINITION) == 0
        stored = await rig.stored.read(COLLECTION)
        assert {one.key.encode() for one in stored} == values.keys() - {b"__eos__"}
        await rig.close()


async def test_the_next_attempt_goes_on_behind_the_last_candle(tmp_path: Path) -> None:
    async with await serve(ExchangeConfig()) as exchange:
        rig = rig_of(tmp_path, exchange)
        await rig.prepare()
        last = 0
        for attempt in (1, 2):
            rig.environment |= {"STREAMFORGE_ATTEMPT": str(attempt), "STREAMFORGE_LAUNCHED_AT": repr(attempt * 1e11)}
            async with rig.working(loader_ws_candles.DEFINITION):
                known = last
                live = await rig.until_told(lambda live, known=known: (live.last_time or 0) > known)  # type: ignore[misc]
                last = live.last_time or 0
        written = await rig.until_written(last)
        assert written == [*range(written[0], written[-1] + 1, 1000)]
        await rig.close()


@pytest.mark.parametrize("type_name", ["ws_candles", "ws_candles_1m"])
def test_the_first_generations_environment_works(tmp_path: Path, type_name: str) -> None:
    environ = {
        "QUEUE_ID": "wf-btcusdt-ws_candles_1m-20240801-abc123",
        "SYMBOL": "BTCUSDT",
        "TYPE": type_name,
        "INTERVAL": "1m",
        "KAFKA_TOPIC": "t",
        "STREAMFORGE_DATA_DIR": str(tmp_path),
    }
    settings, parameters = load_worker(loader_ws_candles.DEFINITION, environ)
    assert settings.type == "ws_candles_1m"
    assert parameters.limit == 1000
