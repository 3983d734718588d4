"""The pipeline's own commands that have a cluster use a new image, on a real API server."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from typing import Any

import pytest

from tests.delivery.pipelines.tools import load
from tests.engines.kubernetes import binaries
from tests.engines.kubernetes.cluster import Cluster
from tests.places import ROOT

TEMPLATE = ROOT / ".gitlab" / "ci-templates" / "Python-Service.gitlab-ci.yml"
OF_OTHERS = "pricing=registry.example/pricing@sha256:9"


class Manager:
    """A Deployment as queue-manager's, of no pods: only what it says is looked at."""

    def __init__(self, cluster: Cluster, namespace: str, images: str = "") -> None:
        self._cluster, self._namespace = cluster, namespace
        self._apply({"name": "STREAMFORGE_IMAGES", "value": images} if images else None)

    def overlay(self, name: str, images: str) -> None:
        """Apply it with a ConfigMap of this name that has these images."""
        found = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}
        found["data"] = {"STREAMFORGE_IMAGES": images, "ARANGO_URL": "https://arangodb.example:8529"}
        self._kubectl("apply", "-f", "-", stdin=json.dumps(found))
        self._apply(None, {"configMapRef": {"name": name}})

    def _kubectl(self, *arguments: str, stdin: str = "") -> str:
        return self._cluster.kubectl("-n", self._namespace, *arguments, stdin=stdin)

    def _apply(self, variable: dict[str, Any] | None, *sources: dict[str, Any]) -> None:
        container: dict[str, Any] = {"name": "queue-manager", "image": "registry.example/queue-manager:v1"}
        container["env"] = [variable] if variable else []
        container["envFrom"] = list(sources)
        labels = {"app.kubernetes.io/name": "queue-manager"}
        template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
        spec = {"replicas": 0, "selector": {"matchLabels": labels}, "template": template}
        found = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "queue-manager"}, "spec": spec}
        self._kubectl("apply", "-f", "-", stdin=json.dumps(found))

    def deploy(self, service: str, image: str) -> None:
        """What `deploy SERVICE` does in the pipeline of a release."""
        job = load(TEMPLATE)[0][".deploy_service"]
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
            ["bash", "-o", "pipefail", "-c", "\n".join(job["script"])],  # as a runner does
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=1200,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def images(self) -> tuple[str, str | None]:
        """Its own image, and the setting of those of workers."""
        told = self._kubectl("get", "deployment/queue-manager", "-o", "json")
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


def test_what_the_overlay_pins_is_kept_beside_what_a_job_deploys(kube_cluster: Cluster, kube_namespace: str) -> None:
    manager = Manager(kube_cluster, kube_namespace)
    manager.overlay("settings", f"{OF_OTHERS}, arango-candles=registry.example/candles@sha256:0")

    manager.deploy("arango-candles", "registry.example/candles@sha256:1")
    assert manager.images()[1] == f"{OF_OTHERS},arango-candles=registry.example/candles@sha256:1"
    manager.deploy("dummy-service", "registry.example/dummy@sha256:1")
    assert (manager.images()[1] or "").startswith(f"{OF_OTHERS},arango-candles=registry.example/candles@sha256:1,dummy")

    manager.deploy("queue-manager", "registry.example/queue-manager@sha256:3")
    assert manager.images() == ("registry.example/queue-manager@sha256:3", None), "what the overlay says holds again"


def test_pins_of_an_overlay_and_of_other_repositories_outlive_a_release(
    kube_cluster: Cluster, kube_namespace: str
) -> None:
    manager = Manager(kube_cluster, kube_namespace)
    manager.overlay("settings", "dummy-service=registry.example/dummy@sha256:0")
    manager.deploy("pricing", "registry.example/pricing@sha256:9")
    manager.deploy("dummy-service", "registry.example/dummy@sha256:1")
    manager.deploy("queue-manager", "registry.example/queue-manager@sha256:3")
    assert manager.images()[1] == f"{OF_OTHERS},dummy-service=registry.example/dummy@sha256:0"


def test_an_overlay_takes_back_what_jobs_have_said_with_the_guides_command(
    kube_cluster: Cluster, kube_namespace: str
) -> None:
    guide = (ROOT / "docs" / "how-to" / "kubernetes-deployment.md").read_text("utf-8")
    (command,) = re.findall(r"^kubectl -n stf (set env deployment/queue-manager .*)$", guide, re.MULTILINE)
    manager = Manager(kube_cluster, kube_namespace)
    manager.overlay("settings-1", OF_OTHERS)
    manager.deploy("arango-candles", "registry.example/candles@sha256:1")

    manager.overlay("settings-2", "pricing=registry.example/pricing@sha256:10")
    assert manager.images()[1] is not None, "kubectl apply alone takes nothing back"
    for _ in range(2):  # it does no harm where there is nothing to take back
        kube_cluster.kubectl("-n", kube_namespace, *shlex.split(command, comments=True))
        assert manager.images()[1] is None
