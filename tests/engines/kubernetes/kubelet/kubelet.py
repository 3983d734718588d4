"""The kubelet: nodes of a cluster whose pods are processes of this machine, and the server of their logs."""

from __future__ import annotations

import asyncio
import logging
import secrets
import ssl
from collections.abc import Callable, Coroutine
from contextlib import suppress

from aiohttp import web

from tests.engines.kubernetes.kubelet import faults
from tests.engines.kubernetes.kubelet.api import UNREACHABLE, Api, Events
from tests.engines.kubernetes.kubelet.container import Container, Host, read_log
from tests.engines.kubernetes.kubelet.node import Node
from tests.engines.kubernetes.kubelet.plan import Plan
from tests.engines.kubernetes.kubelet.process import Reaper
from tests.engines.kubernetes.kubelet.runner import PodRunner
from tests.engines.kubernetes.kubelet.volumes import Mounter
from tests.engines.kubernetes.rest import ApiError, Object

_BOUND = {"fieldSelector": "spec.nodeName!="}
_log = logging.getLogger(__name__)
Find = Callable[[str, str], PodRunner | None]
_FOLLOW_S = 0.1
_KNOWN = {"follow", "limitBytes", "previous", "stream", "tailLines"}


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


class Server:
    """Serves logs of containers, by HTTPS and for the API server's certificate only. find: by namespace and name."""

    def __init__(self, plan: Plan, find: Find) -> None:
        self._plan = plan
        self._find = find
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=self._plan.ca)
        context.load_cert_chain(self._plan.serving)
        context.verify_mode = ssl.CERT_REQUIRED
        application = web.Application()
        application.router.add_get("/containerLogs/{namespace}/{pod}/{container}", self._logs)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._plan.host, self._plan.port, ssl_context=context).start()

    async def close(self) -> None:
        """End."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _logs(self, request: web.Request) -> web.StreamResponse:
        names = request.match_info
        pod = self._find(names["namespace"], names["pod"])
        found = next((one for one in pod.containers if one.name == names["container"]), None) if pod else None
        if pod is None or found is None:
            raise web.HTTPNotFound(text=f"{names['pod']}: there is no container {names['container']} on this node")
        run = found.status.restarts - (request.query.get("previous") == "true")
        if run < 0:
            told = f'previous terminated container "{found.name}" in pod "{names["pod"]}" not found'
            raise web.HTTPBadRequest(text=told)
        if not found.log_path(run).exists() and not found.idle:
            raise web.HTTPBadRequest(text=f'container "{found.name}" in pod "{names["pod"]}" is waiting to start')
        if unknown := request.query.keys() - _KNOWN:
            raise web.HTTPBadRequest(text=f"this kubelet does not know {', '.join(sorted(unknown))}")
        return await self._send(request, found, run)

    async def _send(self, request: web.Request, container: Container, run: int) -> web.StreamResponse:
        query, path = request.query, container.log_path(run)
        answer = web.StreamResponse(headers={"Content-Type": "text/plain"})
        await answer.prepare(request)
        # Asked before the look, so that what came last is seen.
        over = query.get("follow") != "true" or container.run is None
        text = read_log(path)
        offset = len(text)
        if "tailLines" in query:
            text = read_log(path, tail=int(query["tailLines"]))
        with suppress(ConnectionError):
            await answer.write(text[: int(query.get("limitBytes", len(text)))])
            while not over:
                await asyncio.sleep(_FOLLOW_S)
                over = container.run is None
                text = read_log(path, offset=offset)
                offset += len(text)
                await answer.write(text)
            await answer.write_eof()
        return answer
