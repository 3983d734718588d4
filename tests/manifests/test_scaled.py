"""The example for KEDA is what its CRDs and its scaler accept; the sink that it starts accepts its settings."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from streamforge import workers
from streamforge_utils.model import names
from streamforge_utils.runtime.life.worker_process import load_worker
from tests.manifests.rules import Json, containers, faults, mistaken, of_kind
from tests.manifests.schemas import ROOT, schema_errors, schemas_folder
from tests.manifests.strimzi import objects as kafka_objects
from tests.manifests.workers import environment_of

OBJECTS: list[Json] = list(yaml.safe_load_all((ROOT / "services/arango-candles/scaled.yaml").read_text("utf-8")))
WORKER_ENV = dict(
    line.split("=", 1)
    for line in (ROOT / "deploy/base/workers.env").read_text("utf-8").splitlines()
    if line and not line.startswith("#")
)
SHARED = {"kind": "ConfigMap", "metadata": {"name": "streamforge-worker"}, "data": WORKER_ENV}


def one_of(kind: str) -> Json:
    (found,) = of_kind(OBJECTS, kind)
    return found


def test_it_is_what_keda_accepts() -> None:
    assert [error for one in OBJECTS for error in schema_errors(one)] == []
    assert faults(OBJECTS) == []


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        ("ScaledObject", "spec.maxReplicas", 1),
        ("ScaledObject", "spec.triggers.0.metadata.lagThreshold", 10000),
        ("TriggerAuthentication", "spec.secretTargetRef.0.secret", "user-streamforge"),
    ],
)
def test_a_mistake_is_found(kind: str, path: str, value: Any) -> None:
    assert schema_errors(mistaken(one_of(kind), path, value))


def test_the_trigger_has_the_fields_of_kedas_kafka_scaler() -> None:
    scalers = json.loads((schemas_folder() / "crds/keda/scalers-schema.json").read_text("utf-8"))["scalers"]
    (scaler,) = [one for one in scalers if one["type"] == "kafka"]
    fields = {one["name"]: one for one in scaler["parameters"]}
    (trigger,) = one_of("ScaledObject")["spec"]["triggers"]
    for name, value in trigger["metadata"].items():
        assert fields[name].get("metadataVariableReadable"), name
        assert value in (fields[name].get("allowedValue") or [value]), name
    authentication = one_of("TriggerAuthentication")
    assert trigger["authenticationRef"] == {"name": authentication["metadata"]["name"]}
    given = {
        entry["parameter"]
        for source in ("secretTargetRef", "configMapTargetRef")
        for entry in authentication["spec"][source]
    }
    assert given == {"username", "password", "ca"}
    assert all(fields[name]["triggerAuthenticationVariableReadable"] for name in given)


def test_the_sink_that_it_starts_reads_the_topic_whose_lag_is_looked_at() -> None:
    deployment = one_of("Deployment")
    assert one_of("ScaledObject")["spec"]["scaleTargetRef"] == {"name": deployment["metadata"]["name"]}
    assert "replicas" not in deployment["spec"], "KEDA and an apply would fight over it"
    (container,) = containers(deployment["spec"]["template"]["spec"])
    definition = workers.definition("arango-candles")
    settings, _ = load_worker(definition, environment_of(container, [SHARED]))
    (trigger,) = one_of("ScaledObject")["spec"]["triggers"]
    assert names.is_queue_id(settings.queue_id)
    assert trigger["metadata"]["topic"] == settings.kafka_topic == names.data_topic(settings.queue_id)
    assert trigger["metadata"]["consumerGroup"] == names.consumer_group(settings.queue_id, "arango-candles")
    assert trigger["metadata"]["bootstrapServers"] == WORKER_ENV["KAFKA_BOOTSTRAP_SERVERS"]
    assert settings.orphan_seconds == 0, "nobody pings it for sure"


def test_its_pod_is_the_one_of_the_job() -> None:
    job = yaml.safe_load((ROOT / "services/arango-candles/job.yaml").read_text("utf-8"))["spec"]["template"]["spec"]
    pod = one_of("Deployment")["spec"]["template"]["spec"]
    assert job.pop("restartPolicy") == "Never"
    for spec in (job, pod):
        (container,) = spec["containers"]
        container.pop("env")
    assert pod == job


def test_the_user_may_ask_for_lag() -> None:
    user = WORKER_ENV["KAFKA_USER"]
    (found,) = [one for _, one in kafka_objects() if one["metadata"]["name"] == user]
    rights = {
        (acl["resource"]["type"], acl["resource"].get("name")): acl["operations"]
        for acl in found["spec"]["authorization"]["acls"]
    }
    assert "Describe" in rights["topic", "wf-"]
    assert set(rights["group", "wf-"]) & {"Describe", "Read"}
