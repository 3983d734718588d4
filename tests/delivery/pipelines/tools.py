"""What reads pipelines and devcontainers in tests: programs for Node.js, installed by `make pipelines-tools`, YAML as
GitLab reads it, and the schemas of pipelines' makers.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

from tests.places import ROOT, schemas

TOOLS = ROOT / "build" / "pipelines-env"
_LIMIT_S = 60.0
Json = dict[str, Any]


def node_program(name: str) -> list[str]:
    """The command of a program from tools/pipelines; the test fails where it is not installed."""
    found = TOOLS / "node_modules" / ".bin" / name
    if not found.exists():
        pytest.fail(f"{name} is not installed: run make pipelines-tools")
    return [str(TOOLS / "bin" / "node"), str(found.resolve())]


def needed(program: str) -> str:
    """The path of a program of the system; the test fails where it is missing."""
    found = shutil.which(program)
    if found is None:
        pytest.fail(f"{program} is missing: install it first (tools/install_engines.sh does on Debian)")
    return found


def run(
    command: Sequence[str], cwd: Path, environment: Mapping[str, str] | None = None, limit_s: float = _LIMIT_S
) -> subprocess.CompletedProcess[str]:
    """Run to the end; what it printed and its exit code. The test fails if it takes longer than `limit_s`."""
    return subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=limit_s,
        check=False,
    )


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
