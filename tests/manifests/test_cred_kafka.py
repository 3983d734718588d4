"""cred-kafka-yaml/ is what Strimzi accepts, and what the platform needs of it."""

from __future__ import annotations

from typing import Any

import pytest

from streamforge.manager.catalogue import asyncapi
from streamforge.manager.engine.execution.event_consumer import GROUP
from streamforge_utils.adapters.kafka.topics import config_of
from streamforge_utils.model import names
from streamforge_utils.ports.bus import TopicSpec
from streamforge_utils.runtime.life.settings import CONTROL_TOPIC, EVENTS_TOPIC
from streamforge_utils.runtime.output.topic_specs import data_topic, dead_letters_topic, talk_topic
from tests.manifests.rules import mistaken
from tests.manifests.schemas import Json, schema_errors
from tests.manifests.strimzi import FOLDER, faults, objects

OBJECTS = objects()
NAMED = [pytest.param(found, id=f"{found['kind']}-{found['metadata']['name']}") for _, found in OBJECTS]
USERS = {found["metadata"]["name"]: found for _, found in OBJECTS if found["kind"] == "KafkaUser"}
TOPICS = {found["metadata"]["name"]: found for _, found in OBJECTS if found["kind"] == "KafkaTopic"}
(KAFKA,) = (found for _, found in OBJECTS if found["kind"] == "Kafka")


def errors_of(found: Json) -> list[str]:
    return schema_errors(found) + faults(found)


@pytest.mark.parametrize("found", NAMED)
def test_each_manifest_keeps_the_rules_and_is_what_strimzi_accepts(found: Json) -> None:
    assert faults(found) == []
    assert found["apiVersion"] == "kafka.strimzi.io/v1"
    assert schema_errors(found) == []


@pytest.mark.parametrize(
    ("name", "path", "value"),
    [
        ("user-streamforge", "spec.authorization.acls.0.operation", "Read"),
        ("user-streamforge", "spec.authorization.acls.0.operations", ["Reed"]),
        ("user-streamforge", "spec.authorization.acls.3.operations", ["Write"]),
        ("user-streamforge", "spec.authentication.validityDays", 30),
        ("user-streamforge", "spec.authentication.type", "plain"),
        ("user-streamforge", "metadata.labels", {}),
        ("queue-control", "spec.partitions", 0),
        ("queue-control", "metadata.name", "queue_control"),
        ("streamforge", "spec.kafka.replicas", 3),
        ("streamforge", "spec.zookeeper", {}),
        ("dual", "spec.roles", ["broker", "keeper"]),
    ],
)
def test_a_mistake_is_found(name: str, path: str, value: Any) -> None:
    (original,) = (one for _, one in OBJECTS if one["metadata"]["name"] == name)
    assert errors_of(mistaken(original, path, value))


def test_every_object_belongs_to_the_one_cluster() -> None:
    for name, found in OBJECTS:
        assert found["metadata"]["namespace"] == KAFKA["metadata"]["namespace"], name
        if found["kind"] != "Kafka":
            assert found["metadata"]["labels"]["strimzi.io/cluster"] == KAFKA["metadata"]["name"], name


def test_the_cluster_asks_who_comes_and_refuses_what_nobody_allowed() -> None:
    kafka = KAFKA["spec"]["kafka"]
    for listener in kafka["listeners"]:
        assert listener["tls"] is True
        assert listener["authentication"] == {"type": "scram-sha-512"}
    assert kafka["authorization"] == {"type": "simple"}
    assert "superUsers" not in kafka["authorization"]
    assert kafka["config"]["auto.create.topics.enable"] is False


def test_the_topics_and_users_are_those_of_the_platform() -> None:
    assert set(TOPICS) == {"queue-control", "queue-events"}
    assert set(TOPICS) == {CONTROL_TOPIC, EVENTS_TOPIC}
    assert set(USERS) == {
        "user-streamforge",
        "user-streamforge-manager",
        "user-streamforge-worker",
        "user-streamforge-reader",
    }


def test_manifests_services_and_documents_say_the_same_of_the_topics_on_which_they_talk() -> None:
    for name, channel in ((CONTROL_TOPIC, "control"), (EVENTS_TOPIC, "events")):
        spec = talk_topic(name)
        assert TOPICS[name]["spec"] == {
            "topicName": name,
            "partitions": 1,
            "config": {key: int(value) if value.isdigit() else value for key, value in config_of(spec).items()},
        }
        check_documented(channel, spec)


def test_documents_say_how_the_topics_of_a_workflow_are_made() -> None:
    data = data_topic(names.data_topic("{queue_id}"), ("wf-x-arango-candles",))
    check_documented("data", data)
    check_documented("dlq", dead_letters_topic(names.dlq_topic(data.name), data.readers))


def check_documented(channel: str, spec: TopicSpec) -> None:
    found = asyncapi.document()["channels"][channel]
    kafka = found["bindings"]["kafka"]
    assert (found["address"], kafka["partitions"]) == (spec.name, 1)
    said = {
        key: value[0] if isinstance(value, list) else str(value) for key, value in kafka["topicConfiguration"].items()
    }
    assert set(said) == {"cleanup.policy", "retention.ms", "retention.bytes"}
    assert said == {key: config_of(spec)[key] for key in said}


def test_no_secret_has_a_value_and_no_user_may_everything() -> None:
    for name, text in ((path.name, path.read_text()) for path in FOLDER.glob("*.yaml")):
        assert "kind: Secret" not in text, name
        assert "stringData" not in text, name
    for name, user in USERS.items():
        assert user["spec"]["authentication"]["type"] == "scram-sha-512", name
        assert "value" not in user["spec"]["authentication"].get("password", {}), name
        for rule in user["spec"]["authorization"]["acls"]:
            assert rule["resource"]["type"] in ("topic", "group"), name
            assert rule["resource"]["name"] != "*", name
            assert not {"All", "Alter", "AlterConfigs", "ClusterAction"} & set(rule["operations"]), name


def test_the_rules_name_what_a_workflow_is_called() -> None:
    queue_id = names.queue_id("BTCUSDT", "api_candles_1m", 1_722_470_400_000, "abc123")
    topic = names.data_topic(queue_id)
    for name in (topic, names.dlq_topic(topic), names.consumer_group(queue_id, "arango-candles")):
        assert name.startswith("wf-")
    for user in USERS.values():
        rules = [rule["resource"] for rule in user["spec"]["authorization"]["acls"]]
        for kind in ("topic", "group"):
            assert {"type": kind, "name": "wf-", "patternType": "prefix"} in rules
    managing = [
        USERS[name]["spec"]["authorization"]["acls"] for name in ("user-streamforge", "user-streamforge-manager")
    ]
    for acls in managing:
        assert {"type": "group", "name": GROUP, "patternType": "literal"} in [rule["resource"] for rule in acls]


def test_the_one_user_may_what_manager_and_worker_may_together() -> None:
    together = _rights("user-streamforge-manager") | _rights("user-streamforge-worker")
    assert _rights("user-streamforge") == together


def _rights(name: str) -> set[tuple[str, str, str, str]]:
    return {
        (rule["resource"]["type"], rule["resource"]["patternType"], rule["resource"]["name"], operation)
        for rule in USERS[name]["spec"]["authorization"]["acls"]
        for operation in rule["operations"]
    }
