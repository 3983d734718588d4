"""The notebook of graphs runs with coins of the test exchange: it builds the graph of each day, and draws it."""

from __future__ import annotations

from pathlib import Path

from tests.cli.support import manager
from tests.delivery.jupyterhub.notebook_runs import executed_cells, looked_at, pictures, text_of
from tests.delivery.jupyterhub.serving import Served
from tests.engines.jupyterhub.chart import FOLDER

NOTEBOOK = FOLDER / "notebooks" / "graph-through-time.ipynb"
COINS = r"\"SOL\", \"XRP\", \"ADA\", \"DOGE\", \"DOT\", \"LTC\", \"LINK\", \"AVAX\", \"ATOM\""
"""As the file has them."""
DAYS = 1_095
"""From 2021 to 2024."""


def test_it_builds_a_graph_of_each_day_and_draws_it_through_two_crashes(served: Served, tmp_path: Path) -> None:
    with manager(tmp_path / "data", served.exchange) as (_, told):
        coins = {COINS: r"\"SOL\", \"OLD\""}
        cells = executed_cells(NOTEBOOK, tmp_path, changed=coins, STREAMFORGE_URL=told["url"])
    said = text_of(cells)
    assert f"{DAYS:,} of {DAYS:,} snapshots of graph majors" in said
    assert f"{DAYS:,} snapshots of up to 5 coins" in said
    history, moments = pictures(cells)
    for picture in (history, moments):
        height, width, colours = looked_at(picture, tmp_path / "picture.png")
        assert width > 600
        assert height > 200
        assert colours > 50
