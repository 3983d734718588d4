from __future__ import annotations

import httpx
import pytest

from streamforge.manager.engine.document import Status
from streamforge.manager.workflows.series.model import loaded_series
from streamforge_utils.model.coverage import Segment, Verdict
from streamforge_utils.model.messages import Command
from streamforge_utils.model.series import Series
from tests.doubles.candles import candle
from tests.manager.api.support import (
    COLLECTION,
    DAY_MS,
    SEGMENTS,
    START_MS,
    UNKNOWN,
    event,
    failed,
    problem,
    replace,
    running,
    started,
)
from tests.manager.memory_service import MemoryService


async def test_show_gives_steps_attempts_and_progress_with_values(
    client: httpx.AsyncClient, service: MemoryService
) -> None:
    workflow = running(await started(service))
    await service.put(workflow)

    body = (await client.get(f"/queues/{workflow.queue_id}")).json()

    assert body["status"] == "running"
    assert body["progress"] == {
        "records_expected": 1440,
        "records_stored": 720,
        "records_there": 0,
        "records_refused": 0,
        "share": 0.5,
        "rate": 144.0,
        "eta_seconds": 5.0,
    }
    assert body["coverage"] is None
    step = body["steps"][1]
    assert step["records"] == 720
    assert step["attempts"] == [
        {
            "number": 1,
            "job": "job-loader-api-candles-btcusdt-000001",
            "status": "running",
            "started_at": "2024-08-02T12:00:01.501Z",
            "ended_at": None,
            "seen_at": "2024-08-02T12:00:06.001Z",
            "progress": {
                "records": 720,
                "rate": 144.0,
                "share": 0.5,
                "lag": 3,
                "position": None,
                "unchanged": 0,
                "stale": 0,
                "refused": 0,
                "waiting": "weight",
                "waiting_until": "2024-08-02T12:01:00Z",
            },
            "message": "",
            "last_word": None,
            "exit_code": None,
            "signal": None,
            "error": None,
            "reason": None,
            "stop_reason": None,
            "ranges": [],
        }
    ]
    assert body["links"] == {
        "self": f"/queues/{workflow.queue_id}",
        "events": f"/queues/{workflow.queue_id}/events",
        "coverage": f"/queues/{workflow.queue_id}/coverage",
        "records": "/collections/btcusdt_api_candles_1m_2024_08_01/records",
        "dead_letters": f"/queues/{workflow.queue_id}/dlq",
    }


async def test_a_failed_workflow_says_why_and_what_to_do_and_what_its_proof_found(
    client: httpx.AsyncClient, service: MemoryService
) -> None:
    workflow = failed(await started(service), SEGMENTS)
    await service.put(workflow)
    await service.know(loaded_series(workflow), SEGMENTS)

    body = (await client.get(f"/queues/{workflow.queue_id}")).json()

    assert body["failure"] == {
        "reason": "arango-candles: 3 attempts failed",
        "next_step": "look at the store, then retry",
        "code": "attempts-failed",
    }
    assert body["ended_at"] == "2024-08-02T12:00:10.001Z"
    attempt = body["steps"][0]["attempts"][0]
    assert (attempt["status"], attempt["last_word"], attempt["exit_code"]) == ("error", "error", 1)
    assert attempt["error"] == "the store does not answer"
    assert attempt["reason"] == "exit code 1: the store does not answer"
    assert body["coverage"] == {
        "complete": False,
        "checked_at": "2024-08-02T12:00:09.501Z",
        "round": 1,
        "records_expected": 1440,
        "records_stored": 1000,
        "verdicts": [
            {"verdict": "stored", "segments": 1, "seconds": 60_000.0, "records": 1000},
            {"verdict": "exchange", "segments": 1, "seconds": 600.0, "records": 0},
            {"verdict": "ours", "segments": 1, "seconds": 25_800.0, "records": 0},
        ],
    }
    left = tuple(replace(step, left=7, left_at_least=True) for step in workflow.steps)
    await service.put(replace(workflow, steps=left))
    step = (await client.get(f"/queues/{workflow.queue_id}")).json()["steps"][0]
    assert (step["messages_left"], step["messages_left_at_least"]) == (7, True)
    assert body["progress"]["records_stored"] == 1000
    assert body["progress"]["eta_seconds"] is None


