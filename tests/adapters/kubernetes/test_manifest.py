"""A job becomes the manifest of a Kubernetes Job: the first generation's, and what production needs besides."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
import pytest

from streamforge_utils.adapters.kubernetes.manifest import Template, job_manifest, pod_manifest
from streamforge_utils.model.errors import ConfigError
from streamforge_utils.ports.job_settings import Pair, SecretKey, SecretVariable
from streamforge_utils.ports.launcher import JobSpec
from tests.adapters.kubernetes import templates

QUEUE = "wf-btcusdt-api_candles_1m-20240801-abc123"
SPEC = JobSpec(
    name="job-arango-candles-btcusdt-abc123",
    target="arango-candles",
    queue_id=QUEUE,
    attempt=1,
    environment={
        "STREAMFORGE_ATTEMPT": "1",
        "COLLECTION_NAME": "btcusdt_api_candles_1m_2024_08_01",
        "KAFKA_TOPIC": f"{QUEUE}-data",
        "TYPE": "api_candles_1m",
        "SYMBOL": "BTCUSDT",
        "QUEUE_ID": QUEUE,
    },
)
TEMPLATE = Template(version="v0.1.5")
REGISTRY = TEMPLATE.settings.image_registry


def changed(spec: JobSpec = SPEC, **values: Any) -> JobSpec:
    return msgspec.structs.replace(spec, **values)


def with_environment(**values: str) -> JobSpec:
    return changed(environment={**SPEC.environment, **values})


def template(**values: Any) -> Template:
    return templates.changed(TEMPLATE, **values)


def pod(manifest: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = manifest["spec"]["template"]["spec"]
    return found


def container(manifest: dict[str, Any]) -> dict[str, Any]:
    (found,) = pod(manifest)["containers"]
    result: dict[str, Any] = found
    return result


def variables(manifest: dict[str, Any]) -> dict[str, Any]:
    return {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in container(manifest)["env"]}


def test_the_whole_manifest_of_a_step() -> None:
    labels = {
        "app": "streamforge",
        "queue_id": QUEUE,
        "streamforge.io/target": "arango-candles",
        "streamforge.io/attempt": "1",
        "app.kubernetes.io/managed-by": "queue-manager",
        "app.kubernetes.io/instance": "sf-1234",
    }
    annotations = {"streamforge.io/queue-id": QUEUE}
    wanted = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": "job-arango-candles-btcusdt-abc123",
            "namespace": "stf",
            "labels": labels,
            "annotations": annotations,
        },
        "spec": {
            "backoffLimit": 0,
            "podReplacementPolicy": "Failed",
            "activeDeadlineSeconds": 86400,
            "ttlSecondsAfterFinished": 3600,
            "template": {
                "metadata": {"labels": labels, "annotations": annotations},
                "spec": {
                    "restartPolicy": "Never",
                    "automountServiceAccountToken": False,
                    "enableServiceLinks": False,
                    "terminationGracePeriodSeconds": 30,
                    "securityContext": {
                        "runAsNonRoot": True,
                        "runAsUser": 1001,
                        "runAsGroup": 1001,
                        "fsGroup": 1001,
                        "seccompProfile": {"type": "RuntimeDefault"},
                    },
                    "nodeSelector": {"streamforge-worker": "true"},
                    "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}}],
                    "containers": [
                        {
                            "name": "arango-candles",
                            "image": "registry.dmz.home/streamforge/arango-candles:v0.1.5",
                            "env": [
                                {"name": "QUEUE_ID", "value": QUEUE},
                                {"name": "SYMBOL", "value": "BTCUSDT"},
                                {"name": "TYPE", "value": "api_candles_1m"},
                                {"name": "KAFKA_TOPIC", "value": f"{QUEUE}-data"},
                                {"name": "COLLECTION_NAME", "value": "btcusdt_api_candles_1m_2024_08_01"},
                                {
                                    "name": "KAFKA_PASSWORD",
                                    "valueFrom": {"secretKeyRef": {"name": "user-streamforge", "key": "password"}},
                                },
                                {"name": "STREAMFORGE_ATTEMPT", "value": "1"},
                            ],
                            "envFrom": [{"configMapRef": {"name": "streamforge-worker"}}],
                            "ports": [{"name": "metrics", "containerPort": 8000, "protocol": "TCP"}],
                            "resources": {
                                "requests": {"cpu": "100m", "memory": "128Mi"},
                                "limits": {"memory": "512Mi"},
                            },
                            "securityContext": {
                                "allowPrivilegeEscalation": False,
                                "capabilities": {"drop": ["ALL"]},
                                "readOnlyRootFilesystem": True,
                            },
                            "terminationMessagePolicy": "FallbackToLogsOnError",
                            "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
                        }
                    ],
                },
            },
        },
    }
    assert (
        job_manifest(
            SPEC,
            template(
                instance="sf-1234",
                node_selector=(Pair("streamforge-worker", "true"),),
                secret_variables=(SecretVariable("KAFKA_PASSWORD", SecretKey("user-streamforge", "password")),),
                config_maps=("streamforge-worker",),
            ),
        )
        == wanted
    )


def test_a_job_made_by_hand_belongs_to_no_manager() -> None:
    labels = job_manifest(SPEC, TEMPLATE)["metadata"]["labels"]
    assert labels["app"] == "streamforge"
    assert not {"app.kubernetes.io/managed-by", "app.kubernetes.io/instance"} & labels.keys()


def test_the_same_job_gives_the_same_manifest_in_whatever_order_its_variables_come() -> None:
    turned = changed(environment=dict(reversed(list(SPEC.environment.items()))))
    assert job_manifest(turned, TEMPLATE) == job_manifest(SPEC, TEMPLATE)


@pytest.mark.parametrize(
    ("queue_id", "label"),
    [
        (QUEUE, QUEUE),
        ("wf-" + "x" * 60, "wf-" + "x" * 60),
        ("wf-" + "x" * 61, "wf-" + "x" * 51 + "-HASH"),
        ("dummy", "dummy"),
        ("-ends badly-", "ends-badly-HASH"),
    ],
)
def test_the_label_has_the_whole_queue_id_wherever_it_is_legal(queue_id: str, label: str) -> None:
    manifest = job_manifest(changed(queue_id=queue_id), TEMPLATE)
    found = manifest["metadata"]["labels"]["queue_id"]
    assert found == label.replace("HASH", hashlib.sha256(queue_id.encode()).hexdigest()[:8])
    assert len(found) <= 63
    assert manifest["metadata"]["annotations"] == {"streamforge.io/queue-id": queue_id}


def test_no_two_long_queue_ids_share_a_label() -> None:
    one, other = (job_manifest(changed(queue_id=f"wf-{'x' * 70}-{end}"), TEMPLATE) for end in ("abc123", "abc124"))
    assert one["metadata"]["labels"]["queue_id"] != other["metadata"]["labels"]["queue_id"]


@pytest.mark.parametrize(
    ("spec", "values", "image"),
    [
        (SPEC, {}, "registry.dmz.home/streamforge/arango-candles:v0.1.5"),
        (SPEC, {"image_registry": "r.example/x/", "image_version": "v2"}, "r.example/x/arango-candles:v2"),
        (SPEC, {"images": (Pair("arango-candles", "r.example/own:1"),)}, "r.example/own:1"),
        (SPEC, {"images": (Pair("loader-api-candles", "r.example/own:1"),)}, f"{REGISTRY}/arango-candles:v0.1.5"),
        (
            changed(image="r.example/asked:3"),
            {"images": (Pair("arango-candles", "r.example/own:1"),)},
            "r.example/asked:3",
        ),
    ],
)
def test_the_image_is_the_jobs_own_then_the_targets_then_the_registrys(
    spec: JobSpec, values: dict[str, Any], image: str
) -> None:
    assert container(job_manifest(spec, template(**values)))["image"] == image


@pytest.mark.parametrize("name", ["KAFKA_PASSWORD", "ARANGO_PASSWORD", "BINANCE_API_KEY", "SOME_TOKEN", "ODD_NAME"])
def test_a_secret_value_is_refused_and_not_told(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"{name} holds a secret.*STREAMFORGE_K8S_SECRET_ENV") as raised:
        job_manifest(with_environment(**{name: "s3cret"}), template(secret_names=frozenset({"ODD_NAME"})))
    assert "s3cret" not in str(raised.value)


def test_a_secret_that_is_named_goes_by_reference() -> None:
    manifest = job_manifest(
        with_environment(KAFKA_PASSWORD="s3cret"),
        template(secret_variables=(SecretVariable("KAFKA_PASSWORD", SecretKey("user", "password")),)),
    )
    assert variables(manifest)["KAFKA_PASSWORD"] == {"secretKeyRef": {"name": "user", "key": "password"}}
    assert "s3cret" not in repr(manifest)


def test_a_secret_that_a_whole_secret_has_is_left_to_it() -> None:
    manifest = job_manifest(with_environment(KAFKA_PASSWORD="s3cret"), template(secrets=("workers",)))
    assert "KAFKA_PASSWORD" not in variables(manifest)
    assert container(manifest)["envFrom"] == [{"secretRef": {"name": "workers"}}]


def test_the_settings_values_go_before_the_managers() -> None:
    manifest = job_manifest(with_environment(KAFKA_USER="manager"), template(values={"KAFKA_USER": "worker"}))
    assert variables(manifest)["KAFKA_USER"] == "worker"


def test_the_cas_folder_is_mounted_so_that_a_renewed_one_appears() -> None:
    manifest = job_manifest(
        with_environment(KAFKA_CA_PATH="/of/the/manager"),
        template(kafka_ca=SecretKey("streamforge-cluster-ca-cert", "ca.crt")),
    )
    assert variables(manifest)["KAFKA_CA_PATH"] == "/etc/streamforge/kafka/ca.crt"
    assert pod(manifest)["volumes"][1] == {
        "name": "kafka-ca",
        "secret": {"secretName": "streamforge-cluster-ca-cert", "items": [{"key": "ca.crt", "path": "ca.crt"}]},
    }
    assert container(manifest)["volumeMounts"][1] == {
        "name": "kafka-ca",
        "mountPath": "/etc/streamforge/kafka",
        "readOnly": True,
    }


def test_the_cas_of_kafka_and_of_arangodb_lie_beside_each_other() -> None:
    manifest = job_manifest(
        with_environment(STREAMFORGE_ARANGO_CA_PATH="/of/the/manager"),
        template(
            kafka_ca=SecretKey("streamforge-cluster-ca-cert", "ca.crt"), arango_ca=SecretKey("arangodb-ca", "tls.crt")
        ),
    )
    assert variables(manifest)["STREAMFORGE_ARANGO_CA_PATH"] == "/etc/streamforge/arangodb/tls.crt"
    assert variables(manifest)["KAFKA_CA_PATH"] == "/etc/streamforge/kafka/ca.crt"
    assert [volume["name"] for volume in pod(manifest)["volumes"]] == ["tmp", "kafka-ca", "arangodb-ca"]
    assert container(manifest)["volumeMounts"][2]["mountPath"] == "/etc/streamforge/arangodb"


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("KAFKA_CA_PATH", "STREAMFORGE_K8S_KAFKA_CA_SECRET"),
        ("STREAMFORGE_ARANGO_CA_PATH", "STREAMFORGE_K8S_ARANGO_CA_SECRET"),
    ],
)
def test_a_ca_that_no_pod_has_is_refused(name: str, setting: str) -> None:
    with pytest.raises(ConfigError, match=rf"{name} names a file that no pod has.*{setting}"):
        job_manifest(with_environment(**{name: "/of/the/manager"}), TEMPLATE)


def test_the_data_claim_is_mounted_where_the_workers_look() -> None:
    manifest = job_manifest(with_environment(STREAMFORGE_DATA_DIR="/data"), template(data_claim="streamforge-data"))
    assert pod(manifest)["volumes"][1] == {
        "name": "data",
        "persistentVolumeClaim": {"claimName": "streamforge-data"},
    }
    assert container(manifest)["volumeMounts"][1] == {"name": "data", "mountPath": "/data"}


def test_a_dollar_stays_a_dollar() -> None:
    """Kubernetes would put in the value of KAFKA_TOPIC."""
    manifest = job_manifest(with_environment(STREAMFORGE_NOTE="$(KAFKA_TOPIC) $5"), TEMPLATE)
    assert variables(manifest)["STREAMFORGE_NOTE"] == "$$(KAFKA_TOPIC) $$5"


@pytest.mark.parametrize(
    ("stop_s", "grace_s"), [("5", 30), ("25", 35), ("60.5", 70), ("no number", 30), ("inf", 30), ("nan", 30)]
)
def test_the_grace_period_is_longer_than_the_workers_stop(stop_s: str, grace_s: int) -> None:
    manifest = job_manifest(with_environment(STREAMFORGE_STOP_GRACE_SECONDS=stop_s), TEMPLATE)
    assert pod(manifest)["terminationGracePeriodSeconds"] == grace_s


@pytest.mark.parametrize("name", ["Job-x", "job_x", "job.x", "-job", "job-", "", "j" * 64])
def test_a_name_that_no_job_can_have_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="is not legal"):
        job_manifest(changed(name=name), TEMPLATE)


@pytest.mark.parametrize("name", ["", "A B", "1X", "A=B"])
def test_a_variable_that_no_pod_can_have_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="variable in a pod"):
        job_manifest(with_environment(**{name: "x"}), TEMPLATE)


def test_what_else_is_a_setting() -> None:
    manifest = job_manifest(
        SPEC,
        template(
            priority_class="streamforge-worker",
            pull_secrets=("regcred",),
            cpu_limit="1",
            memory_limit="",
            memory_request="64Mi",
            cpu_request="",
            command=("/bin/true",),
            arguments=("--debug",),
        ),
    )
    assert pod(manifest)["priorityClassName"] == "streamforge-worker"
    assert pod(manifest)["imagePullSecrets"] == [{"name": "regcred"}]
    assert container(manifest)["resources"] == {"requests": {"memory": "64Mi"}, "limits": {"cpu": "1"}}
    assert container(manifest)["command"] == ["/bin/true"]
    assert container(manifest)["args"] == ["--debug"]


def test_a_pod_is_the_same_without_the_job() -> None:
    job, alone = job_manifest(SPEC, TEMPLATE), pod_manifest(SPEC, TEMPLATE)
    assert alone["kind"] == "Pod"
    assert alone["metadata"] == job["metadata"]
    assert alone["spec"] == {**pod(job), "activeDeadlineSeconds": 86400}


def test_a_job_without_an_end_has_no_deadline() -> None:
    endless = changed(endless=True)
    assert "activeDeadlineSeconds" not in job_manifest(endless, TEMPLATE)["spec"]
    assert "activeDeadlineSeconds" not in pod_manifest(endless, TEMPLATE)["spec"]
