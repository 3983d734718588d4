"""A launcher in a directory of its own; its jobs end with the test."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from streamforge_utils.adapters.embedded.launcher.process_launcher import ProcessLauncher
from streamforge_utils.model.errors import ConfigError
from tests.adapters.embedded.launcher.support import make, make_forking


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "jobs"


@pytest.fixture(params=[make, make_forking], ids=["shell", "forked"])
async def launcher(directory: Path, request: pytest.FixtureRequest) -> AsyncIterator[ProcessLauncher]:
    launcher: ProcessLauncher = request.param(directory)
    yield launcher
    with contextlib.suppress(ConfigError):
        for found in await launcher.jobs():
            await launcher.stop(found.name, grace_s=0)
    await launcher.close()
