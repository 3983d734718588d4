"""The pipeline's own commands that have a cluster use a new image, on a real API server."""

from __future__ import annotations

import json
import os
import subprocess
from typing import Any

import pytest
import yaml

from tests.engines.kubernetes import binaries
from tests.engines.kubernetes.cluster import Cluster
from tests.places import ROOT

TEMPLATE = ROOT / ".gitlab" / "ci-templates" / "Python-Service.gitlab-ci.yml"
OF_OTHERS = "pricing=registry.example/pricing@sha256:9"


class _Loader(yaml.SafeLoader):
    """GitLab's `!reference` is the list behind it."""


_Loader.add_constructor("!reference", lambda loader, node: loader.construct_sequence(node))  # type: ignore[arg-type]


class Manager:
    """A Deployment as queue-manager's, of no pods: only what it says is looked at."""

    def __init__(self, cluster: Cluster, namespace: str, images: str) -> None:
        self._cluster, self._namespace = cluster, namespace
        container: dict[str, Any] = {"name": "queue-manager", "image": "registry.example/queue-manager:v1"}
        container["env"] = [{"name": "STREAMFORGE_IMAGES", "value": images}] if images else []
        labels = {"app.kubernetes.io/name": "queue-manager"}
        template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
        spec = {"replicas": 0, "selector": {"matchLabels": labels}, "template": template}
        found = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "queue-manager"}, "spec": spec}
        cluster.kubectl("-n", namespace, "apply", "-f", "-", stdin=json.dumps(found))

    def deploy(self, service: str, image: str) -> None:
        """What `deploy SERVICE` does in the pipeline of a release."""
        job = yaml.load(TEMPLATE.read_text("utf-8"), _Loader)[".deploy_service"]
        environment = {
            **os.environ,
            "PATH": f"{binaries.folder()}:{os.environ['PATH']}",
            "KUBECONFIG": str(self._cluster.kubeconfig),
            "HOME": str(self._cluster.folder),
            "DEPLOY_NAMESPACE": self._namespace,
            "SERVICE": service,
            "IMAGE_REFERENCE": image,
        }
        done = subprocess.run(
            ["bash", "-c", "\n".join(job["script"])],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=360,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def images(self) -> tuple[str, str | None]:
        """Its own image, and the setting of those of workers."""
        told = self._cluster.kubectl("-n", self._namespace, "get", "deployment/queue-manager", "-o", "json")
        container = json.loads(told)["spec"]["template"]["spec"]["containers"][0]
        setting = {one["name"]: one.get("value") for one in container.get("env", [])}
        return container["image"], setting.get("STREAMFORGE_IMAGES")


@pytest.mark.parametrize("before", ["", OF_OTHERS])
def test_a_worker_is_deployed_by_its_job_and_a_release_by_queue_managers(
    before: str, kube_cluster: Cluster, kube_namespace: str
) -> None:
    manager = Manager(kube_cluster, kube_namespace, before)
    others = [before] if before else []

    manager.deploy("dummy-service", "registry.example/dummy@sha256:1")
    manager.deploy("arango-candles", "registry.example/candles@sha256:1")
    manager.deploy("dummy-service", "registry.example/dummy@sha256:2")
    pins = [
        *others,
        "arango-candles=registry.example/candles@sha256:1",
        "dummy-service=registry.example/dummy@sha256:2",
    ]
    assert manager.images() == ("registry.example/queue-manager:v1", ",".join(pins))

    manager.deploy("queue-manager", "registry.example/queue-manager@sha256:3")
    assert manager.images() == ("registry.example/queue-manager@sha256:3", before or None)
