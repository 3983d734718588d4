"""The wheels install into a fresh environment as the manual says, and what they install works."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pyarrow.parquet

from streamforge.version import DISTRIBUTION, installed_version
from tests import guides

INSTALLED = """
import importlib.metadata, streamforge, streamforge_utils, sys
named = {found.name: found.version for found in importlib.metadata.distributions() if "streamforge" in found.name}
inside = all(module.__file__.startswith(sys.prefix) for module in (streamforge, streamforge_utils))
print(sorted(named.items()), inside)
"""


OF_INDEXES = re.compile(r"PIP_|SSL_CERT_|NODE_EXTRA_CA_CERTS|npm_config_|.*_proxy", re.IGNORECASE)
"""What pip and npm find packages by, and trust."""
STEP_S = 900.0
"""What one block of the page may take, which fetches some 100 MB."""


def test_the_wheels_load_and_export_in_an_environment_of_their_own(tmp_path: Path) -> None:
    folder = guides.repository(tmp_path / "checkout")
    guides.own_environment(folder)
    indexes = {name: value for name, value in os.environ.items() if OF_INDEXES.match(name)}
    environ = guides.environment(tmp_path / "home") | indexes
    with guides.opened("docs/how-to/installation.md", folder, environ, tmp_path) as guide:
        for step in guides.steps(guide.page):
            guide.step(step, STEP_S)
    rows = pyarrow.parquet.read_table(folder / "build" / "august.parquet").to_pylist()
    assert len(rows) == 24
    assert {(row["symbol"], row["interval"]) for row in rows} == {("BTCUSDT", "1h")}
    python = folder / "build" / "installed" / "bin" / "python"
    asked = subprocess.run([python, "-I", "-c", INSTALLED], capture_output=True, text=True, timeout=60, check=True)
    version = installed_version()
    assert asked.stdout == f"{[(DISTRIBUTION, version), ('streamforge-utils', version)]} True\n"
