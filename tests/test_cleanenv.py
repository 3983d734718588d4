"""What a shell has set of StreamForge reaches no test: neither a program that it starts nor one in its own process."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import cleanenv
from tests.limits import LIMIT_S
from tests.places import ROOT

SHELL = {
    "ARANGO_URL": "http://127.0.0.1:1",
    "ARANGO_DB": "streamforge",
    "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
    "STREAMFORGE_LAUNCHER": "kubernetes",
}
"""Nobody answers there: a command that asked would fail."""


@pytest.mark.parametrize(
    "test",
    [
        "test_look.py::test_coverage_names_every_range_and_fails_where_one_has_no_reason",  # a command as a process
        "test_look.py::test_rm_asks_then_removes_and_keeps_records_unless_told",  # commands in the test's own
    ],
)
def test_the_tests_of_commands_work_on_files_whatever_the_shell_names(test: str, tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-n", "0", "--basetemp", str(tmp_path / "inner"), f"tests/cli/{test}"],
        cwd=ROOT,
        env=cleanenv.environment(**SHELL),
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-3000:]
    assert "1 passed" in ran.stdout


def test_every_documented_setting_is_taken_away() -> None:
    page, tests = (ROOT / "docs" / "reference" / "settings.md").read_text("utf-8").split("## The tests")
    documented = set(re.findall(r"^\| `([A-Z0-9_]+)` \|", page, re.MULTILINE))
    assert {"ARANGO_URL", "K8S_NAMESPACE", "KUBECONFIG", "BINANCE_API_KEY", "CA_PATH", "TYPE"} <= documented
    assert [name for name in sorted(documented) if not cleanenv.is_ours(name)] == []
    assert "STREAMFORGE_CHAOS_SEED" in tests


def test_the_rest_of_the_shell_stays_and_more_is_added(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARANGO_DB", "streamforge")
    monkeypatch.setenv("SYMBOLS", "of somebody else")
    found = cleanenv.environment(ARANGO_URL="http://of.the.test")
    assert "ARANGO_DB" not in found
    assert (found["SYMBOLS"], found["ARANGO_URL"]) == ("of somebody else", "http://of.the.test")
