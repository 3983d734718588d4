"""What reads pipelines and devcontainers in tests: programs for Node.js, installed by `make pipelines-tools`."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tests.places import ROOT

TOOLS = ROOT / "build" / "pipelines-env"
_LIMIT_S = 60.0


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
