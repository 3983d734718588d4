"""The routes of batches."""

from __future__ import annotations

from typing import Any
from unittest.mock import AsyncMock

import httpx
import pytest

from streamforge.manager.batches.model import MOST_SYMBOLS
from streamforge.manager.engine.document import Status
from streamforge_utils.ports.exchange import SymbolInfo
from tests.manager.api.support import problem
from tests.manager.batches.batch_world import end, live, look
from tests.manager.memory_service import MemoryService

BODY = {"symbols": ["BTCUSDT", "ETHUSDT", "BTCUSDT", "LUNA*"], "type": "api_candles_1m", "time_range": "2024-08-01"}
UNKNOWN = "batch-api_candles_1m-20240801-zzzzzz"


@pytest.fixture(autouse=True)
def _listed(service: MemoryService) -> None:
    statuses = {"BTCUSDT": "TRADING", "ETHUSDT": "TRADING", "LUNAUSDT": "BREAK"}
    service.exchange.listed = [SymbolInfo(symbol=one, status=status) for one, status in statuses.items()]


async def started(client: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    response = await client.post("/batches", json={**BODY, **fields})
    assert response.status_code == 202, response.text
    found: dict[str, Any] = response.json()
    assert response.headers["location"] == f"/batches/{found['batch_id']}"
    return found


async def test_a_batch_is_told_from_its_request_to_its_end(client: httpx.AsyncClient, service: MemoryService) -> None:
    found = await started(client)
    path = f"/batches/{found['batch_id']}"
    assert found["batch_id"].startswith("batch-api_candles_1m-20240801-")
    assert (found["status"], found["size"], found["delisted"]) == ("running", 3, 1)
    assert (found["symbols"], found["duplicates"]) == ("BTCUSDT, ETHUSDT, BTCUSDT, LUNA*", 1)
    assert found["duplicated"] == ["BTCUSDT"]
    assert found["counts"]["waiting"] == 3
    assert (found["progress"]["share"], found["progress"]["eta_seconds"]) == (0.0, None)
    await look(service.world)
    service.clock.advance(10)
    await end(service.world, live(service.world)[:1])
    seen = (await client.get(path)).json()  # before the driver has
    assert (seen["counts"]["finished"], seen["progress"]["records_stored"]) == (0, 1440)
    assert seen["progress"]["share"] == pytest.approx(1 / 3)
    await end(service.world, live(service.world)[:1], Status.ERROR, stored=440)
    await look(service.world)
    found = (await client.get(path)).json()
    counts = {name: count for name, count in found["counts"].items() if count}
    assert counts == {"finished": 1, "error": 1, "pending": 1}
    progress = found["progress"]
    assert (progress["records_expected"], progress["records_stored"]) == (2880, 1880)
    assert (progress["share"], progress["rate"], progress["eta_seconds"]) == (pytest.approx(2 / 3), 188.0, 5.0)
    (failure,) = found["failures"]
    assert (failure["symbol"], failure["reason"], failure["next_step"]) == ("ETHUSDT", "the store is full", "make room")
    queues = (await client.get(found["links"]["workflows"])).json()["queues"]
    assert {one["symbol"]: one["batch"] for one in queues} == dict.fromkeys(
        ("BTCUSDT", "ETHUSDT", "LUNAUSDT"), found["batch_id"]
    )
    members = (await client.get(found["links"]["members"], params={"limit": 2})).json()
    assert [(one["symbol"], one["status"]) for one in members["members"]] == [
        ("BTCUSDT", "finished"),
        ("ETHUSDT", "error"),
    ]
    rest = (await client.get(found["links"]["members"], params={"cursor": members["cursor"]})).json()
    assert [(one["symbol"], one["status"], one["delisted"]) for one in rest["members"]] == [
        ("LUNAUSDT", "pending", True)
    ]
    assert (await client.post(f"{path}/stop")).json()["status"] == "stopping"
    await look(service.world)
    await end(service.world, live(service.world), Status.INTERRUPTED)
    await look(service.world)
    assert (await client.get("/batches")).json()["batches"][0]["status"] == "error"
    retried = (await client.post(f"{path}/retry")).json()
    assert (retried["status"], retried["counts"]["waiting"], retried["progress"]["share"]) == ("running", 2, 1 / 3)
    assert (retried["counts"]["error"], retried["counts"]["interrupted"], retried["failures"]) == (0, 0, [])
    await look(service.world)
    await end(service.world, live(service.world))
    await look(service.world)
    found = (await client.get(path)).json()
    assert (found["status"], found["counts"]["finished"], found["failures"]) == ("finished", 3, [])
    assert (await client.delete(path)).status_code == 204
    assert (await client.get("/batches")).json() == {"batches": [], "cursor": None}


async def test_the_same_key_gives_the_same_batch(client: httpx.AsyncClient) -> None:
    first = await client.post("/batches", json=BODY, headers={"Idempotency-Key": "k"})
    again = await client.post("/batches", json=BODY, headers={"Idempotency-Key": "k"})
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert again.json()["batch_id"] == first.json()["batch_id"]
    other = await client.post("/batches", json={**BODY, "again": True}, headers={"Idempotency-Key": "k"})
    problem(other, 422, "idempotency-key-reused")


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"symbols": []}, "symbols"),
        ({"symbols": "BTCUSDT"}, "symbols"),
        ({"symbols": ["NOSUCH"]}, "symbols"),
        ({"symbols": ["*EUR"]}, "symbols"),
        ({"listed_at": "yesterday"}, "listed_at"),
        ({"type": "nonsense"}, "type"),
        ({"more": 1}, "more"),
    ],
)
async def test_what_is_no_batch_is_refused_with_its_field(
    client: httpx.AsyncClient, service: MemoryService, fields: dict[str, Any], field: str
) -> None:
    found = problem(await client.post("/batches", json={**BODY, **fields}), 422, "invalid-input")
    assert [error["field"] for error in found["errors"]] == [field]
    assert not service.world.store.states


