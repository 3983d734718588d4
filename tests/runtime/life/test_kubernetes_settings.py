"""The settings of the launcher on Kubernetes: read, refused by name, and chosen by itself inside a cluster."""

from __future__ import annotations

import pytest

from streamforge.manager.manager_settings import load_manager
from streamforge_utils.model.errors import ConfigError
from streamforge_utils.ports.job_settings import LauncherSettings, Pair, SecretKey, SecretVariable, with_launcher
from streamforge_utils.runtime.life.environment import Variable, load, variables

CHOSEN = {"STREAMFORGE_LAUNCHER": "kubernetes"}


def test_without_settings_workers_are_processes() -> None:
    assert not load(LauncherSettings, {}).in_kubernetes
    assert load(LauncherSettings, CHOSEN).in_kubernetes


def test_in_a_cluster_a_manager_picks_it_by_itself_unless_it_is_told() -> None:
    inside = {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}
    assert load(LauncherSettings, with_launcher(inside)).in_kubernetes
    assert not load(LauncherSettings, with_launcher({**inside, "STREAMFORGE_LAUNCHER": "process"})).in_kubernetes
    assert not load(LauncherSettings, with_launcher({})).in_kubernetes


def test_everything_is_read() -> None:
    found = load(
        LauncherSettings,
        CHOSEN
        | {
            "K8S_NAMESPACE": "stf",
            "STREAMFORGE_IMAGES": "arango-candles=r.example/x:1, loader-api-candles=r.example/y:2",
            "STREAMFORGE_K8S_NODE_SELECTOR": "streamforge-worker=true",
            "STREAMFORGE_K8S_SECRET_ENV": "KAFKA_PASSWORD=user-streamforge/password",
            "STREAMFORGE_K8S_WORKER_ENV": "KAFKA_USER=worker",
            "STREAMFORGE_K8S_KAFKA_CA_SECRET": "streamforge-cluster-ca-cert/ca.crt",
            "STREAMFORGE_K8S_MEMORY_LIMIT": "1Gi",
        },
    ).kubernetes
    assert found.namespace == "stf"
    assert found.images == (Pair("arango-candles", "r.example/x:1"), Pair("loader-api-candles", "r.example/y:2"))
    assert found.node_selector == (Pair("streamforge-worker", "true"),)
    assert found.secret_variables == (SecretVariable("KAFKA_PASSWORD", SecretKey("user-streamforge", "password")),)
    assert found.values == (Pair("KAFKA_USER", "worker"),)
    assert found.kafka_ca == SecretKey("streamforge-cluster-ca-cert", "ca.crt")
    assert found.memory_limit == "1Gi"


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("STREAMFORGE_LAUNCHER", "docker", "`process` or `kubernetes`"),
        ("K8S_NAMESPACE", "Not_One", "no namespace"),
        ("STREAMFORGE_IMAGES", "arango-candles", "NAME=VALUE"),
        ("STREAMFORGE_K8S_NODE_SELECTOR", "a b=c", "no label of a node"),
        ("STREAMFORGE_K8S_SECRET_ENV", "KAFKA_PASSWORD=secret", "SECRET/KEY"),
        ("STREAMFORGE_K8S_SECRET_ENV", "A-B=secret/key", "the name of no variable"),
        ("STREAMFORGE_K8S_WORKER_ENV", "A-B=c", "the name of no variable"),
        ("STREAMFORGE_K8S_KAFKA_CA_SECRET", "ca", "SECRET/KEY"),
        ("STREAMFORGE_K8S_WORKER_SECRETS", "Not_One", "the name of no object"),
        ("STREAMFORGE_K8S_MEMORY_LIMIT", "much", "no quantity"),
        ("STREAMFORGE_K8S_ARCHIVE_CACHE", "2GiB", "no size of a volume"),
        ("STREAMFORGE_K8S_ARCHIVE_CACHE", "63Mi", "64Mi or more"),
        ("STREAMFORGE_K8S_ARCHIVE_CLAIM", "Not_One", "the name of no object"),
        ("STREAMFORGE_K8S_WORKER_ENV", "STREAMFORGE_ARCHIVE_CACHE_BYTES=8000000000", "STREAMFORGE_K8S_ARCHIVE_CACHE"),
        ("STREAMFORGE_K8S_DEADLINE_SECONDS", "0", "'0'"),
        ("STREAMFORGE_K8S_TTL_SECONDS", "-1", "'-1'"),
    ],
)
def test_what_cannot_be_is_named(name: str, value: str, says: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load(LauncherSettings, CHOSEN | {name: value})
    assert name in str(raised.value)
    assert says in str(raised.value)


@pytest.mark.parametrize("item", list(variables(LauncherSettings)), ids=lambda item: str(item.name))
def test_a_default_that_the_manual_shows_as_a_value_is_accepted(item: Variable) -> None:
    in_words = not item.default or any(mark in item.default for mark in " `")
    load(LauncherSettings, CHOSEN if in_words else CHOSEN | {item.name: item.default})


def test_a_namespace_without_the_launcher_is_no_oversight_to_pass_over() -> None:
    with pytest.raises(ConfigError, match="K8S_NAMESPACE is set, but STREAMFORGE_LAUNCHER is not"):
        load(LauncherSettings, {"K8S_NAMESPACE": "stf"})
    assert not load(LauncherSettings, {"K8S_NAMESPACE": "stf", "STREAMFORGE_LAUNCHER": "process"}).in_kubernetes


@pytest.mark.parametrize(
    ("settings", "seconds"),
    [
        ({}, 30.0),
        (CHOSEN, 300.0),
        (CHOSEN | {"STREAMFORGE_START_SECONDS": "7"}, 7.0),
        (CHOSEN | {"STREAMFORGE_SILENT_SECONDS": "400"}, 400.0),
        ({"STREAMFORGE_SILENT_SECONDS": "9"}, 9.0),
    ],
)
def test_a_job_is_given_the_time_to_fetch_its_image(settings: dict[str, str], seconds: float) -> None:
    manager = load_manager({"STREAMFORGE_DATA_DIR": "/data", **settings})
    assert manager.policy.start_within_s == seconds
