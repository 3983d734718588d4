"""The plan of a kubelet, which it reads at its start."""

from __future__ import annotations

import msgspec

from tests.engines.crun import Rootfs


class NodePlan(msgspec.Struct, frozen=True):
    """A node to register. cpu: cores; memory: a Kubernetes quantity; pods: how many fit."""

    name: str
    labels: dict[str, str]
    cpu: str = "64"
    memory: str = "256Gi"
    pods: int = 2000


class Plan(msgspec.Struct, frozen=True):
    """Paths and addresses. client and serving: PEM files with key and certificate; version: what it calls itself.

    heartbeat_s: how often leases are renewed; retry_s: how long it waits before it tries again what failed;
    restart_s: how long before a container starts again for the first time, doubled each time. images: those that are
    really there, by their full names; containers of them run in crun.
    """

    host: str
    api_port: int
    port: int
    ca: str
    client: str
    serving: str
    folder: str
    nodes: list[NodePlan]
    environment: dict[str, str]
    version: str
    heartbeat_s: float = 2.0
    retry_s: float = 1.0
    restart_s: float = 1.0
    images: dict[str, Rootfs] = {}

    def encode(self) -> bytes:
        """As JSON."""
        return msgspec.json.encode(self)
