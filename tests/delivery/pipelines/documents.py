"""Pipelines as YAML, and what their makers' schemas say of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft7Validator

from tests.places import schemas

Json = dict[str, Any]


class _Loader(yaml.SafeLoader):
    """YAML as GitLab reads it: `!reference` is the list behind it, `on` is no truth value."""


_Loader.add_constructor("!reference", lambda loader, node: loader.construct_sequence(node))  # type: ignore[arg-type]
_Loader.yaml_implicit_resolvers = {
    first: [(tag, rule) for tag, rule in rules if tag != "tag:yaml.org,2002:bool" or first not in "oOyYnN"]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def load(path: Path) -> list[Json]:
    """The documents of a pipeline's file: a component has two, what it takes and what it is."""
    return list(yaml.load_all(path.read_text("utf-8"), _Loader))


def errors(found: Json, schema: str) -> list[str]:
    """What the schema of that name refuses, with where."""
    validator = Draft7Validator(json.loads(schemas("ci", f"{schema}.json").read_text("utf-8")))
    return [f"{error.json_path}: {error.message[:300]}" for error in validator.iter_errors(found)]
