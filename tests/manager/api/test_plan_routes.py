"""The route of plans, and what a request may say of its source."""

from __future__ import annotations

import httpx
import pytest

from streamforge.manager.workflows.history.model import History
from tests.manager.api.support import REQUEST, START_MS, problem
from tests.manager.memory_service import MemoryService

HOUR_MS = 3_600_000


async def test_a_plan_answers_what_a_load_would_take_and_starts_nothing(
    client: httpx.AsyncClient, service: MemoryService
) -> None:
    service.exchange.opens = list(range(START_MS, START_MS + 36 * HOUR_MS, 60_000))
    response = await client.post("/plans", json=REQUEST)
    assert response.status_code == 200, response.text
    body = response.json()
    (part,) = body["parts"]
    assert (part["source"], part["records"], part["requests"], part["weight"]) == ("rest", 1440, 2, 4)
    assert (body["records_expected"], body["targets"]) == (1440, ["arango-candles", "loader-api-candles"])
    assert body["time_range"]["requested"] == "2024-08-01"
    assert await service.ids() == []


async def test_a_plan_of_many_symbols_is_told_by_the_same_route(
    client: httpx.AsyncClient, service: MemoryService
) -> None:
    service.exchange.opens = list(range(START_MS, START_MS + 36 * HOUR_MS, 60_000))
    body = {"symbols": ["BTC*"], "type": "api_candles_1m", "time_range": "2024-08-01"}
    told = (await client.post("/plans", json=body)).raise_for_status().json()
    assert (told["size"], told["records_expected"], told["each"][0]["symbol"]) == (1, 1440, "BTCUSDT")
    for wrong, field in (
        ({"symbols": []}, "symbols"),
        ({"symbol": "BTCUSDT"}, "symbol"),
        ({"time_range": 1}, "time_range"),
    ):
        (error,) = problem(await client.post("/plans", json={**body, **wrong}), 422, "invalid-input")["errors"]
        assert error["field"] == field
    assert problem(await client.post("/plans", json=[]), 422, "invalid-input")["errors"][0]["field"] == "body"
    assert not service.world.store.states


@pytest.mark.parametrize("path", ["/plans", "/queues/start"])
async def test_a_source_that_is_none_is_refused(path: str, client: httpx.AsyncClient) -> None:
    answer = await client.post(path, json={**REQUEST, "source": "floppy"})
    (error,) = problem(answer, 422, "invalid-input")["errors"]
    assert error["field"] == "source"
    answer = await client.post(path, json={**REQUEST, "source": "archive"})
    assert [one["field"] for one in problem(answer, 422, "invalid-input")["errors"]] == ["source"]


async def test_named_targets_say_where_records_come_from(client: httpx.AsyncClient, service: MemoryService) -> None:
    named = {**REQUEST, "targets": ["loader-api-candles", "arango-candles"]}
    for body, source in ((REQUEST, "auto"), (named, "rest"), ({**named, "source": "rest"}, "rest")):
        answer = await client.post("/queues/start", json=body)
        workflow = await service.get(answer.json()["queue_id"])
        assert workflow.part(History).source.value == source
    answer = await client.post("/queues/start", json={**named, "source": "archive"})
    (error,) = problem(answer, 422, "invalid-input")["errors"]
    assert (error["field"], "load from there alone" in error["message"]) == ("source", True)


async def test_the_request_of_a_workflow_starts_another_one_like_it(client: httpx.AsyncClient) -> None:
    asked = {**REQUEST, "source": "rest", "parameters": {"loader-api-candles": {"concurrency": 2}}}
    started = (await client.post("/queues/start", json={**asked, "labels": {"team": "a"}})).json()
    answer = await client.get(f"/queues/{started['queue_id']}/request")
    assert (answer.status_code, answer.json()) == (200, {**asked, "labels": {"team": "a"}})
    joined = (await client.post("/queues/start", json=answer.json())).json()
    assert (joined["queue_id"], joined["joined"]) == (started["queue_id"], True)
    problem(await client.get("/queues/wf-none/request"), 404, "not-found")
