"""The launcher on Kubernetes keeps the contract of the launcher, on a real control plane and with no right too many.

Its way to the API server, the server itself, its controllers or the clock may fail: jobs that were started before and
meanwhile run once each, and how they ended is known.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from streamforge_utils.adapters.kubernetes import api as api_module
from streamforge_utils.adapters.kubernetes import informer as informer_module
from streamforge_utils.adapters.kubernetes.job_launcher import KubernetesLauncher
from streamforge_utils.model.errors import RetryableError
from streamforge_utils.ports.clock import SystemClock
from streamforge_utils.ports.launcher import Job, JobSpec, JobState
from tests.contracts.launcher import ClosingLauncher, LauncherContract, LauncherFixtures, MakeLauncher
from tests.contracts.launcher_baskets import BasketContract, EndMember
from tests.doubles.memorystore import MemoryStore
from tests.engines.kubernetes import launchers
from tests.engines.kubernetes.cluster import Cluster
from tests.engines.kubernetes.jobs import Namespace
from tests.engines.proxy import Proxy

LIMIT_S = 540.0
DAY_MS = 86_400_000


class OnCluster(LauncherFixtures):
    patience_s = 60.0
    others_at_once = False

    @pytest.fixture
    def make_launcher(self, kube_cluster: Cluster, namespace: Namespace, tmp_path: Path) -> MakeLauncher:
        account = launchers.manager_account(kube_cluster, namespace.name, tmp_path / "kubeconfig")
        store = MemoryStore()
        return lambda: launchers.make(kube_cluster, namespace.name, store, kubeconfig=account)

    @pytest.fixture
    def file(self, folder: Path) -> Path:
        return folder / "contract-file"


class TestKubernetesLauncher(OnCluster, LauncherContract):
    pass


class TestKubernetesBaskets(OnCluster, BasketContract):
    grace = "streamforge_utils.adapters.kubernetes.job_launcher.MEMBER_GRACE_S"

    @pytest.fixture
    def end_member(self) -> EndMember:
        """As a manager does that has heard its terminal event."""

        async def end(launcher: ClosingLauncher, name: str, exit_code: int) -> None:
            await launcher.note_end(name, exit_code)

        return end


class Jumping(SystemClock):
    """Its wall clock can be set."""

    def __init__(self) -> None:
        self.ahead_ms = 0

    def now_ms(self) -> int:
        return super().now_ms() + self.ahead_ms


@dataclass(frozen=True)
class Stage:
    """A launcher that speaks through the proxy, with the rights that ship and no others, and what can fail."""

    launcher: KubernetesLauncher
    cluster: Cluster
    namespace: Namespace
    proxy: Proxy
    clock: Jumping
    folder: Path

    def spec(self, name: str) -> JobSpec:
        """A job that ends once the file `end` is in the folder, and writes down that it ran."""
        script = f"echo ran >> {self.folder}/{name}; until [ -e {self.folder}/end ]; do sleep 0.05; done; exit 1"
        return JobSpec(
            name=name,
            target="arango-candles",
            queue_id="wf-btcusdt-api_candles_1m-20240801-abc123",
            attempt=1,
            environment={"CONTRACT_SCRIPT": script},
        )

    async def start(self, name: str) -> None:
        """Start a job, asking again for as long as that may help."""
        async with asyncio.timeout(LIMIT_S):
            while True:
                with contextlib.suppress(RetryableError):
                    await self.launcher.start(self.spec(name))
                    return

    async def ended(self, name: str) -> Job:
        async with asyncio.timeout(LIMIT_S):
            while True:
                found = next((job for job in await self.launcher.jobs() if job.name == name), None)
                if found is not None and found.state is JobState.ENDED:
                    return found
                await asyncio.sleep(0.05)


@pytest.fixture
async def stage(kube_cluster: Cluster, namespace: Namespace, folder: Path, tmp_path: Path) -> AsyncIterator[Stage]:
    server, clock = kube_cluster.proxied_server, Jumping()
    account = launchers.manager_account(kube_cluster, namespace.name, tmp_path / "kubeconfig", server=server)
    launcher = launchers.make(kube_cluster, namespace.name, MemoryStore(), kubeconfig=account, clock=clock)
    with kube_cluster.proxy() as proxy:
        yield Stage(launcher, kube_cluster, namespace, proxy, clock, folder)
        await launcher.close()


async def the_way_is_cut(stage: Stage) -> None:
    stage.proxy.cut()
    stage.launcher._api._patience_s = 0.5
    with pytest.raises(RetryableError, match="cannot be reached"):
        await stage.launcher.start(stage.spec("job-during"))
    seen = {job.name: job.state for job in await stage.launcher.jobs()}
    assert seen == {"job-before": JobState.RUNNING}, "what was known is still told"
    stage.launcher._api._patience_s = api_module.PATIENCE_S
    stage.proxy.heal()


async def connections_are_reset_again_and_again(stage: Stage) -> None:
    during = asyncio.create_task(stage.start("job-during"))
    for _ in range(30):
        stage.proxy.reset()
        await asyncio.sleep(0.1)
    await during


async def the_way_falls_silent(stage: Stage) -> None:
    stage.proxy.stall()
    during = asyncio.create_task(stage.start("job-during"))
    (stage.folder / "end").touch()
    await asyncio.to_thread(stage.namespace.ended, "job-before")
    stage.proxy.heal()
    await during


async def the_api_server_is_killed(stage: Stage) -> None:
    stage.cluster.api_server.kill()
    during = asyncio.create_task(stage.start("job-during"))
    await asyncio.sleep(0)
    await asyncio.to_thread(stage.cluster.start_api_server)
    await during


async def the_controller_manager_is_killed(stage: Stage) -> None:
    stage.cluster.controller_manager.kill()
    try:
        await stage.start("job-during")
        (stage.folder / "end").touch()
        # Its pod says how it ended, whether or not somebody counts pods.
        assert (await stage.ended("job-before")).exit_code == 1
    finally:
        await asyncio.to_thread(stage.cluster.controller_manager.start)


async def the_clock_jumps_ahead(stage: Stage) -> None:
    stage.clock.ahead_ms = DAY_MS


async def the_clock_jumps_back(stage: Stage) -> None:
    stage.clock.ahead_ms = -DAY_MS


@pytest.mark.parametrize(
    "fault",
    [
        the_way_is_cut,
        connections_are_reset_again_and_again,
        the_way_falls_silent,
        the_api_server_is_killed,
        the_controller_manager_is_killed,
        the_clock_jumps_ahead,
        the_clock_jumps_back,
    ],
)
async def test_jobs_run_once_each_and_their_end_is_known_though(
    stage: Stage, fault: Callable[[Stage], Awaitable[None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    if fault is the_way_falls_silent:
        monkeypatch.setattr(informer_module, "SILENT_S", 2.0)
        monkeypatch.setattr(api_module, "REQUEST_S", 2.0)
    await stage.launcher.start(stage.spec("job-before"))
    await asyncio.to_thread(stage.namespace.running, "job-before")
    await fault(stage)
    await stage.start("job-during")
    (stage.folder / "end").touch()
    for name in ("job-before", "job-during"):
        job = await stage.ended(name)
        assert job.exit_code == 1
        assert (stage.folder / name).read_text() == "ran\n"
        assert len(stage.namespace.pods(name)) == 1
        assert job.ended_ms is not None
        assert 0 <= job.ended_ms - job.started_ms < LIMIT_S * 1000
