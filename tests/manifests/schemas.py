"""Schemas of Kubernetes' own kinds and of others' resources, as strict as an API server is."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from jsonschema.protocols import Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from tests import places

Json = dict[str, Any]

ROOT = places.ROOT
KUBERNETES = ("v1.35.0", "v1.37.0")
"""The oldest release that is still supported, and the newest."""
_DEFINITIONS = "https://kubernetes.io/api/_definitions.json"
_CRDS = {
    "kafka.strimzi.io/v1/Kafka": "strimzi/040-Crd-kafka.yaml",
    "kafka.strimzi.io/v1/KafkaTopic": "strimzi/043-Crd-kafkatopic.yaml",
    "kafka.strimzi.io/v1/KafkaUser": "strimzi/044-Crd-kafkauser.yaml",
    "kafka.strimzi.io/v1/KafkaNodePool": "strimzi/045-Crd-kafkanodepool.yaml",
    "keda.sh/v1alpha1/ScaledJob": "keda/keda.sh_scaledjobs.yaml",
    "keda.sh/v1alpha1/ScaledObject": "keda/keda.sh_scaledobjects.yaml",
    "keda.sh/v1alpha1/TriggerAuthentication": "keda/keda.sh_triggerauthentications.yaml",
    "monitoring.coreos.com/v1/ServiceMonitor": "prometheus-operator/monitoring.coreos.com_servicemonitors.yaml",
    "monitoring.coreos.com/v1/PodMonitor": "prometheus-operator/monitoring.coreos.com_podmonitors.yaml",
    "monitoring.coreos.com/v1/PrometheusRule": "prometheus-operator/monitoring.coreos.com_prometheusrules.yaml",
}
_ARANGO = {"database.arangodb.com/v1/ArangoDeployment": "arangodb/database-deployment.schema.generated.yaml"}
"""Its CRD lets everything through; the operator's own schema does not."""
_CATALOG = {"gateway.networking.k8s.io/v1/HTTPRoute": "gateway.networking.k8s.io/httproute_v1.json"}


def schemas_folder() -> Path:
    """Where the schemas lie; the test skips where they are absent, unless they are required."""
    return places.schemas()


def schema_errors(found: Json) -> list[str]:
    """What the object's schemas refuse. A kind without a schema is refused too: nothing is let through unseen."""
    where = f"{found.get('kind')} {found.get('metadata', {}).get('name')}"
    return [
        f"{where}: {error.json_path}: {error.message[:300]}"
        for checked in validators(f"{found.get('apiVersion')}/{found.get('kind')}", schemas_folder())
        for error in checked.iter_errors(found)
    ]


@functools.cache
def validators(kind: str, folder: Path) -> tuple[Validator, ...]:
    """What checks objects of `kind`, written GROUP/VERSION/KIND (of the core group: VERSION/KIND)."""
    if crd := _CRDS.get(kind):
        return (_of_crd(yaml.safe_load((folder / "crds" / crd).read_text()), kind.split("/")[1]),)
    if generated := _ARANGO.get(kind):
        versions = yaml.load((folder / "crds" / generated).read_text(), yaml.CSafeLoader)
        schema = versions[kind.split("/")[1]]["openAPIV3Schema"]
        # Its root knows only the operator's part of an object.
        schema["properties"] |= {name: {} for name in ("apiVersion", "kind", "metadata")}
        return (Draft202012Validator(_strict(schema)),)
    if catalog := _CATALOG.get(kind):
        return (Draft202012Validator(json.loads((folder / "crds" / "catalog" / catalog).read_text())),)
    *group, version, name = kind.split("/")
    parts = [name.lower(), *(one.split(".")[0] for one in group), version]
    return tuple(_builtin(folder / "kubernetes" / f"{release}-local-strict", "-".join(parts)) for release in KUBERNETES)


def _of_crd(crd: Json, name: str) -> Draft202012Validator:
    (version,) = [one for one in crd["spec"]["versions"] if one["name"] == name]
    return Draft202012Validator(_strict(version["schema"]["openAPIV3Schema"]))


def _builtin(folder: Path, name: str) -> Draft202012Validator:
    path = folder / f"{name}.json"
    if not path.exists():
        raise LookupError(f"there is no schema {path}")
    return Draft202012Validator(json.loads(path.read_text()), registry=_registry(folder))


@functools.cache
def _registry(folder: Path) -> Registry[Any]:
    definitions = json.loads((folder / "_definitions.json").read_text())
    resource = Resource.from_contents(definitions, default_specification=DRAFT202012)
    registry: Registry[Any] = Registry().with_resource(_DEFINITIONS, resource)
    return registry


def _strict(node: Any) -> Any:
    """A CRD's schema as the API server applies it: unknown fields are refused."""
    if isinstance(node, list):
        return [_strict(one) for one in node]
    if not isinstance(node, dict):
        return node
    found = {name: _strict(one) for name, one in node.items()}
    if found.pop("x-kubernetes-int-or-string", False) is True:
        found.pop("anyOf", None)
        found["type"] = ["integer", "string"]
    if str(found.get("pattern", "")).startswith("^(?i)"):  # Go takes a flag anywhere, Python only at the beginning
        found["pattern"] = "(?i)^" + found["pattern"].removeprefix("^(?i)")
    kept = found.get("x-kubernetes-preserve-unknown-fields") is True
    if isinstance(found.get("properties"), dict) and "additionalProperties" not in found and not kept:
        found["additionalProperties"] = False
    return found
