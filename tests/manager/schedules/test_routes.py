"""The routes of schedules."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from streamforge_utils.ports.exchange import SymbolInfo
from tests.manager.api.support import START_MS, problem
from tests.manager.execution.world import SERIES, stored
from tests.manager.memory_service import MemoryService

NIGHTLY = {
    "name": "nightly",
    "symbols": ["btcusdt"],
    "type": "api_candles_1m",
    "cron": "5 0 * * *",
    "timezone": "Europe/Moscow",
    "from": "2024",
}


async def added(client: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    response = await client.post("/schedules", json={**NIGHTLY, **fields})
    assert response.status_code == 201, response.text
    found: dict[str, Any] = response.json()
    return found


async def test_a_schedule_is_added_once_and_shown_in_its_one_spelling(
    client: httpx.AsyncClient, service: MemoryService
) -> None:
    service.schedules.driver.fires = True
    response = await client.post("/schedules", json=NIGHTLY)
    assert (response.status_code, response.headers["location"]) == (201, "/schedules/nightly")
    body = response.json()
    assert body == {
        "name": "nightly",
        "symbols": ["BTCUSDT"],
        "type": "api_candles_1m",
        "cron": "5 0 * * *",
        "labels": {},
        "timezone": "Europe/Moscow",
        "missed": "catch-up",
        "source": "auto",
        "since": "last",
        "start": "2024",
        "time_range": None,
        "paused": False,
        "created_at": "2024-08-02T12:00:00Z",
        "next_at": "2024-08-02T21:05:00Z",
        "last_success_at": None,
        "failures": 0,
        "overdue": None,
        "undriven": None,
        "waiting_for": None,
        "doubt": None,
        "current": None,
        "latest": None,
    }
    again = await client.post("/schedules", json=NIGHTLY)
    assert (again.status_code, again.json()) == (200, body)
    assert (await client.get("/schedules")).json() == {"schedules": [body], "unreadable": {}}
    assert (await client.get("/schedules/nightly")).json() == body
    other = problem(await client.post("/schedules", json={**NIGHTLY, "cron": "6 0 * * *"}), 409, "not-now")
    assert "there is another schedule 'nightly'" in other["detail"]


async def test_all_that_is_wrong_is_told_at_once(client: httpx.AsyncClient, service: MemoryService) -> None:
    wrong = {"name": "-", "symbols": ["A", "A"], "type": "api_candles_7m", "cron": "x", "labels": {"": "1"}}
    for path in ("/schedules", "/plans"):
        told = problem(await client.post(path, json={**wrong, "since": "soon"}), 422, "invalid-input")
        fields = ["name", "cron", "symbols", "type", "since", "labels"]
        assert [(one["field"].split(".")[0], one["where"]) for one in told["errors"]] == [
            (one, "body") for one in fields
        ]
        assert told["detail"].startswith("name '-' must begin")
        assert "; cron 'x' has 1 fields" in told["detail"]
    unknown = {**NIGHTLY, "symbols": ["BTCUSTD"], "from": None}
    told = problem(await client.post("/schedules", json=unknown), 422, "invalid-input", "symbol-unknown")
    assert [one["field"] for one in told["errors"]] == ["symbols", "since"]
    assert not await service.schedules.list()


async def test_a_plan_tells_what_a_run_would_load_and_adds_nothing(
    client: httpx.AsyncClient, service: MemoryService
) -> None:
    service.exchange.opens = list(range(START_MS, START_MS + 86_400_000, 60_000))
    told = (await client.post("/plans", json={**NIGHTLY, "from": None, "time_range": "2024-08-01"})).json()
    assert (told["symbol"], told["records_expected"]) == ("BTCUSDT", 1440)
    many = {**NIGHTLY, "symbols": ["BTC*"], "from": None, "time_range": "2024-08-01"}
    told = (await client.post("/plans", json=many)).json()
    assert (told["size"], told["each"][0]["records_expected"]) == (1, 1440)
    told = (await client.post("/plans", json={**NIGHTLY, "from": "2024-08-01"})).json()
    assert told["time_range"]["start_ms"] == START_MS
    assert not await service.schedules.list()
    assert await service.ids() == []


async def test_a_run_is_shown_while_it_goes_on_and_in_the_history(
    client: httpx.AsyncClient, service: MemoryService
) -> None:
    await added(client)
    response = await client.post("/schedules/nightly/run")
    assert (response.status_code, response.json()["current"]["state"]) == (202, "starting")
    assert problem(await client.post("/schedules/nightly/run"), 409, "not-now")
    await service.schedules.driver.turn()
    await service.schedules.driver.turn()
    (queue_id,) = await service.ids()
    current = (await client.get("/schedules/nightly")).json()["current"]
    assert (current["state"], current["by_hand"], current["number"]) == ("running", True, 1)
    assert current["loads"] == [
        {"symbol": "BTCUSDT", "queue_id": queue_id, "status": "running", "reason": "", "joined": False}
    ]
    await service.end(queue_id)
    await service.schedules.driver.turn()
    shown = (await client.get("/schedules/nightly")).json()
    assert (shown["current"], shown["last_success_at"]) == (None, "2024-08-02T12:00:00.001Z")
    runs = (await client.get("/schedules/nightly/runs")).json()["runs"]
    assert [(run["number"], run["state"], run["fire_at"]) for run in runs] == [(1, "finished", "2024-08-02T12:00:00Z")]
    assert shown["latest"] == runs[0]


async def test_a_paused_schedule_is_not_made_up_for(client: httpx.AsyncClient, service: MemoryService) -> None:
    await added(client)
    paused = (await client.patch("/schedules/nightly", json={"paused": True})).json()
    assert (paused["paused"], paused["next_at"]) == (True, None)
    service.clock.advance(3 * 86_400)
    await service.schedules.driver.turn()
    assert (await client.get("/schedules/nightly")).json()["overdue"] is None
    resumed = (await client.patch("/schedules/nightly", json={"paused": False})).json()
    await service.schedules.driver.turn()
    assert (resumed["next_at"], resumed["current"]) == ("2024-08-05T21:05:00Z", None)
    assert not await service.ids()
    assert (await client.get("/schedules/nightly/runs")).json()["runs"] == []


async def test_what_is_named_is_changed_and_the_rest_stays(client: httpx.AsyncClient) -> None:
    before = await added(client)
    changed = (await client.patch("/schedules/nightly", json={"cron": "0 * * * *", "since": "-1d"})).json()
    expected = {
        **before,
        "cron": "0 * * * *",
        "since": None,
        "start": None,
        "time_range": "-1d:",
        "next_at": "2024-08-02T13:00:00Z",
    }
    assert changed == expected
    refused = problem(await client.patch("/schedules/nightly", json={"cron": "0 0 30 2 *"}), 422, "invalid-input")
    assert (refused["errors"][0]["field"], refused["errors"][0]["where"]) == ("cron", "body")
    assert (await client.get("/schedules/nightly")).json() == expected


async def test_a_removed_schedule_is_gone_and_its_workflows_stay(
    client: httpx.AsyncClient, service: MemoryService
) -> None:
    await added(client)
    await client.post("/schedules/nightly/run")
    await service.schedules.driver.turn()
    assert (await client.delete("/schedules/nightly")).status_code == 204
    for path in ("/schedules/nightly", "/schedules/nightly/runs"):
        problem(await client.get(path), 404, "not-found")
    assert len(await service.ids()) == 1
    await added(client, name="nightlies")
    missing = problem(await client.delete("/schedules/nightly"), 404, "not-found")
    assert missing["did_you_mean"] == ["nightlies"]


async def test_what_is_overdue_is_said_with_the_reason(client: httpx.AsyncClient, service: MemoryService) -> None:
    await added(client, cron="0 * * * *")
    service.clock.advance(3600 + 599)
    assert (await client.get("/schedules/nightly")).json()["overdue"] is None
    service.clock.advance(2)
    shown = (await client.get("/schedules/nightly")).json()
    alone = "the manager that answers runs for one command only, and fires no schedule"
    assert shown["undriven"] == alone
    assert shown["overdue"] == f"it should have fired at 2024-08-02T13:00Z, and {alone}"
    service.schedules.driver.fires = True
    await service.schedules.driver.turn()
    service.clock.advance(7200)
    await service.schedules.driver.turn()
    assert (await client.get("/schedules/nightly")).json()["overdue"] == (
        "it should have fired at 2024-08-02T14:00Z, and its run 1 is still going on"
    )


@pytest.mark.parametrize(
    ("fields", "field", "told"),
    [
        ({"cron": "0 0 30 2 *"}, "cron", "never fires"),
        ({"cron": "* * * * * *"}, "cron", "once a minute at most"),
        ({"timezone": "Mars"}, "timezone", "is not known"),
        ({"symbols": []}, "symbols", "at least 1"),
        ({"symbols": ["BTCUSDT", "btcusdt"]}, "symbols", "BTCUSDT is named twice"),
        ({"symbols": ["BTCUSDT", "ETHUSDT"]}, "symbols", "ETHUSDT"),
        ({"symbols": [f"A{n}" for n in range(1001)]}, "symbols", "a schedule has 1000 at most"),
        ({"symbols": ["*X"]}, "symbols", "no symbol of the exchange fits the pattern '*X'"),
        ({"symbols": ["*USDT"], "from": None}, "from", "*USDT takes in symbols of which nothing is stored yet"),
        ({"symbols": ["BT C"]}, "symbols", "characters that no symbol has"),
        ({"type": "api_candels_1m"}, "type", "api_candels_1m"),
        ({"since": "last", "from": None}, "since", "nothing of BTCUSDT api_candles_1m is stored yet"),
        ({"time_range": "lsat month", "from": None}, "time_range", "is not understood"),
        ({"time_range": "-1d", "since": "last"}, "since", "give one of them"),
        ({"name": "../etc"}, "name", "must begin with a letter"),
        ({"missed": "maybe"}, "missed", "catch-up"),
        ({"more": 1}, "more", ""),
    ],
)
async def test_a_schedule_that_cannot_work_is_refused_by_name(
    client: httpx.AsyncClient, service: MemoryService, fields: dict[str, Any], field: str, told: str
) -> None:
    asked = {name: value for name, value in {**NIGHTLY, **fields}.items() if value is not None}
    body = problem(await client.post("/schedules", json=asked), 422, "invalid-input")
    assert body["errors"][0]["field"] == field
    assert told in body["errors"][0]["message"]
    assert not (await client.get("/schedules")).json()["schedules"]


async def test_no_start_is_needed_where_something_is_known(client: httpx.AsyncClient, service: MemoryService) -> None:
    await service.know(SERIES, [stored(0, 60)])
    asked = {name: value for name, value in NIGHTLY.items() if name != "from"}
    assert (await client.post("/schedules", json=asked)).status_code == 201


async def test_there_are_only_so_many_schedules(client: httpx.AsyncClient, service: MemoryService) -> None:
    service.exchange.listed = [SymbolInfo(symbol="BTCUSDT", status="TRADING")]
    for number in range(200):
        await added(client, name=f"s{number}")
    refused = problem(await client.post("/schedules", json=NIGHTLY), 409, "not-now")
    assert "there are 200 schedules, which is the most" in refused["detail"]
