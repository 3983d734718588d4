"""With what the overlays give it, queue-manager starts, and so do the workers that it starts."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest
import yaml

from streamforge import workers
from streamforge.manager.api.tokens import TOKENS_FILE
from streamforge.manager.manager_settings import ManagerSettings, load_manager
from streamforge_utils.runtime.life.environment import variables
from streamforge_utils.runtime.life.settings import WorkerSettings
from streamforge_utils.runtime.life.worker_process import load_worker
from tests.adapters.kubernetes.templates import role_rules
from tests.addresses import EVERYWHERE
from tests.manifests.network import Peer, allowed
from tests.manifests.rendering import rendered, rendered_cluster
from tests.manifests.rules import Json, containers, faults, of_kind, pods, selected
from tests.manifests.schemas import ROOT, schema_errors
from tests.manifests.test_deploy import one_of
from tests.manifests.workers import PASSWORD, environment, environment_of, worker_job
from tools import manifests

EACH = pytest.mark.parametrize("overlay", manifests.overlays())


def pod_of_manager(objects: list[Json]) -> Json:
    found: Json = one_of(objects, "Deployment")["spec"]["template"]["spec"]
    return found


def pod_of(job: Json) -> Json:
    found: Json = job["spec"]["template"]["spec"]
    return found


@EACH
def test_queue_manager_accepts_its_settings(overlay: str) -> None:
    objects = rendered(overlay)
    settings = load_manager(environment(objects))
    (container,) = containers(pod_of_manager(objects))
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"http": settings.port, "metrics": settings.metrics_port}
    assert settings.host == settings.metrics_host == EVERYWHERE
    assert settings.launcher.in_kubernetes
    assert settings.launcher.kubernetes.namespace == "stf"
    assert settings.data.kafka.protocol == "SASL_SSL"
    assert settings.data.arango.url.startswith("https://")
    assert settings.data.data_dir is None
    # Every setting is one that there is, and every file that one names is mounted.
    found = environment(objects)
    assert found.keys() <= {item.name for item in variables(ManagerSettings)}
    worker = one_of(objects, "ConfigMap", "streamforge-worker")["data"]
    assert worker.keys() <= {item.name for item in variables(WorkerSettings)}
    for name in (TOKENS_FILE, "KAFKA_CA_PATH", "STREAMFORGE_ARANGO_CA_PATH"):
        assert found[name] in files(pod_of_manager(objects), container), name


def files(spec: Json, container: Json) -> set[str]:
    """The files of Secrets that a container sees."""
    secrets = {volume["name"]: volume["secret"]["items"] for volume in spec["volumes"] if "secret" in volume}
    return {
        str(PurePosixPath(mount["mountPath"]) / item["path"])
        for mount in container["volumeMounts"]
        for item in secrets.get(mount["name"], [])
    }


@EACH
@pytest.mark.parametrize("target", ["arango-candles", "loader-api-candles"])
def test_a_worker_accepts_what_its_job_gives_it(overlay: str, target: str) -> None:
    objects = rendered(overlay)
    spec = pod_of(worker_job(objects, target))
    (container,) = containers(spec)
    found = environment_of(container, objects)
    settings, _ = load_worker(workers.definition(target), found)
    assert (settings.metrics_host, settings.metrics_port) == (EVERYWHERE, 8000)
    assert settings.data.kafka.password is not None
    assert settings.data.kafka.password.reveal() == PASSWORD
    assert settings.data.arango.url == load_manager(environment(objects)).data.arango.url
    assert {found["KAFKA_CA_PATH"], found["STREAMFORGE_ARANGO_CA_PATH"]} <= files(spec, container)


@EACH
@pytest.mark.parametrize(
    "path", sorted((ROOT / "services").glob("*/[jp]o[bd].yaml")), ids=lambda path: path.parent.name
)
def test_an_example_that_is_applied_by_hand_finds_what_it_needs(overlay: str, path: Path) -> None:
    objects = rendered(overlay)
    ((_, _, spec),) = pods([yaml.safe_load(path.read_text())])
    (container,) = containers(spec)
    found = environment_of(container, objects)
    settings, _ = load_worker(workers.definition(path.parent.name), found)
    assert settings.data.kafka.user == "user-streamforge"
    assert settings.metrics_host == EVERYWHERE
    named = {found[name] for name in ("KAFKA_CA_PATH", "STREAMFORGE_ARANGO_CA_PATH") if name in found}
    assert named <= files(spec, container)


@pytest.mark.parametrize("target", ["arango-candles", "loader-api-candles"])
def test_an_example_is_what_the_manager_posts_in_production_but_for_its_environment(target: str) -> None:
    example = pod_of(yaml.safe_load((ROOT / "services" / target / "job.yaml").read_text()))
    posted = pod_of(worker_job(rendered("production"), target))
    for spec in (example, posted):
        for container in containers(spec):
            del container["env"]
    assert example == posted


@EACH
def test_a_workers_job_keeps_the_rules_and_holds_no_secret(overlay: str) -> None:
    objects = rendered(overlay)
    job = worker_job(objects)
    assert faults([job]) == []
    assert schema_errors(job) == []
    assert PASSWORD not in repr(job)
    assert pod_of(job)["automountServiceAccountToken"] is False
    assert pod_of(job)["priorityClassName"] == one_of(rendered_cluster(), "PriorityClass")["metadata"]["name"]
    sources = [source["configMapRef"]["name"] for source in containers(pod_of(job))[0]["envFrom"]]
    assert set(sources) <= {one["metadata"]["name"] for one in of_kind(objects, "ConfigMap")}


@EACH
def test_the_role_gives_the_rights_that_the_launcher_needs_and_no_other(overlay: str) -> None:
    objects = rendered(overlay)
    assert rights(one_of(objects, "Role")["rules"]) == rights(role_rules())
    (subject,) = one_of(objects, "RoleBinding")["subjects"]
    assert subject == {"kind": "ServiceAccount", "name": "queue-manager", "namespace": "stf"}
    assert one_of(objects, "ServiceAccount")["metadata"]["name"] == pod_of_manager(objects)["serviceAccountName"]
    assert not of_kind(objects, "ClusterRole") + of_kind(objects, "ClusterRoleBinding")


def rights(rules: list[Json]) -> set[tuple[str, str, str]]:
    return {
        (group, resource, verb)
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def test_workers_run_on_nodes_of_their_own_in_production_alone() -> None:
    assert "nodeSelector" not in pod_of(worker_job(rendered("dev")))
    for overlay in ("production", "production-gateway"):
        assert pod_of(worker_job(rendered(overlay)))["nodeSelector"] == {"streamforge-worker": "true"}


def test_manager_and_workers_have_a_kafka_user_each_in_production() -> None:
    def users(overlay: str) -> list[tuple[str, str]]:
        objects = rendered(overlay)
        found = []
        for container, maps in (
            (containers(pod_of_manager(objects))[0], objects),
            (containers(pod_of(worker_job(objects)))[0], objects),
        ):
            (password,) = (one for one in container["env"] if one["name"] == "KAFKA_PASSWORD")
            found.append((environment_of(container, maps)["KAFKA_USER"], password["valueFrom"]["secretKeyRef"]["name"]))
        return found

    assert users("dev") == [("user-streamforge", "user-streamforge")] * 2
    assert users("production") == [
        ("user-streamforge-manager", "user-streamforge-manager"),
        ("user-streamforge-worker", "user-streamforge-worker"),
    ]


@EACH
def test_policies_monitor_and_quota_mean_the_workers_that_the_launcher_makes(overlay: str) -> None:
    objects = rendered(overlay)
    job = worker_job(objects)
    labels = job["spec"]["template"]["metadata"]["labels"]
    (container,) = containers(pod_of(job))
    (port,) = container["ports"]
    assert allowed(objects, "Ingress", labels, Peer(namespace="monitoring"), port["containerPort"])
    assert not allowed(objects, "Egress", labels, Peer(address="10.96.0.1"), 443)
    assert allowed(objects, "Egress", labels, Peer(namespace="stf", labels={"app": "arangodb"}), 8529)
    for monitor in of_kind(objects, "PodMonitor"):
        if monitor["metadata"]["name"] != "streamforge-workers":  # it means others' pods
            assert not selected(monitor["spec"]["selector"], labels)
            continue
        assert selected(monitor["spec"]["selector"], labels)
        assert [one["port"] for one in monitor["spec"]["podMetricsEndpoints"]] == [port["name"]]
    for service in of_kind(objects, "Service"):
        assert not selected({"matchLabels": service["spec"]["selector"]}, labels)


@EACH
def test_the_quota_holds_as_many_pods_as_it_counts(overlay: str) -> None:
    objects = rendered(overlay)
    hard = one_of(objects, "ResourceQuota", "workers")["spec"]["hard"]
    resources = containers(pod_of(worker_job(objects)))[0]["resources"]
    for name, amount in [
        ("requests.cpu", resources["requests"]["cpu"]),
        ("requests.memory", resources["requests"]["memory"]),
        ("limits.memory", resources["limits"]["memory"]),
    ]:
        assert quantity(hard[name]) == quantity(amount) * int(hard["pods"]), name
    running = load_manager(environment(objects)).policy.max_running
    assert running * 2 <= int(hard["pods"])


def quantity(text: str) -> float:
    """What Kubernetes reads."""
    for suffix, factor in {"m": 1e-3, "Mi": 2.0**20, "Gi": 2.0**30}.items():
        if text.endswith(suffix):
            return float(text.removesuffix(suffix)) * factor
    return float(text)
