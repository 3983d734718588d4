"""Parts of the cluster that are killed, cut off, lost and started again."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engines.errors import EngineError
from tests.engines.kubernetes.cluster import Cluster
from tests.engines.kubernetes.jobs import Namespace, condition, job, shell, terminated, until
from tests.engines.kubernetes.kubelet import faults
from tests.engines.kubernetes.parts import Pace
from tests.engines.kubernetes.rest import Object
from tests.engines.process import alive

pytestmark = pytest.mark.timeout(300)
# Says who it is, and ends when the file is there.
_WAITER = (
    "echo $$$$ > {folder}/pid.new; mv {folder}/pid.new {folder}/pid; until [ -e {folder}/go ]; do sleep 0.05; done"
)


@pytest.fixture
def cluster(kube_cluster: Cluster) -> Cluster:
    """The shared cluster: every test leaves all of its parts running."""
    return kube_cluster


@pytest.fixture
def namespace(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[Namespace]:
    name = re.sub("[^a-z]+", "-", request.node.name.removeprefix("test_"))[:60].strip("-")
    cluster.create_namespace(name)
    yield Namespace(cluster.admin, name)
    cluster.check()
    cluster.delete_namespace(name)


def _waiting(namespace: Namespace, folder: Path, **more: Object) -> tuple[Object, int]:
    """A Job `waits` until `folder` has a file `go`: its pod and its process."""
    namespace.create(job("waits", shell(_WAITER.format(folder=folder)), **more))
    pod = namespace.running("waits")
    until("it has started", (folder / "pid").exists)
    return pod, int((folder / "pid").read_text())


def test_a_job_goes_on_while_the_api_server_is_away(cluster: Cluster, namespace: Namespace, tmp_path: Path) -> None:
    _, pid = _waiting(namespace, tmp_path)
    cluster.api_server.kill()
    (tmp_path / "go").touch()
    until("its process has ended", lambda: not alive(pid))
    cluster.start_api_server()
    assert namespace.ended("waits") == "Complete"


def test_a_job_ends_once_the_controller_manager_is_back(cluster: Cluster, namespace: Namespace, tmp_path: Path) -> None:
    _waiting(namespace, tmp_path)
    cluster.controller_manager.kill()
    (tmp_path / "go").touch()
    namespace.pod("waits", lambda pod: pod["status"]["phase"] == "Succeeded")
    found = namespace.job("waits")
    assert found is not None
    assert "conditions" not in found["status"]
    cluster.controller_manager.start()
    assert namespace.ended("waits") == "Complete"


def test_etcd_keeps_its_data_when_it_is_killed(cluster: Cluster, namespace: Namespace, tmp_path: Path) -> None:
    _waiting(namespace, tmp_path)
    cluster.etcd.kill()
    cluster.etcd.start()
    (tmp_path / "go").touch()
    assert namespace.ended("waits") == "Complete"


def test_with_the_kubelet_its_processes_end_and_their_pods_have_failed(
    cluster: Cluster, namespace: Namespace, tmp_path: Path
) -> None:
    _, pid = _waiting(namespace, tmp_path)
    cluster.kubelet.kill()
    until("its process has ended", lambda: not alive(pid))
    cluster.kubelet.start()
    assert namespace.ended("waits") == "BackoffLimitExceeded"
    ended = terminated(namespace.pod("waits"))
    assert (ended["exitCode"], ended["reason"]) == (137, "ContainerStatusUnknown")


def test_a_kubelet_that_comes_back_does_nothing_twice(cluster: Cluster, namespace: Namespace, tmp_path: Path) -> None:
    namespace.create(job("once", shell(f"echo ran >> {tmp_path}/runs")))
    assert namespace.ended("once") == "Complete"
    cluster.kubelet.kill()
    cluster.kubelet.start()
    namespace.create(job("after", shell("true")))
    assert namespace.ended("after") == "Complete"
    assert (tmp_path / "runs").read_text() == "ran\n"
    assert namespace.pod("once")["status"]["phase"] == "Succeeded"


def test_the_pods_of_a_partitioned_node_run_on_until_it_is_back(
    cluster: Cluster, namespace: Namespace, tmp_path: Path
) -> None:
    pod, pid = _waiting(namespace, tmp_path)
    node = pod["spec"]["nodeName"]
    cluster.lose_node(node)
    try:
        pod = namespace.pod("waits", lambda pod: "deletionTimestamp" in pod["metadata"])
        found = condition(pod, "DisruptionTarget")
        assert found is not None
        assert found["reason"] == "DeletionByTaintManager"
        assert alive(pid)
        found_job = namespace.job("waits")
        assert found_job is not None
        assert condition(found_job, "Failed") is None
    finally:
        cluster.find_node(node)
    assert namespace.ended("waits") == "BackoffLimitExceeded"
    assert not alive(pid)


def test_the_pods_of_a_node_that_went_off_have_failed_once_it_is_back(
    cluster: Cluster, namespace: Namespace, tmp_path: Path
) -> None:
    pod, pid = _waiting(namespace, tmp_path)
    node = pod["spec"]["nodeName"]
    cluster.lose_node(node, faults.OFF)
    try:
        until("its process has ended", lambda: not alive(pid))
        namespace.pod("waits", lambda pod: "deletionTimestamp" in pod["metadata"])
    finally:
        cluster.find_node(node)
    assert namespace.ended("waits") == "BackoffLimitExceeded"
    until("its pod is gone", lambda: not namespace.pods("waits"))


@pytest.mark.long
def test_a_node_without_heartbeats_is_lost_after_its_grace(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path / "cluster", pace=Pace(node_grace_s=10))
    cluster.start()
    try:
        namespace = Namespace(cluster.admin, "default")
        pod, pid = _waiting(namespace, tmp_path)
        node = pod["spec"]["nodeName"]
        cluster.lose_node(node, at_once=False)

        def status() -> str | None:
            found = condition(cluster.admin.request("GET", f"/api/v1/nodes/{node}"), "Ready")
            return found["status"] if found and found["status"] != "True" else None

        assert until("the node is lost", status) == "Unknown"
        namespace.pod("waits", lambda pod: "deletionTimestamp" in pod["metadata"])
        assert alive(pid)
    finally:
        cluster.stop()
    assert not alive(pid)


def test_a_node_that_is_deleted_registers_again(cluster: Cluster) -> None:
    path = "/api/v1/nodes/node-1"
    before = cluster.admin.request("DELETE", path)["details"]["uid"]
    after = until("the node is there again", lambda: cluster.admin.request("GET", path))
    cluster.find_node("node-1")
    assert after["metadata"]["uid"] != before
    assert cluster.admin.request("GET", path)["metadata"]["labels"]["streamforge-worker"] == "true"


def test_a_part_that_ends_by_itself_is_told_with_its_log(cluster: Cluster) -> None:
    os.kill(cluster.scheduler.pid, signal.SIGABRT)
    until("it has ended", lambda: not cluster.scheduler.running)
    with pytest.raises(EngineError, match=r"(?s)kube-scheduler ended by itself \(exit code 2\):\n"):
        cluster.check()
    cluster.scheduler.start()
    cluster.check()


def test_a_client_behind_the_proxy_is_cut_off_and_the_cluster_is_not(cluster: Cluster, namespace: Namespace) -> None:
    with cluster.proxy() as proxy:
        through = cluster.kubectl("get", "nodes", "-o", "name", kubeconfig=cluster.proxied_kubeconfig)
        assert through.split() == ["node/node-1", "node/node-2", "node/node-3"]
        proxy.cut()
        with pytest.raises(EngineError, match=r"reset by peer|EOF"):
            cluster.kubectl("get", "nodes", kubeconfig=cluster.proxied_kubeconfig)
        proxy.heal()
        cluster.kubectl("get", "nodes", kubeconfig=cluster.proxied_kubeconfig)
    namespace.create(job("meanwhile", shell("true")))
    assert namespace.ended("meanwhile") == "Complete"


@pytest.mark.parametrize("end", [pytest.param("stop", marks=pytest.mark.long), "its maker killed"])
def test_nothing_is_left_of_a_cluster(end: str, tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from tests.engines.kubernetes.cluster import Cluster\n"
        "from tests.engines.kubernetes.jobs import Namespace, job, shell, until\n"
        f"folder = Path({str(tmp_path)!r})\n"
        "cluster = Cluster(folder / 'cluster')\n"
        "cluster.start()\n"
        "Namespace(cluster.admin, 'default').create(job('runs', shell('exec sleep 600')))\n"
        "Namespace(cluster.admin, 'default').running('runs')\n"
        "print('ready', flush=True)\n"
        "sys.stdin.read()\n"
        "cluster.stop()\n"
    )
    root = Path(__file__).parents[3]
    maker = subprocess.Popen(
        [sys.executable, "-c", script], cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert maker.stdout is not None
        assert maker.stdin is not None
        assert maker.stdout.readline() == "ready\n"
        before = _naming(tmp_path)
        # At least five parts with a keeper each, and what the pod runs.
        assert len(before) >= 11
        if end == "stop":
            maker.stdin.close()
            assert maker.wait(60) == 0
        else:
            maker.kill()
            maker.wait(10)
        until("nothing is left", lambda: not _naming(tmp_path))
    finally:
        maker.kill()
        maker.wait(10)
        for pipe in (maker.stdin, maker.stdout):
            if pipe is not None:
                pipe.close()


def _naming(folder: Path) -> list[int]:
    """The processes that have `folder` in their command line or environment, other than the one that started them."""
    found = list[int]()
    for path in Path("/proc").glob("[0-9]*"):
        try:
            told = (path / "cmdline").read_bytes() + (path / "environ").read_bytes()
        except OSError:
            continue
        if f"{folder}/cluster".encode() in told:
            found.append(int(path.name))
    return found
