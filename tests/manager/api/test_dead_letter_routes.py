from __future__ import annotations

import base64
from typing import Any

import httpx

from streamforge.manager.service import DeadLetter
from tests.doubles.service import ServiceDouble
from tests.manager.api.support import (
    START_MS,
    UNKNOWN,
    problem,
    started,
)


async def test_dead_letters_give_the_original_bytes(client: httpx.AsyncClient, service: ServiceDouble) -> None:
    workflow = await started(service)
    topic = workflow.topic
    origin: dict[str, Any] = {"topic": topic, "partition": 0, "attempt": 1, "time_ms": START_MS}
    service.letters[workflow.queue_id] = [
        DeadLetter(**origin, offset=7, reason="not a candle", key=b"k", value=b'{"open": "nan"}'),
        DeadLetter(**origin, offset=9, reason="not a candle", key=None, value=b"\xff\x00"),
    ]

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


async def test_replay_answers_the_workflow_or_why_not_now(client: httpx.AsyncClient, service: ServiceDouble) -> None:
    workflow = await started(service)
    place = f"/queues/{workflow.queue_id}/dlq/replay"
    problem(await client.post(place), 409, "not-now")

    service.end(workflow.queue_id)
    problem(await client.post(place), 409, "not-now")
    service.letters[workflow.queue_id] = [
        DeadLetter(topic="t", partition=0, offset=0, attempt=1, reason="r", time_ms=START_MS, key=None, value=b"")
    ]
    response = await client.post(place)

    assert (response.status_code, response.json()["status"]) == (202, "running")
    problem(await client.post(f"/queues/{UNKNOWN}/dlq/replay"), 404, "not-found")
