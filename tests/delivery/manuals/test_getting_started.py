"""Getting started does what it says: each of its commands is run as it is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import guides
from tests.engines.process import free_ports


@pytest.mark.timeout(480)
def test_getting_started_ends_with_a_proven_series_and_a_server(tmp_path: Path) -> None:
    folder = guides.checkout(tmp_path / "checkout")
    port = str(free_ports(1)[0])
    environ = guides.environment(tmp_path / "home") | {"STREAMFORGE_PORT": port}
    with guides.opened(
        "docs/getting-started.md", folder, environ, tmp_path, {"127.0.0.1:8080": f"127.0.0.1:{port}"}
    ) as guide:
        for step in guides.steps(guide.page):
            guide.step(step)
    rows = (folder / "build" / "july.csv").read_text("utf-8").splitlines()
    assert len(rows) == 745
    assert [rows[1].split(",")[2], rows[-1].split(",")[2]] == ["1719792000000", "1722466800000"]
