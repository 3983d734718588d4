from __future__ import annotations

from typing import Any

import httpx
import pytest

from streamforge_utils.model.coverage import Verdict
from tests.manager.api.support import REQUEST, problem
from tests.manager.execution.world import SERIES, segment, stored
from tests.manager.memory_service import MemoryService


async def test_start_answers_202_with_the_workflow_and_its_place(
    client: httpx.AsyncClient, service: MemoryService
) -> None:
    response = await client.post("/queues/start", json={**REQUEST, "symbol": "btcusdt"})

    assert response.status_code == 202
    body = response.json()
    queue_id = "wf-btcusdt-api_candles_1m-20240801-000001"
    assert response.headers["location"] == f"/queues/{queue_id}"
    assert "idempotency-replayed" not in response.headers
    assert body["queue_id"] == queue_id
    assert body["status"] == "pending"
    assert body["symbol"] == "BTCUSDT"
    assert body["time_range"] == {
        "requested": "2024-08-01",
        "start": "2024-08-01T00:00:00Z",
        "end": "2024-08-02T00:00:00Z",
        "start_ms": 1722470400000,
        "end_ms": 1722556800000,
        "clipped": False,
    }
    assert body["created_at"] == "2024-08-02T12:00:00.001Z"
    assert body["topic"] == f"{queue_id}-data"
    assert body["collection"] == "btcusdt_api_candles_1m_2024_08_01"
    assert [(step["target"], step["role"], step["status"]) for step in body["steps"]] == [
        ("arango-candles", "sink", "waiting"),
        ("loader-api-candles", "loader", "waiting"),
    ]
    assert body["progress"] == {
        "records_expected": None,
        "records_stored": 0,
        "records_there": 0,
        "records_refused": 0,
        "share": None,
        "rate": 0.0,
        "eta_seconds": None,
    }
    assert await service.ids() == [queue_id]


async def test_an_end_after_now_is_clipped_and_both_are_shown(client: httpx.AsyncClient) -> None:
    response = await client.post("/queues/start", json={**REQUEST, "time_range": "2024-08-02"})

    shown = response.json()["time_range"]
    assert (shown["requested"], shown["end"], shown["clipped"]) == ("2024-08-02", "2024-08-02T12:00:00Z", True)


async def test_start_hands_targets_image_and_parameters_on(client: httpx.AsyncClient) -> None:
    response = await client.post(
        "/queues/start",
        json={
            **REQUEST,
            "image": "registry.example/streamforge:1",
            "collection_name": "mine",
            "parameters": {"arango-candles": {"store_patience_seconds": 5}},
        },
    )

    body = response.json()
    assert response.status_code == 202, body
    assert body["collection"] == "mine"
    by_target = {step["target"]: step for step in body["steps"]}
    assert by_target["arango-candles"]["parameters"] == {"store_patience_seconds": 5.0}
    assert by_target["loader-api-candles"]["parameters"] == {}
    assert {step["image"] for step in body["steps"]} == {"registry.example/streamforge:1"}


async def test_the_same_key_and_body_give_the_same_workflow_and_another_body_422(
    client: httpx.AsyncClient, service: MemoryService
) -> None:
    headers = {"Idempotency-Key": "k-1"}
    first = await client.post("/queues/start", json=REQUEST, headers=headers)
    again = await client.post("/queues/start", json=REQUEST, headers=headers)
    other = await client.post("/queues/start", json={**REQUEST, "time_range": "2024-07"}, headers=headers)

    assert again.status_code == 202
    assert again.json() == first.json()
    assert again.headers["idempotency-replayed"] == "true"
    body = problem(other, 422, "idempotency-key-reused")
    assert body["errors"][0]["field"] == "Idempotency-Key"
    assert body["errors"][0]["where"] == "header"
    assert len(await service.ids()) == 1


@pytest.mark.parametrize("key", ["", "a b", "x" * 256])
async def test_a_key_that_is_none_is_refused(client: httpx.AsyncClient, key: str) -> None:
    response = await client.post("/queues/start", json=REQUEST, headers={"Idempotency-Key": key})

    assert problem(response, 422, "invalid-input")["errors"][0]["field"] == "Idempotency-Key"


