"""The first notebook runs as it is, in the environment of users' servers: it loads a day, reads it and draws it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.support import START_MS, manager
from tests.delivery.jupyterhub.notebook_runs import executed_cells, looked_at, pictures, text_of
from tests.delivery.jupyterhub.serving import READER, Served
from tests.engines.jupyterhub.chart import FOLDER
from tests.manifests.schemas import ROOT

Json = dict[str, Any]

NOTEBOOK = FOLDER / "notebooks" / "first-look.ipynb"
PROBE = """
import json
tables = {"candles": candles.with_columns(pl.col("open_time").dt.timestamp("ms")), "hours": hours.drop("open_time")}
tables["candles"] = tables["candles"].drop("close_time")
with open("probe.json", "w") as file:
    json.dump({name: table.to_dict(as_series=False) for name, table in tables.items()}, file)
"""
"""A cell behind the last one, which writes the notebook's tables down."""


@pytest.mark.parametrize("notebook", sorted(NOTEBOOK.parent.glob("*.ipynb")), ids=lambda one: one.stem)
def test_no_result_is_committed_and_the_page_names_it(notebook: Path) -> None:
    found = json.loads(notebook.read_text("utf-8"))
    assert notebook.relative_to(ROOT).as_posix() in (ROOT / "docs/how-to/jupyterhub.md").read_text("utf-8")
    code = [cell for cell in found["cells"] if cell["cell_type"] == "code"]
    assert code
    for cell in code:
        assert cell["outputs"] == []
        assert cell["execution_count"] is None


@pytest.fixture(scope="module")
def executed(served: Served, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Json], Json]:
    """The cells after a run at a manager without data, and the notebook's tables."""
    folder = tmp_path_factory.mktemp("notebook")
    with manager(folder / "data", served.exchange) as (_, told):
        return run(folder, STREAMFORGE_URL=told["url"])


def run(folder: Path, **settings: str) -> tuple[list[Json], Json]:
    """The cells after a run, and the notebook's tables."""
    cells = executed_cells(NOTEBOOK, folder, [PROBE], None, **settings)
    return cells, json.loads((folder / "probe.json").read_text())


def test_it_reads_every_candle_as_the_exchange_has_it(served: Served, executed: tuple[list[Json], Json]) -> None:
    _, tables = executed
    rows = served.oracle(START_MS, START_MS + 86_400_000)
    assert tables["candles"]["open_time"] == [row[0] for row in rows]
    assert tables["candles"]["close"] == [float(row[4]) for row in rows]
    hours = [rows[first : first + 60] for first in range(0, 1440, 60)]
    assert tables["hours"]["open"] == [float(hour[0][1]) for hour in hours]
    assert tables["hours"]["high"] == [max(float(row[2]) for row in hour) for hour in hours]
    assert tables["hours"]["low"] == [min(float(row[3]) for row in hour) for hour in hours]
    assert tables["hours"]["volume"] == pytest.approx([sum(float(row[5]) for row in hour) for hour in hours])


def test_it_loads_the_day_with_a_bar_and_says_that_it_is_whole(executed: tuple[list[Json], Json]) -> None:
    cells, _ = executed
    said = [line for line in text_of(cells).splitlines() if not line.startswith("wf-")]
    assert said == ["1,440 stored, 0 of them before", "1,440 candles; complete: True"]
    (loading,) = (cell for cell in cells if cell["id"] == "load")
    (bar,) = ("".join(one["data"]["text/html"]) for one in loading["outputs"] if "data" in one)
    assert bar.startswith('<progress style="width: 20em" value="1440" max="1440"></progress> wf-btcusdt-')


def test_with_a_readers_token_it_reads_what_is_stored_and_says_why_it_loads_nothing(
    served: Served, tmp_path: Path
) -> None:
    cells, tables = run(tmp_path, STREAMFORGE_URL=served.guarded, STREAMFORGE_TOKEN=READER)
    refused, whole = text_of(cells).splitlines()[-2:]
    assert refused.startswith("Not loaded: ")
    assert "operator" in refused
    assert (whole, len(tables["candles"]["open_time"])) == ("1,440 candles; complete: True", 1440)


def test_it_draws_a_picture_with_something_on_it(executed: tuple[list[Json], Json], tmp_path: Path) -> None:
    cells, _ = executed
    (picture,) = pictures(cells)
    height, width, colours = looked_at(picture, tmp_path / "picture.png")
    assert width > 600
    assert height > 300
    assert colours > 50, "lines, an area, bars and letters have many shades"
