"""Kills graph workflows at random points, and compares what comes of them: `python -m tests.e2e.graph_killer`."""

from __future__ import annotations

from typing import Any

from tests.e2e import rig
from tests.e2e.killer import Subject, main

DAYS, FILES_A_DAY = 5, 4
ASKED: dict[str, Any] = {
    "graph": "killed",
    "symbols": ["BTCUSDT", "ETHUSDT", "BNBUSDT", "SOLUSDT"],
    "type": "api_candles_1h",
    "time_range": "2024-08-03:2024-08-08",
    "definition": {"window": 24, "step": 1, "top_k": 2, "sign": "any", "universe": {"min_volatility": 0}},
    "parameters": {"stored": "all"},
}


def _told(manager: rig.Manager) -> dict[str, Any]:
    """What says all of a graph: its identity, its content, its files, and what is stored of it."""
    shown = manager.api.get("/graphs/killed").raise_for_status().json()
    stored = manager.api.get("/graphs/killed/snapshots", params={"limit": "1000"}).raise_for_status().json()
    late = manager.api.get("/graphs/killed/at/2024-08-07T23:00:00Z").raise_for_status().json()
    return {name: shown[name] for name in ("graph_id", "sha256", "edges", "files")} | {"stored": stored, "late": late}


GRAPH = Subject("graph-builder", "graphs", "killed", lambda _: ASKED, _told, "parts", DAYS * FILES_A_DAY)

if __name__ == "__main__":
    main(lambda _: GRAPH, "tests.e2e.graph_killer", __doc__)
