"""Strimzi's manifests, and the rules for them that no schema can say."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from tests.manifests.schemas import ROOT, Json

FOLDER = ROOT / "cred-kafka-yaml"
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LABEL = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")

TOPIC_CONFIG = frozenset(
    [
        "cleanup.policy",
        "compression.gzip.level",
        "compression.lz4.level",
        "compression.type",
        "compression.zstd.level",
        "delete.retention.ms",
        "errors.deadletterqueue.group.enable",
        "file.delete.delay.ms",
        "flush.messages",
        "flush.ms",
        "follower.replication.throttled.replicas",
        "index.interval.bytes",
        "internal.segment.bytes",
        "leader.replication.throttled.replicas",
        "local.retention.bytes",
        "local.retention.ms",
        "max.compaction.lag.ms",
        "max.message.bytes",
        "message.timestamp.after.max.ms",
        "message.timestamp.before.max.ms",
        "message.timestamp.type",
        "min.cleanable.dirty.ratio",
        "min.compaction.lag.ms",
        "min.insync.replicas",
        "preallocate",
        "remote.copy.disable",
        "remote.log.delete.on.disable",
        "remote.storage.enable",
        "retention.bytes",
        "retention.ms",
        "segment.bytes",
        "segment.index.bytes",
        "segment.jitter.ms",
        "segment.ms",
        "unclean.leader.election.enable",
    ]
)
"""The configuration keys of a topic. The test on the real broker applies the files, so a key it lacks fails there."""


def objects(folder: Path = FOLDER) -> list[tuple[str, Json]]:
    """Every object of the manifests with the name of its file."""
    return [
        (path.name, found)
        for path in sorted(folder.glob("*.yaml"))
        for found in yaml.safe_load_all(path.read_text())
        if found is not None
    ]


def faults(found: Json) -> list[str]:
    """What no schema sees, and the operator or the API server would refuse."""
    wrong = []
    name = found["metadata"]["name"]
    if len(name) > 253 or not _NAME.fullmatch(name):
        wrong.append(f"metadata.name {name!r} is no DNS-1123 subdomain")
    wrong += [
        f"label {key}: {value!r} is no label value"
        for key, value in found["metadata"].get("labels", {}).items()
        if not _LABEL.fullmatch(value)
    ]
    if found["kind"] != "Kafka" and "strimzi.io/cluster" not in found["metadata"].get("labels", {}):
        wrong.append("the label strimzi.io/cluster is missing: no operator would look at it")
    if (check := _OF_KIND.get(found["kind"])) is not None:
        wrong += check(found["spec"])
    return wrong


def _topic_faults(spec: Json) -> list[str]:
    config = spec.get("config", {})
    wrong = [f"{key} is no configuration of a topic" for key in config if key not in TOPIC_CONFIG]
    return wrong + [f"{key} holds {value!r}" for key, value in config.items() if isinstance(value, dict | list)]


def _user_faults(spec: Json) -> list[str]:
    wrong = []
    told = spec.get("authentication", {})
    validity, renewal = told.get("validityDays"), told.get("renewalDays")
    if told.get("type") != "tls" and (validity is not None or renewal is not None):
        wrong.append("validityDays and renewalDays go with type: tls only")
    if (validity is None) != (renewal is None):
        wrong.append("validityDays and renewalDays go together")
    if validity is not None and renewal is not None and renewal >= validity:
        wrong.append("renewalDays must be less than validityDays")
    for rule in spec.get("authorization", {}).get("acls", []):
        resource = rule["resource"]
        if resource["type"] != "cluster" and not resource.get("name"):
            wrong.append(f"a rule for a {resource['type']} names none")
        allowed = _OPERATIONS[resource["type"]]
        wrong += [f"{one} does not exist for a {resource['type']}" for one in rule["operations"] if one not in allowed]
    return wrong


def _kafka_faults(spec: Json) -> list[str]:
    wrong = []
    listeners = spec["kafka"]["listeners"]
    if len({one["name"] for one in listeners}) < len(listeners) or len({one["port"] for one in listeners}) < len(
        listeners
    ):
        wrong.append("two listeners share a name or a port")
    return wrong


_OF_KIND = {"KafkaTopic": _topic_faults, "KafkaUser": _user_faults, "Kafka": _kafka_faults}
_OPERATIONS = {
    "topic": {"Read", "Write", "Create", "Delete", "Alter", "Describe", "DescribeConfigs", "AlterConfigs", "All"},
    "group": {"Read", "Delete", "Describe", "DescribeConfigs", "AlterConfigs", "All"},
    "cluster": {
        *("Create", "ClusterAction", "DescribeConfigs", "AlterConfigs", "IdempotentWrite", "Alter", "Describe", "All")
    },
    "transactionalId": {"Describe", "Write", "All"},
}
