from __future__ import annotations

import base64
from typing import Any

import httpx

from streamforge.manager.service import DeadLetter
from tests.manager.api.support import (
    START_MS,
    UNKNOWN,
    problem,
    running,
    started,
)
from tests.manager.memory_service import MemoryService


async def test_dead_letters_give_the_original_bytes(client: httpx.AsyncClient, service: MemoryService) -> None:
    workflow = await started(service)
    topic = workflow.topic
    origin: dict[str, Any] = {"topic": topic, "partition": 0, "attempt": 1, "time_ms": START_MS}
    letters = [
        DeadLetter(**origin, offset=7, reason="not a candle", key=b"k", value=b'{"open": "nan"}'),
        DeadLetter(**origin, offset=9, reason="not a candle", key=None, value=b"\xff\x00"),
    ]
    await service.refuse(workflow, letters)

    body = (await client.get(f"/queues/{workflow.queue_id}/dlq")).json()
    first = (await client.get(f"/queues/{workflow.queue_id}/dlq?limit=1")).json()

    text, raw = body["dead_letters"]
    assert text == {
        "topic": topic,
        "partition": 0,
        "offset": 7,
        "attempt": 1,
        "reason": "not a candle",
        "time": "2024-08-01T00:00:00Z",
        "encoding": "utf-8",
        "key": "k",
        "value": '{"open": "nan"}',
    }
    assert (raw["encoding"], raw["key"], base64.b64decode(raw["value"])) == ("base64", None, b"\xff\x00")
    assert first["dead_letters"] == [text]


async def test_replay_answers_the_workflow_or_why_not_now(client: httpx.AsyncClient, service: MemoryService) -> None:
    workflow = running(await started(service))
    await service.put(workflow)
    place = f"/queues/{workflow.queue_id}/dlq/replay"
    problem(await client.post(place), 409, "not-now")

    await service.end(workflow.queue_id)
    problem(await client.post(place), 409, "not-now")
    letter = DeadLetter(topic="t", partition=0, offset=0, attempt=1, reason="r", time_ms=START_MS, key=None, value=b"")
    await service.refuse(workflow, [letter])
    response = await client.post(place)

    assert (response.status_code, response.json()["status"]) == (202, "pending")
    problem(await client.post(f"/queues/{UNKNOWN}/dlq/replay"), 404, "not-found")