async def test_list_filters_by_status_symbol_and_type(client: httpx.AsyncClient, service: MemoryService) -> None:
    first = await started(service)
    second = await started(service, symbol="ETHUSDT")
    third = await started(service, symbol="ETHUSDT", type="api_candles_1h")
    await service.put(running(second))
    await service.end(third.queue_id, Status.INTERRUPTED)

    async def found(query: str) -> list[str]:
        response = await client.get(f"/queues{query}")
        assert response.status_code == 200, response.text
        return [item["queue_id"] for item in response.json()["queues"]]

    assert await found("") == [third.queue_id, second.queue_id, first.queue_id]
    assert await found("?status=running") == [second.queue_id]
    assert await found("?status=running&status=pending") == [second.queue_id, first.queue_id]
    assert await found("?symbol=ethusdt") == [third.queue_id, second.queue_id]
    assert await found("?symbol=ETHUSDT&type=api_candles_1h&status=interrupted") == [third.queue_id]
    assert await found("?status=error") == []


async def test_paging_gives_each_workflow_once(client: httpx.AsyncClient, service: MemoryService) -> None:
    expected = [(await started(service, time_range=f"2024-07-0{day}")).queue_id for day in range(1, 8)][::-1]

    found: list[str] = []
    cursor: str | None = ""
    pages = 0
    while cursor is not None:
        query = {"limit": "3", **({"cursor": cursor} if cursor else {})}
        page = (await client.get("/queues", params=query)).json()
        found += [item["queue_id"] for item in page["queues"]]
        cursor = page["cursor"]
        pages += 1

    assert found == expected
    assert pages == 3


async def test_remove_takes_an_ended_workflow_and_its_records_only_if_asked(
    client: httpx.AsyncClient, service: MemoryService
) -> None:
    workflow = await started(service)
    other = await started(service, symbol="ETHUSDT")
    for found in (workflow, other):
        await service.store(found.collection, [candle(START_MS, symbol=found.symbol)])
        await service.know(loaded_series(found), [replace(SEGMENTS[0], collection=found.collection)])

    body = problem(await client.delete(f"/queues/{workflow.queue_id}"), 409, "not-now")
    assert "pending" in body["detail"]

    await service.end(workflow.queue_id)
    await service.end(other.queue_id)
    kept = await client.delete(f"/queues/{workflow.queue_id}")
    gone = await client.delete(f"/queues/{other.queue_id}?data=true")

    assert (kept.status_code, kept.content, gone.status_code) == (204, b"", 204)
    assert await service.collections() == [workflow.collection]
    problem(await client.get(f"/queues/{workflow.queue_id}"), 404, "not-found")


async def test_stop_and_retry_answer_the_workflow_or_say_why_not_now(
    client: httpx.AsyncClient, service: MemoryService
) -> None:
    workflow = await started(service)
    place = f"/queues/{workflow.queue_id}"

    problem(await client.post(f"{place}/retry"), 409, "not-now")
    stopped = await client.post(f"{place}/stop")
    assert (stopped.status_code, stopped.json()["status"]) == (202, "stopping")
    assert (await client.post(f"{place}/stop")).status_code == 202

    await service.end(workflow.queue_id, Status.INTERRUPTED)
    assert "interrupted" in problem(await client.post(f"{place}/stop"), 409, "not-now")["detail"]
    retried = await client.post(f"{place}/retry")
    assert (retried.status_code, retried.json()["status"]) == (202, "pending")


async def test_ping_gives_seconds_by_telemetry_id(
    client: httpx.AsyncClient, service: MemoryService, monkeypatch: pytest.MonkeyPatch
) -> None:
    workflow = running(await started(service))
    await service.put(workflow)
    reconciler = service.world.reconciler

    async def answered_by_the_sink(command: Command) -> None:
        service.clock.advance(0.012)
        for listen in reconciler.listeners:
            listen(event(workflow, "pong", status=None, producer="arango-candles__000001", ping_ts=command.sent_at))

    monkeypatch.setattr(reconciler.executor, "send", answered_by_the_sink)
    response = await client.post(f"/queues/{workflow.queue_id}/ping", params={"timeout_s": 0.05})

    assert response.json() == {
        "queue_id": workflow.queue_id,
        "answers": {"arango-candles__000001": pytest.approx(0.012), "loader-api-candles__000001": None},
    }


