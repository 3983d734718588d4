"""`GET /queues`: counts by status, labels and search."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from streamforge.manager.engine.document import Status
from streamforge.manager.use_cases import StartRequest
from streamforge_utils.ports.exchange import SymbolInfo
from tests.manager.api.support import problem, started
from tests.manager.batches.batch_world import live, look
from tests.manager.memory_service import MemoryService


@pytest.fixture
async def codes(service: MemoryService) -> dict[str, str]:
    """Four workflows by the last of their codes, two of them ended."""
    await started(service, labels={"team": "research", "desk": "a"})
    await started(service, symbol="BTCFDUSD", labels={"team": "research", "desk": "b"})
    await started(service, symbol="ETHUSDT", labels={"team": "ops"})
    await started(service, symbol="ETHUSDT", type="api_candles_1h")
    found = {one[-1]: one for one in await service.ids()}
    await service.end(found["1"])
    await service.end(found["3"], Status.ERROR)
    return found


async def listed(client: httpx.AsyncClient, query: str = "") -> tuple[str, dict[str, int]]:
    """The last of the codes, newest first, and the counts that are not 0."""
    response = await client.get(f"/queues?{query}")
    assert response.status_code == 200, response.text
    page = response.json()
    codes = "".join(one["queue_id"][-1] for one in page["queues"])
    return codes, {status: count for status, count in page["counts"].items() if count}


@pytest.mark.parametrize(
    ("query", "expected", "counts"),
    [
        ("", "4321", {"pending": 2, "finished": 1, "error": 1}),
        ("status=error", "3", {"pending": 2, "finished": 1, "error": 1}),
        ("limit=1", "4", {"pending": 2, "finished": 1, "error": 1}),
        ("symbol=ethusdt&status=pending", "4", {"pending": 1, "error": 1}),
        ("label=team:research", "21", {"pending": 1, "finished": 1}),
        ("label=team:research&label=desk:b", "2", {"pending": 1}),
        ("label=team:research&label=team:ops", "321", {"pending": 1, "finished": 1, "error": 1}),
        ("label=team:none", "", {}),
        ("search=btc", "21", {"pending": 1, "finished": 1}),
        ("search=%20Eth&label=team:ops", "3", {"error": 1}),
        ("search=wf-BTCUSDT-", "1", {"finished": 1}),
        ("search=wf-ethusdt-api_candles_1h", "4", {"pending": 1}),
        ("search=usdt", "", {}),
        ("search=bTcF", "2", {"pending": 1}),
        ("search=btc&status=finished", "1", {"pending": 1, "finished": 1}),
        ("search=eth&symbol=ethusdt", "43", {"pending": 1, "error": 1}),
        ("search=eth&symbol=BTCUSDT", "", {}),
    ],
)
async def test_filters_and_counts(
    client: httpx.AsyncClient, codes: dict[str, str], query: str, expected: str, counts: dict[str, int]
) -> None:
    assert await listed(client, query) == (expected, counts)


async def test_a_search_asks_for_no_list_of_symbols(
    client: httpx.AsyncClient, codes: dict[str, str], service: MemoryService
) -> None:
    tally, asked = service.world.store.tally, []

    async def counted(kind: str, label: str, **more: Any) -> Any:
        asked.append(label)
        return await tally(kind, label, **more)

    service.world.store.tally = counted  # type: ignore[method-assign]
    assert (await listed(client, "search=btc"))[0] == "21"
    assert asked == ["status"]


async def test_pages_of_a_search_are_those_of_the_whole(client: httpx.AsyncClient, codes: dict[str, str]) -> None:
    page = (await client.get("/queues?search=btc&limit=1")).json()
    rest = (await client.get(f"/queues?search=btc&limit=1&cursor={page['cursor']}")).json()
    assert [one["queue_id"] for one in (*page["queues"], *rest["queues"])] == [codes["2"], codes["1"]]
    assert rest["cursor"] is None


async def test_labels_are_shown_and_a_joined_workflow_keeps_its_own(
    client: httpx.AsyncClient, service: MemoryService
) -> None:
    body = {"symbol": "BTCUSDT", "type": "api_candles_1m", "time_range": "2024-08-01", "labels": {"z": "1", "a": "ä b"}}
    first = (await client.post("/queues/start", json=body)).json()
    joined = (await client.post("/queues/start", json={**body, "labels": {"x": "y"}})).json()

    assert first["labels"] == {"a": "ä b", "z": "1"}
    assert (joined["joined"], joined["queue_id"], joined["labels"]) == (True, first["queue_id"], first["labels"])
    assert (await client.get(f"/queues/{first['queue_id']}")).json()["labels"] == first["labels"]
    assert (await client.get("/queues?label=a:ä b")).json()["queues"][0]["labels"] == first["labels"]


@pytest.mark.parametrize(
    "labels",
    [
        {"": "x"},
        {"a:b": "x"},
        {"-a": "x"},
        {"k" * 64: "x"},
        {"a": ""},
        {"a": "x" * 64},
        {"a": "x\n"},
        {f"k{number}": "x" for number in range(17)},
    ],
)
async def test_labels_that_cannot_be_are_refused_and_nothing_starts(
    client: httpx.AsyncClient, service: MemoryService, labels: dict[str, str]
) -> None:
    body = {"symbol": "BTCUSDT", "type": "api_candles_1m", "time_range": "2024-08-01", "labels": labels}
    for path, more in (("/queues/start", {}), ("/batches", {"symbols": ["BTCUSDT"]})):
        fields: dict[str, Any] = {**body, **more}
        if more:
            del fields["symbol"]
        told = problem(await client.post(path, json=fields), 422, "invalid-input")
        assert told["errors"][0]["field"] == "labels"
    assert await service.ids() == []


@pytest.mark.parametrize("label", ["team", ":x", "team:", "a b:c"])
async def test_a_label_that_is_none_is_refused(client: httpx.AsyncClient, label: str) -> None:
    told = problem(await client.get("/queues", params={"label": label}), 422, "invalid-input")
    assert (told["errors"][0]["field"], told["errors"][0]["where"]) == ("label", "query")


async def test_the_workflows_of_a_batch_and_of_a_schedule_have_its_labels(
    client: httpx.AsyncClient, service: MemoryService
) -> None:
    labels = {"team": "research"}
    service.exchange.listed = [SymbolInfo(symbol="BTCUSDT", status="TRADING")]
    body = {"symbols": ["BTCUSDT"], "type": "api_candles_1m", "time_range": "2024-08-01", "labels": labels}
    assert (await client.post("/batches", json=body)).json()["labels"] == labels
    await look(service.world)
    assert [one.labels for one in live(service.world)] == [labels]

    cron = {
        "name": "hourly",
        "symbols": ["BTCUSDT"],
        "type": "api_candles_1h",
        "cron": "0 * * * *",
        "time_range": "-1d:",
    }
    added = (await client.post("/schedules", json={**cron, "labels": labels})).json()
    assert added["labels"] == labels
    assert (await client.patch("/schedules/hourly", json={"labels": {"a": "b"}})).json()["labels"] == {"a": "b"}
    run = (await service.schedules.run("hourly")).schedule.current
    assert run is not None
    assert run.request("BTCUSDT").labels == {"a": "b"}


async def test_a_key_of_before_labels_still_stands_for_its_request(service: MemoryService) -> None:
    request = StartRequest(symbol="BTCUSDT", type="api_candles_1m", time_range="2024-08-01")
    first = await service.start(request, idempotency_key="k")
    assert (await service.start(request, idempotency_key="k")).workflow == first.workflow
    with pytest.raises(Exception, match="another request"):
        await service.start(
            StartRequest(symbol="BTCUSDT", type="api_candles_1m", time_range="2024-08-01", labels={"a": "b"}),
            idempotency_key="k",
        )
