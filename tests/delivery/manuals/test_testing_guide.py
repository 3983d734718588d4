"""The testing guide: each of its commands for an installation is run as it is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import guides
from tests.engines.process import free_ports


@pytest.mark.timeout(480)
def test_an_installation_is_tested_with_the_commands_of_the_testing_guide(tmp_path: Path) -> None:
    folder = guides.checkout(tmp_path / "checkout")
    port = str(free_ports(1)[0])
    environ = guides.environment(tmp_path / "home") | {"STREAMFORGE_METRICS_PORT": port}
    with guides.opened("docs/testing.md", folder, environ, tmp_path, {"localhost:8000": f"localhost:{port}"}) as guide:
        for step in guides.steps(guide.page, "Testing an installation"):
            guide.step(step)
