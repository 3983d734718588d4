"""Strimzi's manifests, and the rules for them that no schema has. A real broker refuses wrong keys of topics."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from tests.manifests.schemas import ROOT, Json

FOLDER = ROOT / "cred-kafka-yaml"
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LABEL = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")


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


_OF_KIND = {"KafkaUser": _user_faults, "Kafka": _kafka_faults}
_OPERATIONS = {
    "topic": {"Read", "Write", "Create", "Delete", "Alter", "Describe", "DescribeConfigs", "AlterConfigs", "All"},
    "group": {"Read", "Delete", "Describe", "DescribeConfigs", "AlterConfigs", "All"},
    "cluster": {
        *("Create", "ClusterAction", "DescribeConfigs", "AlterConfigs", "IdempotentWrite", "Alter", "Describe", "All")
    },
    "transactionalId": {"Describe", "Write", "All"},
}
