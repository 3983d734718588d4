"""Pods that are to run for ever: started again, probed, and replaced by their Deployment."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engines.kubernetes.jobs import Namespace, condition, shell, until
from tests.engines.kubernetes.rest import Object

pytestmark = pytest.mark.timeout(300)


def _deploy(namespace: Namespace, container: Object) -> None:
    secured = {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}}
    labels = {"app": "server"}
    spec = {"securityContext": secured, "containers": [container], "terminationGracePeriodSeconds": 1}
    deployment = {
        "metadata": {"name": "server"},
        "spec": {
            "replicas": 1,
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }
    namespace.rest.request("POST", f"/apis/apps/v1/namespaces/{namespace.name}/deployments", deployment)


def _pod(namespace: Namespace, ready: bool) -> Object | None:
    pods = namespace.rest.request("GET", f"{namespace.path}/pods?labelSelector=app%3Dserver")["items"]
    for pod in pods:
        found = condition(pod, "Ready")
        if found is not None and (found["status"] == "True") == ready and "deletionTimestamp" not in pod["metadata"]:
            return dict(pod)
    return None


def test_a_container_that_ends_is_started_again(namespace: Namespace, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    _deploy(
        namespace, shell(f"echo run >> {runs}; echo told; until [ -e {tmp_path}/end ]; do sleep 0.05; done; exit 1")
    )
    until("it is ready", lambda: _pod(namespace, True))
    (tmp_path / "end").touch()
    until("it ran again", lambda: runs.read_text().count("run") > 1)
    (tmp_path / "end").unlink()

    def again() -> Object | None:
        pod = _pod(namespace, True)
        return pod if pod is not None and pod["status"]["containerStatuses"][0]["restartCount"] else None

    pod = until("it is ready again", again)
    last = pod["status"]["containerStatuses"][0]["lastState"]["terminated"]
    assert (last["exitCode"], last["reason"]) == (1, "Error")
    assert namespace.log(pod, previous="true") == "told\n"


def test_a_pod_is_ready_when_its_probe_says_so(namespace: Namespace, tmp_path: Path) -> None:
    probe = {"exec": {"command": ["test", "-e", f"{tmp_path}/ready"]}, "periodSeconds": 1, "failureThreshold": 1}
    _deploy(namespace, shell("exec sleep 600", readinessProbe={**probe, "timeoutSeconds": 30}))
    until("it runs and is not ready", lambda: _pod(namespace, False))
    (tmp_path / "ready").touch()
    until("it is ready", lambda: _pod(namespace, True))
    (tmp_path / "ready").unlink()
    until("it is not ready any more", lambda: _pod(namespace, False))


def test_a_container_whose_liveness_probe_fails_is_started_again(namespace: Namespace, tmp_path: Path) -> None:
    probe = {"exec": {"command": ["test", "-e", f"{tmp_path}/alive"]}, "periodSeconds": 1, "failureThreshold": 2}
    (tmp_path / "alive").touch()
    _deploy(
        namespace, shell(f"echo run >> {tmp_path}/runs; exec sleep 600", livenessProbe={**probe, "timeoutSeconds": 30})
    )
    pod = until("it is ready", lambda: _pod(namespace, True))
    (tmp_path / "alive").unlink()
    namespace.event(pod["metadata"]["name"], "Unhealthy")
    until("it ran again", lambda: (tmp_path / "runs").read_text().count("run") > 1)


def test_a_pod_that_is_deleted_is_replaced(namespace: Namespace) -> None:
    _deploy(namespace, shell("exec sleep 600"))
    first = until("it is ready", lambda: _pod(namespace, True))["metadata"]
    namespace.rest.request("DELETE", f"{namespace.path}/pods/{first['name']}")

    def other() -> bool:
        pod = _pod(namespace, True)
        return pod is not None and pod["metadata"]["uid"] != first["uid"]

    until("another is ready", other)
