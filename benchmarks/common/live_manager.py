"""A manager whose workflows go on for ever: their jobs only seem to run. `python -m benchmarks.common.live_manager DATA
EXCHANGE_URL WORKFLOWS` prints its address once so many are running, and serves until it is ended."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from datetime import date, timedelta
from pathlib import Path

import structlog

from streamforge import wiring
from streamforge.manager.engine.document import Status, Workflow
from streamforge.manager.manager_settings import ManagerSettings
from streamforge.manager.policy import Policy
from streamforge.manager.running_manager import Ports, Running, running
from streamforge.manager.use_cases import StartRequest
from streamforge_utils.runtime.life.settings import DataSettings, ExchangeSettings
from tests.doubles.scriptedlauncher import ScriptedLauncher

TYPE = "api_candles_1m"
_FIRST_DAY = date(2020, 1, 1)
_AT_ONCE = 50


async def _serve(data: Path, url: str, count: int) -> None:
    settings = ManagerSettings(
        data=DataSettings(data_dir=data),
        exchange=ExchangeSettings(urls=(url,)),
        port=0,
        base_policy=Policy(max_running=count, stuck_after_s=1e6, silent_after_s=1e6),
        start_seconds=1e6,
        max_starting=2 * count,  # none of them is heard
    )
    ports = Ports(
        bus=wiring.make_bus(settings.data),
        store=wiring.make_store(settings.data),
        launcher=ScriptedLauncher(),
        exchange=wiring.make_exchange(settings.exchange),
    )
    async with running(ports, settings) as found:
        await _start(found, count)
        print(json.dumps({"url": found.url}), flush=True)
        await found.ended


async def _start(found: Running, count: int) -> None:
    for first in range(0, count, _AT_ONCE):
        days = [_FIRST_DAY + timedelta(days=number) for number in range(first, min(first + _AT_ONCE, count))]
        requests = [StartRequest(symbol="BTCUSDT", type=TYPE, time_range=day.isoformat()) for day in days]
        await asyncio.gather(*map(found.manager.start, requests))
    live = found.manager._deps.workflows.live
    while sum(_runs(one.workflow) for one in live.values()) < count:  # noqa: ASYNC110 - no event tells it
        await asyncio.sleep(0.1)


def _runs(workflow: Workflow) -> bool:
    return workflow.status is Status.RUNNING and all(one.attempts for one in workflow.steps)


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    asyncio.run(_serve(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
