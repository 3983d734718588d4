"""Every shipped manifest on a real API server: strict validation, admission, and rights that suffice and no more."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.engines.kubernetes import binaries, launchers
from tests.engines.kubernetes.cluster import Cluster
from tests.engines.kubernetes.house import NAMESPACE, prepared
from tests.engines.kubernetes.jobs import Namespace, until
from tests.engines.kubernetes.parts import HOST
from tests.engines.kubernetes.rest import ApiError, Object, Rest
from tests.engines.process import EngineError
from tests.manifests.rules import faults, pods
from tests.manifests.schemas import ROOT, schema_errors
from tests.manifests.workers import worker_job
from tools import manifests

ACCOUNT = "queue-manager"
NAMES = sorted(manifests.names())
GATEWAY = "deploy-production-gateway.yaml"


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    """What `make manifests` writes, by file."""
    return manifests.texts([str(binaries.folder() / "kubectl"), "kustomize"])


@pytest.fixture(scope="module")
def house(kube_cluster: Cluster) -> Iterator[Cluster]:
    """The cluster, prepared; the namespace goes after the tests."""
    with prepared(kube_cluster):
        yield kube_cluster


@pytest.fixture(scope="module")
def deployed(house: Cluster, texts: dict[str, str]) -> Namespace:
    """The dev overlay, applied."""
    house.kubectl("apply", "--filename=-", stdin=texts["deploy-dev.yaml"])
    return Namespace(house.admin, NAMESPACE)


def dry_run(cluster: Cluster, text: str) -> str:
    """What the API server says to a manifest; a warning counts as a refusal."""
    return cluster.kubectl(
        "apply", "--validate=strict", "--dry-run=server", "--warnings-as-errors", "--filename=-", stdin=text
    )


def test_every_manifest_is_looked_at(texts: dict[str, str]) -> None:
    """tests/manifests/test_rendering.py holds NAMES against what is in the repository."""
    assert sorted(texts) == NAMES
    assert {
        "deploy-cluster.yaml",
        "deploy-dev.yaml",
        "deploy-production.yaml",
        "cred-kafka-yaml-user-streamforge.yaml",
    } <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_the_api_server_accepts_it_strictly_and_without_a_warning(
    house: Cluster, texts: dict[str, str], name: str
) -> None:
    said, objects = dry_run(house, texts[name]), manifests.objects(texts[name], name)
    assert len(said.splitlines()) == len(objects)
    assert all("(server dry run)" in line for line in said.splitlines())
    # And the rules hold that no server knows.
    assert faults(objects) == []
    assert [error for one in objects for error in schema_errors(one)] == []


@pytest.mark.parametrize(
    ("file", "was", "is_now", "words"),
    [
        (GATEWAY, "readOnlyRootFilesystem:", "readOnlyRootFileSystem:", "unknown field"),
        (GATEWAY, "runAsNonRoot: true", "runAsNonRoot: false", "restricted"),
        ("deploy-cluster.yaml", "preemptionPolicy: Never", "preemptionPolicy: Sometimes", "preemptionPolicy"),
        (GATEWAY, "timeouts:", "timeout:", "unknown field"),
        (GATEWAY, "request: 0s", "request: forever", "timeouts"),
        (GATEWAY, "podTargetLabels:", "podTargetLabel:", "unknown field"),
    ],
)
def test_the_api_server_refuses_a_mistake(
    house: Cluster, texts: dict[str, str], file: str, was: str, is_now: str, words: str
) -> None:
    text = texts[file]
    assert was in text
    with pytest.raises(EngineError, match=words):
        dry_run(house, text.replace(was, is_now))


def test_every_pod_gets_into_the_restricted_namespace_and_none_that_may_be_root(
    house: Cluster, deployed: Namespace, texts: dict[str, str]
) -> None:
    for name in NAMES:
        for where, metadata, spec in pods(manifests.objects(texts[name], name)):
            pod = {"metadata": {"generateName": "admitted-", "labels": metadata["labels"]}, "spec": spec}
            made = house.admin.request("POST", f"{deployed.path}/pods?dryRun=All&fieldValidation=Strict", pod)
            assert made["metadata"]["namespace"] == NAMESPACE, where
    ((_, metadata, spec),) = pods(manifests.objects(texts["deploy-dev.yaml"], "dev"))
    spec = copy.deepcopy(spec)
    del spec["securityContext"]["runAsNonRoot"]
    pod = {"metadata": {"name": "root", "labels": metadata["labels"]}, "spec": spec}
    with pytest.raises(ApiError, match=r"PodSecurity.*runAsNonRoot") as refused:
        house.admin.request("POST", f"{deployed.path}/pods?dryRun=All", pod)
    assert refused.value.status == 403


def test_an_applied_overlay_brings_one_pod_of_the_manager(house: Cluster, deployed: Namespace) -> None:
    def found() -> Object | None:
        query = "labelSelector=app.kubernetes.io/name%3Dqueue-manager"
        items: list[Object] = house.admin.request("GET", f"{deployed.path}/pods?{query}")["items"]
        return items[0] if len(items) == 1 and items[0]["spec"].get("nodeName") else None

    pod = until("one pod of queue-manager on a node", found)
    assert pod["spec"]["serviceAccountName"] == ACCOUNT
    assert pod["spec"]["imagePullSecrets"] == [{"name": "regcred"}]
    used = house.admin.request("GET", f"{deployed.path}/resourcequotas/workers")["status"]["used"]
    assert used["pods"] == "0", "the quota counts workers alone"


@pytest.fixture(scope="module")
def made_up(house: Cluster, deployed: Namespace) -> None:
    """The Secrets that pods take something from."""
    for name in ("user-streamforge", "arangodb-streamforge", "streamforge-cluster-ca-cert", "arangodb-ca", "regcred"):
        launchers.create_secret(house, NAMESPACE, name, {"password": "made-up", "ca.crt": "made up"})


@pytest.fixture(scope="module")
def account(house: Cluster, deployed: Namespace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A kubeconfig with a token of the shipped ServiceAccount."""
    return house.accounts.kubeconfig(tmp_path_factory.mktemp("account") / "kubeconfig", NAMESPACE, ACCOUNT)


