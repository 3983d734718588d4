"""deploy/ builds, is what an API server accepts, and gives queue-manager settings with which it starts."""

from __future__ import annotations

import json
import tomllib
from typing import Any

import pytest
import yaml

from tests.manifests.rendering import rendered, rendered_cluster
from tests.manifests.rules import Json, containers, faults, mistaken, of_kind, pods, secret_names
from tests.manifests.schemas import ROOT, schema_errors
from tools import manifests

OVERLAYS = manifests.overlays()
EACH = pytest.mark.parametrize("overlay", OVERLAYS)
KINDS = {
    "dev": set[str](),
    "production": {"Ingress", "PodMonitor", "PrometheusRule", "ServiceMonitor"},
    "production-gateway": {"HTTPRoute", "PodMonitor", "PrometheusRule", "ServiceMonitor"},
}
EVERYWHERE = {
    *("ResourceQuota", "ServiceAccount", "Role", "RoleBinding", "ConfigMap"),
    *("Service", "Deployment", "NetworkPolicy"),
}


def one_of(objects: list[Json], kind: str, name: str = "") -> Json:
    (found,) = [one for one in of_kind(objects, kind) if one["metadata"]["name"].startswith(name)]
    return found


def problems(objects: list[Json]) -> list[str]:
    return [*faults(objects), *(error for one in objects for error in schema_errors(one))]


@EACH
def test_an_overlay_keeps_the_rules_has_what_it_says_and_is_accepted(overlay: str) -> None:
    assert faults(rendered(overlay)) == []
    # No Namespace above all: deleting the overlay would take Kafka and every Secret with it.
    assert {one["kind"] for one in rendered(overlay)} == EVERYWHERE | KINDS[overlay]
    assert problems(rendered(overlay)) == []


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        ("Deployment", "spec.template.spec.containers.0.image", "registry.dmz.home/streamforge/queue-manager:latest"),
        ("Deployment", "spec.template.spec.containers.0.image", "registry.dmz.home:5000/streamforge/queue-manager"),
        ("Deployment", "spec.template.spec.containers.0.securityContext.readOnlyRootFilesystem", False),
        ("Deployment", "spec.template.spec.containers.0.securityContext.capabilities.add", ["NET_ADMIN"]),
        ("Deployment", "spec.template.spec.containers.0.securityContext.allowPrivilegeEscalation", True),
        ("Deployment", "spec.template.spec.containers.0.resources.limits", {}),
        ("Deployment", "spec.template.spec.containers.0.volumeMounts.0.name", "absent"),
        ("Deployment", "spec.template.spec.containers.0.livenessProbe.httpGet.port", "web"),
        ("Deployment", "spec.template.spec.containers.0.ports.0.hostPort", 8080),
        ("Deployment", "spec.template.spec.containers.0.ports.0.containerPort", 8081),
        ("Deployment", "spec.template.spec.containers.0.envFrom.0.configMapRef.name", "queue-manager"),
        ("Deployment", "spec.template.spec.containers.0.env", [{"name": "KAFKA_PASSWORD", "value": "x"}]),
        ("Deployment", "spec.template.spec.securityContext", {}),
        ("Deployment", "spec.template.spec.serviceAccountName", "manager"),
        ("Deployment", "spec.template.spec.volumes.0", {"name": "tokens", "hostPath": {"path": "/tmp"}}),
        ("Deployment", "spec.template.spec.volumes.0.secret.secretName", "tokens-of-nobody"),
        ("Deployment", "spec.template.metadata.labels", {"app": "streamforge"}),
        ("Deployment", "spec.replica", 1),
        ("ConfigMap", "data.STREAMFORGE_OPERATOR_TOKEN", "0123456789abcdef"),
        ("Service", "spec.ports.0.targetPort", "web"),
        ("Service", "spec.selector", {"app": "queue-manager"}),
        ("Ingress", "spec.rules.0.http.paths.0.backend.service.port.name", "web"),
        ("ServiceMonitor", "spec.endpoints.0.port", "prometheus"),
        ("ServiceMonitor", "metadata.namespace", "monitoring"),
        ("PrometheusRule", "spec.groups.0.rules.0.expression", "up"),
        ("Role", "rules.0.verb", ["get"]),
        ("Role", "metadata.labels", {}),
    ],
)
def test_a_mistake_is_found(kind: str, path: str, value: Any) -> None:
    objects = rendered("production")
    (first, *_) = of_kind(objects, kind)
    assert problems([mistaken(one, path, value) if one is first else one for one in objects])


