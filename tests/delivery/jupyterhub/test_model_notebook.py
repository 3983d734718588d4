"""The notebook of models runs on real prices: it trains one without torch, and reads its card."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.support import manager
from tests.delivery.jupyterhub.notebook_runs import executed_cells, looked_at, pictures, text_of
from tests.delivery.jupyterhub.serving import replaying
from tests.engines.jupyterhub.chart import FOLDER

NOTEBOOK = FOLDER / "notebooks" / "model-with-its-card.ipynb"


def test_it_trains_a_model_and_tells_what_the_card_says(tmp_path: Path) -> None:
    with replaying(tmp_path / "recordings") as exchange, manager(tmp_path / "data", exchange) as (_, told):
        cells = executed_cells(NOTEBOOK, tmp_path, STREAMFORGE_URL=told["url"])
    card = json.loads((tmp_path / "card.json").read_bytes())
    said = text_of(cells)
    assert f"majors: {card['verdict']['outcome']}, of {card['moments']} moments of 12 to 12 coins" in said
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