@pytest.fixture(scope="module")
def speaker(house: Cluster, deployed: Namespace) -> Rest:
    """The API server, asked with such a token."""
    return Rest(HOST, house.ports.api, house.pki.ca, token=house.accounts.token(NAMESPACE, ACCOUNT))


def test_the_shipped_account_makes_sees_and_ends_a_workers_job(
    house: Cluster, deployed: Namespace, account: Path, made_up: None, texts: dict[str, str]
) -> None:
    job = worker_job(manifests.objects(texts["deploy-dev.yaml"], "dev"))
    (container,) = job["spec"]["template"]["spec"]["containers"]
    container["image"] = "registry.dmz.home/streamforge/pause:v1"  # which does nothing until it is told to end
    name = job["metadata"]["name"]

    def as_account(*arguments: str, stdin: str | None = None) -> str:
        return house.kubectl(f"--namespace={NAMESPACE}", *arguments, stdin=stdin, kubeconfig=account)

    strict = ("--validate=strict", "--warnings-as-errors")
    assert as_account("create", *strict, "--filename=-", stdin=json.dumps(job)) == f"job.batch/{name} created\n"
    pod = deployed.running(name)
    assert pod["spec"]["priority"] == -100
    assert pod["spec"]["nodeName"]
    assert name in as_account("get", "jobs", "--output=name")
    assert pod["metadata"]["name"] in as_account("get", "pods", "--output=name")
    as_account("get", "--raw", f"{deployed.path}/pods/{pod['metadata']['name']}/log")
    assert "Scheduled" in as_account("get", "events", f"--field-selector=involvedObject.name={pod['metadata']['name']}")
    # The quota counts the worker, and not queue-manager.
    quota = f"{deployed.path}/resourcequotas/workers"
    until("the worker is counted", lambda: house.admin.request("GET", quota)["status"]["used"]["pods"] == "1")
    as_account("delete", "job", name, "--timeout=300s")
    until("its pod is gone", lambda: not deployed.pods(name))
    until("nobody is counted any more", lambda: house.admin.request("GET", quota)["status"]["used"]["pods"] == "0")


def test_the_shipped_account_may_do_nothing_else_and_nothing_in_another_namespace(speaker: Rest) -> None:
    for question in (
        *("get secrets", "list secrets", "create pods", "patch pods", "create pods/exec", "update jobs.batch"),
        *("deletecollection jobs.batch", "get configmaps", "update deployments.apps", "get nodes"),
        *("create roles.rbac.authorization.k8s.io", "create serviceaccounts/token"),
    ):
        assert not may(speaker, question, NAMESPACE), question
    for question in ("list jobs.batch", "create jobs.batch", "list pods", "delete pods", "get pods/log"):
        assert may(speaker, question, NAMESPACE), question
        assert not may(speaker, question, "default"), question


@pytest.mark.parametrize("kind", ["job", "pod"])
def test_dummy_service_plays_in_the_cluster(house: Cluster, deployed: Namespace, made_up: None, kind: str) -> None:
    with launchers.shared_folder() as folder:
        manifest = yaml.safe_load((ROOT / "services" / "dummy-service" / f"{kind}.yaml").read_text())
        spec = manifest["spec"] if kind == "pod" else manifest["spec"]["template"]["spec"]
        (container,) = spec["containers"]
        container["args"][-1] = "1"  # second, not five minutes
        # The embedded bus stands for Kafka here.
        container["env"] = [entry for entry in container["env"] if not entry["name"].startswith("KAFKA_")]
        container["env"].append({"name": "STREAMFORGE_DATA_DIR", "value": str(folder / "data")})
        container["envFrom"] = []
        name = manifest["metadata"]["name"]
        house.kubectl("apply", "--validate=strict", "--filename=-", stdin=json.dumps(manifest))

        def phase() -> str | None:
            alone = f"{deployed.path}/pods/{name}"
            found = deployed.pods(name) if kind == "job" else [house.admin.request("GET", alone)]
            told = str(found[0]["status"]["phase"]) if found else ""
            return told if told in ("Succeeded", "Failed") else None

        assert until("dummy-service has ended", phase) == "Succeeded"
        house.kubectl("delete", "--filename=-", "--wait=true", stdin=json.dumps(manifest))


def may(speaker: Rest, question: str, namespace: str) -> bool:
    """Whether the API server lets who asks do it: `VERB RESOURCE[.GROUP][/PART]`."""
    verb, _, what = question.partition(" ")
    what, _, part = what.partition("/")
    resource, _, group = what.partition(".")
    attributes = {"namespace": namespace, "verb": verb, "resource": resource, "group": group, "subresource": part}
    body = {"spec": {"resourceAttributes": attributes}}
    answer = speaker.request("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body)
    return bool(answer["status"].get("allowed", False))