def test_a_secret_in_a_manifest_is_found() -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "tokens", "namespace": "stf"}}
    assert any("Secret tokens" in one for one in faults([secret]))


def test_the_namespace_lets_in_restricted_pods_only() -> None:
    labels = one_of(rendered_cluster(), "Namespace")["metadata"]["labels"]
    levels = {labels[f"pod-security.kubernetes.io/{mode}"] for mode in ("enforce", "warn", "audit")}
    assert levels == {"restricted"}


@EACH
def test_one_manager_at_a_time_which_ends_in_order(overlay: str) -> None:
    spec = one_of(rendered(overlay), "Deployment")["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})
    (container,) = containers(spec["template"]["spec"])
    assert container["startupProbe"]["httpGet"]["path"] == container["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert spec["template"]["spec"]["terminationGracePeriodSeconds"] >= 30


@EACH
def test_the_image_is_of_this_version(overlay: str) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    images = [container["image"] for _, _, spec in pods(rendered(overlay)) for container in containers(spec)]
    assert images == [f"registry.dmz.home/streamforge/queue-manager:v{version}"]


@EACH
def test_settings_that_change_restart_the_manager(overlay: str) -> None:
    # The name of the ConfigMap carries a hash of what is in it, so that the pod's template changes with it.
    name = one_of(rendered(overlay), "ConfigMap", "queue-manager-")["metadata"]["name"]
    assert len(name) > len("queue-manager-")


def test_the_quota_counts_workers_and_not_their_neighbours() -> None:
    priority = one_of(rendered_cluster(), "PriorityClass")
    for overlay in OVERLAYS:
        quota = one_of(rendered(overlay), "ResourceQuota", "workers")["spec"]
        (scope,) = quota["scopeSelector"]["matchExpressions"]
        assert (scope["scopeName"], scope["values"]) == ("PriorityClass", [priority["metadata"]["name"]])
    assert priority["value"] < 0
    assert priority["preemptionPolicy"] == "Never"
    assert priority["globalDefault"] is False


@EACH
def test_the_deployment_page_says_who_makes_each_secret(overlay: str) -> None:
    page = (ROOT / "docs/how-to/kubernetes-deployment.md").read_text()
    objects = rendered(overlay)
    named = {name for _, _, spec in pods(objects) for name in secret_names(spec)}
    named |= {one["name"] for account in of_kind(objects, "ServiceAccount") for one in account["imagePullSecrets"]}
    named |= {tls["secretName"] for ingress in of_kind(objects, "Ingress") for tls in ingress["spec"]["tls"]}
    assert len(named) >= 5
    for name in named:
        assert f"\n| `{name}` |" in page, name


def test_the_debug_pod_is_pulled_with_the_login_that_the_manager_is_pulled_with() -> None:
    pod = json.loads((ROOT / "platform/debug/overrides.json").read_text())["spec"]
    assert pod["imagePullSecrets"] == one_of(rendered("production"), "ServiceAccount")["imagePullSecrets"]


def test_no_file_of_deploy_holds_a_secret_or_the_tag_latest() -> None:
    files = [path for path in (ROOT / "deploy").rglob("*") if path.is_file()]
    assert files
    for path in files:
        text = path.read_text("utf-8")
        assert "kind: Secret\n" not in text, path
        assert "secretGenerator" not in text, path
        assert ":latest" not in text, path
        if path.suffix == ".yaml":
            assert list(yaml.safe_load_all(text)), path
