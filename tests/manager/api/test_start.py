from __future__ import annotations

from typing import Any

import httpx
import pytest

from streamforge_utils.model.timeranges import TimeRange
from tests.doubles.service import ServiceDouble
from tests.manager.api.support import REQUEST, problem


async def test_start_answers_202_with_the_workflow_and_its_place(
    client: httpx.AsyncClient, service: ServiceDouble
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
    assert list(service.workflows) == [queue_id]


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
    client: httpx.AsyncClient, service: ServiceDouble
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
    assert len(service.workflows) == 1


@pytest.mark.parametrize("key", ["", "a b", "x" * 256])
async def test_a_key_that_is_none_is_refused(client: httpx.AsyncClient, key: str) -> None:
    response = await client.post("/queues/start", json=REQUEST, headers={"Idempotency-Key": key})

    assert problem(response, 422, "invalid-input")["errors"][0]["field"] == "Idempotency-Key"


async def test_a_pipeline_gives_the_same_workflow_as_its_request(
    client: httpx.AsyncClient, service: ServiceDouble
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
    assert list(service.workflows) == [body["queue_id"]]


LOADER = {"target": "loader-api-candles", "type": "api_candles_1m"}
SINK = {"target": "arango-candles", "type": "api_candles_1m"}


@pytest.mark.parametrize(
    ("microservices", "field"),
    [
        ([], "microservices"),
        ([{"type": "api_candles_1m"}], "microservices[0].target"),
        ([LOADER, {**SINK, "type": "nonsense"}], "microservices[1].type"),
        ([LOADER, {**SINK, "type": "api_candles_1h"}], "microservices[1].type"),
        ([{**LOADER, "interval": "1M"}, SINK], "microservices[0].interval"),
        ([{**LOADER, "interval": "soon"}, SINK], "microservices[0].interval"),
        ([{**LOADER, "collection_name": "a"}, {**SINK, "collection_name": "b"}], "microservices[1].collection_name"),
        ([LOADER, {**SINK, "speed": 9}], "parameters"),
        ([LOADER], "targets"),
        ([LOADER, LOADER], "targets"),
    ],
)
async def test_a_pipeline_that_cannot_be_is_refused_and_the_field_named(
    client: httpx.AsyncClient, service: ServiceDouble, microservices: list[Any], field: str
) -> None:
    response = await client.post(
        "/queues/start-pipeline",
        json={"symbol": "BTCUSDT", "time_range": "2024-08-01", "microservices": microservices},
    )

    body = problem(response, 422, "invalid-input")
    assert (body["errors"][0]["field"], body["errors"][0]["where"]) == (field, "body")
    assert service.workflows == {}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"symbol": "BTC USDT"}, "symbol"),
        ({"symbol": ""}, "symbol"),
        ({"symbol": 7}, "symbol"),
        ({"symbol": "X" * 301}, "symbol"),
        ({"type": "api_candles_7m"}, "type"),
        ({"time_range": "tomorrow"}, "time_range"),
        ({"time_range": "2024-08-02:2024-08-01"}, "time_range"),
        ({"time_range": "2031"}, "time_range"),
        ({"targets": ["loader-api-candles", "teapot"]}, "targets"),
        ({"targets": "loader-api-candles"}, "targets"),
        ({"parameters": {"teapot": {}}}, "parameters.teapot"),
        ({"parameters": {"arango-candles": {"speed": 1}}}, "parameters"),
        ({"image": "a b"}, "image"),
        ({"collection_name": "1st"}, "collection_name"),
        ({"symbl": "BTCUSDT"}, "symbl"),
        ({"again": "perhaps"}, "again"),
    ],
)
async def test_what_cannot_be_started_is_refused_and_the_field_named(
    client: httpx.AsyncClient, service: ServiceDouble, change: dict[str, Any], field: str
) -> None:
    response = await client.post("/queues/start", json={**REQUEST, **change})

    body = problem(response, 422, "invalid-input")
    assert (body["errors"][0]["field"], body["errors"][0]["where"]) == (field, "body")
    assert service.workflows == {}


async def test_every_missing_field_is_named_at_once(client: httpx.AsyncClient) -> None:
    body = problem(await client.post("/queues/start", json={}), 422, "invalid-input")

    assert [(error["field"], error["next_step"]) for error in body["errors"]] == [
        ("symbol", "add it"),
        ("type", "add it"),
        ("time_range", "add it"),
    ]


async def test_a_request_that_joins_says_so(client: httpx.AsyncClient, service: ServiceDouble) -> None:
    first = await client.post("/queues/start", json=REQUEST)
    assert first.json()["joined"] is False
    service.joins = first.json()["queue_id"]
    response = await client.post("/queues/start", json=REQUEST)
    assert response.status_code == 202
    assert (response.json()["queue_id"], response.json()["joined"]) == (service.joins, True)
    assert "Idempotency-Replayed" not in response.headers
    assert response.headers["Location"] == f"/queues/{service.joins}"
    assert (response.json()["behind_seconds"], response.json()["asked_range"]) == (0, None)
    service.asked = TimeRange(service.now_ms - 7_200_000, service.now_ms)
    told = (await client.post("/queues/start", json=REQUEST)).json()
    assert (told["behind_seconds"], told["asked_range"]) == (3600, "2024-08-02T10:00Z:2024-08-02T12:00Z")
    service.replays = True
    response = await client.post("/queues/start", json=REQUEST)
    assert {name: response.json()[name] for name in told} == told
    assert response.headers["Idempotency-Replayed"] == "true"
