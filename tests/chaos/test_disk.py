"""The disk is full for a while: nothing that was confirmed is lost, and once there is space again all goes on.

The data lies on a small file system of its own, in a mount namespace that ends with the manager and its workers.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from streamforge_utils.adapters.embedded.store.store import EmbeddedStore
from tests.chaos import processes
from tests.chaos.rig import Api, ManagerKeeper, clean_up, exchange_process
from tests.chaos.verdict import assert_covered, assert_history, assert_rows

DISK_MB = 48
FULL_S = 6.0
END_WITHIN_S = 60.0


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(timeout=10) as client:
        yield client


@pytest.fixture
def small_disk(tmp_path: Path) -> list[str]:
    """The words before a command that make it run where `tmp_path/data` is a small file system."""
    data = tmp_path / "data"
    data.mkdir()
    # Joined to no name outside: what is mounted goes when the last process of the namespace is gone.
    before = ["unshare", "--mount", "--propagation", "private", "sh", "-c"]
    mounted = f'mount -t tmpfs -o size={DISK_MB}m tmpfs "{data}" && exec "$@"'
    tools = shutil.which("unshare") and shutil.which("mount")
    if not tools or subprocess.run([*before, mounted, "sh", "true"], capture_output=True).returncode != 0:
        pytest.skip(
            "a small file system needs `unshare --mount` and the right to mount, which this machine does not give"
        )
    return [*before, mounted, "sh"]


@contextlib.contextmanager
def ballast(folder: Path) -> Iterator[None]:
    """No byte is free in the file system of `folder` until the end of the block."""
    file = folder / "ballast"
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        size = 1 << 20
        while size:
            try:
                os.write(descriptor, b"\0" * size)
            except OSError:
                size //= 2
        yield
    finally:
        os.close(descriptor)
        file.unlink()


@pytest.mark.timeout(150)
@pytest.mark.parametrize("killed", [False, True], ids=["waiting", "killed"])
async def test_a_full_disk_is_waited_out(
    tmp_path: Path, client: httpx.AsyncClient, small_disk: list[str], killed: bool
) -> None:
    async with exchange_process("--seed", "7", "--fault", "slow:ms=200,path=klines") as exchange:
        settings = {
            "STREAMFORGE_HEARTBEAT_SECONDS": "0.2",
            "STREAMFORGE_SILENT_SECONDS": "20",
            "STREAMFORGE_EXCHANGE_URL": exchange,
        }
        keeper = ManagerKeeper(tmp_path / "data", tmp_path / "manager.log", settings, before=small_disk)
        try:
            await keeper.up()
            await _run(keeper, client, exchange, killed=killed)
        except BaseException as error:
            error.add_note(f"the manager's log ends with:\n{await keeper.autopsy()}")
            raise
        finally:
            await clean_up(keeper)


async def _run(keeper: ManagerKeeper, client: httpx.AsyncClient, exchange: str, *, killed: bool) -> None:
    api = Api(keeper, client)
    queue_id = await api.start(
        "disk",
        symbol="BTCUSDT",
        type="api_candles_1m",
        time_range="2023-01-01:2023-01-21",
        parameters={"loader-api-candles": {"concurrency": 1}},
    )
    assert keeper.process is not None
    inside = Path(f"/proc/{keeper.process.pid}/root{keeper.data}")
    await _until_stored(api, queue_id, 2000)
    with ballast(inside):
        if killed:
            for pid in processes.of_data(keeper.data):
                if pid != keeper.process.pid:
                    processes.kill(pid, keeper.data, signal.SIGKILL)
        await asyncio.sleep(FULL_S)
        # It still answers, and it does not claim to be done.
        full = await api.show(queue_id)
        assert full["status"] == "running", full
    (await client.delete(f"{exchange}/control/faults")).raise_for_status()
    workflow = (await api.until_ended([queue_id], END_WITHIN_S))[queue_id]
    assert_covered(workflow, await api.ask("GET", f"/queues/{queue_id}/coverage"))
    assert_history(workflow, await api.events(queue_id))
    assert (await api.ask("GET", f"/queues/{queue_id}/dlq"))["dead_letters"] == []
    copy = keeper.log.with_name("store")  # SQLite does not find its way through /proc
    await asyncio.to_thread(shutil.copytree, inside / "store", copy)
    store = EmbeddedStore(copy)
    try:
        await assert_rows(store, client, exchange, workflow)
    finally:
        await store.close()
    assert await keeper.down() == 0
    assert processes.of_data(keeper.data) == []
    attempts = {step["target"]: len(step["attempts"]) for step in workflow["steps"]}
    print(f"\nattempts {attempts}, repairs {workflow['repairs']}")


async def _until_stored(api: Api, queue_id: str, records: int) -> dict[str, Any]:
    async with asyncio.timeout(30):
        while True:
            workflow = await api.show(queue_id)
            if workflow["progress"]["records_stored"] >= records:
                return workflow
            await asyncio.sleep(0.1)
