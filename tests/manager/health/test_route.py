"""`GET /health`: what works, what does not with what to do, and the facts behind it."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from streamforge.manager.api.app import create_app
from streamforge.manager.dependencies import Dependencies
from streamforge.manager.engine.execution.exchange_limits import ExchangeWaits
from streamforge.manager.engine.lifecycle.ban import Banned
from streamforge.manager.health.service import FRESH_S, SLOW_FRESH_S
from streamforge.manager.health.shown_settings import shown_settings
from streamforge.manager.manager_settings import ManagerSettings
from streamforge_utils.model.errors import RetryableError
from streamforge_utils.model.series import Series
from streamforge_utils.ports.store import Usage
from streamforge_utils.runtime.telemetry.logs import TextRedactor
from tests.manager.api.support import OPERATOR, READER, TOKENS, client_of, failed, problem, running, started
from tests.manager.execution.world import retain
from tests.manager.memory_service import NOW_MS, MemoryService
from tests.manager.schedules.test_routes import added

PLANTED = "planted-secret-0123456789"


class Again(MemoryService):
    """A service on the world of another one, with some of its dependencies changed."""

    @classmethod
    def changed(cls, service: MemoryService, **fields: Any) -> Again:
        deps: Dependencies = replace(service.world.deps, **fields)
        service.world.deps = service.world.reconciler._deps = deps
        return cls(service.world, service.clock, service.exchange)


async def asked(client: httpx.AsyncClient) -> dict[str, Any]:
    response = await client.get("/health")
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def wrong(report: dict[str, Any]) -> list[tuple[str, str, str]]:
    """The findings of what does not simply work: part, verdict and code; each has a next step."""
    found = [one for one in report["findings"] if one["verdict"] != "works"]
    assert all(one["next_step"] for one in found)
    return [(one["part"], one["verdict"], one["code"]) for one in found]


async def test_of_a_healthy_manager_it_gives_the_facts(client: httpx.AsyncClient, service: MemoryService) -> None:
    service.world.store.said_usage = Usage(used_bytes=2**30, limit_bytes=100 * 2**30)
    await service.put(running(await started(service)))
    await started(service, symbol="ETHUSDT")
    found = await asked(client)
    assert (found["verdict"], wrong(found)) == ("works", [])
    parts = [one["part"] for one in found["findings"]]
    assert parts == ["settings", "bus", "store", "launcher", "reconciler", "room", "exchange"]
    assert found["capacity"] == {
        "workers": 0,
        "running": 1,
        "most_running": 8,
        "live": 0,
        "waiting": 1,
        "most": 10_000,
    }
    assert found["versions"]["workers"] == {"unknown": 2}
    assert (found["exchange"]["loaders"], found["exchange"]["weight_loaders"]) == (1, 4200)
    assert (found["exchange"]["weight_manager"], found["exchange"]["weight_used"]) == (600, None)
    assert (found["store"]["used_bytes"], found["store"]["limit_bytes"]) == (2**30, 100 * 2**30)
    assert found["schedules"] == {"schedules": 0, "paused": [], "overdue": []}
    assert (found["failures"], found["checked_at"]) == ([], "2024-08-02T12:00:00.002Z")


async def test_what_does_not_answer_comes_first_and_leaves_the_rest(
    client: httpx.AsyncClient, service: MemoryService
) -> None:
    service.world.store.failing = RetryableError("store.internal does not answer")
    service.world.bus.failing = RetryableError("no broker answers")
    found = await asked(client)
    expected = [("bus", "fails", "bus-fails"), ("store", "fails", "store-fails"), ("room", "careful", "room-unknown")]
    assert (found["verdict"], wrong(found)) == ("fails", expected)
    assert [one["detail"] for one in found["findings"][:2]] == ["no broker answers", "store.internal does not answer"]
    assert (found["store"], found["schedules"], found["failures"]) == (None, None, None)
    assert found["exchange"]["ahead_seconds"] == 0.0
    service.world.store.failing = service.world.bus.failing = None
    service.clock.advance(FRESH_S)
    assert wrong(await asked(client)) == []


async def test_a_store_that_is_full_fails(client: httpx.AsyncClient, service: MemoryService) -> None:
    service.world.store.said_usage = Usage(used_bytes=2**30, limit_bytes=2**30, read_only=True)
    found = await asked(client)
    assert wrong(found) == [("room", "fails", "store-full")]
    assert (found["store"]["read_only"], found["store"]["full_at"]) == (True, "2024-08-02T12:00:00Z")


async def test_the_exchange_is_silent_then_far_away_in_time_then_refuses(
    client: httpx.AsyncClient, service: MemoryService
) -> None:
    service.exchange.failing = RetryableError("no connection")
    found = await asked(client)
    assert wrong(found) == [("exchange", "fails", "exchange-silent")]
    assert "does not answer: no connection" in found["findings"][0]["detail"]

    service.exchange.failing = None
    service.exchange.now_ms = service.clock.now_ms() + int(SLOW_FRESH_S * 1000) + 7500
    service.clock.advance(SLOW_FRESH_S)
    service.world.reconciler.last_look = service.clock.monotonic()
    found = await asked(client)
    assert (wrong(found), found["exchange"]["ahead_seconds"]) == ([("exchange", "careful", "clock-wrong")], 7.5)

    now_ms = service.clock.now_ms()
    service.world.reconciler.bans.hear(Banned(until_ms=now_ms + 90_000, said_ms=now_ms, reason="too much"))
    service.clock.advance(FRESH_S)
    found = await asked(client)
    assert wrong(found) == [("exchange", "fails", "exchange-banned")]
    assert (found["exchange"]["banned_until"], found["exchange"]["ban_reason"]) == ("2024-08-02T12:02:30Z", "too much")


async def test_many_who_ask_cost_one_look(client: httpx.AsyncClient, service: MemoryService) -> None:
    asked_times = looks = 0
    usage, find, server_time = service.world.store.usage, service.world.store.find, service.exchange.server_time

    async def counted_usage() -> Usage:
        nonlocal asked_times
        asked_times += 1
        return await usage()

    async def counted_time() -> int:
        nonlocal asked_times
        asked_times += 1
        return await server_time()

    async def counted_find(kind: str, **more: Any) -> Any:
        nonlocal looks
        looks += kind == "workflow"
        return await find(kind, **more)

    service.world.store.find = counted_find  # type: ignore[method-assign]
    service.world.store.usage = counted_usage  # type: ignore[method-assign]
    service.exchange.server_time = counted_time  # type: ignore[method-assign]
    for number, (expected, later_s) in enumerate(((2, FRESH_S), (2, SLOW_FRESH_S), (4, 0.0)), start=1):
        for _ in range(3):
            await asked(client)
        assert (asked_times, looks) == (expected, number)
        service.clock.advance(later_s)


async def test_the_latest_failure_of_each_code_is_told_with_how_many_there_are(
    client: httpx.AsyncClient, service: MemoryService
) -> None:
    for symbol in ("BTCUSDT", "ETHUSDT", "BNBUSDT"):
        await service.put(failed(await started(service, symbol=symbol), ()))
    [told] = (await asked(client))["failures"]
    assert (told["code"], told["workflows"], told["queue_id"]) == ("attempts-failed", 3, (await service.ids())[-1])
    assert (told["reason"], told["next_step"]) == (
        "arango-candles: 3 attempts failed",
        "look at the store, then retry",
    )


async def test_schedules_that_are_paused_or_overdue_are_named(
    client: httpx.AsyncClient, service: MemoryService
) -> None:
    await added(client)
    await added(client, name="weekly")
    (await client.patch("/schedules/weekly", json={"paused": True})).raise_for_status()
    service.clock.advance(2 * 86_400)
    service.world.reconciler.last_look = service.clock.monotonic()
    service.exchange.now_ms = service.clock.now_ms()
    found = await asked(client)
    assert wrong(found) == [("schedules", "careful", "schedule-overdue")]
    assert found["findings"][0]["detail"].startswith("nightly: it should have fired at 2024-08-0")
    assert found["schedules"] == {"schedules": 2, "paused": ["weekly"], "overdue": ["nightly"]}


async def test_a_damaged_document_is_told(client: httpx.AsyncClient, service: MemoryService) -> None:
    workflow = await started(service)
    service.world.store.damage("workflow", workflow.queue_id, b"{")
    await service.world.start()  # a manager reads it once, when it starts
    again = Again.changed(service)
    again.world.reconciler.last_look = again.clock.monotonic()
    async with client_of(create_app(again)) as other:
        found = await asked(other)
    assert wrong(found) == [("documents", "careful", "document-unreadable")]
    assert workflow.queue_id in found["findings"][0]["detail"]


async def test_damaged_coverage_is_told_once_somebody_has_read_it(
    client: httpx.AsyncClient, service: MemoryService
) -> None:
    world, series = service.world, Series("BTCUSDT", "candles", "1m")
    await world.deps.coverage.lay_over(series, [])
    world.store.damage("series", series.id, b"{")
    await retain(world.manager.upkeep.retention)
    found = await asked(client)
    assert wrong(found) == [("documents", "careful", "document-unreadable")]
    assert series.id in found["findings"][0]["detail"]


async def test_the_weight_of_the_present_minute_is_told_and_no_older_one(service: MemoryService) -> None:
    waits = ExchangeWaits(service.world.observer, service.clock)
    again = Again.changed(service, exchange_waits=waits)
    waits.gauge("exchange_address_weight", 900)
    waits.waiting("request weight")
    async with client_of(create_app(again)) as client:
        told = (await asked(client))["exchange"]
        assert (told["weight_used"], told["weight_left"]) == (900, 4200 + 600 - 900)
        assert told["waits_for"] == "request weight"
        service.clock.advance(60)
        told = (await asked(client))["exchange"]
    assert (told["weight_used"], told["weight_left"]) == (None, None)


async def test_settings_are_told_without_a_secret_anywhere(service: MemoryService) -> None:
    environ = {
        "BINANCE_API_KEY": PLANTED,
        "ARANGO_URL": f"http://root:{PLANTED}@store.internal:8529/{PLANTED}",
        "STREAMFORGE_EXCHANGE_URL": f"https://one.example/{PLANTED},https://two.example:444?key={PLANTED}",
        "STREAMFORGE_K8S_WORKER_ENV": f"PASSWORD={PLANTED}",
        "STREAMFORGE_MAX_RUNNING": "4",
    }
    again = Again.changed(
        service,
        settings=shown_settings(ManagerSettings, environ),
        misspelt=["STREAMFORGE_X is set, but nothing reads it: is STREAMFORGE_Y meant?"],
        redact=TextRedactor([PLANTED]),
    )
    service.world.store.failing = RetryableError(f"http://root:{PLANTED}@store does not answer")
    async with client_of(create_app(again)) as client:
        response = await client.get("/health")
    assert PLANTED not in response.text
    found = response.json()
    settings = {one["name"]: one for one in found["settings"]}
    key = settings["BINANCE_API_KEY"]
    assert (key["value"], key["secret"], key["origin"]) == (None, True, "environment")
    assert settings["ARANGO_URL"]["value"] == "http://store.internal:8529"
    assert settings["STREAMFORGE_EXCHANGE_URL"]["value"] == "https://one.example, https://two.example:444"
    assert (settings["STREAMFORGE_K8S_WORKER_ENV"]["value"], settings["STREAMFORGE_MAX_RUNNING"]["value"]) == (
        None,
        "4",
    )
    port = settings["STREAMFORGE_PORT"]
    assert (port["value"], port["origin"], port["default"]) == (None, "default", "8080")
    assert ("settings", "careful", "setting-misspelt") in wrong(found)


@pytest.mark.parametrize(("token", "status"), [(None, 401), (READER, 200), (OPERATOR, 200)])
async def test_it_is_for_readers(service: MemoryService, token: str | None, status: int) -> None:
    async with client_of(create_app(service, tokens=TOKENS), token) as client:
        response = await client.get("/health")
    if status == 401:
        problem(response, 401, "unauthorized")
    else:
        assert response.json()["started_at"] == "2024-08-02T12:00:00Z"
    assert service.clock.now_ms() == NOW_MS
