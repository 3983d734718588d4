"""A clone alone is enough to collect every test: what is recorded beside it is read by tests, never at import."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.places import ROOT

BESIDE = ("STREAMFORGE_SCHEMAS", "STREAMFORGE_MARKET_DATA", "STREAMFORGE_ARANGO_RECORDINGS")
APART = ("arango", "engines", "images", "delivery", "ui")
"""Folders that only some verbs run."""


@pytest.mark.long
def test_every_test_is_collected_where_nothing_is_recorded(tmp_path: Path) -> None:
    found = {name: value for name, value in os.environ.items() if not name.startswith("STREAMFORGE_REQUIRE_")}
    everywhere = "--override-ini=norecursedirs=.* node_modules tests/gnn"  # that folder needs torch at import
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", everywhere, "tests"],
        cwd=ROOT,
        env=found | {name: str(tmp_path / "nowhere") for name in BESIDE},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    for folder in ("e2e", *APART):
        assert f"\ntests/{folder}/" in f"\n{done.stdout}", folder


@pytest.mark.e2e
def test_no_suite_names_a_folder_and_one_within_it() -> None:
    made = subprocess.run(
        ["make", "-n", "test-long", "test-engines", "test-double", "test-delivery", "ARANGO_URL=x", "test-arango"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    # Of a folder and one within it pytest takes the first alone, and passes over what that does not recurse into.
    commands = [line.split("-m pytest", 1)[1].split() for line in made.stdout.splitlines() if "-m pytest" in line]
    assert len(commands) >= 6
    for words in commands:
        folders = [Path(word) for word in words if word.startswith("tests")]
        assert not [(one, other) for one in folders for other in folders if one in other.parents]
