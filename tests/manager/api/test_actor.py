"""Who asked for something is told by name: in the workflow and the log, and never by a token."""

from __future__ import annotations

import httpx
from structlog.testing import capture_logs

from streamforge.manager.api.app import create_app
from streamforge.manager.api.tokens import Tokens, parsed
from streamforge.manager.engine.document import Status
from streamforge.manager.engine.request_notes import MOST_KEPT, with_asked
from streamforge_utils.ports.exchange import SymbolInfo
from tests.manager.api.support import REQUEST, client_of, problem, started
from tests.manager.batches.batch_world import live, look
from tests.manager.memory_service import MemoryService

ALICE, BOB, NAMELESS = "alice-token-0123456789", "bob-token-0123456789", "nameless-token-0123456789"
TOKENS = Tokens(parsed(f"operator:alice:{ALICE}\noperator:bob@desk-1:{BOB}\noperator:{NAMELESS}", "tokens"))


async def test_each_request_is_noted_with_the_name_of_its_token(service: MemoryService) -> None:
    app = create_app(service, tokens=TOKENS)
    with capture_logs() as logs:
        async with client_of(app, ALICE) as alice, client_of(app, BOB) as bob, client_of(app, NAMELESS) as nameless:
            path = f"/queues/{(await alice.post('/queues/start', json=REQUEST)).json()['queue_id']}"
            assert (await bob.post("/queues/start", json=REQUEST)).json()["joined"] is True
            await bob.post(f"{path}/ping", params={"timeout_s": 0.001})
            assert (await nameless.post(f"{path}/stop")).status_code == 202
            assert (await bob.post(f"{path}/stop")).status_code == 202  # it is stopping
            await service.end(path.rpartition("/")[2], Status.INTERRUPTED)
            told = (await bob.post(f"{path}/retry")).json()["asked"]
            await service.end(path.rpartition("/")[2], Status.INTERRUPTED)
            assert (await alice.delete(path)).status_code == 204

    assert [(one["request"], one["by"]) for one in told] == [
        ("start", "alice"), ("stop", "operator"), ("retry", "bob@desk-1"),
    ]  # fmt: skip
    assert told[0]["at"] == "2024-08-02T12:00:00.001Z"
    by = {"start by alice": "alice", "start by bob@desk-1": "bob@desk-1", "ping by bob@desk-1": "bob@desk-1"}
    by |= {"stop by operator": "operator", "stop by bob@desk-1": "bob@desk-1", "retry by bob@desk-1": "bob@desk-1"}
    lines = [(one["request"], one["by"]) for one in logs if one["event"] == "asked"]
    assert lines == [(text.split()[0], name) for text, name in by.items()] + [("remove", "alice")]
    assert not any(token in f"{logs}{told}{service.world.bus.log}" for token in (ALICE, BOB, NAMELESS))


async def test_without_tokens_it_is_the_machine_and_what_nobody_asked_is_told_too(
    client: httpx.AsyncClient, service: MemoryService
) -> None:
    service.exchange.listed = [SymbolInfo(symbol="BTCUSDT", status="TRADING")]
    made = (await client.post("/queues/start", json={**REQUEST, "time_range": "2024-07-01"})).json()
    assert [one["by"] for one in made["asked"]] == ["loopback"]

    batch = {"symbols": ["BTCUSDT"], "type": "api_candles_1h", "time_range": "2024-08-01"}
    name = (await client.post("/batches", json=batch)).json()["batch_id"]
    await look(service.world)
    assert [one.asked[0].by for one in live(service.world) if one.batch] == [f"batch {name}"]
    await client.post(f"/batches/{name}/stop")
    await look(service.world)
    (member,) = [one for one in live(service.world) if one.batch]
    assert [(one.request, one.by) for one in member.asked] == [("start", f"batch {name}"), ("stop", f"batch {name}")]

    cron = {
        "name": "daily",
        "symbols": ["BTCUSDT"],
        "type": "api_candles_1d",
        "cron": "0 0 * * *",
        "time_range": "-9d:",
    }
    assert (await client.post("/schedules", json=cron)).status_code == 201
    assert (await client.post("/schedules/daily/run")).status_code == 202
    await service.schedules.driver.turn()
    assert [one.asked[0].by for one in live(service.world) if one.type == "api_candles_1d"] == ["schedule daily"]


async def test_the_document_keeps_the_latest_requests(service: MemoryService) -> None:
    workflow = await started(service)
    for number in range(2 * MOST_KEPT):
        workflow = with_asked(workflow, "retry", f"n{number}", number)
    assert [one.at_ms for one in workflow.asked] == list(range(MOST_KEPT, 2 * MOST_KEPT))


async def test_who_asks_for_what_was_removed_is_told_by_whom(service: MemoryService) -> None:
    service.exchange.listed = [SymbolInfo(symbol="BTCUSDT", status="TRADING")]
    app = create_app(service, tokens=TOKENS)
    async with client_of(app, ALICE) as alice, client_of(app, BOB) as bob:
        queue_id = (await alice.post("/queues/start", json=REQUEST)).json()["queue_id"]
        await service.end(queue_id)
        assert (await bob.delete(f"/queues/{queue_id}", params={"data": "true"})).status_code == 204
        said = f"workflow {queue_id} was removed by bob@desk-1 at 2024-08-02T12:00:00.001Z, with its data"
        for path in ("", "/events", "/dlq", "/coverage", "/request"):
            told = problem(await alice.get(f"/queues/{queue_id}{path}"), 404, "not-found", "workflow-unknown")
            assert told["detail"] == said, path
        assert problem(await alice.post(f"/queues/{queue_id}/stop"), 404, "not-found")["detail"] == said

        damaged = await started(service)
        service.world.store.damage("workflow", damaged.queue_id, b"{")
        await service.world.deps.workflows.load()
        assert (await alice.delete(f"/queues/{damaged.queue_id}")).status_code == 204
        told = (await bob.get(f"/queues/{damaged.queue_id}")).json()
        assert told["detail"].startswith(f"workflow {damaged.queue_id} was removed by alice at ")

        batch = {"symbols": ["BTCUSDT"], "type": "api_candles_1h", "time_range": "2024-08-01"}
        path = f"/batches/{(await alice.post('/batches', json=batch)).json()['batch_id']}"
        await bob.post(f"{path}/stop")
        await look(service.world)
        assert (await bob.delete(path)).status_code == 204
        told = problem(await alice.get(path), 404, "not-found", "batch-unknown")
        assert " was removed by bob@desk-1 at " in told["detail"]

        cron = {"name": "daily", "symbols": ["BTCUSDT"], "type": "api_candles_1d", "cron": "0 0 * * *"}
        assert (await alice.post("/schedules", json={**cron, "time_range": "-9d:"})).status_code == 201
        assert (await alice.delete("/schedules/daily")).status_code == 204
        told = problem(await bob.get("/schedules/daily"), 404, "not-found", "schedule-unknown")
        assert told["detail"].startswith("schedule daily was removed by alice at ")