async def test_ten_thousand_symbols_are_one_batch_or_one_refusal(
    client: httpx.AsyncClient, service: MemoryService, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"S{number:05}USDT" for number in range(MOST_SYMBOLS + 1)]
    service.exchange.listed = [SymbolInfo(symbol=name, status="TRADING") for name in names]
    store, body = service.world.store, {**BODY, "symbols": names[:-1]}
    unknown = [f"NO{number}" for number in range(40)]
    refused = {
        "40 of 10,000 are not symbols of the exchange, so nothing was begun": [*names[: MOST_SYMBOLS - 40], *unknown],
        "these are 10,001 symbols, and a batch has 10,000 at most": names,
        "20,001 symbols are named, and a batch has 10,000 at most": ["BTCUSDT"] * (2 * MOST_SYMBOLS + 1),
    }
    for said, symbols in refused.items():
        found = problem(await client.post("/batches", json={**body, "symbols": symbols}), 422, "invalid-input")
        assert said in found["detail"]
        assert (found["errors"][0]["field"], len(store.states)) == ("symbols", 0), "nothing of it is accepted"
    listed, puts = AsyncMock(wraps=service.exchange.symbols), AsyncMock(wraps=store.put)
    monkeypatch.setattr(service.exchange, "symbols", listed)
    monkeypatch.setattr(store, "put", puts)
    found = await started(client, symbols=[*names[:-1], *names[:50]])
    assert (found["size"], found["counts"]["waiting"], found["duplicates"]) == (10_000, 10_000, 50)
    assert (found["duplicated"], len(found["failures"])) == (names[:20], 0)
    # The members lie in documents of a hundred: the work grows by them, not by symbols; the exchange is asked once.
    assert (listed.await_count, puts.await_count <= 10_000 / 100 + 10) == (1, True)
    assert len(service.exchange.asked) == 0
    whole = [one["symbol"] for one in (await client.get(found["links"]["members"])).json()["members"]]
    assert whole == names[:100]
    too_large = await client.post("/batches", json={**body, "symbols": ["S" * 30] * 10_000})
    assert "is larger than 262144 bytes" in problem(too_large, 413, "content-too-large")["detail"]


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize("name", [UNKNOWN, "nonsense", "batch-%2e%2e-20240801-abcdef"])
async def test_a_batch_that_is_not_there_is_not_found(client: httpx.AsyncClient, method: str, name: str) -> None:
    assert "there is no batch" in problem(await client.request(method, f"/batches/{name}"), 404, "not-found")["detail"]


async def test_a_batch_that_is_like_the_name_is_meant(client: httpx.AsyncClient) -> None:
    there = (await started(client))["batch_id"]
    found = problem(await client.get(f"/batches/{there[:-1]}"), 404, "not-found")
    assert found["detail"] == f"there is no batch {there[:-1]!r}: did you mean {there}?"
    assert found["did_you_mean"] == [there]


async def test_a_symbol_that_nobody_has_can_be_left_out(client: httpx.AsyncClient) -> None:
    symbols = ["NOSUCH", "BTCUSDT", "NOSUCH", "NONE"]
    refused = problem(await client.post("/batches", json={**BODY, "symbols": symbols}), 422, "invalid-input")
    assert refused["detail"].endswith("lists what it has; `skip_unknown` loads the others")
    found = await started(client, symbols=symbols, skip_unknown=True)
    assert (found["size"], found["unknown"], found["unknown_first"]) == (1, 2, ["NOSUCH", "NONE"])
    alone = {**BODY, "symbols": ["NOSUCH"], "skip_unknown": True}
    assert (
        "1 of 1 is not a symbol" in problem(await client.post("/batches", json=alone), 422, "invalid-input")["detail"]
    )


async def test_what_is_not_possible_now_is_told(client: httpx.AsyncClient) -> None:
    found = await started(client)
    path = f"/batches/{found['batch_id']}"
    assert "stop it before" in problem(await client.delete(path), 409, "not-now")["detail"]
    assert "none of its members failed" in problem(await client.post(f"{path}/retry"), 409, "not-now")["detail"]
    problem(await client.get(f"{path}/members", params={"cursor": "x"}), 422, "invalid-input")
    problem(await client.get("/batches", params={"cursor": UNKNOWN}), 422, "invalid-input")