async def test_a_pipeline_gives_the_same_workflow_as_its_request(
    client: httpx.AsyncClient, service: MemoryService
) -> None:
    response = await client.post(
        "/queues/start-pipeline",
        json={
            "symbol": "BTCUSDT",
            "time_range": "2024-08-01",
            "microservices": [
                {"target": "loader-api-candles", "type": "api_candles_1m", "interval": "1m", "image": "a:1"},
                {
                    "target": "arango-candles",
                    "type": "api_candles_1m",
                    "collection_name": "mine",
                    "store_patience_seconds": 7,
                },
            ],
        },
    )

    body = response.json()
    assert response.status_code == 202, body
    assert response.headers["location"] == f"/queues/{body['queue_id']}"
    assert body["type"] == "api_candles_1m"
    assert body["collection"] == "mine"
    assert [(step["target"], step["image"], step["parameters"]) for step in body["steps"]] == [
        ("loader-api-candles", "a:1", {}),
        ("arango-candles", None, {"store_patience_seconds": 7.0}),
    ]
    assert await service.ids() == [body["queue_id"]]


LOADER = {"target": "loader-api-candles", "type": "api_candles_1m"}
SINK = {"target": "arango-candles", "type": "api_candles_1m"}


def steps(*microservices: Any) -> dict[str, Any]:
    """The body of a pipeline."""
    return {"symbol": "BTCUSDT", "time_range": "2024-08-01", "microservices": [*microservices]}


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"symbol": "BTC USDT"}, "symbol", "symbol 'BTC USDT' holds characters that no symbol has"),
    ({"symbol": ""}, "symbol", "symbol '' must have 1 to 60 characters"),
    ({"symbol": 7}, "symbol", "it is 7, it must be text"),
    ({"symbol": None}, "symbol", "it is null, it must be text"),
    ({"symbol": ["X"]}, "symbol", "it is a list, it must be text"),
    ({"symbol": "X" * 301}, "symbol", "it must have at most 300 characters"),
    ({"type": "api_candles_7m"}, "type", "type 'api_candles_7m' is not known"),
    ({"time_range": "tomorrow"}, "time_range", "time_range 'tomorrow' is not understood"),
    ({"time_range": "2024-08-02:2024-08-01"}, "time_range", "the end is not after the start"),
    ({"time_range": "2031"}, "time_range", "starts in the future"),
    ({"targets": ["loader-api-candles", "teapot"]}, "targets", "teapot"),
    ({"targets": "loader-api-candles"}, "targets", "it is 'loader-api-candles', it must be a list"),
    ({"parameters": {"teapot": {}}}, "parameters.teapot", "'teapot', which is no step of this workflow"),
    ({"parameters": {"arango-candles": {"speed": 1}}}, "parameters", "speed"),
    ({"parameters": []}, "parameters", "it is a list, it must be an object"),
    ({"image": "a b"}, "image", "'a b'"),
    ({"collection_name": "1st"}, "collection_name", "'1st'"),
    ({"symbl": "BTCUSDT"}, "symbl", "this field is not permitted"),
    ({"again": "perhaps"}, "again", "it is 'perhaps', it must be true or false"),
    (steps(), "microservices", "it has 0 items, it must have at least 1"),
    (steps(*[SINK] * 33), "microservices", "it must have at most 32"),
    (steps("x"), "microservices[0]", "it is 'x', it must be an object"),
    (steps({"type": "api_candles_1m"}), "microservices[0].target", "it is missing"),
    (steps(LOADER, {**SINK, "type": "nonsense"}), "microservices[1].type", "type 'nonsense' is not known"),
    (steps(LOADER, {**SINK, "type": "api_candles_1h"}), "microservices[1].type", "differs from 'api_candles_1m'"),
    (steps({**LOADER, "interval": "1M"}, SINK), "microservices[0].interval", "does not agree with type"),
    (steps({**LOADER, "interval": "soon"}, SINK), "microservices[0].interval", "does not agree with type"),
    (
        steps({**LOADER, "collection_name": "a"}, {**SINK, "collection_name": "b"}),
        "microservices[1].collection_name",
        "'b' differs from 'a' of microservices[0]",
    ),
    (steps(LOADER, {**SINK, "speed": 9}), "parameters", "speed"),
    (steps(LOADER), "targets", "sink"),
    (steps(LOADER, LOADER), "targets", "loader-api-candles"),
]


