"""A node: registered with its labels, kept alive by heartbeats, lost on demand."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime

from tests.engines.kubernetes.kubelet.api import MERGE, STRATEGIC, UNREACHABLE, Api
from tests.engines.kubernetes.kubelet.plan import NodePlan, Plan
from tests.engines.kubernetes.kubelet.status import condition
from tests.engines.kubernetes.rest import ApiError, Object

_LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
_LEASE_S = 40
_log = logging.getLogger(__name__)


class Node:
    """One node of this kubelet. online: set while it may speak to the API server."""

    def __init__(self, plan: Plan, node: NodePlan, api: Api) -> None:
        self.name = node.name
        self.online = asyncio.Event()
        self.online.set()
        self.lost = False
        self._plan = plan
        self._node = node
        self._api = api
        self._registered = False

    async def run(self) -> None:
        """Register it and renew its lease, for ever."""
        while True:
            await self.online.wait()
            try:
                if not self._registered:
                    await self._register()
                    self._registered = True
                await self._renew()
            except (ApiError, *UNREACHABLE) as error:
                self._registered = False
                _log.info("node %s: %s", self.name, error)
            await asyncio.sleep(self._plan.heartbeat_s)

    async def report(self) -> None:
        """Say what it is and how. Raises ApiError, or one of `api.UNREACHABLE`."""
        labels = {
            "kubernetes.io/hostname": self.name,
            "kubernetes.io/os": "linux",
            "kubernetes.io/arch": "amd64",
            **self._node.labels,
        }
        path = f"/api/v1/nodes/{self.name}"
        await self._api.request("PATCH", path, {"metadata": {"labels": labels}}, kind=MERGE)
        await self._api.request("PATCH", f"{path}/status", {"status": self._status()}, kind=STRATEGIC)

    async def _register(self) -> None:
        await self._create("/api/v1/nodes", {"metadata": {"name": self.name}})
        lease = {
            "metadata": {"name": self.name, "namespace": "kube-node-lease"},
            "spec": {"holderIdentity": self.name, "leaseDurationSeconds": _LEASE_S},
        }
        await self._create(_LEASES, lease)
        await self.report()

    async def _create(self, path: str, body: Object) -> None:
        try:
            await self._api.request("POST", path, body)
        except ApiError as error:
            if error.status != 409:
                raise

    async def _renew(self) -> None:
        moment = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        await self._api.request("PATCH", f"{_LEASES}/{self.name}", {"spec": {"renewTime": moment}}, kind=MERGE)

    def _status(self) -> Object:
        room = {
            "cpu": self._node.cpu,
            "memory": self._node.memory,
            "pods": str(self._node.pods),
            "ephemeral-storage": "100Gi",
        }
        return {
            "addresses": [
                {"type": "InternalIP", "address": self._plan.host},
                {"type": "Hostname", "address": self.name},
            ],
            "capacity": room,
            "allocatable": room,
            "daemonEndpoints": {"kubeletEndpoint": {"Port": self._plan.port}},
            "conditions": [
                condition("MemoryPressure", False, "KubeletHasSufficientMemory"),
                condition("DiskPressure", False, "KubeletHasNoDiskPressure"),
                condition("PIDPressure", False, "KubeletHasSufficientPID"),
                condition("Ready", True, "KubeletReady"),
            ],
            "nodeInfo": {
                "machineID": self.name,
                "systemUUID": self.name,
                "bootID": self.name,
                "kernelVersion": "local processes",
                "osImage": "local processes",
                "containerRuntimeVersion": "streamforge://1",
                "kubeletVersion": self._plan.version,
                "kubeProxyVersion": "",
                "operatingSystem": "linux",
                "architecture": "amd64",
            },
        }
