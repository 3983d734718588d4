"""The page of results on a small universe: it is written of what was loaded, and of nothing where that differs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet as pq
import pytest

from tools import results

DAYS, LAST_MS = 380, 1_703_894_400_000  # 2023-12-30
ENDED = 30
"""So many days before the others the last coin ends."""


@pytest.fixture
def universe(tmp_path: Path) -> Path:
    """Six coins that move at random, the last of which ends early; one day of the first lacks."""
    random = np.random.default_rng(5)
    columns: dict[str, list[object]] = {name: [] for name in ("symbol", "d", *results.PRICES)}
    for number, symbol in enumerate(("AUSDT", "BUSDT", "CUSDT", "DUSDT", "EUSDT", "FUSDT")):
        closes = 100 * np.exp(np.cumsum(random.normal(0, 0.03, DAYS)))
        for day, close in enumerate(closes.round(4).tolist()):
            if (number, day) == (0, 200) or (number == 5 and day >= DAYS - ENDED):
                continue
            row = (symbol, LAST_MS - (DAYS - 1 - day) * results.DAY_MS, close, close * 1.01, close * 0.99, close, 1.5)
            for name, value in zip(columns, row, strict=True):
                columns[name].append(value)
    path = tmp_path / "days.parquet"
    pq.write_table(pyarrow.table(columns), path)
    return path


def test_a_file_is_read_as_it_is(universe: Path) -> None:
    found = results.read_universe(universe, "1d", None)
    assert (found.rows, len(found.bars), found.type) == (6 * DAYS - ENDED - 1, 6, "api_candles_1d")
    assert found.span == "2022-12-16:2023-12-31"
    assert len(results.read_universe(universe, "1d", 2).bars) == 2


def test_a_month_without_a_tree_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    shot = {"coins": 5, "edges": 4, "turnover": None}
    snapshots = [{**shot, "at": f"2023-0{month}-01", "tree_length": length} for month, length in ((1, None), (2, 3.0))]
    answers = {"build": {}, "show": {"snapshots": 2, "edges": 8, "sha256": "a"}, "metrics": {"snapshots": snapshots}}
    monkeypatch.setattr(results, "run", lambda *words: answers[words[1]])
    lines = results.build_graph("@symbols.txt", "http://server")
    assert lines[-2:] == ["| 2023-01 | 5 | 4 | none | 0.0 % |", "| 2023-02 | 5 | 4 | 3.0 | 0.0 % |"]


@pytest.mark.long
def test_the_page_tells_what_was_stored_and_the_verdict(
    universe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "SNAPSHOTS", "2023-04:2023-12-31")
    monkeypatch.setattr(results, "GRAPH_OPTIONS", ("--window", "60", "--step", "1", "--top-k", "2"))
    page = tmp_path / "results.md"
    assert results.main(["--universe", str(universe), "--model", "neighbour_mean", "--output", str(page)]) == 0
    text = " ".join(page.read_text("utf-8").split())
    assert "6 of 6 pairs proven in one batch, 2,249 candles stored, each equal to the row of the file" in text
    assert "1 bars lack within the life of a pair" in text
    assert "1 pairs end more than a day before the last bar" in text
    assert "274 snapshots" in text
    assert "| 2023-12 | 5 |" in text, "the coin that ended is in it no more"
    assert "### Switchboard" in page.read_text("utf-8")