@pytest.mark.parametrize(("body", "field", "words"), REFUSED, ids=[f"{one[1]}: {one[2]}" for one in REFUSED])
async def test_what_cannot_be_started_is_refused_with_the_field_and_what_was_given(
    client: httpx.AsyncClient, service: MemoryService, body: dict[str, Any], field: str, words: str
) -> None:
    pipeline = "microservices" in body
    response = await client.post(
        f"/queues/start{'-pipeline' if pipeline else ''}", json=body if pipeline else {**REQUEST, **body}
    )
    found = problem(response, 422, "invalid-input")
    assert (found["errors"][0]["field"], found["errors"][0]["where"]) == (field, "body")
    assert words in found["errors"][0]["message"]
    assert words in found["detail"]
    assert await service.ids() == []


async def test_every_missing_field_is_named_at_once(client: httpx.AsyncClient) -> None:
    body = problem(await client.post("/queues/start", json={}), 422, "invalid-input")

    assert [(error["field"], error["next_step"]) for error in body["errors"]] == [
        ("symbol", "add it"),
        ("type", "add it"),
        ("time_range", "add it"),
    ]


async def test_a_request_that_joins_says_so(client: httpx.AsyncClient, service: MemoryService) -> None:
    request = {**REQUEST, "time_range": "-1d"}
    first = (await client.post("/queues/start", json=request)).json()
    response = await client.post("/queues/start", json={**request, "time_range": first["time_range"]["requested"]})
    joined = response.json()
    assert response.status_code == 202
    assert (first["joined"], joined["queue_id"], joined["joined"]) == (False, first["queue_id"], True)
    assert "Idempotency-Replayed" not in response.headers
    assert response.headers["Location"] == f"/queues/{first['queue_id']}"
    assert joined["behind_seconds"] == 0

    service.clock.advance(3600)
    service.exchange.now_ms += 3_600_000
    headers = {"Idempotency-Key": "k-1"}
    told = (await client.post("/queues/start", json=request, headers=headers)).json()
    assert (told["behind_seconds"], told["asked_range"]) == (3600, "2024-08-01T13:00Z:2024-08-02T13:00Z")
    response = await client.post("/queues/start", json=request, headers=headers)
    assert response.json() == told
    assert response.headers["Idempotency-Replayed"] == "true"


async def test_since_last_is_answered_with_where_it_begins_or_with_200_where_nothing_is_new(
    client: httpx.AsyncClient, service: MemoryService
) -> None:
    asked = {"symbol": "BTCUSDT", "type": "api_candles_1m", "since": "last"}
    refused = problem(await client.post("/queues/start", json=asked), 422, "invalid-input")
    assert refused["errors"][0]["field"] == "since"
    await service.know(SERIES, [stored(0, 60), segment(60, 70, Verdict.OURS), stored(70, 80)])
    answer = await client.post("/queues/start", json=asked)
    assert answer.status_code == 202
    since = answer.json()["since"]
    assert (since["start"], since["coverage_end"]) == ("2024-08-01T01:00:00Z", "2024-08-01T01:20:00Z")
    assert [one["verdict"] for one in since["repaired"]] == ["ours"]
    await service.end(answer.json()["queue_id"])
    await service.know(SERIES, [stored(60, 36 * 60)])
    answer = await client.post("/queues/start", json=asked)
    assert (answer.status_code, answer.json()) == (
        200,
        {
            "status": "up-to-date",
            "symbol": "BTCUSDT",
            "type": "api_candles_1m",
            "until": "2024-08-02T12:00:00Z",
            "until_ms": 1722600000000,
            "ended": False,
            "left": [],
        },
    )
    assert len(await service.ids()) == 1
    answer = await client.post("/queues/start", json={**asked, "since": "2024-08-02", "from": "2024"})
    assert problem(answer, 422, "invalid-input")["errors"][0]["field"] == "from"
