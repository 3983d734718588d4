"""The cluster as its administrator prepares it for StreamForge: others' CRDs (Strimzi, kube-arangodb, KEDA, Prometheus
operator, Gateway), the namespace, the PriorityClass; and the settings by which the shipped overlays find the tests'
servers.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.doubles.arangoprocess import PASSWORD
from tests.engines.kafka.broker import Broker
from tests.engines.kubernetes.cluster import Cluster
from tests.engines.kubernetes.jobs import until
from tests.engines.kubernetes.parts import HOST
from tests.engines.kubernetes.rest import ApiError, Object
from tests.engines.process import EngineError
from tests.manifests.schemas import ROOT, schemas_folder

NAMESPACE = "stf"
_CLUSTER = str(ROOT / "deploy/cluster")
_BESIDE = [str(ROOT / "platform" / one) for one in ("jupyterhub/manifests/namespace.yaml", "arangodb/namespace.yaml")]
_NAMESPACE_LIMIT_S = 600
_GATEWAY = Path(__file__).parent / "gateway"
_LIMIT_S = 300.0


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
    _install_crds(cluster, schemas_folder())
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


def _install_crds(cluster: Cluster, schemas: Path) -> None:
    """Install them, and wait until the API server serves them. schemas: the folder of others' schemas.

    Raises EngineError.
    """
    files = [
        path
        for folder in ("strimzi", "keda", "prometheus-operator")
        for path in (schemas / "crds" / folder).glob("*.yaml")
    ]
    files.append(schemas / "crds" / "arangodb" / "database-deployment.yaml")
    files.append(_gateway_api() / "config/crd/standard/gateway.networking.k8s.io_httproutes.yaml")
    # Server-side: some are larger than what the annotation of a client-side apply may hold.
    arguments = [f"--filename={path}" for path in sorted(files)]
    cluster.kubectl("apply", "--server-side", "--force-conflicts", *arguments)
    until("the CRDs are served", lambda: _established(cluster))


def _established(cluster: Cluster) -> bool:
    found: list[Object] = cluster.admin.request("GET", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions")[
        "items"
    ]
    # A new one has null for its conditions.
    conditions: list[Object] = [one for crd in found for one in crd["status"].get("conditions") or []]
    served = [one for one in conditions if one["type"] == "Established" and one["status"] == "True"]
    return len(served) == len(found)


def _gateway_api() -> Path:
    """The Gateway API's Go module, in Go's own cache, checked against go.sum. Raises EngineError."""
    go = shutil.which("go")
    if go is None:
        raise EngineError("there is no go on PATH: the Gateway API's CRDs lie in a Go module")
    command = [go, "mod", "download", "-json", "sigs.k8s.io/gateway-api"]
    try:
        done = subprocess.run(command, cwd=_GATEWAY, capture_output=True, text=True, timeout=_LIMIT_S)
    except subprocess.TimeoutExpired as error:
        raise EngineError(f"the Gateway API's module did not come within {_LIMIT_S:.0f} s") from error
    if done.returncode != 0:
        raise EngineError(f"the Gateway API's module cannot be fetched: {(done.stdout + done.stderr)[-1000:]}")
    return Path(json.loads(done.stdout)["Dir"])
