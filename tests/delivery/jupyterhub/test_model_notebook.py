"""The notebook of models runs with coins of the test exchange: it trains one without torch, and reads its card."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.support import manager
from tests.delivery.jupyterhub.notebook_runs import executed_cells, looked_at, pictures, text_of
from tests.delivery.jupyterhub.serving import Served
from tests.engines.jupyterhub.chart import FOLDER

NOTEBOOK = FOLDER / "notebooks" / "model-with-its-card.ipynb"
CHANGED = {
    r"\"SOL\", \"XRP\", \"ADA\", \"DOGE\", \"DOT\", \"LTC\", \"LINK\", \"AVAX\", \"ATOM\"": r"\"SOL\"",
    "2021:2024": "2023",
}
"""As the file has them."""


def test_it_trains_a_model_and_tells_what_the_card_says(served: Served, tmp_path: Path) -> None:
    with manager(tmp_path / "data", served.exchange) as (_, told):
        cells = executed_cells(NOTEBOOK, tmp_path, changed=CHANGED, STREAMFORGE_URL=told["url"])
    card = json.loads((tmp_path / "card.json").read_bytes())
    said = text_of(cells)
    assert f"majors: {card['verdict']['outcome']}, of {card['moments']} moments of 4 to 4 coins" in said
    assert all(f"- {reason}" in said for reason in card["verdict"]["reasons"])
    assert [one["switch"] for one in card["switchboard"]] == [
        line.split()[0] for line in said.splitlines() if " rank-IC " in line and "honest" in line
    ]
    assert "<svg" in (tmp_path / "card.html").read_text("utf-8")
    ladder, differences = pictures(cells)
    for picture in (ladder, differences):
        height, width, colours = looked_at(picture, tmp_path / "picture.png")
        assert width > 600
        assert height > 300
        assert colours > 50
