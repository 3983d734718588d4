"""The CRDs of others whose resources our manifests hold: Strimzi, kube-arangodb, KEDA, Prometheus operator, Gateway."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

from tests.engines.errors import EngineError
from tests.engines.kubernetes.cluster import Cluster
from tests.engines.kubernetes.jobs import until
from tests.engines.kubernetes.rest import Object

_GATEWAY = Path(__file__).parent / "gateway"
_LIMIT_S = 300.0


def install(cluster: Cluster, schemas: Path) -> None:
    """Install them, and wait until the API server serves them. schemas: the folder of others' schemas.

    Raises EngineError.
    """
    files = [
        path
        for folder in ("strimzi", "keda", "prometheus-operator")
        for path in (schemas / "crds" / folder).glob("*.yaml")
    ]
    files.append(schemas / "crds" / "arangodb" / "database-deployment.yaml")
    files.append(gateway_api() / "config/crd/standard/gateway.networking.k8s.io_httproutes.yaml")
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


def gateway_api() -> Path:
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
