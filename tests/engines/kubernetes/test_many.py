"""Many pods at once that do nothing: what tests of a manager with a thousand workflows stand on."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.engines.kubernetes.cluster import Cluster
from tests.engines.kubernetes.jobs import Namespace, container, job, until
from tests.engines.kubernetes.rest import Object

pytestmark = [pytest.mark.long, pytest.mark.timeout(500)]
_MANY = 100
_LIMIT_S = 200.0


def test_many_idle_pods_run_without_a_process_each(kube_cluster: Cluster, kube_namespace: str) -> None:
    namespace = Namespace(kube_cluster.admin, kube_namespace)
    with ThreadPoolExecutor(8) as pool:
        manifests = [job(f"idle-{number}", container(image="registry.example/pause:3")) for number in range(_MANY)]
        list(pool.map(namespace.create, manifests))

    def pods() -> list[Object]:
        found: list[Object] = namespace.rest.request("GET", f"{namespace.path}/pods")["items"]
        return found

    def all_run() -> bool:
        return [pod["status"].get("phase") for pod in pods()] == ["Running"] * _MANY

    until("all of them run", all_run, _LIMIT_S)
    # The reaper, and nothing else.
    assert len(_children(kube_cluster.kubelet.pid)) == 1
    jobs = f"/apis/batch/v1/namespaces/{kube_namespace}/jobs"
    namespace.rest.request("DELETE", jobs, {"propagationPolicy": "Background"})
    until("all of them are gone", lambda: not pods(), _LIMIT_S)


def _children(pid: int) -> list[int]:
    found = list[int]()
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = path.read_text().rpartition(")")[2].split()[1]
        except OSError:
            continue
        if int(parent) == pid:
            found.append(int(path.parent.name))
    return found
