"""Kills trainings at random points, and compares what comes of them: `python -m tests.e2e.model_killer`.

Models learn in one process or in two, as is drawn. The last points are amid the publication.
"""

from __future__ import annotations

import argparse
from functools import partial
from random import Random
from typing import Any

from tests.e2e import rig
from tests.e2e.killer import Subject, main

FOLDS, SWITCHES, PUBLISHED = 7, 7, 6
RUNS = {"neighbour_mean": 5 + 6, "gat": 5 + 2 + 8}
"""Of the naive models and ridge, LightGBM, and the four on the graph: of what depends on the seed, two."""
SETTINGS: dict[str, dict[str, Any]] = {"gat": {"epochs": 2, "device": "cpu"}}


def _asked(model: str, random: Random) -> dict[str, Any]:
    return {
        "name": "killed",
        "symbols": ["BTCUSDT", "ETHUSDT", "BNBUSDT", "SOLUSDT"],
        "type": "api_candles_1h",
        "time_range": "2024-08-08:2024-08-30",
        "definition": {"window": 24, "step": 4, "top_k": 2, "sign": "any", "universe": {"min_volatility": 0}},
        "horizon": 4,
        "seeds": [0, 1],
        "parameters": {"model": model, "processes": random.choice((1, 2)), **SETTINGS.get(model, {})},
    }


def _told(manager: rig.Manager) -> dict[str, Any]:
    """Its identity, and the hashes of what was predicted and of its files, the card among them."""
    shown = manager.api.get("/models/killed").raise_for_status().json()
    files = {one["name"]: one["sha256"] for one in shown["files"]}
    return {"run_id": shown["run_id"], "sha256": shown["predictions_sha256"], "files": files}


def of(model: str) -> Subject:
    """gat needs torch and LightGBM where this runs."""
    points = FOLDS * (RUNS[model] + SWITCHES) + PUBLISHED
    return Subject("gnn-trainer", "models", "killed", partial(_asked, model), _told, ".", points)


MODEL = of("neighbour_mean")

if __name__ == "__main__":
    own = argparse.ArgumentParser(add_help=False)
    own.add_argument("--model", choices=[*RUNS], default="neighbour_mean", help="on the graph")
    main(lambda args: of(args.model), "tests.e2e.model_killer", __doc__, [own])
