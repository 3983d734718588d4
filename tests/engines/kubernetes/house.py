"""The cluster as its administrator prepares it for StreamForge: others' CRDs, the namespace, the PriorityClass; and the
settings by which the shipped overlays find the tests' servers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.doubles.arangoprocess import PASSWORD
from tests.engines.kafka.broker import Broker
from tests.engines.kubernetes import crds
from tests.engines.kubernetes.cluster import Cluster
from tests.engines.kubernetes.jobs import until
from tests.engines.kubernetes.parts import HOST
from tests.engines.kubernetes.rest import ApiError
from tests.manifests.schemas import ROOT, schemas_folder

NAMESPACE = "stf"
_CLUSTER = str(ROOT / "deploy/cluster")
_BESIDE = [str(ROOT / "platform" / one) for one in ("jupyterhub/manifests/namespace.yaml", "arangodb/namespace.yaml")]
_NAMESPACE_LIMIT_S = 200


def addresses(
    cluster: Cluster, broker: Broker, arango: Mapping[str, str], exchange: str, api: int, metrics: int
) -> tuple[dict[str, str], dict[str, str]]:
    """The settings of queue-manager, and of its workers, that say where the tests' servers are.

    arango: its variables; exchange: a URL; api, metrics: the ports of queue-manager.
    """
    common = {name: arango[name] for name in ("ARANGO_URL", "ARANGO_DB", "ARANGO_USER")}
    common |= {"KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap, "STREAMFORGE_METRICS_HOST": HOST}
    own = {
        "STREAMFORGE_HOST": HOST,
        "STREAMFORGE_PORT": str(api),
        "STREAMFORGE_METRICS_PORT": str(metrics),
        "STREAMFORGE_EXCHANGE_URL": exchange,
        # The double has no TLS.
        "STREAMFORGE_ARANGO_CA_PATH": "",
        "STREAMFORGE_K8S_ARANGO_CA_SECRET": "",
        # A real kubelet says this in every pod.
        "KUBERNETES_SERVICE_HOST": HOST,
        "KUBERNETES_SERVICE_PORT": str(cluster.ports.api),
    }
    return common | own, common | {"STREAMFORGE_METRICS_PORT": "0"}


def outside(found: Mapping[str, str], broker: Broker, kafka_password: str, account: Path) -> dict[str, str]:
    """The same settings as of a pod for a process that is in none. account: a kubeconfig for its ServiceAccount."""
    left = ("KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT", "STREAMFORGE_TOKENS_FILE")
    return {name: value for name, value in found.items() if name not in left} | {
        "STREAMFORGE_LAUNCHER": "kubernetes",
        "KUBECONFIG": str(account),
        "K8S_NAMESPACE": NAMESPACE,
        "KAFKA_CA_PATH": str(broker.ca_path),
        "KAFKA_PASSWORD": kafka_password,
        "ARANGO_PASSWORD": PASSWORD,
    }


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
