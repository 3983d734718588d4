"""A whole StreamForge whose workers are Jobs of the tests' cluster: manager and test exchange as local processes."""

from __future__ import annotations

from pathlib import Path

from tests.engines.kubernetes.cluster import Cluster
from tests.engines.kubernetes.rest import Object


def settings(cluster: Cluster, namespace: str, *, kubeconfig: Path | None = None, **more: str) -> dict[str, str]:
    """What the manager is started with. The images are the services of this checkout."""
    return {
        "STREAMFORGE_LAUNCHER": "kubernetes",
        "KUBECONFIG": str(kubeconfig or cluster.kubeconfig),
        "K8S_NAMESPACE": namespace,
        "STREAMFORGE_IMAGE_REGISTRY": "local/streamforge",
        "STREAMFORGE_START_SECONDS": "60",
        **more,
    }


def jobs(cluster: Cluster, namespace: str) -> list[Object]:
    """The Jobs there are."""
    found: list[Object] = cluster.admin.request("GET", f"/apis/batch/v1/namespaces/{namespace}/jobs")["items"]
    return found


def pods(cluster: Cluster, namespace: str) -> list[Object]:
    """The pods there are."""
    found: list[Object] = cluster.admin.request("GET", f"/api/v1/namespaces/{namespace}/pods")["items"]
    return found
