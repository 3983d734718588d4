"""A worker is suspended while it holds a lock of the bus or the store: managers start, and go on."""

# ruff: noqa: ASYNC110 - another process cannot set an event; the files are small

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from streamforge_utils.adapters.embedded.launcher.job_processes import blocks_others, is_suspended
from streamforge_utils.adapters.embedded.launcher.process_launcher import ProcessLauncher
from streamforge_utils.ports.launcher import JobSpec
from tests.chaos import processes
from tests.chaos.disturbance import running
from tests.chaos.rig import Api, ManagerKeeper, exchange_process
from tests.limits import LIMIT_S

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux says who holds which lock")

LOCK_AND_SUSPEND = """
import fcntl, os, signal
file = open({path!r}, "r+")
fcntl.flock(file, fcntl.LOCK_EX)
os.kill(os.getpid(), signal.SIGSTOP)
"""


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(timeout=LIMIT_S) as client:
        yield client


@pytest.mark.long
async def test_managers_start_and_go_on_beside_it(tmp_path: Path, client: httpx.AsyncClient) -> None:
    data = tmp_path / "data"
    async with exchange_process("--seed", "7") as exchange:
        settings = {"STREAMFORGE_EXCHANGE_URL": exchange, "STREAMFORGE_TOTAL_WEIGHT_PER_MINUTE": "100000"}
        keeper = ManagerKeeper(data, tmp_path / "manager.log", settings)
        async with running(keeper, list):
            assert await keeper.down() == 0
            pid = await _suspended(data, LOCK_AND_SUSPEND.format(path=str(data / "bus/bus.lock")))
            await keeper.up()
            await _finished(Api(keeper, client), "2024-01-01:2024-01-03")
            assert processes.state(pid) in (None, "Z")
            # A sink in the middle of a write is ended and started again.
            suspending = asyncio.create_task(_suspended_in_a_write(data))
            workflow = await _finished(Api(keeper, client), "2023-01:2023-07")
            await suspending
            (sink,) = [step for step in workflow["steps"] if step["target"] == "arango-candles"]
            assert [attempt["signal"] for attempt in sink["attempts"]] == [9, None]
            assert await keeper.down() == 0


async def _finished(api: Api, time_range: str) -> dict[str, Any]:
    queue_id = await api.start(time_range, symbol="BTCUSDT", type="api_candles_1m", time_range=time_range)
    workflow = (await api.until_ended([queue_id], LIMIT_S))[queue_id]
    assert (workflow["status"], workflow["coverage"]["complete"]) == ("finished", True)
    return workflow


async def _suspended_in_a_write(data: Path) -> None:
    """Suspend the sink at a moment at which it writes."""
    async with asyncio.timeout(LIMIT_S):
        while True:
            for job in processes.live_jobs(data):
                if job.worker is None or job.target != "arango-candles":
                    continue
                with contextlib.suppress(ProcessLookupError):  # it may end at any moment
                    os.kill(job.worker, signal.SIGSTOP)
                    while not is_suspended(job.worker):
                        os.kill(job.worker, 0)
                        await asyncio.sleep(0.001)
                    if blocks_others(job.worker, ()):
                        return
                    os.kill(job.worker, signal.SIGCONT)
            await asyncio.sleep(0.003)


async def _suspended(data: Path, script: str) -> int:
    """Run `script` as a worker of an earlier manager; its process id once it is suspended."""
    launcher = ProcessLauncher(
        data / "jobs",
        command=lambda spec: (sys.executable, "-c", script),
        base_environment={"STREAMFORGE_DATA_DIR": str(data)},
    )
    await launcher.start(JobSpec(name="wf-x-arango-candles-1", target="arango-candles", queue_id="wf-x", attempt=1))
    await launcher.close()
    pid = int((data / "jobs/wf-x-arango-candles-1/pid").read_text())
    async with asyncio.timeout(LIMIT_S):
        while processes.state(pid) != "T":
            await asyncio.sleep(0.01)
    return pid
