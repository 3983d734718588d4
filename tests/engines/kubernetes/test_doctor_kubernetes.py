"""`streamforge doctor` on a real control plane: what is missing for Jobs is named, and nothing else is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from streamforge_utils.adapters.kubernetes.examiner import RIGHTS, KubernetesExaminer
from streamforge_utils.adapters.kubernetes.manifest import Template
from streamforge_utils.ports.job_settings import KubernetesSettings
from tests.adapters.kubernetes.templates import role_rules
from tests.engines.kubernetes import launchers
from tests.engines.kubernetes.cluster import Cluster
from tests.engines.kubernetes.jobs import Namespace


def doctor(kubeconfig: Path, namespace: str, folder: Path, **settings: str) -> dict[str, dict[str, Any]]:
    """What it says of each part, through the command line."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "KUBECONFIG": str(kubeconfig),
        "K8S_NAMESPACE": namespace,
        **settings,
    }
    command = [sys.executable, "-m", "streamforge.cli", "doctor", "--launcher", "kubernetes", "--json"]
    done = subprocess.run(
        [*command, "--data", str(folder / "data"), "--exchange", "test"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.stdout, done.stderr
    return {check["part"]: check for check in json.loads(done.stdout)["checks"]}


@pytest.fixture
def account(kube_cluster: Cluster, kube_namespace: str, tmp_path: Path) -> Path:
    """The kubeconfig of one who has the rights that a manager needs and no other."""
    return launchers.manager_account(kube_cluster, kube_namespace, tmp_path / "kubeconfig")


def test_with_the_least_rights_everything_works(
    kube_cluster: Cluster, kube_namespace: str, account: Path, tmp_path: Path
) -> None:
    found = doctor(account, kube_namespace, tmp_path)
    for part in ("settings", "launcher", "rights", "jobs", "secrets"):
        assert found[part]["verdict"] == "works", found
    assert f"namespace {kube_namespace}" in found["launcher"]["detail"]
    assert found["reach"]["verdict"] == "careful"


async def test_a_right_that_is_missing_is_named_and_no_other(
    kube_cluster: Cluster, kube_namespace: str, tmp_path: Path
) -> None:
    for right in RIGHTS:
        for verb in right.verbs:
            account = f"lacks-{verb}-{right.resource.replace('/', '-')}"
            rules = role_rules()
            for rule in rules:
                if rule["resources"] == [right.resource]:
                    rule["verbs"] = [one for one in rule["verbs"] if one != verb]
            kube_cluster.accounts.create(kube_namespace, account, [rule for rule in rules if rule["verbs"]])
            kubeconfig = kube_cluster.accounts.kubeconfig(tmp_path / account, kube_namespace, account)
            settings = KubernetesSettings(kubeconfig=str(kubeconfig), namespace=kube_namespace)
            examiner = KubernetesExaminer(Template(settings=settings))
            try:
                found = {finding.part: finding async for finding in examiner.examine()}
            finally:
                await examiner.close()
            assert found["rights"].verdict == "fails"
            assert found["rights"].detail == f"may not {verb} {right.resource} in namespace {kube_namespace}"


def test_secrets_and_config_maps_that_are_missing_or_lack_a_key_are_named(
    kube_cluster: Cluster, kube_namespace: str, account: Path, tmp_path: Path
) -> None:
    for name, key in (("user-streamforge", "password"), ("user-other", "passwort")):
        launchers.create_secret(kube_cluster, kube_namespace, name, {key: "hush-hush"})
    settings = {
        "STREAMFORGE_K8S_SECRET_ENV": "KAFKA_PASSWORD=user-streamforge/password,ARANGO_PASSWORD=arango/password,"
        "BINANCE_API_KEY=user-other/password",
        "STREAMFORGE_K8S_WORKER_CONFIGMAPS": "streamforge-worker",
        "STREAMFORGE_K8S_KAFKA_CA_SECRET": "streamforge-cluster-ca-cert/ca.crt",
        "STREAMFORGE_K8S_ARCHIVE_CLAIM": "archive-files",
    }
    check = doctor(kube_cluster.kubeconfig, kube_namespace, tmp_path, **settings)["secrets"]
    assert check["verdict"] == "fails"
    for name in (
        *("secret arango", "configmap streamforge-worker", "secret streamforge-cluster-ca-cert"),
        "persistentvolumeclaim archive-files",
    ):
        assert name in check["detail"]
    assert "key password of secret user-other" in check["detail"]
    assert "user-streamforge" not in check["detail"]
    assert "hush-hush" not in json.dumps(check)
    # Who may not look is told so.
    settings = {"STREAMFORGE_K8S_SECRET_ENV": "KAFKA_PASSWORD=user-streamforge/password"}
    check = doctor(account, kube_namespace, tmp_path, **settings)["secrets"]
    assert (check["verdict"], "may not get secret user-streamforge" in check["detail"]) == ("careful", True)


@pytest.mark.parametrize(
    ("secret", "more"),
    [
        ("KAFKA_PASSWORD", {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "KAFKA_USER": "user-streamforge"}),
        ("BINANCE_API_KEY", {}),
    ],
)
def test_what_would_stop_every_launch_is_named_before_the_first(
    kube_namespace: str, account: Path, tmp_path: Path, secret: str, more: dict[str, str]
) -> None:
    found = doctor(account, kube_namespace, tmp_path, **{secret: "hush-hush"}, **more)
    assert found["jobs"]["verdict"] == "fails", found
    assert f"{secret} holds a secret" in found["jobs"]["detail"]
    assert "STREAMFORGE_K8S_SECRET_ENV" in found["jobs"]["detail"]
    assert "hush-hush" not in json.dumps(found)


def test_a_quota_that_is_used_up_is_named(kube_cluster: Cluster, kube_namespace: str, tmp_path: Path) -> None:
    Namespace(kube_cluster.admin, kube_namespace).use_up("count/jobs.batch")
    check = doctor(kube_cluster.kubeconfig, kube_namespace, tmp_path)["jobs"]
    assert check["verdict"] == "fails"
    assert "quota is used up" in check["detail"]


@pytest.mark.long
def test_a_namespace_a_cluster_or_a_kubeconfig_that_is_not_there_is_named(
    kube_cluster: Cluster, tmp_path: Path
) -> None:
    check = doctor(kube_cluster.kubeconfig, "nowhere", tmp_path)["jobs"]
    assert check["verdict"] == "fails"
    assert "there is no namespace nowhere" in check["detail"]
    assert "kubectl create namespace nowhere" in check["detail"]

    # Nobody listens on the proxy's port while there is no proxy.
    check = doctor(kube_cluster.proxied_kubeconfig, "stf", tmp_path)["launcher"]
    assert check["verdict"] == "fails"
    assert "cannot be reached" in check["detail"]

    check = doctor(tmp_path / "nothing", "stf", tmp_path)["launcher"]
    assert check["verdict"] == "fails"
    assert str(tmp_path / "nothing") in check["detail"]
    assert "KUBECONFIG" in check["detail"]
