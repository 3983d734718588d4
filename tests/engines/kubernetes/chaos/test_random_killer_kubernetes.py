"""A random killer of pods, manager, API server and controller manager ends with 0 lost, duplicated, stuck, orphaned.

STREAMFORGE_CHAOS_SEED: which schedule. STREAMFORGE_CHAOS_KUBERNETES: how often each of the four is hit, 10 by default.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from streamforge_utils.adapters.embedded.store.embedded_store import EmbeddedStore
from tests.chaos import processes
from tests.chaos.disturbance import disturb, running
from tests.chaos.rig import Api, ManagerKeeper, exchange_process
from tests.chaos.verdict import assert_history, assert_stored
from tests.engines.kubernetes import launchers
from tests.engines.kubernetes.chaos.killer import KubernetesKiller
from tests.engines.kubernetes.chaos.watcher import PodWatcher
from tests.engines.kubernetes.cluster import Cluster
from tests.engines.kubernetes.jobs import Namespace, until

TIMES = int(os.environ.get("STREAMFORGE_CHAOS_KUBERNETES", "10"))
SEED = int(os.environ.get("STREAMFORGE_CHAOS_SEED", "1"))
END_WITHIN_S = 180.0
MEMORY_MB = 350.0
SETTINGS = {
    "STREAMFORGE_HEARTBEAT_SECONDS": "0.5",
    "STREAMFORGE_SILENT_SECONDS": "20",
    "STREAMFORGE_STUCK_SECONDS": "60",
    "STREAMFORGE_TOTAL_WEIGHT_PER_MINUTE": "100000",
}

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800 + 60 * TIMES)]


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(timeout=60) as client:
        yield client


@pytest.fixture
def folder() -> Iterator[Path]:
    with launchers.shared_folder() as found:
        yield found


async def test_nothing_is_lost_duplicated_stuck_or_orphaned(
    kube_cluster: Cluster, kube_namespace: str, folder: Path, client: httpx.AsyncClient
) -> None:
    namespace = Namespace(kube_cluster.admin, kube_namespace)
    # Not an administrator, whom RBAC does not ask: an API server that has just started refuses everybody else.
    account = launchers.manager_account(kube_cluster, kube_namespace, folder / "kubeconfig")
    settings = {**launchers.manager_settings(kube_cluster, kube_namespace, kubeconfig=account), **SETTINGS}
    async with exchange_process("--seed", "7", "--fault", "slow:ms=400,path=klines") as exchange:
        settings["STREAMFORGE_EXCHANGE_URL"] = exchange
        keeper = ManagerKeeper(folder / "data", folder / "manager.log", settings)
        killer = KubernetesKiller(kube_cluster, namespace, keeper, SEED, times=TIMES)
        api, watcher = Api(keeper, client), PodWatcher(namespace)
        repeat = f"repeat it with STREAMFORGE_CHAOS_SEED={SEED} STREAMFORGE_CHAOS_KUBERNETES={TIMES}"
        async with running(keeper, lambda: (repeat, f"struck: {killer.struck}")):
            survivors = await disturb(
                api,
                client,
                exchange,
                killer.run(),
                seed=SEED,
                at_once=3,
                watching=[watcher.watch()],
                within_s=END_WITHIN_S,
            )
            rows = await _check(keeper, api, client, exchange, survivors.workflows, watcher.doubled)
            _check_cluster(namespace, watcher, survivors.workflows)
            assert all(count >= TIMES for count in killer.hits.values())
            assert len(killer.hits) == 4
            assert keeper.process is not None
            memory = processes.peak_memory_mb(keeper.process.pid)
            assert memory < MEMORY_MB
            assert await keeper.down() == 0
            print(
                f"\nseed {SEED}: {dict(killer.hits)}, pods {dict(killer.ways)}, {survivors.summary(rows)}; "
                f"{watcher.looks} looks, manager {memory:.0f} MB"
            )


async def _check(
    keeper: ManagerKeeper,
    api: Api,
    client: httpx.AsyncClient,
    exchange: str,
    workflows: Mapping[str, Mapping[str, Any]],
    doubled: Collection[str],
) -> int:
    """Every workflow is finished and proven, its rows are the exchange's, and each attempt spoke as it should.

    doubled: Jobs that had two pods for a moment.
    """
    rows = 0
    store = EmbeddedStore(keeper.data / "store")
    try:
        for queue_id, workflow in workflows.items():
            assert_history(workflow, await api.events(queue_id), doubled)
            assert (await api.ask("GET", f"/queues/{queue_id}/dlq"))["dead_letters"] == []
            coverage = await api.ask("GET", f"/queues/{queue_id}/coverage")
            rows += await assert_stored(store, client, exchange, workflow, coverage)
    finally:
        await store.close()
    listed = await api.ask("GET", "/queues", params={"limit": 1000})
    assert {one["queue_id"] for one in listed["queues"]} == set(workflows), "a request was accepted twice"
    assert "Traceback" not in keeper.log.read_text(errors="replace")
    return rows


def _check_cluster(namespace: Namespace, watcher: PodWatcher, workflows: Mapping[str, Mapping[str, Any]]) -> None:
    """Every Job belongs to an attempt, none ran again or beside another attempt of its step, and none runs any more."""
    attempts = {
        attempt["job"] for workflow in workflows.values() for step in workflow["steps"] for attempt in step["attempts"]
    }
    jobs = {job["metadata"]["name"] for job in namespace.jobs()}
    assert jobs <= attempts, "a Job that no workflow knows"
    assert watcher.jobs <= attempts
    assert watcher.repeated == []
    assert watcher.overlaps == []

    def nothing_runs() -> bool:
        return all(pod["status"]["phase"] in ("Succeeded", "Failed") for pod in namespace.pods())

    until("no pod runs", nothing_runs)
