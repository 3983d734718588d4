"""Every shipped manifest on a real API server: strict validation, admission, and rights that suffice and no more."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.engines.errors import EngineError
from tests.engines.kubernetes import binaries
from tests.engines.kubernetes.cluster import Cluster
from tests.engines.kubernetes.house import NAMESPACE, prepared
from tests.engines.kubernetes.jobs import Namespace, until
from tests.engines.kubernetes.parts import HOST
from tests.engines.kubernetes.rest import ApiError, Object, Rest
from tests.engines.kubernetes.test_doctor_kubernetes import doctor
from tests.manifests.rules import faults, pods
from tests.manifests.schemas import ROOT, schema_errors
from tests.manifests.workers import worker_job
from tools import manifests

pytestmark = pytest.mark.timeout(300)

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
    said = dry_run(house, texts[name])
    assert len(said.splitlines()) == len(manifests.objects(texts[name], name))
    assert all("(server dry run)" in line for line in said.splitlines())


@pytest.mark.parametrize("name", NAMES)
def test_the_rules_that_no_server_knows_hold_too(texts: dict[str, str], name: str) -> None:
    objects = manifests.objects(texts[name], name)
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


@pytest.mark.parametrize("name", NAMES)
def test_every_pod_gets_into_the_restricted_namespace(
    house: Cluster, deployed: Namespace, texts: dict[str, str], name: str
) -> None:
    for where, metadata, spec in pods(manifests.objects(texts[name], name)):
        pod = {"metadata": {"generateName": "admitted-", "labels": metadata["labels"]}, "spec": spec}
        made = house.admin.request("POST", f"{deployed.path}/pods?dryRun=All&fieldValidation=Strict", pod)
        assert made["metadata"]["namespace"] == NAMESPACE, where


def test_a_pod_that_may_be_root_does_not_get_in(house: Cluster, deployed: Namespace, texts: dict[str, str]) -> None:
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
def account(house: Cluster, deployed: Namespace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A kubeconfig with a token of the shipped ServiceAccount."""
    return house.accounts.kubeconfig(tmp_path_factory.mktemp("account") / "kubeconfig", NAMESPACE, ACCOUNT)


@pytest.fixture(scope="module")
def speaker(house: Cluster, deployed: Namespace) -> Rest:
    """The API server, asked with such a token."""
    return Rest(HOST, house.ports.api, house.pki.ca, token=house.accounts.token(NAMESPACE, ACCOUNT))


def test_the_shipped_account_makes_sees_and_ends_a_workers_job(
    house: Cluster, deployed: Namespace, account: Path, texts: dict[str, str]
) -> None:
    for name in ("user-streamforge", "arangodb-streamforge", "streamforge-cluster-ca-cert", "arangodb-ca", "regcred"):
        data = {"metadata": {"name": name}, "stringData": {"password": "made-up", "ca.crt": "made up"}}
        house.admin.request("POST", f"{deployed.path}/secrets", data)
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
    as_account("delete", "job", name, "--timeout=50s")
    until("its pod is gone", lambda: not deployed.pods(name))
    until("nobody is counted any more", lambda: house.admin.request("GET", quota)["status"]["used"]["pods"] == "0")


@pytest.mark.parametrize(
    "question",
    [
        "get secrets",
        "list secrets",
        "create pods",
        "patch pods",
        "create pods/exec",
        "update jobs.batch",
        "deletecollection jobs.batch",
        "get configmaps",
        "update deployments.apps",
        "create roles.rbac.authorization.k8s.io",
        "create serviceaccounts/token",
        "get nodes",
    ],
)
def test_the_shipped_account_may_do_nothing_else(speaker: Rest, question: str) -> None:
    assert not may(speaker, question, NAMESPACE)


def test_the_shipped_account_may_do_nothing_in_another_namespace(speaker: Rest) -> None:
    for question in ("list jobs.batch", "create jobs.batch", "list pods", "delete pods", "get pods/log"):
        assert may(speaker, question, NAMESPACE)
        assert not may(speaker, question, "default")


ROLE = next(one for one in yaml.safe_load_all((ROOT / "deploy/base/role.yaml").read_text()) if one["kind"] == "Role")


@pytest.mark.parametrize(
    "rule", [None, *ROLE["rules"]], ids=lambda rule: "none" if rule is None else rule["resources"][0]
)
def test_doctor_names_what_the_role_lacks_without_a_rule(
    house: Cluster, deployed: Namespace, account: Path, tmp_path: Path, rule: Object | None
) -> None:
    path = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{NAMESPACE}/roles/{ROLE['metadata']['name']}"

    def give(rules: list[Object]) -> None:
        house.admin.request("PATCH", path, {"rules": rules}, kind="application/merge-patch+json")

    give([one for one in ROLE["rules"] if one != rule])
    try:
        found = doctor(account, NAMESPACE, tmp_path, STREAMFORGE_K8S_PRIORITY_CLASS="streamforge-worker")
    finally:
        give(ROLE["rules"])
    if rule is None:
        assert [found[part]["verdict"] for part in ("launcher", "rights", "jobs")] == ["works"] * 3, found
    else:
        assert found["rights"]["verdict"] == "fails"
        (resource,) = rule["resources"]
        for verb in rule["verbs"]:
            assert f"may not {verb} {resource}" in found["rights"]["detail"]
        others = [one["resources"][0] for one in ROLE["rules"] if one != rule]
        assert not [other for other in others if f" {other}" in found["rights"]["detail"].replace(f" {resource}", "")]


def may(speaker: Rest, question: str, namespace: str) -> bool:
    """Whether the API server lets who asks do it: `VERB RESOURCE[.GROUP][/PART]`."""
    verb, _, what = question.partition(" ")
    what, _, part = what.partition("/")
    resource, _, group = what.partition(".")
    attributes = {"namespace": namespace, "verb": verb, "resource": resource, "group": group, "subresource": part}
    body = {"spec": {"resourceAttributes": attributes}}
    answer = speaker.request("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body)
    return bool(answer["status"].get("allowed", False))
