"""How fast workflows become Jobs of a real control plane, and what a thousand of them at once cost the manager.

The pods do nothing and nobody speaks for them, so that all there is to measure is the manager and the cluster. The
namespace has the quotas and the priority that ship, so that each Job and each pod is charged to one as it is elsewhere.
A bare loop that posts the same Jobs says how fast this cluster on this machine takes them from anybody.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
import ssl
import time
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from benchmarks.common.bench import Bench
from benchmarks.common.measuring import Line, Section, Size, percentile
from benchmarks.common.processes import cpu_seconds, exchange, manager, peak_resident_mb, resident_mb
from streamforge_utils.adapters.kubernetes.manifest import Template, job_manifest
from streamforge_utils.ports.job_settings import KubernetesSettings, Pair
from streamforge_utils.ports.launcher import JobSpec
from tests.engines.kubernetes import launchers
from tests.engines.kubernetes.cluster import Cluster
from tests.engines.kubernetes.kubelet.plan import NodePlan
from tests.engines.kubernetes.pki import ADMINS

WORKFLOWS = {Size.FULL: 1000, Size.QUICK: 200, Size.TINY: 5}
REQUESTS = {Size.FULL: 300, Size.QUICK: 100, Size.TINY: 5}
BARE = {Size.FULL: 200, Size.QUICK: 100, Size.TINY: 5}
"""Workflows' worth of Jobs that the bare loop posts."""

AT_ONCE = 16
STEPS = 2
NAMESPACE, BARE_NAMESPACE = "bench", "bare"
PAUSE = "local/pause:1"
DEPLOY = Path(__file__).parents[1] / "deploy"
PRIORITY = "streamforge-worker"
COUNTED_S = 30.0
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
        cluster = Cluster(folder / "cluster", nodes=[node], node_grace_s=300)
        cluster.start()
        try:
            cluster.kubectl("apply", f"--filename={DEPLOY / 'cluster' / 'priority-class.yaml'}")
            bare = asyncio.run(_bare(bench, cluster, BARE[bench.size]))
            _make_namespace(cluster, NAMESPACE, count)
            account = launchers.manager_account(cluster, NAMESPACE, folder / "kubeconfig")
            data = folder / "data"
            with manager(data, url, **_settings(account)) as address:
                return asyncio.run(_measure(bench, cluster, data, address, count, requests, bare))
        finally:
            cluster.stop()


def _settings(kubeconfig: Path) -> dict[str, str]:
    return {
        "STREAMFORGE_LAUNCHER": "kubernetes",
        "KUBECONFIG": str(kubeconfig),
        "K8S_NAMESPACE": NAMESPACE,
        "STREAMFORGE_IMAGES": f"loader-api-candles={PAUSE},arango-candles={PAUSE}",
        "STREAMFORGE_K8S_PRIORITY_CLASS": PRIORITY,
        "STREAMFORGE_MAX_RUNNING": "100000",
        "STREAMFORGE_TOTAL_WEIGHT_PER_MINUTE": "100000000",
        # They never say anything.
        "STREAMFORGE_START_SECONDS": "86400",
    }


def _make_namespace(cluster: Cluster, name: str, count: int) -> None:
    """A namespace with the quotas that ship, that of pods raised so far that so many workflows run at once."""
    cluster.create_namespace(name)
    for quota in yaml.safe_load_all((DEPLOY / "base" / "resource-quota.yaml").read_text("utf-8")):
        hard = quota["spec"]["hard"]
        if "pods" in hard:
            times = max(1, math.ceil(STEPS * count / int(hard["pods"])))
            quota["spec"]["hard"] = {what: _times(amount, times) for what, amount in hard.items()}
        cluster.kubectl(f"--namespace={name}", "apply", "--filename=-", stdin=json.dumps(quota))
    # The API server takes nothing that a quota counts before the quota controller has counted what there is.
    give_up = time.monotonic() + COUNTED_S
    while any("used" not in quota.get("status", {}) for quota in _quotas(cluster, name)):
        if time.monotonic() > give_up:
            raise TimeoutError(f"the quotas of {name} are not counted within {COUNTED_S:.0f} s")
        time.sleep(0.1)


def _times(amount: str, times: int) -> str:
    number = amount.rstrip("GMKi")
    return f"{int(number) * times}{amount.removeprefix(number)}"


def _quotas(cluster: Cluster, namespace: str) -> list[dict[str, Any]]:
    path = f"/api/v1/namespaces/{namespace}/resourcequotas"
    found: list[dict[str, Any]] = cluster.admin.request("GET", path)["items"]
    return found


def _charged(cluster: Cluster, what: str) -> int:
    """How many of them the quotas say that there are."""
    used = [quota["status"]["used"].get(what, "0") for quota in _quotas(cluster, NAMESPACE)]
    # The API server writes 2,000 as 2k.
    return max(int(one.removesuffix("k")) * (1000 if one.endswith("k") else 1) for one in used)


