"""The cluster as its administrator prepares it for StreamForge: others' CRDs, the namespace, the PriorityClass."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.engines.kubernetes import crds
from tests.engines.kubernetes.cluster import Cluster
from tests.engines.kubernetes.jobs import until
from tests.engines.kubernetes.rest import ApiError
from tests.manifests.schemas import ROOT, schemas_folder

NAMESPACE = "stf"
_CLUSTER = str(ROOT / "deploy/cluster")
_BESIDE = [str(ROOT / "platform" / one) for one in ("jupyterhub/manifests/namespace.yaml", "arangodb/namespace.yaml")]
_NAMESPACE_LIMIT_S = 200


@contextmanager
def prepared(cluster: Cluster) -> Iterator[None]:
    """Until the end of the block `deploy/cluster` is applied; then the namespace goes, with all that is in it."""
    with empty(cluster):
        cluster.kubectl("apply", "-k", _CLUSTER)
        cluster.kubectl("apply", *(f"--filename={one}" for one in _BESIDE))
        until("the namespace has its ServiceAccount", lambda: _there(cluster, "/serviceaccounts/default"))
        yield


@contextmanager
def empty(cluster: Cluster) -> Iterator[None]:
    """Others' CRDs and no namespace; what of `deploy/cluster` is applied in the block goes after it."""
    crds.install(cluster, schemas_folder())
    # One that another module has left goes first.
    until("no namespace of that name is about to go", lambda: not _ending(cluster), limit_s=_NAMESPACE_LIMIT_S)
    try:
        yield
    finally:
        cluster.kubectl("delete", "-k", _CLUSTER, "--wait=false", "--ignore-not-found")
        # Others of this session may want one of that name.
        until("the namespace is gone", lambda: not _there(cluster, ""), limit_s=_NAMESPACE_LIMIT_S)


def _ending(cluster: Cluster) -> bool:
    if not _there(cluster, ""):
        return False
    found = cluster.admin.request("GET", f"/api/v1/namespaces/{NAMESPACE}")
    return "deletionTimestamp" in found["metadata"]


def _there(cluster: Cluster, path: str) -> bool:
    try:
        cluster.admin.request("GET", f"/api/v1/namespaces/{NAMESPACE}{path}")
    except ApiError as error:
        if error.status == 404:
            return False
        raise
    return True
