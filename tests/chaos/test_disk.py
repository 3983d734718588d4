"""The disk is full for a while: nothing that was confirmed is lost, and once there is space again all goes on.

The data, or what is cached of the archive, lies on a small file system of its own, in a mount namespace that ends with
the manager and its workers.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from streamforge_utils.adapters.embedded.store.embedded_store import EmbeddedStore
from tests.chaos import processes
from tests.chaos.disturbance import running
from tests.chaos.rig import Api, ManagerKeeper, exchange_process
from tests.chaos.verdict import assert_history, assert_stored
from tests.e2e.rig import eventually
from tests.limits import LIMIT_S

DISK_MB = 48
FULL_S = 6.0


NAMESPACES = (
    ("unshare", "--user", "--map-root-user", "--mount", "--propagation", "private"),
    ("unshare", "--mount", "--propagation", "private"),
)
"""Ways to a place where a file system can be mounted, the one that needs the least rights first.

What is mounted in them is seen nowhere else, and goes when the last process of the namespace is gone.
"""


@pytest.fixture
def small_disk(tmp_path: Path) -> list[str]:
    """The words before a command that make it run where `tmp_path/data` is a small file system.

    Where none can be made the test skips; in CI it fails instead.
    """
    data = tmp_path / "data"
    data.mkdir()
    mounted = f'mount -t tmpfs -o size={DISK_MB}m tmpfs "{data}" && exec "$@"'
    tried = []
    for namespace in NAMESPACES:
        before = [*namespace, "sh", "-c", mounted, "sh"]
        try:
            done = subprocess.run([*before, "true"], capture_output=True, text=True, timeout=LIMIT_S)
        except OSError as error:
            tried.append(f"{' '.join(namespace)}: {error}")
            continue
        if done.returncode == 0:
            return before
        tried.append(f"{' '.join(namespace)}: {done.stderr.strip()}")
    why = f"no small file system can be made here: {'; '.join(tried)}"
    if os.environ.get("CI"):
        pytest.fail(f"{why}. CI must allow one of them")
    pytest.skip(why)


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


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(timeout=LIMIT_S) as client:
        yield client


@contextlib.asynccontextmanager
async def on_small_disk(
    tmp_path: Path, small_disk: list[str], *faults: str, cache: Path | None = None
) -> AsyncIterator[tuple[ManagerKeeper, str]]:
    """A manager whose data lies on the small disk, and the URL of its exchange.

    cache: a folder of the small disk for files of the archive; the data then lie elsewhere.
    """
    async with exchange_process("--seed", "7", *(f"--fault={fault}" for fault in faults)) as exchange:
        settings = {
            "STREAMFORGE_HEARTBEAT_SECONDS": "0.2",
            "STREAMFORGE_SILENT_SECONDS": "20",
            "STREAMFORGE_START_SECONDS": "120",  # on a busy machine a worker takes long to its first word
            "STREAMFORGE_EXCHANGE_URL": exchange,
        }
        if cache is not None:
            settings |= {
                "STREAMFORGE_ARCHIVE_URL": exchange,
                "STREAMFORGE_ARCHIVE_CACHE_DIR": str(cache),
                "STREAMFORGE_ARCHIVE_SAMPLES": "none",
                "STREAMFORGE_BACKOFF_SECONDS": "0.1",
            }
        data = tmp_path / ("data" if cache is None else "roomy")
        keeper = ManagerKeeper(data, tmp_path / "manager.log", settings, before=small_disk)
        async with running(keeper, list):
            yield keeper, exchange
            assert await keeper.down() == 0
            assert processes.of_data(keeper.data) == []


@pytest.mark.parametrize("killed", [pytest.param(False, marks=pytest.mark.long), True], ids=["waiting", "killed"])
async def test_a_full_disk_is_waited_out(
    tmp_path: Path, client: httpx.AsyncClient, small_disk: list[str], killed: bool
) -> None:
    async with on_small_disk(tmp_path, small_disk, "slow:ms=200,path=klines") as (keeper, exchange):
        api = Api(keeper, client)
        queue_id = await api.start(
            "disk",
            symbol="BTCUSDT",
            type="api_candles_1m",
            time_range="2023-01-01:2023-01-21",
            parameters={"loader-api-candles": {"concurrency": 1}},
        )
        await _until_stored(api, queue_id, 2000)
        with ballast(_seen_by(keeper)):
            if killed:
                _kill_workers(keeper)
            await asyncio.sleep(FULL_S)
            # It still answers, and it does not claim to be done.
            full = await api.show(queue_id)
            assert full["status"] == "running", full
        (await client.delete(f"{exchange}/control/faults")).raise_for_status()
        workflow = (await api.until_ended([queue_id], LIMIT_S))[queue_id]
        await _assert_whole(keeper, api, client, exchange, [workflow])


DRIPPING = "drip:path=archive,bytes=500,ms=100"
"""A file takes longer than any test: only a full disk, or its end, ends the download."""


@pytest.mark.parametrize("source", ["auto", pytest.param("archive", marks=pytest.mark.long)])
async def test_a_disk_that_is_full_amid_a_download_is_told_and_nothing_of_the_file_is_taken(
    tmp_path: Path, client: httpx.AsyncClient, small_disk: list[str], source: str
) -> None:
    cache = tmp_path / "data" / "cache"
    request = {"symbol": "BTCUSDT", "type": "api_candles_1m", "time_range": "2023-01", "source": source}
    async with on_small_disk(tmp_path, small_disk, DRIPPING, cache=cache) as (keeper, exchange):
        api = Api(keeper, client)
        queue_id = await api.start("cache", **request)
        seen = _seen_by(keeper, cache)
        await asyncio.to_thread(eventually, lambda: _some_is_downloaded(seen), "some of the file is downloaded")
        with ballast(seen):
            workflow = (await api.until_ended([queue_id], LIMIT_S))[queue_id]
        assert not [*seen.glob("*.zip")]
        first, _ = next(one for one in workflow["steps"] if one["target"] == "loader-producer")["attempts"]
        assert f"the disk of {cache} is full (No space left on device)" in first["reason"], first
        told = workflow["remarks"] if source == "auto" else [workflow["failure"]["reason"]]
        (said,) = told
        assert f"the disk of {cache} is full" in said
        assert "free some room there" in said
        assert "STREAMFORGE_ARCHIVE_CACHE_DIR" in said
        if source == "archive":
            (hole,) = (await api.ask("GET", f"/queues/{queue_id}/coverage"))["segments"]
            assert (workflow["status"], hole["verdict"], hole["cause"] in said) == ("error", "unknown", True)
            assert workflow["progress"]["records_stored"] == 0
            (await client.delete(f"{exchange}/control/faults")).raise_for_status()
            await api.ask("POST", f"/queues/{queue_id}/retry")
            workflow = (await api.until_ended([queue_id], LIMIT_S))[queue_id]
            assert {part["source"] for part in workflow["parts"]} == {"archive"}
            assert len([*seen.glob("*.zip")]) == 1
        await _assert_whole(keeper, api, client, exchange, [workflow])


def _some_is_downloaded(cache: Path) -> bool | None:
    return any(part.stat().st_size for part in cache.glob("*.part")) or None


REQUESTS = 60
"""How many requests may be accepted on a full disk before one is not: into space that the files had already."""


async def test_what_a_full_disk_cannot_hold_is_refused_and_accepted_whole_once_there_is_space(
    tmp_path: Path, client: httpx.AsyncClient, small_disk: list[str]
) -> None:
    async with on_small_disk(tmp_path, small_disk) as (keeper, exchange):
        api = Api(keeper, client)
        before = await api.start("before", symbol="ETHUSDT", type="api_candles_1h", time_range="2023-01-01")
        await api.until_ended([before], LIMIT_S)
        accepted = {"before": before}
        refused: list[str] = []
        with ballast(_seen_by(keeper)):
            for number in range(REQUESTS):
                key = f"full-{number}"
                answer = await client.post(
                    f"{keeper.url}/queues/start", json=_day(number), headers={"Idempotency-Key": key}
                )
                if answer.status_code == 202:
                    accepted[key] = answer.json()["queue_id"]
                    continue
                refused.append(key)
                _assert_refused_for_space(answer)
                if len(refused) == 3:
                    break
            assert len(refused) == 3, "the disk was never full"
            assert await _listed(api) == sorted(accepted.values()), "nothing is half accepted"
        assert await _listed(api) == sorted(accepted.values())
        for key in refused:
            number = int(key.removeprefix("full-"))
            accepted[key] = await api.start(key, **_day(number))
        assert await _listed(api) == sorted(accepted.values())
        workflows = await api.until_ended(list(accepted.values()), LIMIT_S)
        await _assert_whole(keeper, api, client, exchange, list(workflows.values()))


def _day(number: int) -> dict[str, str]:
    return {"symbol": "BTCUSDT", "type": "api_candles_1h", "time_range": str(date(2023, 1, 1) + timedelta(number))}


def _assert_refused_for_space(answer: httpx.Response) -> None:
    assert answer.status_code == 503, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert int(answer.headers["Retry-After"]) >= 1
    problem = answer.json()
    assert (problem["status"], problem["instance"]) == (503, "/queues/start")
    assert "disk is full" in problem["detail"]
    assert "free some space" in f"{problem['detail']} {problem['next_step']}"


async def _listed(api: Api) -> list[str]:
    found = await api.ask("GET", "/queues", params={"limit": 100})
    return sorted(queue["queue_id"] for queue in found["queues"])


def _seen_by(keeper: ManagerKeeper, folder: Path | None = None) -> Path:
    """A folder as the manager sees it; by default that of the data."""
    assert keeper.process is not None
    return Path(f"/proc/{keeper.process.pid}/root{folder or keeper.data}")


def _kill_workers(keeper: ManagerKeeper) -> None:
    assert keeper.process is not None
    for pid in processes.of_data(keeper.data):
        if pid != keeper.process.pid:
            processes.kill(pid, keeper.data, signal.SIGKILL)


async def _assert_whole(
    keeper: ManagerKeeper, api: Api, client: httpx.AsyncClient, exchange: str, workflows: Sequence[dict[str, Any]]
) -> None:
    for workflow in workflows:
        queue_id = workflow["queue_id"]
        assert_history(workflow, await api.events(queue_id))
        assert (await api.ask("GET", f"/queues/{queue_id}/dlq"))["dead_letters"] == []
    copy = keeper.log.with_name("store")  # SQLite does not find its way through /proc
    await asyncio.to_thread(shutil.copytree, _seen_by(keeper) / "store", copy)
    store = EmbeddedStore(copy)
    try:
        for workflow in workflows:
            coverage = await api.ask("GET", f"/queues/{workflow['queue_id']}/coverage")
            await assert_stored(store, client, exchange, workflow, coverage)
    finally:
        await store.close()


async def _until_stored(api: Api, queue_id: str, records: int) -> dict[str, Any]:
    async with asyncio.timeout(LIMIT_S):
        while True:
            workflow = await api.show(queue_id)
            if workflow["progress"]["records_stored"] >= records:
                return workflow
            await asyncio.sleep(0.1)
