"""The cluster of the tests: what our manifests and launcher do not show of its kubelet, and its parts killed and back.

What becomes of a Job that fails, is evicted, lacks an image or a Secret: `test_launcher_reasons.py`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.engines.kubernetes import binaries
from tests.engines.kubernetes.cluster import Cluster
from tests.engines.kubernetes.jobs import Namespace, container, job, shell, terminated, until
from tests.engines.kubernetes.kubelet import faults
from tests.engines.kubernetes.parts import HOST
from tests.engines.kubernetes.rest import Object
from tests.engines.process import EngineError, alive, free_ports

# Says who it is, and ends when the file is there. (Kubernetes makes one dollar sign of two.)
_WAITER = (
    "echo $$$$ > {folder}/pid.new; mv {folder}/pid.new {folder}/pid; until [ -e {folder}/go ]; do sleep 0.05; done"
)


def test_it_is_of_the_version_that_go_mod_names_and_listens_on_loopback_only(kube_cluster: Cluster) -> None:
    assert kube_cluster.kubectl("version").count(binaries.version()) == 2
    inodes = {
        os.readlink(link)[8:-1]
        for process in kube_cluster.processes
        for link in Path(f"/proc/{process.pid}/fd").iterdir()
        if os.path.islink(link) and os.readlink(link).startswith("socket:")
    }
    listening = [
        line.split()
        for table in ("/proc/net/tcp", "/proc/net/tcp6")
        for line in Path(table).read_text().splitlines()[1:]
        if line.split()[3] == "0A" and line.split()[9] in inodes
    ]
    assert len(listening) >= 6
    assert {fields[1].partition(":")[0] for fields in listening} == {"0100007F"}


def test_values_come_from_the_manifest_config_maps_secrets_and_the_pod(namespace: Namespace) -> None:
    """A Secret that comes late is waited for. A volume is where its path is written in the script and in a variable."""
    environment = [
        {"name": "PLAIN", "value": "one"},
        {"name": "COMPOSED", "value": "$(PLAIN)-$(UNKNOWN)-$$(PLAIN)"},
        {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "password"}}},
        {"name": "ABSENT", "valueFrom": {"secretKeyRef": {"name": "none", "key": "password", "optional": True}}},
        {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "CA_PATH", "value": "/etc/streamforge-test/keys/ca.crt"},
    ]
    # Quoted so that this path is not rewritten.
    script = 'echo "$PLAIN $COMPOSED $PASSWORD $ABSENT$POD $COLOUR"; cat "$CA_PATH" /var/run/"secrets"/test/password'
    mounts = [{"name": "keys", "mountPath": path} for path in ("/etc/streamforge-test/keys", "/var/run/secrets/test")]
    main = shell(script, env=environment, envFrom=[{"configMapRef": {"name": "colours"}}], volumeMounts=mounts)
    volumes = [{"name": "keys", "secret": {"secretName": "mounted"}}]
    rest = namespace.rest
    rest.request("POST", f"{namespace.path}/configmaps", {"metadata": {"name": "colours"}, "data": {"COLOUR": "blue"}})
    values = {"password": "hush", "ca.crt": "a certificate "}
    rest.request("POST", f"{namespace.path}/secrets", {"metadata": {"name": "mounted"}, "stringData": values})
    namespace.create(job("values", main, pod={"volumes": volumes}))
    pod = namespace.pod("values", lambda pod: "containerStatuses" in pod["status"])
    waiting = pod["status"]["containerStatuses"][0]["state"]["waiting"]
    assert waiting == {"reason": "CreateContainerConfigError", "message": 'secret "keys" not found'}

    rest.request("POST", f"{namespace.path}/secrets", {"metadata": {"name": "keys"}, "stringData": values})
    assert namespace.ended("values") == "Complete"
    wanted = f"one one-$(UNKNOWN)-$(PLAIN) hush {pod['metadata']['name']} blue\na certificate hush"
    assert namespace.log(pod) == wanted
    assert not Path("/etc/streamforge-test").exists()


def test_a_pod_ends_with_all_that_it_has_started_or_as_a_fault_says(namespace: Namespace, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    deaf = f"trap '' TERM; sleep 600 & echo $$$$ $! > {pids}; while :; do sleep 0.05; done"
    namespace.create(job("deaf", shell(deaf), pod={"terminationGracePeriodSeconds": 1}))
    namespace.create(job("idle", container(image="registry.example/pause:3")))
    namespace.create(job("program", container(["no-such-program"])))
    until("it has started", lambda: pids.exists() and pids.read_text().endswith("\n"))
    namespace.delete("deaf")
    namespace.fault(namespace.running("idle"), faults.ending(2))
    until("the pod is gone", lambda: not namespace.pods("deaf"))
    found = [int(pid) for pid in pids.read_text().split()]
    assert len(found) == 2
    until("both have ended", lambda: not any(map(alive, found)))
    for name, code, reason in (("idle", 2, "Error"), ("program", 128, "StartError")):
        assert namespace.ended(name) == "BackoffLimitExceeded"
        ended = terminated(namespace.pod(name))
        assert (ended["exitCode"], ended["reason"]) == (code, reason)


def test_logs_can_be_followed_and_cut(kube_cluster: Cluster, namespace: Namespace) -> None:
    namespace.create(job("talks", shell("for n in 1 2 3; do echo line $n; done; exec sleep 600")))
    pod = namespace.running("talks")
    until("all lines are there", lambda: "line 3" in namespace.log(pod))
    assert namespace.log(pod, tailLines="2") == "line 2\nline 3\n"
    assert namespace.log(pod, limitBytes="4") == "line"
    namespace.fault(pod, faults.ending(0))
    told = kube_cluster.kubectl("logs", "--follow", f"--namespace={namespace.name}", pod["metadata"]["name"])
    assert told == "line 1\nline 2\nline 3\n"


def test_a_deployments_pod_is_probed_started_again_and_replaced(namespace: Namespace, tmp_path: Path) -> None:
    """It is a web server for a folder: its probes hold as long as their files are there."""
    (port,) = free_ports(1)
    serve = f"import http.server as h; h.test(h.SimpleHTTPRequestHandler, port={port}, bind='{HOST}')"
    main = container(
        ["sh", "-c", f'echo run; cd {tmp_path}; exec python3 -c "{serve}"'],
        ports=[{"name": "http", "containerPort": port}],
    )
    for kind, file, failures in (("startup", "alive", 60), ("readiness", "ready", 1), ("liveness", "alive", 2)):
        probe = {"httpGet": {"path": f"/{file}", "port": "http"}, "periodSeconds": 1, "timeoutSeconds": 30}
        main[f"{kind}Probe"] = {**probe, "failureThreshold": failures}
    template = job("", main)["spec"]["template"]
    template["spec"] |= {"restartPolicy": "Always", "terminationGracePeriodSeconds": 1}
    template["metadata"] = {"labels": {"app": "server"}}
    spec = {"replicas": 1, "strategy": {"type": "Recreate"}, "selector": {"matchLabels": {"app": "server"}}}
    deployment = {"metadata": {"name": "server"}, "spec": {**spec, "template": template}}
    (tmp_path / "alive").touch()
    namespace.rest.request("POST", f"/apis/apps/v1/namespaces/{namespace.name}/deployments", deployment)

    def pod(ready: bool, restarts: int = 0, other_than: str = "") -> Object | None:
        for one in namespace.rest.request("GET", f"{namespace.path}/pods?labelSelector=app%3Dserver")["items"]:
            (status,) = one["status"].get("containerStatuses") or [{"ready": None}]
            if status["ready"] == ready and status["restartCount"] >= restarts and one["metadata"]["uid"] != other_than:
                return dict(one)
        return None

    until("it runs and is not ready", lambda: (found := pod(False)) and "running" in str(found["status"]))
    (tmp_path / "ready").touch()
    until("it is ready", lambda: pod(True))
    (tmp_path / "ready").unlink()
    until("it is not ready any more", lambda: pod(False))
    (tmp_path / "ready").touch()
    first = until("it is ready", lambda: pod(True))["metadata"]

    (tmp_path / "alive").unlink()
    namespace.event(first["name"], "Unhealthy")
    (tmp_path / "alive").touch()
    again = until("it is started again", lambda: pod(True, restarts=1))
    assert "exitCode" in again["status"]["containerStatuses"][0]["lastState"]["terminated"]
    assert namespace.log(again, previous="true").startswith("run\n")

    namespace.rest.request("DELETE", f"{namespace.path}/pods/{first['name']}")
    until("another is ready", lambda: pod(True, other_than=first["uid"]))


# Parts that are killed


def _waiting(namespace: Namespace, folder: Path) -> int:
    """A Job `waits` until `folder` has a file `go`: its process."""
    namespace.create(job("waits", shell(_WAITER.format(folder=folder))))
    until("it has started", (folder / "pid").exists)
    return int((folder / "pid").read_text())


def test_a_job_goes_on_while_the_control_plane_is_away(
    kube_cluster: Cluster, namespace: Namespace, tmp_path: Path
) -> None:
    pid = _waiting(namespace, tmp_path)
    for process in (kube_cluster.controller_manager, kube_cluster.api_server, kube_cluster.etcd):
        process.kill()
    (tmp_path / "go").touch()
    until("its process has ended", lambda: not alive(pid))
    kube_cluster.etcd.start()
    kube_cluster.start_api_server()
    namespace.pod("waits", lambda pod: pod["status"]["phase"] == "Succeeded")
    assert "conditions" not in (namespace.job("waits") or {})["status"]
    kube_cluster.controller_manager.start()
    assert namespace.ended("waits") == "Complete"


def test_with_the_kubelet_its_processes_end_and_nothing_is_done_twice(
    kube_cluster: Cluster, namespace: Namespace, tmp_path: Path
) -> None:
    namespace.create(job("once", shell(f"echo ran >> {tmp_path}/runs")))
    pid = _waiting(namespace, tmp_path)
    assert namespace.ended("once") == "Complete"
    kube_cluster.kubelet.kill()
    until("its process has ended", lambda: not alive(pid))
    kube_cluster.kubelet.start()
    assert namespace.ended("waits") == "BackoffLimitExceeded"
    ended = terminated(namespace.pod("waits"))
    assert (ended["exitCode"], ended["reason"]) == (137, "ContainerStatusUnknown")
    assert (tmp_path / "runs").read_text() == "ran\n"
    assert namespace.pod("once")["status"]["phase"] == "Succeeded"


def test_a_part_that_ends_by_itself_is_told_with_its_log(kube_cluster: Cluster) -> None:
    os.kill(kube_cluster.scheduler.pid, signal.SIGABRT)
    until("it has ended", lambda: not kube_cluster.scheduler.running)
    with pytest.raises(EngineError, match=r"(?s)kube-scheduler ended by itself \(exit code 2\):\n"):
        kube_cluster.check()
    kube_cluster.scheduler.start()
    kube_cluster.check()


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
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as maker:
        try:
            assert maker.stdout is not None
            assert maker.stdin is not None
            assert maker.stdout.readline() == "ready\n"
            # At least five parts with a keeper each, and what the pod runs.
            assert len(_naming(tmp_path)) >= 11
            if end == "stop":
                maker.stdin.close()
                assert maker.wait(60) == 0
            else:
                maker.kill()
            until("nothing is left", lambda: not _naming(tmp_path))
        finally:
            maker.kill()


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
