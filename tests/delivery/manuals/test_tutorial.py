"""The tutorial for a worker, followed literally: its files are written, its commands are run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests import guides
from tests.delivery.manuals import commands
from tests.places import ROOT, SHARED

CHECK_S = 900.0
"""What `make check` may take on a busy machine."""


@pytest.mark.timeout(1800)
def test_a_worker_that_is_added_as_the_tutorial_says_completes_a_workflow(tmp_path: Path) -> None:
    folder = guides.repository(tmp_path / "checkout")
    guides.own_environment(folder)
    if (ROOT / ".mypy_cache").exists():  # what mypy knows already
        shutil.copytree(ROOT / ".mypy_cache", folder / ".mypy_cache")
    if SHARED.exists():
        (tmp_path / "shared").symlink_to(SHARED)
    # What checks have been built before is in the cache.
    environ = {"XDG_CACHE_HOME": str(Path.home() / ".cache"), **guides.environment(tmp_path / "home")}
    with guides.opened("docs/adding-a-worker.md", folder, environ, tmp_path) as guide:
        for step in guides.steps(guide.page):
            guide.step(step, CHECK_S)
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
