"""The tutorial for a worker, followed literally: its files are written, its commands are run."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests import guides
from tests.delivery.manuals import commands
from tests.places import ROOT


@pytest.mark.timeout(480)
def test_a_worker_that_is_added_as_the_tutorial_says_completes_a_workflow(tmp_path: Path) -> None:
    written = ("docs", "services", "src", "tests")
    folder = guides.checkout(tmp_path / "checkout", without=("build", ".venv", *written))
    for name in written:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    guides.own_environment(folder)
    environ = guides.environment(tmp_path / "home")
    with guides.opened("docs/adding-a-worker.md", folder, environ, tmp_path) as guide:
        for step in guides.steps(guide.page):
            guide.step(step)
    rows = [json.loads(line) for line in (folder / "build/ranges.jsonl").read_text("utf-8").splitlines()]
    assert [row["open_time"] for row in rows] == list(range(1_719_792_000_000, 1_722_470_400_000, 3_600_000))
    assert all(row["range"] > 0 for row in rows)
    queue = json.loads(commands.streamforge(folder, environ, "queues", "--json", data="build/ranges"))["queues"][0][
        "queue_id"
    ]
    steps = json.loads(commands.streamforge(folder, environ, "show", queue, "--json", data="build/ranges"))["steps"]
    assert [(step["target"], step["status"], step["records"]) for step in steps] == [
        ("arango-candles", "finished", 744),
        ("arango-ranges", "finished", 744),
        ("loader-api-candles", "finished", 744),
    ]
    assert "STREAMFORGE_RANGE_PATIENCE_SECONDS" in (folder / "services/arango-ranges/README.md").read_text("utf-8")
    files = ["src/streamforge/workers/arango_ranges.py", "tests/workers/test_arango_ranges.py"]
    for check in (["ruff", "check"], ["ruff", "format", "--check"]):
        command = [str(folder / ".venv" / "bin" / check[0]), *check[1:], *files]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
