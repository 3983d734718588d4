"""The notebook of graphs runs on real prices: it builds the graph of each day, draws it, and shows the two crashes."""

from __future__ import annotations

import statistics
from pathlib import Path

from tests.cli.support import manager
from tests.delivery.jupyterhub.notebook_runs import executed_cells, looked_at, pictures, text_of
from tests.delivery.jupyterhub.serving import replaying
from tests.engines.jupyterhub.chart import FOLDER

NOTEBOOK = FOLDER / "notebooks" / "graph-through-time.ipynb"
DAYS = 1_095
"""From 2021 to 2024."""
WINDOW = 30
PROBE = """
for crash in CRASHES.values():
    at = next(place for place, day in enumerate(days) if day >= datetime.fromisoformat(crash))
    print("probe", *trees[at - DAYS : at + DAYS])
"""


def test_it_builds_a_graph_of_each_day_and_shows_both_crashes(tmp_path: Path) -> None:
    with replaying(tmp_path / "recordings") as exchange, manager(tmp_path / "data", exchange) as (_, told):
        cells = executed_cells(NOTEBOOK, tmp_path, [PROBE], STREAMFORGE_URL=told["url"])
    said = text_of(cells)
    assert f"{DAYS:,} of {DAYS:,} snapshots of graph majors" in said
    assert f"{DAYS:,} snapshots of up to 12 coins" in said
    lengths = [[*map(float, line.split()[1:])] for line in said.splitlines() if line.startswith("probe")]
    for around in lengths:
        assert len(around) == 2 * WINDOW
        before, after = statistics.mean(around[:WINDOW]), statistics.mean(around[WINDOW:])
        assert after < before, "coins that fall together have a shorter tree"
    assert len(lengths) == 2
    history, moments = pictures(cells)
    for picture in (history, moments):
        height, width, colours = looked_at(picture, tmp_path / "picture.png")
        assert width > 600
        assert height > 200
        assert colours > 50
