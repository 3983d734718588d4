"""Kinds of others in the cluster: their CustomResourceDefinitions, so that manifests of these kinds are validated."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from tests.engines.errors import EngineError
from tests.engines.kubernetes.jobs import until
from tests.engines.kubernetes.rest import ApiError, Object, Rest

_PATH = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def install(admin: Rest, paths: Iterable[Path]) -> list[str]:
    """Install the definitions in `paths` (YAML files, or folders of them) and wait until they are served; their names.

    Those that are there already stay as they are. Raises EngineError if a path holds none.
    """
    return install_all(admin, [found for path in paths for found in _read(path)])


def install_all(admin: Rest, definitions: Iterable[Object]) -> list[str]:
    """The same for definitions themselves."""
    names = list[str]()
    for definition in definitions:
        try:
            admin.request("POST", _PATH, definition)
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise
        names.append(definition["metadata"]["name"])
    until(f"they are served: {', '.join(names)}", lambda: all(_established(admin, name) for name in names))
    return names


def from_schema(schema: Path, group: str, kind: str, *, version: str = "v1") -> Object:
    """A definition of a kind made of a strict JSON Schema, as catalogues have them where its own is not at hand."""
    singular = kind.lower()
    plural = f"{singular}s"
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        # Groups of Kubernetes' own want to know who approved them.
        "metadata": {
            "name": f"{plural}.{group}",
            "annotations": {"api-approved.kubernetes.io": "unapproved, for tests"},
        },
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": plural, "singular": singular, "kind": kind, "listKind": f"{kind}List"},
            "versions": [
                {
                    "name": version,
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": _structural(json.loads(schema.read_text()))},
                    "subresources": {"status": {}},
                }
            ],
        },
    }


def _structural(part: Any) -> Any:
    """Without what a definition may not say: that there are no other fields, which strict validation says anyway."""
    if isinstance(part, list):
        return [_structural(one) for one in part]
    if not isinstance(part, dict):
        return part
    return {
        key: _structural(value) for key, value in part.items() if not (key == "additionalProperties" and value is False)
    }


def _read(path: Path) -> list[Object]:
    files = sorted(path.glob("*.yaml")) if path.is_dir() else [path]
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    found: list[Object] = [
        document
        for file in files
        for document in yaml.load_all(file.read_text(), Loader=loader)
        if isinstance(document, dict) and document.get("kind") == "CustomResourceDefinition"
    ]
    if not found:
        raise EngineError(f"{path} holds no CustomResourceDefinition")
    return found


def _established(admin: Rest, name: str) -> bool:
    conditions = admin.request("GET", f"{_PATH}/{name}").get("status", {}).get("conditions") or []
    return any(found["type"] == "Established" and found["status"] == "True" for found in conditions)