async def _bare(bench: Bench, cluster: Cluster, count: int) -> float:
    """Workflows a second whose Jobs a loop can post that does nothing else; they are gone afterwards."""
    _make_namespace(cluster, BARE_NAMESPACE, count)
    template = Template(
        settings=KubernetesSettings(images=(Pair("arango-candles", PAUSE),), priority_class=PRIORITY),
        namespace=BARE_NAMESPACE,
        instance="bare",
    )
    path = f"/apis/batch/v1/namespaces/{BARE_NAMESPACE}/jobs"
    numbers = iter(range(STEPS * count))
    context = ssl.create_default_context(cafile=str(cluster.pki.ca))
    context.load_cert_chain(str(cluster.pki.client("bare-loop", ADMINS).pem))

    async def client(session: aiohttp.ClientSession) -> None:
        for number in numbers:
            # As much environment as a worker's.
            environment = {f"VARIABLE_{one}": "value-of-some-length" for one in range(30)}
            spec = JobSpec(
                name=f"job-arango-candles-btcusdt-{number:06d}",
                target="arango-candles",
                queue_id=f"wf-btcusdt-api_candles_1m-20240801-{number:06d}",
                attempt=1,
                environment=environment,
            )
            body = job_manifest(spec, template)
            status, text = 0, ""
            while status in (0, 409):  # others count in the quota too; the manager asks again as well
                async with session.post(path, params={"fieldValidation": "Strict"}, json=body) as answer:
                    status, text = answer.status, await answer.text()
            if status != 201:
                raise RuntimeError(f"a Job was refused: HTTP {status} {text}")

    connector = aiohttp.TCPConnector(ssl=context)
    async with aiohttp.ClientSession(cluster.server, connector=connector) as session:
        began = time.perf_counter()
        await asyncio.gather(*(client(session) for _ in range(AT_ONCE)))
        seconds = time.perf_counter() - began
    bench.say(f"a bare loop made {STEPS * count} Jobs in {seconds:.1f} s")
    cluster.delete_namespace(BARE_NAMESPACE)
    async with asyncio.timeout(LIMIT_S):
        while await asyncio.to_thread(_items, cluster, "/api/v1/pods"):  # noqa: ASYNC110
            await asyncio.sleep(0.5)
    return count / seconds


async def _measure(
    bench: Bench, cluster: Cluster, data: Path, address: str, count: int, requests: int, bare: float
) -> Section:
    pid = int(json.loads((data / "server.json").read_text())["pid"])
    pids = {"manager": pid, **{process.name: process.pid for process in cluster.processes}}
    async with aiohttp.ClientSession(address) as session:
        before = {name: cpu_seconds(pid) for name, pid in pids.items()}
        launching = asyncio.create_task(_launched(cluster, count))
        accepted_s = await _accepted(session, count)
        bench.say(f"{count} workflows accepted in {accepted_s:.1f} s")
        busy = await _listed_until(session, launching)
        launched_s = await launching
        cpu_ms = {name: 1000 * (cpu_seconds(pid) - before[name]) / count for name, pid in pids.items()}
        bench.say(f"their {STEPS * count} Jobs made in {launched_s:.1f} s")
        await _live(cluster, count)
        bench.say("all of them live")
        seconds = await _listed(session, requests)
    parts = ", ".join(f"{name} {ms:.1f} ms" for name, ms in cpu_ms.items())
    memory = max(resident_mb(pid), peak_resident_mb(pid))
    watches = _watches(cluster)
    charged = f"{_charged(cluster, 'count/jobs.batch'):,} Jobs, {_charged(cluster, 'pods'):,} pods"
    return Section(
        title="Kubernetes: workflows as Jobs",
        how=(
            f"{count:,} workflows are asked for by {AT_ONCE} clients at once, of a real manager on a real control "
            "plane (etcd, API server, controller manager, scheduler) on the same machine; each becomes "
            f"{STEPS} Jobs, whose pods do nothing and go on. The manager has the rights that ship, and no others. "
            "Launched: from the first request to the last Job, while the pods of the earlier ones are scheduled and "
            "started on the same machine. The namespace has the quotas and the workers' priority that ship, that of "
            f"pods raised so far that all of them run at once. Then `GET /queues` is asked {requests} times, with all "
            "of them live. "
            f"Bare: a loop of {AT_ONCE} clients that posts such Jobs into such a namespace and does nothing else."
        ),
        lines=(
            Line(what="Kubernetes: workflows accepted", measured=count / accepted_s, unit="/s", at_least=50),
            Line(what="Kubernetes: workflows launched", measured=count / launched_s, unit="/s", at_least=20),
            Line(
                what="Kubernetes: launched, share of a bare loop that posts the Jobs",
                measured=100 * count / launched_s / bare,
                unit="%",
            ),
            Line(what=f"Kubernetes: memory of the manager, {count:,} live", measured=memory, unit="MB", below=300),
            Line(
                what=f"Kubernetes: GET /queues, p95, {count:,} live",
                measured=1000 * percentile(seconds, 95),
                unit="ms",
                below=50,
            ),
        ),
        details=(
            f"Watches that the manager holds: {watches}, for any number of workflows.",
            f"Charged to the quotas: {charged}.",
            f"GET /queues: p50 {1000 * percentile(seconds, 50):.1f} ms, at most {1000 * max(seconds):.1f} ms; p95 "
            f"{1000 * percentile(busy, 95):.1f} ms while they are launched.",
            f"CPU for each workflow until all are launched: {parts}; in all "
            f"{sum(cpu_ms.values()):.0f} ms of the machine's cores.",
            f"The bare loop: {bare:.1f} workflows' worth of Jobs a second.",
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


async def _listed_until(session: aiohttp.ClientSession, done: asyncio.Task[float]) -> list[float]:
    """The seconds of `GET /queues`, ten times a second until `done`; once at least."""
    found = await _listed(session, 1)
    while not done.done():
        await asyncio.wait({done}, timeout=0.1)
        found += await _listed(session, 1)
    return found


def _number(cluster: Cluster, path: str) -> int:
    """How many objects there are, without reading them."""
    found = cluster.admin.request("GET", path)
    return len(found["items"]) + int(found["metadata"].get("remainingItemCount", 0))


def _items(cluster: Cluster, path: str) -> list[object]:
    found: list[object] = cluster.admin.request("GET", path)["items"]
    return found


def _watches(cluster: Cluster) -> int:
    return sum(int(number) for _, number in _WATCHES.findall(cluster.admin.text("GET", "/metrics")))
