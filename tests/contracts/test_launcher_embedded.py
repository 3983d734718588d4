"""The embedded launcher keeps the contract of the launcher."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamforge_utils.adapters.embedded.launcher.process_launcher import ProcessLauncher
from tests.contracts.launcher import LauncherContract, MakeLauncher


def make(directory: Path) -> ProcessLauncher:
    return ProcessLauncher(
        directory,
        command=lambda spec: ["/bin/sh", "-c", 'eval "$CONTRACT_SCRIPT"'],
        base_environment={"BASE": "base"},
    )


class TestProcessLauncher(LauncherContract):
    @pytest.fixture
    def make_launcher(self, tmp_path: Path) -> MakeLauncher:
        return lambda: make(tmp_path / "jobs")
