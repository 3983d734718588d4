"""A job becomes the manifest of a Kubernetes Job. Whole ones are in tests/manifests/test_examples.py."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
import pytest

from streamforge_utils.adapters.kubernetes.manifest import (
    Template,
    basket_manifest,
    job_manifest,
    named_members,
    pod_manifest,
)
from streamforge_utils.model.errors import ConfigError
from streamforge_utils.ports.basket_members import BASKET, BASKET_REPORT, read_members
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


def test_the_cas_folders_are_mounted_so_that_a_renewed_one_appears() -> None:
    manifest = job_manifest(
        with_environment(KAFKA_CA_PATH="/of/the/manager", STREAMFORGE_ARANGO_CA_PATH="/of/the/manager"),
        template(
            kafka_ca=SecretKey("streamforge-cluster-ca-cert", "ca.crt"),
            arango_ca=SecretKey("arangodb-ca", "tls.crt"),
            stream_ca=SecretKey("exchange-ca", "ca.crt"),
        ),
    )
    for place, (variable, name, secret, key) in enumerate(
        (
            ("KAFKA_CA_PATH", "kafka", "streamforge-cluster-ca-cert", "ca.crt"),
            ("STREAMFORGE_ARANGO_CA_PATH", "arangodb", "arangodb-ca", "tls.crt"),
            ("STREAMFORGE_STREAM_CA_PATH", "streams", "exchange-ca", "ca.crt"),
        ),
        start=1,
    ):
        folder, items = f"/etc/streamforge/{name}", [{"key": key, "path": key}]
        assert variables(manifest)[variable] == f"{folder}/{key}"
        volume = {"name": f"{name}-ca", "secret": {"secretName": secret, "items": items}}
        assert pod(manifest)["volumes"][place] == volume
        mount = {"name": f"{name}-ca", "mountPath": folder, "readOnly": True}
        assert container(manifest)["volumeMounts"][place] == mount


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("KAFKA_CA_PATH", "STREAMFORGE_K8S_KAFKA_CA_SECRET"),
        ("STREAMFORGE_ARANGO_CA_PATH", "STREAMFORGE_K8S_ARANGO_CA_SECRET"),
        ("STREAMFORGE_STREAM_CA_PATH", "STREAMFORGE_K8S_STREAM_CA_SECRET"),
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


OF_MANAGER = {"STREAMFORGE_ARCHIVE_CACHE_DIR": "/of/the/manager", "STREAMFORGE_ARCHIVE_CACHE_BYTES": "8000000001"}


@pytest.mark.parametrize(
    ("size", "kept"), [("2Gi", "1610612736"), ("64Mi", "50331648"), ("500M", "375000000"), ("3000000000", "2250000000")]
)
def test_a_loader_of_the_archive_gets_a_volume_of_its_own_that_its_files_never_fill(size: str, kept: str) -> None:
    loader = msgspec.structs.replace(with_environment(**OF_MANAGER), archive=True)
    manifest = job_manifest(loader, template(archive_cache=size))
    assert pod(manifest)["volumes"] == [
        {"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}},
        {"name": "cache", "emptyDir": {"sizeLimit": size}},
    ]
    assert container(manifest)["volumeMounts"][1] == {"name": "cache", "mountPath": "/var/cache/streamforge"}
    told = variables(manifest)
    assert [told[name] for name in OF_MANAGER] == ["/var/cache/streamforge/archive", kept]
    assert container(manifest)["resources"]["requests"]["ephemeral-storage"] == size
    assert container(manifest)["securityContext"]["readOnlyRootFilesystem"] is True
    assert pod(manifest)["securityContext"]["runAsNonRoot"] is True


def test_loaders_of_the_archive_share_the_claim_that_is_named() -> None:
    manifest = job_manifest(changed(archive=True), template(archive_claim="archive-files", archive_cache="40G"))
    assert pod(manifest)["volumes"][1] == {"name": "cache", "persistentVolumeClaim": {"claimName": "archive-files"}}
    assert container(manifest)["volumeMounts"][1] == {"name": "cache", "mountPath": "/var/cache/streamforge"}
    assert variables(manifest)["STREAMFORGE_ARCHIVE_CACHE_BYTES"] == "30000000000"
    assert "ephemeral-storage" not in container(manifest)["resources"]["requests"]


def test_other_workers_get_no_such_volume() -> None:
    manifest = job_manifest(SPEC, template(archive_claim="archive-files"))
    assert [volume["name"] for volume in pod(manifest)["volumes"]] == ["tmp"]
    assert "STREAMFORGE_ARCHIVE_CACHE_DIR" not in variables(manifest)
    assert "ephemeral-storage" not in container(manifest)["resources"]["requests"]


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


def test_a_loader_of_streams_goes_on_for_a_while_within_its_grace_and_no_other_worker_does() -> None:
    manifest = job_manifest(changed(stream=True), template(eviction_seconds=45))
    assert variables(manifest)["STREAMFORGE_LEAVING_SECONDS"] == "45"
    assert pod(manifest)["terminationGracePeriodSeconds"] == 30 + 45
    other = job_manifest(SPEC, template(eviction_seconds=45))
    assert "STREAMFORGE_LEAVING_SECONDS" not in variables(other)
    assert pod(other)["terminationGracePeriodSeconds"] == 30


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


def test_a_job_without_an_end_has_no_deadline() -> None:
    endless = changed(endless=True)
    assert "activeDeadlineSeconds" not in job_manifest(endless, TEMPLATE)["spec"]
    assert "activeDeadlineSeconds" not in pod_manifest(endless, TEMPLATE)["spec"]


def loaders(*symbols: str, **values: str) -> list[JobSpec]:
    """Live loaders of one workflow each. values: of all of them."""
    return [
        JobSpec(
            name=f"job-loader-ws-trades-{symbol}-abc123",
            target="loader-ws-trades",
            queue_id=f"wf-{symbol}",
            attempt=number,
            environment={"QUEUE_ID": f"wf-{symbol}", "SYMBOL": symbol, "TYPE": "ws_trades", **values},
            endless=True,
            stream=True,
        )
        for number, symbol in enumerate(symbols, start=1)
    ]


def test_a_basket_is_one_job_that_names_its_members() -> None:
    specs = loaders("btcusdt", "ethusdt", "solusdt")
    manifest = basket_manifest(specs, template(instance="sf-1"))
    metadata = manifest["metadata"]
    assert metadata["name"].startswith("basket-loader-ws-trades-")
    assert metadata["name"] == basket_manifest(specs[::-1], TEMPLATE)["metadata"]["name"]
    assert metadata["name"] != basket_manifest(specs[1:], TEMPLATE)["metadata"]["name"]
    assert metadata["labels"] == {
        "app": "streamforge",
        "queue_id": "",
        "streamforge.io/target": "loader-ws-trades",
        "streamforge.io/members": "3",
        "app.kubernetes.io/managed-by": "queue-manager",
        "app.kubernetes.io/instance": "sf-1",
    }
    named = [
        (one.job, one.queue_id, one.attempt) for one in named_members(metadata["annotations"]["streamforge.io/members"])
    ]
    assert named == [(spec.name, spec.queue_id, spec.attempt) for spec in specs]
    assert manifest["spec"]["template"]["metadata"] == {one: metadata[one] for one in ("labels", "annotations")}
    told = variables(manifest)
    assert "SYMBOL" not in told
    assert told["TYPE"] == "ws_trades"
    assert told[BASKET_REPORT] == "/dev/termination-log"
    members = {one.job: one.environment for one in read_members({BASKET: told[BASKET], "TYPE": "ws_trades"})}
    assert members == {spec.name: spec.environment for spec in specs}
    assert "activeDeadlineSeconds" not in manifest["spec"]
    assert pod(manifest)["terminationGracePeriodSeconds"] == 30 + 60


def test_its_pod_gets_memory_and_disk_for_each_member() -> None:
    manifest = basket_manifest(loaders(*(f"s{number}" for number in range(50))), TEMPLATE)
    resources = container(manifest)["resources"]
    assert resources == {
        "requests": {"cpu": "100m", "memory": f"{128 + 49 * 32}Mi"},
        "limits": {"memory": f"{512 + 49 * 32}Mi"},
    }
    assert pod(manifest)["volumes"] == [{"name": "tmp", "emptyDir": {"sizeLimit": f"{50 * 64}Mi"}}]
    other = basket_manifest(
        loaders("a", "b"), template(memory_request="0.5Gi", memory_limit="", member_memory="1000k", cpu_request="")
    )
    assert container(other)["resources"] == {"requests": {"memory": "513Mi"}}


@pytest.mark.parametrize(
    ("settings", "request_", "limit"),
    [
        ({}, "512Mi", "3Gi"),
        ({"memory_request": "1Gi", "memory_limit": "8Gi"}, "1Gi", "8Gi"),
        ({"analyst_memory": "2Gi"}, "512Mi", "2Gi"),
        ({"memory_request": "", "memory_limit": ""}, None, None),
    ],
)
def test_what_computes_may_take_more_memory_and_is_sure_of_more(
    settings: dict[str, str], request_: str | None, limit: str | None
) -> None:
    spec = loaders("a")[0]
    resources = container(job_manifest(msgspec.structs.replace(spec, analyst=True), template(**settings)))["resources"]
    assert resources["requests"].get("memory") == request_
    assert resources.get("limits", {}).get("memory") == limit
    others = container(job_manifest(spec, template(analyst_memory="2Gi")))["resources"]
    assert (others["requests"]["memory"], others["limits"]["memory"]) == ("128Mi", "512Mi")


def test_a_secret_gets_into_no_list_of_members_either() -> None:
    specs = [
        msgspec.structs.replace(spec, environment={**spec.environment, "KAFKA_PASSWORD": f"s3cret{spec.attempt}"})
        for spec in loaders("a", "b", KAFKA_USER="manager")
    ]
    with pytest.raises(ConfigError, match=r"KAFKA_PASSWORD holds a secret") as raised:
        basket_manifest(specs, TEMPLATE)
    assert "s3cret" not in str(raised.value)
    secret = (SecretVariable("KAFKA_PASSWORD", SecretKey("user", "password")),)
    for elsewhere in ({"secret_variables": secret}, {"secrets": ("workers",)}):
        manifest = basket_manifest(specs, template(values={"KAFKA_USER": "worker"}, **elsewhere))
        assert "s3cret" not in repr(manifest)
        assert variables(manifest)["KAFKA_USER"] == "worker"
        assert "KAFKA_USER" not in variables(manifest)[BASKET], "what a member says itself would go first"


@pytest.mark.parametrize("text", ["", "{", "[[1]]", "null"])
def test_an_annotation_that_names_no_members_is_that_of_one_job(text: str) -> None:
    assert named_members(text) == []
