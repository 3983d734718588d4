"""Jobs on the cluster, from their making to their end, and everything that can come in between."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.engines.kubernetes import binaries
from tests.engines.kubernetes.cluster import Cluster
from tests.engines.kubernetes.jobs import Namespace, condition, container, job, shell, terminated, until
from tests.engines.kubernetes.kubelet import faults
from tests.engines.kubernetes.rest import ApiError, Rest
from tests.engines.process import alive

pytestmark = pytest.mark.timeout(300)


def test_the_server_is_the_version_that_go_mod_names(kube_cluster: Cluster) -> None:
    told = kube_cluster.kubectl("version")
    assert told.count(binaries.version()) == 2


@pytest.mark.parametrize(
    ("code", "reason"), [(0, "Complete"), (1, "BackoffLimitExceeded"), (2, "BackoffLimitExceeded")]
)
def test_a_job_ends_as_its_process_does(namespace: Namespace, code: int, reason: str) -> None:
    namespace.create(job("ends", shell(f"echo it says {code}; exit {code}")))
    assert namespace.ended("ends") == reason
    pod = namespace.pod("ends")
    assert pod["status"]["phase"] == ("Succeeded" if code == 0 else "Failed")
    assert terminated(pod)["exitCode"] == code
    assert terminated(pod)["reason"] == ("Completed" if code == 0 else "Error")
    assert namespace.log(pod) == f"it says {code}\n"


def test_exit_code_2_fails_the_job_by_its_pod_failure_policy(namespace: Namespace) -> None:
    rule = {"action": "FailJob", "onExitCodes": {"containerName": "main", "operator": "In", "values": [2]}}
    manifest = job("policy", shell("exit 2"), podFailurePolicy={"rules": [rule]}, backoffLimit=3)
    namespace.create(manifest)
    assert namespace.ended("policy") == "PodFailurePolicy"
    assert len(namespace.pods("policy")) == 1


def test_a_service_runs_by_its_image(namespace: Namespace) -> None:
    namespace.create(job("service", container(image="registry.example/streamforge/dummy-service:1.2", args=["--help"])))
    assert namespace.ended("service") == "Complete"
    assert "dummy-service" in namespace.log(namespace.pod("service"))


def test_values_come_from_the_manifest_config_maps_secrets_and_the_pod(namespace: Namespace) -> None:
    rest, name = namespace.rest, namespace.name
    rest.request("POST", f"{namespace.path}/configmaps", {"metadata": {"name": "settings"}, "data": {"COLOUR": "blue"}})
    secret = {"metadata": {"name": "keys"}, "stringData": {"password": "hush", "ca.crt": "a certificate"}}
    rest.request("POST", f"{namespace.path}/secrets", secret)
    environment = [
        {"name": "PLAIN", "value": "one"},
        {"name": "COMPOSED", "value": "$(PLAIN)-$(UNKNOWN)-$$(PLAIN)"},
        {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "password"}}},
        {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "SPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
        {"name": "CA_PATH", "value": "/etc/kafka/ca.crt"},
    ]
    script = 'echo "$PLAIN $COMPOSED $PASSWORD $POD $SPACE $COLOUR"; cat "$CA_PATH" /etc/kafka/password; echo'
    main = shell(
        script,
        env=environment,
        envFrom=[{"configMapRef": {"name": "settings"}}],
        volumeMounts=[{"name": "keys", "mountPath": "/etc/kafka", "readOnly": True}],
    )
    volumes = [{"name": "keys", "secret": {"secretName": "keys"}}]
    namespace.create(job("values", main, pod={"volumes": volumes}))
    assert namespace.ended("values") == "Complete"
    pod = namespace.pod("values")
    composed = "one-$(UNKNOWN)-$(PLAIN)"
    assert namespace.log(pod) == f"one {composed} hush {pod['metadata']['name']} {name} blue\na certificatehush\n"


def test_volumes_are_also_where_the_manifest_mounts_them(namespace: Namespace) -> None:
    secret = {"metadata": {"name": "keys"}, "stringData": {"word": "hush"}}
    namespace.rest.request("POST", f"{namespace.path}/secrets", secret)
    # Written so that nothing in the command line is a path to rewrite.
    script = 'for folder in /etc/"streamforge-test"/keys /var/run/"secrets"/test; do cat $folder/word; echo; done'
    mounts = [
        {"name": "keys", "mountPath": "/etc/streamforge-test/keys"},
        {"name": "keys", "mountPath": "/var/run/secrets/test"},
    ]
    pod = {"volumes": [{"name": "keys", "secret": {"secretName": "keys"}}]}
    namespace.create(job("mounted", shell(script, volumeMounts=mounts), pod=pod))
    assert namespace.ended("mounted") == "Complete"
    assert namespace.log(namespace.pod("mounted")) == "hush\nhush\n"
    assert not Path("/etc/streamforge-test").exists()


def test_containers_share_an_empty_dir_and_init_containers_come_first(namespace: Namespace) -> None:
    mounts = [{"name": "shared", "mountPath": "/data"}]
    first = shell("echo made before > /data/file", volumeMounts=mounts) | {"name": "first"}
    main = shell("cat /data/file", volumeMounts=mounts)
    pod = {"initContainers": [first], "volumes": [{"name": "shared", "emptyDir": {}}]}
    namespace.create(job("shared", main, pod=pod))
    assert namespace.ended("shared") == "Complete"
    assert namespace.log(namespace.pod("shared"), container="main") == "made before\n"


def test_a_job_waits_for_a_secret_that_is_not_there_yet(namespace: Namespace) -> None:
    environment = [{"name": "WORD", "valueFrom": {"secretKeyRef": {"name": "late", "key": "word"}}}]
    namespace.create(job("waits", shell('echo "$WORD"', env=environment)))
    pod = namespace.pod("waits", lambda pod: "containerStatuses" in pod["status"])
    waiting = pod["status"]["containerStatuses"][0]["state"]["waiting"]
    assert waiting == {"reason": "CreateContainerConfigError", "message": 'secret "late" not found'}
    namespace.rest.request(
        "POST", f"{namespace.path}/secrets", {"metadata": {"name": "late"}, "stringData": {"word": "here"}}
    )
    assert namespace.ended("waits") == "Complete"
    assert namespace.log(namespace.pod("waits")) == "here\n"


def test_a_volume_that_cannot_be_mounted_is_told_in_an_event(namespace: Namespace) -> None:
    volumes = [{"name": "keys", "secret": {"secretName": "nowhere"}}]
    namespace.create(job("mount", shell("true"), pod={"volumes": volumes}))
    pod = namespace.pod("mount", lambda pod: "containerStatuses" in pod["status"])
    event = namespace.event(pod["metadata"]["name"], "FailedMount")
    assert 'secret "nowhere" not found' in event["message"]


def test_a_finished_job_is_removed_after_its_time(namespace: Namespace) -> None:
    namespace.create(job("short", shell("true"), ttlSecondsAfterFinished=1))
    until("the Job is gone", lambda: namespace.job("short") is None and not namespace.pods("short"))


def test_a_deleted_job_has_its_process_told_and_waited_for(namespace: Namespace, tmp_path: Path) -> None:
    told = tmp_path / "told"
    script = f"trap 'echo told > {told}; exit 0' TERM; echo ready; while :; do sleep 0.05; done"
    namespace.create(job("told", shell(script)))
    pod = namespace.running("told")
    until("the trap is set", lambda: "ready" in namespace.log(pod))
    namespace.delete("told")
    until("the Job and its pod are gone", lambda: namespace.job("told") is None and not namespace.pods("told"))
    assert told.read_text() == "told\n"


def test_a_process_that_does_not_listen_is_killed_after_its_grace(namespace: Namespace, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    # What it has started ends with it. (Kubernetes makes one dollar sign of two.)
    script = f"trap '' TERM; sleep 600 & echo $$$$ $! > {pids}; while :; do sleep 0.05; done"
    namespace.create(job("deaf", shell(script), pod={"terminationGracePeriodSeconds": 1}))
    namespace.running("deaf")
    until("it has started", lambda: pids.exists() and pids.read_text().endswith("\n"))
    namespace.delete("deaf")
    until("the pod is gone", lambda: not namespace.pods("deaf"))
    found = [int(pid) for pid in pids.read_text().split()]
    assert len(found) == 2
    until("both have ended", lambda: not any(map(alive, found)))


def test_a_job_past_its_deadline_is_ended(namespace: Namespace) -> None:
    namespace.create(job("late", shell("sleep 600"), activeDeadlineSeconds=1))
    assert namespace.ended("late") == "DeadlineExceeded"


def test_a_pod_past_its_own_deadline_is_ended(namespace: Namespace) -> None:
    namespace.create(job("late", shell("exec sleep 600"), pod={"activeDeadlineSeconds": 1}))
    assert namespace.ended("late") == "BackoffLimitExceeded"
    assert namespace.pod("late")["status"]["reason"] == "DeadlineExceeded"


def test_a_pod_can_be_killed_for_its_memory(namespace: Namespace) -> None:
    namespace.create(job("greedy", shell("exec sleep 600")))
    namespace.fault(namespace.running("greedy"), faults.OOM_KILLED)
    assert namespace.ended("greedy") == "BackoffLimitExceeded"
    ended = terminated(namespace.pod("greedy"))
    assert (ended["exitCode"], ended["reason"]) == (137, "OOMKilled")


def test_a_template_can_have_every_pod_killed(namespace: Namespace) -> None:
    manifest = job("greedy", shell("exec sleep 600"))
    manifest["spec"]["template"]["metadata"] = {"annotations": {faults.FAULT: faults.OOM_KILLED}}
    namespace.create(manifest)
    assert namespace.ended("greedy") == "BackoffLimitExceeded"
    assert terminated(namespace.pod("greedy"))["reason"] == "OOMKilled"


def test_a_pod_can_be_evicted_by_its_node(namespace: Namespace) -> None:
    namespace.create(job("evicted", shell("exec sleep 600")))
    namespace.fault(namespace.running("evicted"), faults.EVICTED)
    assert namespace.ended("evicted") == "BackoffLimitExceeded"
    pod = namespace.pod("evicted")
    assert (pod["status"]["phase"], pod["status"]["reason"]) == ("Failed", "Evicted")
    found = condition(pod, "DisruptionTarget")
    assert found is not None
    assert (found["status"], found["reason"]) == ("True", "TerminationByKubelet")


def test_the_eviction_api_marks_the_pod_as_disrupted(namespace: Namespace) -> None:
    manifest = job(
        "moved",
        shell("exec sleep 600"),
        podFailurePolicy={
            "rules": [{"action": "FailJob", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}]
        },
    )
    namespace.create(manifest)
    pod = namespace.running("moved")
    meta = {"name": pod["metadata"]["name"], "namespace": namespace.name}
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": meta}
    namespace.rest.request("POST", f"{namespace.path}/pods/{meta['name']}/eviction", eviction)
    assert namespace.ended("moved") == "PodFailurePolicy"


@pytest.mark.parametrize("image", ["registry.example/streamforge/nobody:1", "registry.example/dummy-service:missing"])
def test_an_image_that_is_nowhere_is_waited_for(namespace: Namespace, image: str) -> None:
    namespace.create(job("image", container(image=image)))

    def backs_off(pod: dict[str, object]) -> bool:
        return "ImagePullBackOff" in str(pod["status"])

    pod = namespace.pod("image", backs_off)
    assert pod["status"]["phase"] == "Pending"
    assert image in namespace.event(pod["metadata"]["name"], "Failed")["message"]


def test_an_image_that_comes_back_is_run(namespace: Namespace) -> None:
    manifest = job("image", shell("true"))
    manifest["spec"]["template"]["metadata"] = {"annotations": {faults.FAULT: faults.IMAGE}}
    namespace.create(manifest)
    pod = namespace.pod("image", lambda pod: "ImagePullBackOff" in str(pod["status"]))
    namespace.fault(pod, None)
    assert namespace.ended("image") == "Complete"


def test_a_program_that_is_nowhere_fails_the_pod(namespace: Namespace) -> None:
    namespace.create(job("program", container(["no-such-program"])))
    assert namespace.ended("program") == "BackoffLimitExceeded"
    ended = terminated(namespace.pod("program"))
    assert (ended["exitCode"], ended["reason"]) == (128, "StartError")
    assert "no-such-program" in ended["message"]


def test_a_pod_that_does_nothing_ends_as_it_is_told(namespace: Namespace) -> None:
    namespace.create(job("idle", container(image="registry.example/pause:3")))
    namespace.fault(namespace.running("idle"), faults.ending(2))
    assert namespace.ended("idle") == "BackoffLimitExceeded"
    assert terminated(namespace.pod("idle"))["exitCode"] == 2


def test_a_pod_goes_where_its_node_selector_says(namespace: Namespace) -> None:
    namespace.create(job("chosen", shell("true"), pod={"nodeSelector": {"streamforge-worker": "true"}}))
    assert namespace.ended("chosen") == "Complete"
    assert namespace.pod("chosen")["spec"]["nodeName"] == "node-1"
    namespace.create(job("nowhere", shell("true"), pod={"nodeSelector": {"streamforge-worker": "no"}}))
    pod = namespace.pod("nowhere")
    assert (
        "didn't match Pod's node affinity/selector"
        in namespace.event(pod["metadata"]["name"], "FailedScheduling")["message"]
    )


def test_pod_security_restricted_refuses_what_it_should(namespace: Namespace) -> None:
    manifest = job("insecure", {"name": "main", "image": "local/shell:1", "command": ["true"]})
    manifest["spec"]["template"]["spec"].pop("securityContext")
    namespace.create(manifest)
    message = namespace.event("insecure", "FailedCreate")["message"]
    assert 'violates PodSecurity "restricted:latest"' in message


def test_a_quota_that_is_used_up_keeps_pods_away(namespace: Namespace) -> None:
    namespace.use_up("pods")
    namespace.create(job("many", shell("true")))
    assert "exceeded quota: used-up" in namespace.event("many", "FailedCreate")["message"]


def test_a_service_account_may_do_what_its_role_says_and_no_more(
    kube_cluster: Cluster, namespace: Namespace, tmp_path: Path
) -> None:
    rules = [{"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["get", "list", "create"]}]
    kube_cluster.accounts.create(namespace.name, "worker", rules)
    token = kube_cluster.accounts.token(namespace.name, "worker")
    own = Namespace(Rest("127.0.0.1", kube_cluster.ports.api, kube_cluster.pki.ca, token=token), namespace.name)
    own.create(job("allowed", shell("true")))
    assert own.ended("allowed") == "Complete"
    for refused in (lambda: own.delete("allowed"), lambda: own.pods("allowed")):
        with pytest.raises(ApiError) as error:
            refused()
        assert error.value.status == 403
    path = kube_cluster.accounts.kubeconfig(tmp_path / "kubeconfig", namespace.name, "worker")
    assert "job.batch/allowed" in kube_cluster.kubectl("get", "jobs", "-o", "name", kubeconfig=path)


def test_a_pod_reaches_the_api_with_the_token_it_is_given(kube_cluster: Cluster, namespace: Namespace) -> None:
    rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]
    kube_cluster.accounts.create(namespace.name, "looker", rules)
    where = "/var/run/secrets/kubernetes.io/serviceaccount"
    script = (
        "import http.client, os, ssl; folder = os.environ['FOLDER']; "
        "context = ssl.create_default_context(cafile=folder + '/ca.crt'); "
        "at = os.environ['KUBERNETES_SERVICE_HOST'], int(os.environ['KUBERNETES_SERVICE_PORT']); "
        "space, token = (open(f'{folder}/{name}').read() for name in ('namespace', 'token')); "
        "asked = http.client.HTTPSConnection(*at, context=context); "
        "path = f'/api/v1/namespaces/{space}/pods'; "
        "asked.request('GET', path, headers={'Authorization': f'Bearer {token}'}); "
        "print(asked.getresponse().status)"
    )
    main = container(["python3", "-c", script], env=[{"name": "FOLDER", "value": where}])
    namespace.create(job("inside", main, pod={"serviceAccountName": "looker", "automountServiceAccountToken": True}))
    assert namespace.ended("inside") == "Complete"
    assert namespace.log(namespace.pod("inside")) == "200\n"


def test_logs_can_be_followed_cut_and_stamped(kube_cluster: Cluster, namespace: Namespace) -> None:
    namespace.create(job("talks", shell("for n in 1 2 3; do echo line $n; done; exec sleep 600")))
    pod = namespace.running("talks")
    until("all lines are there", lambda: "line 3" in namespace.log(pod))
    assert namespace.log(pod, tailLines="2") == "line 2\nline 3\n"
    assert namespace.log(pod, limitBytes="4") == "line"
    stamped = namespace.log(pod, timestamps="true").splitlines()
    assert [line.split(" ", 1)[1] for line in stamped] == ["line 1", "line 2", "line 3"]
    namespace.fault(pod, faults.ending(0))
    told = kube_cluster.kubectl("logs", "--follow", f"--namespace={namespace.name}", pod["metadata"]["name"])
    assert told == "line 1\nline 2\nline 3\n"


def test_a_failed_process_leaves_its_last_words_where_the_manifest_wants_them(namespace: Namespace) -> None:
    namespace.create(job("words", shell("echo why; exit 1", terminationMessagePolicy="FallbackToLogsOnError")))
    namespace.ended("words")
    assert terminated(namespace.pod("words"))["message"] == "why\n"


def test_strict_validation_refuses_a_field_that_is_not_known(kube_cluster: Cluster, namespace: Namespace) -> None:
    manifest = job("strict", shell("true"))
    manifest["spec"]["template"]["spec"]["containers"][0]["comand"] = ["true"]
    with pytest.raises(ApiError, match="unknown field"):
        namespace.rest.request(
            "POST", f"/apis/batch/v1/namespaces/{namespace.name}/jobs?fieldValidation=Strict&dryRun=All", manifest
        )


def test_every_part_listens_on_loopback_only(kube_cluster: Cluster) -> None:
    pids = {process.pid for process in kube_cluster.processes}
    inodes = {
        os.readlink(link)[8:-1]
        for pid in pids
        for link in Path(f"/proc/{pid}/fd").iterdir()
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
