"""Requests for graphs that make none: what is wrong, and what to do."""

from __future__ import annotations

from typing import Any

import pytest

from streamforge.manager.graphs.requests import GraphRequest, check_graph
from streamforge_utils.model.errors import InvalidInput

NOW_MS = 1_725_000_000_000
ASKED: dict[str, Any] = {
    "graph": "g",
    "symbols": ("BTCUSDT", "ETHUSDT"),
    "type": "api_candles_1h",
    "time_range": "2024-08-01:2024-08-03",
    "definition": {"top_k": 1},
}


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"definition": {"top_k": 1, "windows": 9}}, "graph", ["windows", "the fields are", "window"]),
        ({"definition": {"top_k": 1, "universe": {"colour": 1}}}, "universe", ["colour", "min_quote_volume"]),
        ({"definition": {"top_k": 1, "interval": "4h"}}, "interval", ["4h", "api_candles_1h", "change one"]),
        ({"definition": {"top_k": 1, "window": 30_000}}, "window", ["20000"]),
        ({"definition": {"top_k": 1, "features": ["rsi_14"]}}, "features", ["rsi_14", "return_N"]),
        ({"type": "api_candles_1M"}, "interval", ["1M", "choose 1w or less"]),
        ({"type": "api_trades"}, "type", ["no history of bars", "api_candles_1h"]),
        ({"symbols": (), "batch": ""}, "symbols", ["name the symbols"]),
        ({"time_range": "2124"}, "time_range", ["no snapshot of it is over"]),
    ],
)
def test_a_request_that_makes_no_graph_says_what_to_do(changes: dict[str, Any], field: str, words: list[str]) -> None:
    with pytest.raises(InvalidInput) as refused:
        check_graph(GraphRequest(**{**ASKED, **changes}), NOW_MS)
    assert refused.value.field == field
    assert all(word in str(refused.value) for word in words), refused.value
