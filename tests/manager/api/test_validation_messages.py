"""What is said of an input that is not acceptable: our words, with the value that was given."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.manager.api.support import REQUEST, problem

STEP = {"target": "arango-candles", "type": "api_candles_1m"}
PIPELINE = {"symbol": "BTCUSDT", "time_range": "2024", "microservices": [STEP]}
BODIES: list[tuple[str, dict[str, Any], str, str]] = [
    ("start", {**REQUEST, "symbol": 7}, "symbol", "it is 7, it must be text"),
    ("start", {**REQUEST, "symbol": None}, "symbol", "it is null, it must be text"),
    ("start", {**REQUEST, "symbol": ["X"]}, "symbol", "it is a list, it must be text"),
    ("start", {**REQUEST, "symbols": "X"}, "symbols", "this field is not permitted"),
    ("start", {**REQUEST, "again": "perhaps"}, "again", "it is 'perhaps', it must be true or false"),
    ("start", {**REQUEST, "targets": "x"}, "targets", "it is 'x', it must be a list"),
    ("start", {**REQUEST, "parameters": []}, "parameters", "it is a list, it must be an object"),
    ("start", {"type": "api_candles_1m", "time_range": "2024"}, "symbol", "it is missing"),
    ("start", {**REQUEST, "symbol": "X" * 301}, "symbol", "it must have at most 300 characters"),
    ("start-pipeline", {**PIPELINE, "microservices": []}, "microservices", "it has 0 items, it must have at least 1"),
    ("start-pipeline", {**PIPELINE, "microservices": [STEP] * 33}, "microservices", "it must have at most 32"),
    ("start-pipeline", {**PIPELINE, "microservices": ["x"]}, "microservices[0]", "it is 'x', it must be an object"),
]


@pytest.mark.parametrize(("path", "body", "field", "words"), BODIES, ids=[f"{b[2]}: {b[3]}" for b in BODIES])
async def test_a_field_of_the_body(
    client: httpx.AsyncClient, path: str, body: dict[str, Any], field: str, words: str
) -> None:
    found = problem(await client.post(f"/queues/{path}", json=body), 422, "invalid-input")
    assert found["errors"][0]["field"] == field
    assert words in found["errors"][0]["message"]
    assert f"body {field}: " in found["detail"]


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("limit=0", "it is '0', it must be at least 1"),
        ("limit=x", "it is 'x', it must be a whole number"),
        ("status=done", "it is 'done', it must be 'pending', 'running'"),
    ],
)
async def test_a_parameter_of_the_query(client: httpx.AsyncClient, query: str, words: str) -> None:
    found = problem(await client.get(f"/queues?{query}"), 422, "invalid-input")
    assert words in found["errors"][0]["message"]
