"""The example manifests on a real control plane: accepted strictly, let in by Pod Security, and doing what they say."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.engines.kubernetes import launchers
from tests.engines.kubernetes.cluster import Cluster
from tests.engines.kubernetes.house import prepared
from tests.engines.kubernetes.jobs import Namespace, until
from tools.reference import example_jobs

pytestmark = pytest.mark.timeout(300)
ROOT = Path(__file__).parents[3]
EXAMPLES = [path for path, _ in example_jobs.manifests()]
STF = "stf"


@pytest.fixture(scope="module")
def stf(kube_cluster: Cluster) -> Iterator[Namespace]:
    """The namespace of the examples, as strict as Pod Security can be, and the workers' PriorityClass."""
    with prepared(kube_cluster):
        yield Namespace(kube_cluster.admin, STF)


@pytest.mark.parametrize("path", EXAMPLES, ids=str)
def test_it_passes_the_servers_strict_validation(kube_cluster: Cluster, stf: Namespace, path: Path) -> None:
    said = kube_cluster.kubectl("apply", "--validate=strict", "--dry-run=server", "-f", str(ROOT / path))
    assert "created (server dry run)" in said


@pytest.mark.parametrize("path", [path for path in EXAMPLES if path.name == "job.yaml"], ids=str)
def test_pod_security_lets_its_pod_in(kube_cluster: Cluster, stf: Namespace, path: Path) -> None:
    """A Job itself is never refused: its pod would be, later."""
    template = yaml.safe_load((ROOT / path).read_text())["spec"]["template"]
    pod = {"metadata": {**template["metadata"], "name": "one"}, "spec": template["spec"]}
    found = kube_cluster.admin.request("POST", f"/api/v1/namespaces/{STF}/pods?dryRun=All&fieldValidation=Strict", pod)
    assert found["metadata"]["name"] == "one"


@pytest.mark.parametrize("kind", ["job", "pod"])
def test_dummy_service_plays_in_the_cluster(kube_cluster: Cluster, stf: Namespace, kind: str) -> None:
    with launchers.shared_folder() as folder:
        # The embedded bus stands for Kafka here: the ConfigMap says where the workers find it.
        values = {"STREAMFORGE_DATA_DIR": str(folder / "data")}
        text = (ROOT / "services" / "dummy-service" / f"{kind}.yaml").read_text()
        manifest = yaml.safe_load(text)
        spec = manifest["spec"] if kind == "pod" else manifest["spec"]["template"]["spec"]
        (container,) = spec["containers"]
        container["args"][-1] = "1"  # second, not five minutes
        container["env"] = [entry for entry in container["env"] if not entry["name"].startswith("KAFKA_")]
        _config_map(kube_cluster, "streamforge-worker", values)
        _secret(kube_cluster, "streamforge-cluster-ca-cert", {"ca.crt": "a certificate"})
        kube_cluster.kubectl("apply", "--validate=strict", "-f", "-", stdin=yaml.safe_dump(manifest))
        label = f"queue_id=wf-dummy-api_candles_1m-20240801-{example_jobs.CODE}"

        def ended() -> str | None:
            pods = kube_cluster.admin.request("GET", f"/api/v1/namespaces/{STF}/pods?labelSelector={label}")["items"]
            phase = str(pods[0]["status"]["phase"]) if pods else ""
            return phase if phase in ("Succeeded", "Failed") else None

        assert until("dummy-service has ended", ended) == "Succeeded"
        kube_cluster.kubectl("-n", STF, "delete", "-f", "-", "--wait=true", stdin=yaml.safe_dump(manifest))


def _config_map(cluster: Cluster, name: str, data: dict[str, str]) -> None:
    manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": STF}, "data": data}
    cluster.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(manifest))


def _secret(cluster: Cluster, name: str, values: dict[str, str]) -> None:
    data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
    manifest = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": STF}, "data": data}
    cluster.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(manifest))
