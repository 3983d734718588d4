"""Kills trainings at random points, and compares what comes of them: `python -m tests.e2e.model_killer`.

Models learn in one process or in two, as is drawn. The last points are amid the publication.
"""

from __future__ import annotations

from random import Random
from typing import Any

from tests.e2e import rig
from tests.e2e.killer import Subject, main

FOLDS, RUNS, PUBLISHED = 7, 11 + 7, 6
"""Runs are the naive models and ridge, the four on the graph, two of them with two seeds, and the switchboard."""


def _asked(random: Random) -> dict[str, Any]:
    return {
        "name": "killed",
        "symbols": ["BTCUSDT", "ETHUSDT", "BNBUSDT", "SOLUSDT"],
        "type": "api_candles_1h",
        "time_range": "2024-08-08:2024-08-30",
        "definition": {"window": 24, "step": 4, "top_k": 2, "sign": "any", "universe": {"min_volatility": 0}},
        "horizon": 4,
        "seeds": [0, 1],
        "parameters": {"model": "neighbour_mean", "processes": random.choice((1, 2))},
    }


def _told(manager: rig.Manager) -> dict[str, Any]:
    """Its identity, and the hashes of what was predicted and of its files, the card among them."""
    shown = manager.api.get("/models/killed").raise_for_status().json()
    files = {one["name"]: one["sha256"] for one in shown["files"]}
    return {"run_id": shown["run_id"], "sha256": shown["predictions_sha256"], "files": files}


MODEL = Subject("gnn-trainer", "models", "killed", _asked, _told, ".", FOLDS * RUNS + PUBLISHED)

if __name__ == "__main__":
    main(MODEL, "tests.e2e.model_killer", __doc__)