@pytest.mark.parametrize(
    "queue_id", [UNKNOWN, "wf-", "a%0d%0aX-Evil:1", "..%2f..%2fetc", "%00", "x" * 5000, "%F0%9F%98%80"]
)
@pytest.mark.parametrize(
    ("method", "rest"),
    [
        ("GET", ""),
        ("DELETE", ""),
        ("GET", "/events"),
        ("POST", "/stop"),
        ("POST", "/ping"),
        ("POST", "/retry"),
        ("GET", "/coverage"),
        ("GET", "/dlq"),
        ("POST", "/dlq/replay"),
    ],
)
async def test_an_unknown_queue_is_404_everywhere(
    client: httpx.AsyncClient, method: str, rest: str, queue_id: str
) -> None:
    response = await client.request(method, f"/queues/{queue_id}{rest}")
    assert "\r" not in problem(response, 404, "not-found")["instance"]
    assert "x-evil" not in response.headers


async def test_coverage_of_a_workflow_gives_segments_and_sums(
    client: httpx.AsyncClient, service: MemoryService
) -> None:
    workflow = await started(service)
    await service.know(loaded_series(workflow), SEGMENTS)

    body = (await client.get(f"/queues/{workflow.queue_id}/coverage")).json()

    assert (body["queue_id"], body["symbol"], body["type"]) == (workflow.queue_id, "BTCUSDT", "api_candles_1m")
    assert body["complete"] is False
    assert [(v["verdict"], v["segments"], v["seconds"], v["records"]) for v in body["verdicts"]] == [
        ("stored", 1, 60_000.0, 1000),
        ("exchange", 1, 600.0, 0),
        ("ours", 1, 25_800.0, 0),
    ]
    assert body["segments"][0] == {
        "start": "2024-08-01T00:00:00Z",
        "end": "2024-08-01T16:40:00Z",
        "start_ms": START_MS,
        "end_ms": START_MS + 60_000_000,
        "verdict": "stored",
        "collection": COLLECTION,
        "records": 1000,
    }


async def test_coverage_of_a_series_is_all_or_the_range_asked_for(
    client: httpx.AsyncClient, service: MemoryService
) -> None:
    whole_day = Segment(start_ms=START_MS, end_ms=START_MS + DAY_MS, verdict=Verdict.STORED, collection=COLLECTION)
    await service.know(Series("BTCUSDT", "candles", "1m"), [whole_day])

    whole = (await client.get("/coverage/btcusdt/api_candles_1m")).json()
    part = (await client.get("/coverage/BTCUSDT/api_candles_1m?time_range=2024-08-01T12:00Z:2024-08-03")).json()
    life = (await client.get("/coverage/BTCUSDT/api_candles_1m?life=true")).json()
    nothing = await client.get("/coverage/ETHUSDT/api_candles_1m")
    both = await client.get("/coverage/BTCUSDT/api_candles_1m?life=true&time_range=2024-08")

    assert (whole["queue_id"], whole["symbol"], whole["complete"]) == (None, "BTCUSDT", True)
    assert [(s["verdict"], s["start"], s["end"]) for s in part["segments"]] == [
        ("stored", "2024-08-01T12:00:00Z", "2024-08-02T00:00:00Z"),
        ("unknown", "2024-08-02T00:00:00Z", "2024-08-02T12:00:00Z"),
        ("pending", "2024-08-02T12:00:00Z", "2024-08-03T00:00:00Z"),
    ]
    assert part["complete"] is False
    assert whole["span"] == {
        "basis": "asked",
        "start": "2024-08-01T00:00:00Z",
        "end": "2024-08-02T00:00:00Z",
        "start_ms": START_MS,
        "end_ms": START_MS + DAY_MS,
    }
    assert (part["span"]["basis"], life["span"]["basis"], part["segments"][0]["records"]) == ("range", "life", 720)
    problem(nothing, 404, "not-found")
    assert problem(both, 422, "invalid-input")["errors"][0]["field"] == "life"
