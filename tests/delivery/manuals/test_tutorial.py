"""The tutorial for a kind of records, followed literally: its files are written, its commands are run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tests import guides
from tests.engines.process import free_ports
from tests.places import ROOT, SHARED

CHECK_S = 900.0
"""What `make check` may take on a busy machine."""


FIRST = 2 * (1_722_470_400 - 1_502_942_400)
"""The id of the first trade of 2024-08-01 at the test exchange."""


def test_a_kind_that_is_added_as_the_tutorial_says_is_loaded_and_proven(tmp_path: Path) -> None:
    folder = guides.repository(tmp_path / "checkout")
    guides.own_environment(folder)
    if (ROOT / ".mypy_cache").exists():  # what mypy knows already
        shutil.copytree(ROOT / ".mypy_cache", folder / ".mypy_cache")
    if SHARED.exists():
        (tmp_path / "shared").symlink_to(SHARED)
    # What checks have been built before is in the cache.
    environ = {"XDG_CACHE_HOME": str(Path.home() / ".cache"), **guides.environment(tmp_path / "home")}
    port = {"8398": str(free_ports(1)[0])}
    with guides.opened("docs/tutorials/adding-a-worker.md", folder, environ, tmp_path, port) as guide:
        for step in guides.steps(guide.page):
            guide.step(step, CHECK_S)
    rows = [json.loads(line) for line in (folder / "build/trades.jsonl").read_text("utf-8").splitlines()]
    assert [row["id"] for row in rows] == list(range(FIRST, FIRST + 7200))
    environ["STREAMFORGE_PLUGINS"] = str(folder / "plugins")
    for data, repairs in (("build/trades", 0), ("build/repaired", 1)):
        (queue,) = json.loads(guides.streamforge(folder, environ, "queues", "--json", data=data))["queues"]
        workflow = json.loads(guides.streamforge(folder, environ, "show", queue["queue_id"], "--json", data=data))
        assert workflow["repairs"] == repairs
        assert [(step["target"], step["status"]) for step in workflow["steps"]] == [
            ("arango-block-trades", "finished"),
            ("loader-api-block-trades", "finished"),
        ]
