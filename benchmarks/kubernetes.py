"""How fast workflows become Jobs of a real control plane, and what a thousand of them at once cost the manager.

The pods do nothing and nobody speaks for them, so that all there is to measure is the manager and the cluster.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from pathlib import Path

import aiohttp

from benchmarks.common.bench import Bench
from benchmarks.common.measuring import Line, Section, Size, percentile
from benchmarks.common.processes import exchange, manager, resident_mb
from tests.engines.kubernetes.cluster import Cluster
from tests.engines.kubernetes.kubelet.plan import NodePlan
from tests.engines.kubernetes.parts import Pace

WORKFLOWS = {Size.FULL: 1000, Size.QUICK: 200, Size.TINY: 5}
REQUESTS = {Size.FULL: 300, Size.QUICK: 100, Size.TINY: 5}
AT_ONCE = 16
STEPS = 2
NAMESPACE = "bench"
LIMIT_S = 900.0
PODS = 3000
_WATCHES = re.compile(
    r'apiserver_longrunning_requests\{[^}]*resource="(jobs|pods)"[^}]*scope="namespace"[^}]*verb="WATCH"[^}]*\} (\d+)'
)


def run(bench: Bench) -> Section:
    """Measure it."""
    count, requests = WORKFLOWS[bench.size], REQUESTS[bench.size]
    with bench.folder() as folder, exchange() as url:
        node = NodePlan("node-1", {}, cpu="1000", memory="4000Gi", pods=PODS)
        cluster = Cluster(folder / "cluster", nodes=[node], pace=Pace(node_grace_s=300))
        cluster.start()
        try:
            cluster.create_namespace(NAMESPACE)
            data = folder / "data"
            with manager(data, url, **_settings(cluster)) as address:
                return asyncio.run(_measure(bench, cluster, data, address, count, requests))
        finally:
            cluster.stop()


def _settings(cluster: Cluster) -> dict[str, str]:
    return {
        "STREAMFORGE_LAUNCHER": "kubernetes",
        "KUBECONFIG": str(cluster.kubeconfig),
        "K8S_NAMESPACE": NAMESPACE,
        "STREAMFORGE_IMAGES": "loader-api-candles=local/pause:1,arango-candles=local/pause:1",
        "STREAMFORGE_MAX_RUNNING": "100000",
        "STREAMFORGE_TOTAL_WEIGHT_PER_MINUTE": "100000000",
        # They never say anything.
        "STREAMFORGE_START_SECONDS": "86400",
    }


async def _measure(bench: Bench, cluster: Cluster, data: Path, address: str, count: int, requests: int) -> Section:
    pid = int(json.loads((data / "server.json").read_text())["pid"])
    async with aiohttp.ClientSession(address) as session:
        launching = asyncio.create_task(_launched(cluster, count))
        accepted_s = await _accepted(session, count)
        bench.say(f"{count} workflows accepted in {accepted_s:.1f} s")
        launched_s = await launching
        bench.say(f"their {STEPS * count} Jobs made in {launched_s:.1f} s")
        await _live(cluster, count)
        bench.say("all of them live")
        seconds = await _listed(session, requests)
    memory = resident_mb(pid)
    watches = _watches(cluster)
    return Section(
        title="Kubernetes: workflows as Jobs",
        how=(
            f"{count:,} workflows are asked for by {AT_ONCE} clients at once, of a real manager on a real control "
            "plane (etcd, API server, controller manager, scheduler) on the same machine; each becomes "
            f"{STEPS} Jobs, whose pods do nothing and go on. Launched: from the first request to the last Job. Then "
            f"`GET /queues` is asked {requests} times, with all of them live."
        ),
        lines=(
            Line(what="Kubernetes: workflows accepted", measured=count / accepted_s, unit="/s", at_least=50),
            Line(what="Kubernetes: workflows launched", measured=count / launched_s, unit="/s", at_least=20),
            Line(what=f"Kubernetes: memory of the manager, {count:,} live", measured=memory, unit="MB", below=300),
            Line(
                what=f"Kubernetes: GET /queues, p95, {count:,} live",
                measured=1000 * percentile(seconds, 95),
                unit="ms",
                below=50,
            ),
        ),
        details=(
            f"Watches that the manager holds: {watches}, whatever the number of workflows.",
            f"GET /queues: p50 {1000 * percentile(seconds, 50):.1f} ms, at most {1000 * max(seconds):.1f} ms.",
        ),
    )


async def _accepted(session: aiohttp.ClientSession, count: int) -> float:
    """Ask for `count` workflows; the seconds until the last was accepted."""
    numbers = iter(range(count))

    async def client() -> None:
        for number in numbers:
            day = f"20{18 + number % 6}-{1 + number // 6 % 12:02d}-{1 + number // 72 % 28:02d}"
            body = {"symbol": "BTCUSDT", "type": "api_candles_1m", "time_range": day}
            async with session.post("/queues/start", json=body) as answer:
                if answer.status != 202:
                    raise RuntimeError(f"a workflow was refused: HTTP {answer.status} {await answer.text()}")

    began = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(AT_ONCE)))
    return time.perf_counter() - began


async def _launched(cluster: Cluster, count: int) -> float:
    """The seconds until there are all Jobs. Raises TimeoutError."""
    began = time.perf_counter()
    path = f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs?limit=1"
    async with asyncio.timeout(LIMIT_S):
        while await asyncio.to_thread(_number, cluster, path) < STEPS * count:  # noqa: ASYNC110
            await asyncio.sleep(0.2)
    return time.perf_counter() - began


async def _live(cluster: Cluster, count: int) -> None:
    path = f"/api/v1/namespaces/{NAMESPACE}/pods?fieldSelector=status.phase%3DRunning"
    async with asyncio.timeout(LIMIT_S):
        while len(await asyncio.to_thread(_items, cluster, path)) < STEPS * count:  # noqa: ASYNC110
            await asyncio.sleep(1)


async def _listed(session: aiohttp.ClientSession, requests: int) -> list[float]:
    seconds = []
    for number in range(requests):
        query = {"limit": "100" if number % 2 else "20"}
        began = time.perf_counter()
        async with session.get("/queues", params=query) as answer:
            await answer.read()
            if answer.status != 200:
                raise RuntimeError(f"GET /queues: HTTP {answer.status}")
        seconds.append(time.perf_counter() - began)
    return seconds


def _number(cluster: Cluster, path: str) -> int:
    """How many objects there are, without reading them."""
    found = cluster.admin.request("GET", path)
    return len(found["items"]) + int(found["metadata"].get("remainingItemCount", 0))


def _items(cluster: Cluster, path: str) -> list[object]:
    found: list[object] = cluster.admin.request("GET", path)["items"]
    return found


def _watches(cluster: Cluster) -> int:
    return sum(int(number) for _, number in _WATCHES.findall(cluster.admin.text("GET", "/metrics")))
