"""The embedded launcher keeps the contract of the launcher."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamforge_utils.adapters.embedded.launcher.process_launcher import ProcessLauncher
from streamforge_utils.ports.basket_members import note_exit
from tests.adapters.embedded.launcher.support import WORKER
from tests.contracts.launcher import ClosingLauncher, LauncherContract, MakeLauncher
from tests.contracts.launcher_baskets import BasketContract, EndMember
from tests.limits import LIMIT_S

pytestmark = pytest.mark.e2e


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


class TestProcessBaskets(BasketContract):
    grace = "streamforge_utils.adapters.embedded.launcher.process_launcher.MEMBER_GRACE_S"

    @pytest.fixture
    def make_launcher(self, tmp_path: Path) -> MakeLauncher:
        return lambda: make(tmp_path / "jobs")

    @pytest.fixture
    def end_member(self, tmp_path: Path) -> EndMember:
        """As the process of a basket does."""

        async def end(launcher: ClosingLauncher, name: str, exit_code: int) -> None:
            note_exit(tmp_path / "jobs" / name, exit_code)

        return end
