"""Reading Strimzi's manifests: what they say, and a sentence for each way in which they can be wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamforge_utils.adapters.kafka_apply.manifest_reader import Rule, SecretKey, read_manifests
from streamforge_utils.model.errors import InvalidInput
from tests.places import ROOT

SHIPPED = ROOT / "cred-kafka-yaml"
TOPIC = """
apiVersion: kafka.strimzi.io/v1
kind: KafkaTopic
metadata: {name: candles}
spec: {topicName: Candles_1m, partitions: 3, config: {retention.ms: 1000, preallocate: true}}
"""
USER = """
apiVersion: kafka.strimzi.io/v1
kind: KafkaUser
metadata: {name: somebody}
spec:
  authentication: {type: scram-sha-512, password: {valueFrom: {secretKeyRef: {name: theirs, key: word}}}}
  authorization:
    type: simple
    acls:
      - {resource: {type: topic, name: wf-, patternType: prefix}, operations: [Read, Describe]}
      - {resource: {type: cluster}, operations: [Create], type: deny, host: 10.0.0.1}
"""


def write(folder: Path, *texts: str) -> Path:
    for number, text in enumerate(texts):
        (folder / f"{number}.yaml").write_text(text)
    return folder


def test_what_ships_is_read_whole() -> None:
    wanted = read_manifests(SHIPPED)
    assert [topic.name for topic in wanted.topics] == ["queue-control", "queue-events"]
    assert {user.name for user in wanted.users} == {
        "user-streamforge",
        "user-streamforge-manager",
        "user-streamforge-reader",
        "user-streamforge-worker",
    }
    assert not any(user.given for user in wanted.users)
    assert set(wanted.skipped) == {"Kafka streamforge", "KafkaNodePool dual"}


def test_a_topic_is_called_as_its_spec_says_and_its_values_are_texts(tmp_path: Path) -> None:
    (topic,) = read_manifests(write(tmp_path, TOPIC)).topics
    assert (topic.name, topic.partitions, topic.replicas) == ("Candles_1m", 3, None)
    assert topic.config == {"retention.ms": "1000", "preallocate": "true"}


def test_a_user_has_a_rule_for_each_operation_and_a_reference_to_its_password(tmp_path: Path) -> None:
    (user,) = read_manifests(write(tmp_path, USER)).users
    assert (user.secret, user.given) == (SecretKey("theirs", "word"), True)
    assert user.rules == {
        Rule("somebody", "topic", "prefix", "wf-", "Read"),
        Rule("somebody", "topic", "prefix", "wf-", "Describe"),
        Rule("somebody", "cluster", "literal", "kafka-cluster", "Create", "deny", "10.0.0.1"),
    }


def test_several_objects_in_one_file_are_all_read(tmp_path: Path) -> None:
    wanted = read_manifests(write(tmp_path, f"{TOPIC}---{USER}---\n"))
    assert (len(wanted.topics), len(wanted.users)) == (1, 1)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: [", r"0\.yaml is no YAML"),
        ("- 1", r"0\.yaml: Expected `object`"),
        (TOPIC.replace("/v1", "/v1beta2"), r"kafka\.strimzi\.io/v1beta2 KafkaTopic is not known here"),
        (TOPIC.replace("KafkaTopic", "KafkaMirror"), "KafkaMirror is not known here"),
        (TOPIC.replace("partitions: 3", "partitions: 0"), "partitions is 0, it must be at least 1"),
        (TOPIC.replace("partitions: 3", "partitions: many"), r"KafkaTopic candles: spec: .*\$\.partitions"),
        (TOPIC.replace("partitions", "partition"), "unknown field `partition`"),
        (USER.replace("scram-sha-512", "tls"), "only users with authentication type scram-sha-512"),
        (USER.replace("operations: [Read, Describe]", "operation: Read"), r"acls\[0\]|acls\[\.\.\.\]"),
        (USER.replace("Describe]", "Destroy]"), "Invalid enum value 'Destroy'"),
        (USER.replace("name: wf-, ", ""), "a rule for a topic names none"),
        (USER + "  quotas: {producerByteRate: 1}\n", "unknown field `quotas`"),
    ],
)
def test_what_is_wrong_is_named_with_its_file(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(InvalidInput, match=told) as caught:
        read_manifests(write(tmp_path, text))
    assert "0.yaml" in str(caught.value)


def test_one_topic_described_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"1\.yaml: .*Candles_1m is described before, in 0\.yaml"):
        read_manifests(write(tmp_path, TOPIC, TOPIC.replace("{name: candles}", "{name: other}")))


def test_a_folder_without_manifests_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"there is no \*\.yaml in"):
        read_manifests(tmp_path)
