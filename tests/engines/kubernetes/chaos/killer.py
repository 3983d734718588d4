"""The random killer of a cluster: pods, Jobs, the manager, the API server and the controller manager, from a seed."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

from tests.chaos.rig import ManagerKeeper
from tests.engines.kubernetes.cluster import Cluster
from tests.engines.kubernetes.jobs import Namespace, until
from tests.engines.kubernetes.kubelet import faults
from tests.engines.kubernetes.rest import ApiError, Object

PAUSE_S = (0.2, 0.8)
"""Between two strikes."""

REST_S = (0.0, 1.0)
"""How long what was killed stays down, beyond what it takes to start it."""

POD, MANAGER, SERVER, CONTROLLERS = "pod", "manager", "API server", "controller manager"
_LIVE_S = 240.0
_UP_S = 90.0


class KubernetesKiller:
    """Strikes each of the four at least `times` times. hits: what was hit, how often; ways: how pods were."""

    def __init__(self, cluster: Cluster, namespace: Namespace, keeper: ManagerKeeper, seed: int, *, times: int) -> None:
        self.hits: Counter[str] = Counter()
        self.ways: Counter[str] = Counter()
        self.struck: list[str] = []
        self._cluster = cluster
        self._namespace = namespace
        self._keeper = keeper
        self._random = random.Random(seed)
        self._times = times

    async def run(self) -> None:
        """Strike, and leave everything running."""
        strikes = [POD, MANAGER, SERVER, CONTROLLERS] * self._times
        self._random.shuffle(strikes)
        for kind in strikes:
            await asyncio.sleep(self._random.uniform(*PAUSE_S))
            rest_s = self._random.uniform(*REST_S)
            if kind == POD:
                what = await self._hit_pod()
            elif kind == MANAGER:
                what = MANAGER
                assert await self._keeper.kill()
                await asyncio.sleep(rest_s)
                await self._keeper.up()
            elif kind == SERVER:
                what = SERVER
                await asyncio.to_thread(self._cluster.api_server.kill)
                await asyncio.sleep(rest_s)
                await asyncio.to_thread(self._revive)
            else:
                what = CONTROLLERS
                await asyncio.to_thread(self._cluster.controller_manager.kill)
                await asyncio.sleep(rest_s)
                await asyncio.to_thread(self._supervise)
            self.hits[kind] += 1
            self.struck.append(what)
        await asyncio.to_thread(self._supervise)

    def _revive(self) -> None:
        """Start the API server and wait until it serves."""
        self._cluster.api_server.start()

        def serves() -> bool:
            self._supervise()
            return self._cluster.admin.text("GET", "/readyz", limit_s=30) == "ok"

        until("the API server serves again", serves, limit_s=_UP_S)

    def _supervise(self) -> None:
        """Start what is down, as a node does: controllers give up where there is no API server when they start."""
        for process in (self._cluster.controller_manager, self._cluster.scheduler):
            if not process.running:
                process.start()

    async def _hit_pod(self) -> str:
        """End a live pod in one of the ways in which pods end; raises if there is none for too long."""
        async with asyncio.timeout(_LIVE_S):
            while True:
                live = [pod for pod in await asyncio.to_thread(self._namespace.pods) if _runs(pod)]
                if live:
                    pod = self._random.choice(live)
                    way = self._random.choice(("kill", "evict", "delete pod", "delete job", "force"))
                    try:
                        await asyncio.to_thread(self._end, pod, way)
                    except ApiError:
                        continue  # it has ended by itself meanwhile
                    self.ways[way] += 1
                    return f"{way} {pod['metadata']['name']}"
                await asyncio.sleep(0.1)

    def _end(self, pod: Object, way: str) -> None:
        path = f"{self._namespace.path}/pods/{pod['metadata']['name']}"
        if way == "kill":
            self._namespace.fault(pod, faults.ending(137))
        elif way == "evict":
            self._namespace.fault(pod, faults.EVICTED)
        elif way == "delete job":
            self._namespace.delete(pod["metadata"]["labels"]["batch.kubernetes.io/job-name"])
        else:
            self._namespace.rest.request("DELETE", path, {"gracePeriodSeconds": 0 if way == "force" else 1})


def _runs(pod: Object) -> bool:
    return pod["status"].get("phase") == "Running" and "deletionTimestamp" not in pod["metadata"]
