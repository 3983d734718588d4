"""The embedded launcher keeps the contract of the launcher."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamforge_utils.adapters.embedded.launcher.process_launcher import ProcessLauncher
from tests.adapters.embedded.launcher.support import WORKER
from tests.contracts.launcher import LauncherContract, MakeLauncher
from tests.limits import LIMIT_S


def make(directory: Path) -> ProcessLauncher:
    return ProcessLauncher(
        directory,
        command=lambda spec: ["/bin/sh", "-c", 'eval "$CONTRACT_SCRIPT"'],
        base_environment={"BASE": "base"},
    )


def make_forking(directory: Path) -> ProcessLauncher:
    """One whose fork server runs: it starts every job."""
    launcher = ProcessLauncher(
        directory,
        command=lambda spec: [*WORKER, 'eval "$CONTRACT_SCRIPT"'],
        base_environment={"BASE": "base"},
        fork_server=(*WORKER, "--fork-server"),
    )
    assert launcher.fork_server.begin(LIMIT_S)
    return launcher


class TestProcessLauncher(LauncherContract):
    @pytest.fixture
    def make_launcher(self, tmp_path: Path) -> MakeLauncher:
        return lambda: make(tmp_path / "jobs")


class TestForkingLauncher(LauncherContract):
    @pytest.fixture
    def make_launcher(self, tmp_path: Path) -> MakeLauncher:
        return lambda: make_forking(tmp_path / "jobs")
