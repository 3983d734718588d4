"""A clone alone is enough to collect every test: what is recorded beside it is read by tests, never at import."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.places import ROOT

BESIDE = ("STREAMFORGE_SCHEMAS", "STREAMFORGE_MARKET_DATA", "STREAMFORGE_ARANGO_RECORDINGS")
FOLDERS = [f"tests/{name}" for name in ("", "arango", "engines", "images", "delivery")]


def test_every_test_is_collected_where_nothing_is_recorded(tmp_path: Path) -> None:
    found = {name: value for name, value in os.environ.items() if not name.startswith("STREAMFORGE_REQUIRE_")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *FOLDERS],
        cwd=ROOT,
        env=found | {name: str(tmp_path / "nowhere") for name in BESIDE},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
