"""The launcher while its way to the API server, the server itself, its controllers or the clock fail."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from streamforge_utils.adapters.kubernetes import api as api_module
from streamforge_utils.adapters.kubernetes import informer as informer_module
from streamforge_utils.adapters.kubernetes.job_launcher import KubernetesLauncher
from streamforge_utils.model.errors import RetryableError
from streamforge_utils.ports.clock import SystemClock
from streamforge_utils.ports.launcher import Job, JobSpec, JobState
from tests.doubles.memorystore import MemoryStore
from tests.engines.kubernetes import launchers
from tests.engines.kubernetes.cluster import Cluster
from tests.engines.kubernetes.jobs import Namespace
from tests.engines.proxy import Proxy

pytestmark = pytest.mark.timeout(300)
LIMIT_S = 90.0
DAY_MS = 86_400_000


class Jumping(SystemClock):
    """Its wall clock can be set."""

    def __init__(self) -> None:
        self.ahead_ms = 0

    def now_ms(self) -> int:
        return super().now_ms() + self.ahead_ms


@pytest.fixture
def proxy(kube_cluster: Cluster) -> Iterator[Proxy]:
    with kube_cluster.proxy() as found:
        yield found


@pytest.fixture
def clock() -> Jumping:
    return Jumping()


@pytest.fixture
async def launcher(
    kube_cluster: Cluster, namespace: Namespace, proxy: Proxy, clock: Jumping, tmp_path: Path
) -> AsyncIterator[KubernetesLauncher]:
    """One that speaks through the proxy, with the rights that ship and no others."""
    account = launchers.manager_account(
        kube_cluster, namespace.name, tmp_path / "kubeconfig", server=kube_cluster.proxied_server
    )
    found = launchers.make(kube_cluster, namespace.name, MemoryStore(), kubeconfig=account, clock=clock)
    yield found
    await found.close()


def spec(name: str, folder: Path) -> JobSpec:
    """A job that ends once the file `end` is in the folder, and writes down that it ran."""
    script = f"echo ran >> {folder}/{name}; until [ -e {folder}/end ]; do sleep 0.05; done; exit 1"
    return JobSpec(
        name=name,
        target="arango-candles",
        queue_id="wf-btcusdt-api_candles_1m-20240801-abc123",
        attempt=1,
        environment={"CONTRACT_SCRIPT": script},
    )


async def until(launcher: KubernetesLauncher, name: str, holds: Callable[[Job], object]) -> Job:
    async with asyncio.timeout(LIMIT_S):
        while True:
            found = next((job for job in await launcher.jobs() if job.name == name), None)
            if found is not None and holds(found):
                return found
            await asyncio.sleep(0.05)


async def started(launcher: KubernetesLauncher, spec: JobSpec) -> None:
    """Start it, asking again for as long as that may help."""
    async with asyncio.timeout(LIMIT_S):
        while True:
            with contextlib.suppress(RetryableError):
                await launcher.start(spec)
                return


async def both_end_once(launcher: KubernetesLauncher, namespace: Namespace, folder: Path) -> None:
    """After all that was between: two jobs ran once each, and how they ended is known."""
    (folder / "end").touch()
    for name in ("job-before", "job-during"):
        job = await until(launcher, name, lambda job: job.state is JobState.ENDED)
        assert job.exit_code == 1
        assert (folder / name).read_text() == "ran\n"
        assert len(namespace.pods(name)) == 1


async def test_a_way_that_is_cut(
    launcher: KubernetesLauncher, namespace: Namespace, proxy: Proxy, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await launcher.start(spec("job-before", folder))
    await asyncio.to_thread(namespace.running, "job-before")
    proxy.cut()
    monkeypatch.setattr(launcher._api, "_patience_s", 0.5)
    with pytest.raises(RetryableError, match="cannot be reached"):
        await launcher.start(spec("job-during", folder))
    seen = {job.name: job.state for job in await launcher.jobs()}
    assert seen == {"job-before": JobState.RUNNING}, "what was known is still told"
    proxy.heal()
    await started(launcher, spec("job-during", folder))
    await both_end_once(launcher, namespace, folder)


async def test_connections_that_are_reset_again_and_again(
    launcher: KubernetesLauncher, namespace: Namespace, proxy: Proxy, folder: Path
) -> None:
    async def resetting() -> None:
        for _ in range(30):
            proxy.reset()
            await asyncio.sleep(0.1)

    await launcher.start(spec("job-before", folder))
    trouble = asyncio.create_task(resetting())
    await started(launcher, spec("job-during", folder))
    await trouble
    await both_end_once(launcher, namespace, folder)


async def test_a_way_that_falls_silent(
    launcher: KubernetesLauncher, namespace: Namespace, proxy: Proxy, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(informer_module, "SILENT_S", 2.0)
    monkeypatch.setattr(api_module, "REQUEST_S", 2.0)
    await launcher.start(spec("job-before", folder))
    await asyncio.to_thread(namespace.running, "job-before")
    proxy.stall()
    during = asyncio.create_task(started(launcher, spec("job-during", folder)))
    (folder / "end").touch()
    await asyncio.to_thread(namespace.ended, "job-before")
    proxy.heal()
    await during
    await both_end_once(launcher, namespace, folder)


async def test_an_api_server_that_is_killed_and_comes_back(
    launcher: KubernetesLauncher, kube_cluster: Cluster, namespace: Namespace, folder: Path
) -> None:
    await launcher.start(spec("job-before", folder))
    await asyncio.to_thread(namespace.running, "job-before")
    kube_cluster.api_server.kill()
    try:
        during = asyncio.create_task(started(launcher, spec("job-during", folder)))
        await asyncio.sleep(0)
    finally:
        await asyncio.to_thread(kube_cluster.start_api_server)
    await during
    await both_end_once(launcher, namespace, folder)


async def test_a_controller_manager_that_is_killed_and_comes_back(
    launcher: KubernetesLauncher, kube_cluster: Cluster, namespace: Namespace, folder: Path
) -> None:
    await launcher.start(spec("job-before", folder))
    await asyncio.to_thread(namespace.running, "job-before")
    kube_cluster.controller_manager.kill()
    try:
        await launcher.start(spec("job-during", folder))
        (folder / "end").touch()
        # Its pod says how it ended, whether or not somebody counts pods.
        assert (await until(launcher, "job-before", lambda job: job.state is JobState.ENDED)).exit_code == 1
    finally:
        await asyncio.to_thread(kube_cluster.controller_manager.start)
    await both_end_once(launcher, namespace, folder)


@pytest.mark.parametrize("ahead_ms", [DAY_MS, -DAY_MS], ids=["ahead", "back"])
async def test_a_clock_that_jumps(
    launcher: KubernetesLauncher, namespace: Namespace, folder: Path, clock: Jumping, ahead_ms: int
) -> None:
    await launcher.start(spec("job-before", folder))
    await asyncio.to_thread(namespace.running, "job-before")
    clock.ahead_ms = ahead_ms
    await launcher.start(spec("job-during", folder))
    await both_end_once(launcher, namespace, folder)
    for job in await launcher.jobs():
        assert job.ended_ms is not None
        assert 0 <= job.ended_ms - job.started_ms < LIMIT_S * 1000
