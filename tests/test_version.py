"""The name under which StreamForge is installed is its own, and no page confuses it with another project's."""

from __future__ import annotations

import re
import tomllib

from streamforge.version import DISTRIBUTION, installed_version
from tests.places import ROOT

PLACES = ("src", "libs", "docs", "services", "platform", "tools")
STRANGER = re.compile(r"\bpip3? install\b[^\n`]*[\s'\"]streamforge(?![\w./-])")


def test_the_version_is_that_of_the_distribution() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert (project["name"], project["version"]) == (DISTRIBUTION, installed_version())


def test_no_file_tells_to_install_the_other_project_of_the_name() -> None:
    assert STRANGER.search("install it with `pip install 'streamforge[parquet]'`")
    assert STRANGER.search("pip install streamforge")
    assert not STRANGER.search(
        "pip install build/wheels/streamforge_utils-0.1.0-py3-none-any.whl streamforge-market-data"
    )
    files = [
        path for place in PLACES for path in (ROOT / place).rglob("*") if path.suffix in (".py", ".md", ".sh", ".ipynb")
    ]
    files += [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "Makefile"]
    assert ROOT / "docs" / "how-to" / "installation.md" in files
    assert [path for path in files if STRANGER.search(path.read_text("utf-8"))] == []
