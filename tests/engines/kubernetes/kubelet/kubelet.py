"""The kubelet: nodes of a cluster whose pods are processes of this machine."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Coroutine

from tests.engines.kubernetes.kubelet import faults
from tests.engines.kubernetes.kubelet.api import UNREACHABLE, Api
from tests.engines.kubernetes.kubelet.container import Host
from tests.engines.kubernetes.kubelet.events import Events
from tests.engines.kubernetes.kubelet.mounting import Mounter
from tests.engines.kubernetes.kubelet.node import Node
from tests.engines.kubernetes.kubelet.plan import Plan
from tests.engines.kubernetes.kubelet.reaper import Reaper
from tests.engines.kubernetes.kubelet.runner import PodRunner
from tests.engines.kubernetes.kubelet.server import Server
from tests.engines.kubernetes.rest import ApiError, Object

_BOUND = {"fieldSelector": "spec.nodeName!="}
_log = logging.getLogger(__name__)


class Kubelet:
    """Several nodes in one process. `run` ends when it is cancelled, and everything it started with it."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._nodes = dict[str, Node]()
        self._pods = dict[str, PodRunner]()
        self._api = Api(plan.host, plan.api_port, plan.ca, pem=plan.client)
        self._tasks = set[asyncio.Task[None]]()

    async def run(self) -> None:
        """Serve for ever."""
        mark = secrets.token_hex(8)
        reaper = Reaper(mark)
        server = Server(self._plan, self._find)
        try:
            async with self._api:
                events = Events(self._api)
                mounter = await asyncio.to_thread(Mounter.probe)
                self._host = Host(self._plan, self._api, events, mounter, mark)
                self._nodes = {node.name: Node(self._plan, node, self._api) for node in self._plan.nodes}
                await server.start()
                try:
                    async with asyncio.TaskGroup() as group:
                        for node in self._nodes.values():
                            group.create_task(node.run())
                        group.create_task(events.run())
                        group.create_task(self._api.follow("/api/v1/nodes", self._see_nodes, self._see_node))
                        group.create_task(self._api.follow("/api/v1/pods", self._see_all, self._see, _BOUND))
                finally:
                    await asyncio.gather(*(pod.close() for pod in self._pods.values()))
                    await server.close()
        finally:
            reaper.close()

    def _find(self, namespace: str, name: str) -> PodRunner | None:
        for pod in self._pods.values():
            meta = pod.pod["metadata"]
            if meta["name"] == name and meta["namespace"] == namespace:
                return pod
        return None

    # Pods

    def _see_all(self, pods: list[Object]) -> None:
        there = {pod["metadata"]["uid"] for pod in pods}
        for uid in self._pods.keys() - there:
            self._see("DELETED", self._pods[uid].pod)
        for pod in pods:
            self._see("MODIFIED", pod)

    def _see(self, change: str, pod: Object) -> None:
        uid, node = pod["metadata"]["uid"], self._nodes.get(pod["spec"]["nodeName"])
        if node is None or node.lost:
            # What happened meanwhile is looked up when the node is back.
            return
        known = self._pods.get(uid)
        if change == "DELETED":
            if known is not None:
                known.gone()
        elif known is not None:
            known.update(pod)
        else:
            self._pods[uid] = runner = PodRunner(self._host, node, pod)
            self._start(self._forget(uid, runner))

    async def _forget(self, uid: str, runner: PodRunner) -> None:
        await runner.ended()
        if self._pods.get(uid) is runner:
            del self._pods[uid]

    # Nodes

    def _see_nodes(self, nodes: list[Object]) -> None:
        for node in nodes:
            self._see_node("MODIFIED", node)

    def _see_node(self, change: str, thing: Object) -> None:
        node = self._nodes.get(thing["metadata"]["name"])
        lost = bool(faults.annotation(thing, faults.LOST))
        if node is None or lost == node.lost:
            return
        _log.info("node %s: %s", node.name, "lost" if lost else "back")
        node.lost = lost
        if lost:
            node.online.clear()
        else:
            self._start(self._come_back(node))

    async def _come_back(self, node: Node) -> None:
        query = {"fieldSelector": f"spec.nodeName={node.name}"}
        while not node.lost:
            try:
                await node.report()
                pods = await self._api.request("GET", "/api/v1/pods", query=query)
            except (ApiError, *UNREACHABLE) as error:
                _log.info("node %s: %s", node.name, error)
                await asyncio.sleep(self._plan.retry_s)
                continue
            there = {pod["metadata"]["uid"] for pod in pods["items"]}
            for uid, runner in list(self._pods.items()):
                if runner.node is node and uid not in there:
                    runner.gone()
            for pod in pods["items"]:
                self._see("MODIFIED", pod)
            node.online.set()
            return

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
