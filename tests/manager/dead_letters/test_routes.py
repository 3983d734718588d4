"""The routes of dead letters."""

from __future__ import annotations

import base64
from typing import Any

import httpx
import pytest

from streamforge.manager.dead_letters import service as dead_letter_service
from streamforge.manager.use_cases import DeadLetter
from streamforge_utils.model.topic_reading import PartitionRange
from tests.manager.api.support import START_MS, UNKNOWN, problem, replace, running, started
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
        "target": None,
        "attempt": 1,
        "reason": "not a candle",
        "code": "other",
        "time": "2024-08-01T00:00:00Z",
        "encoding": "utf-8",
        "key": "k",
        "value": '{"open": "nan"}',
        "size": 15,
        "cut": False,
    }
    assert (raw["encoding"], raw["key"], base64.b64decode(raw["value"])) == ("base64", None, b"\xff\x00")
    assert (first["dead_letters"], first["outstanding"], body["after"]) == ([text], 2, None)
    path = f"/queues/{workflow.queue_id}/dlq"
    rest = (await client.get(f"{path}?limit=1&after={first['after']}&value_bytes=1")).json()
    (last,) = rest["dead_letters"]
    assert (last["offset"], base64.b64decode(last["value"]), last["size"], last["cut"]) == (9, b"\xff", 2, True)
    assert (rest["outstanding"], rest["after"]) == (2, None)
    for bad in ("x", "0:1,", "0:1:2"):
        problem(await client.get(f"{path}?after={bad}"), 422, "invalid-input")


async def test_dead_letters_are_filtered_by_why_and_when_they_were_refused(
    client: httpx.AsyncClient, service: MemoryService
) -> None:
    workflow = await started(service)
    origin: dict[str, Any] = {"topic": workflow.topic, "partition": 0, "time_ms": START_MS, "key": None, "value": b""}
    reasons = ["not a record of candles: A", "the key 'x' is not legal: y", "not a record of candles: B"]
    letters = [DeadLetter(**origin, offset=n, attempt=n, reason=reason) for n, reason in enumerate(reasons)]
    await service.refuse(workflow, letters)
    path = f"/queues/{workflow.queue_id}/dlq"

    async def offsets(query: str) -> list[int]:
        return [one["offset"] for one in (await client.get(f"{path}?{query}")).json()["dead_letters"]]

    assert await offsets("code=not-a-record") == [0, 2]
    assert await offsets("code=not-a-record&reason=CANDLES:%20b") == [2]
    assert await offsets("reason=legal") == [1]
    assert await offsets("since_attempt=1") == [1, 2]
    assert (await client.get(f"{path}?reason=legal")).json()["outstanding"] == 3
    problem(await client.get(f"{path}?code=none"), 422, "invalid-input")
    (counted,) = (await client.get("/dead-letters?limit=1")).json()["workflows"]
    assert (counted["queue_id"], counted["outstanding"], [one["count"] for one in counted["reasons"]]) == (
        workflow.queue_id,
        3,
        [2, 1],
    )
    problem(await client.get("/dead-letters?limit=101"), 422, "invalid-input")


async def test_text_that_is_cut_ends_with_a_whole_character(client: httpx.AsyncClient, service: MemoryService) -> None:
    workflow = await started(service)
    origin: dict[str, Any] = {"topic": "t", "partition": 0, "attempt": 1, "time_ms": START_MS, "reason": "r"}
    await service.refuse(workflow, [DeadLetter(**origin, offset=7, key=None, value="aé".encode())])
    (found,) = (await client.get(f"/queues/{workflow.queue_id}/dlq?value_bytes=2")).json()["dead_letters"]
    assert (found["encoding"], found["value"], found["size"], found["cut"]) == ("utf-8", "a", 3, True)


async def test_chosen_letters_are_replayed_and_what_does_not_wait_is_left_out(
    client: httpx.AsyncClient, service: MemoryService
) -> None:
    workflow = running(await started(service))
    await service.put(workflow)
    await service.end(workflow.queue_id)
    origin: dict[str, Any] = {"topic": workflow.topic, "partition": 0, "attempt": 1, "time_ms": START_MS, "reason": "r"}
    await service.refuse(workflow, [DeadLetter(**origin, offset=n, key=None, value=b"") for n in range(1200)])
    path = f"/queues/{workflow.queue_id}/dlq/replay"

    def of(*offsets: int, **more: object) -> dict[str, Any]:
        return {"letters": [{"topic": workflow.topic, "partition": 0, "offset": n, **more} for n in offsets]}

    assert "waits" in problem(await client.post(path, json=of(1200)), 409, "not-now")["detail"]
    for bad in (of(), of(-1), of(1, more=2), {}, of(*range(501))):
        problem(await client.post(path, json=bad), 422, "invalid-input")
    problem(await client.post(path, content=b"{", headers={"Content-Type": "application/json"}), 400, "malformed-json")
    problem(await client.post(path, content=b"{}"), 415, "unsupported-media-type")
    response = await client.post(path, json=of(1199, 3, 5000))
    assert (response.status_code, response.json()["status"]) == (202, "pending")
    sinks = [one for one in (await service.get(workflow.queue_id)).steps if one.replay]
    assert [one.letters for one in sinks] == [("0:3:4", "0:1199:1200")]


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


async def test_too_many_ranges_of_replayed_letters_are_refused_before_anything_starts(
    client: httpx.AsyncClient, service: MemoryService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_letter_service, "MOST_RANGES", 2)
    workflow = replace(running(await started(service)), letters_read=(PartitionRange(0, 0, 1), PartitionRange(0, 4, 5)))
    await service.put(workflow)
    await service.end(workflow.queue_id)
    origin: dict[str, Any] = {"topic": "t", "partition": 0, "attempt": 1, "time_ms": START_MS, "reason": "r"}
    await service.refuse(workflow, [DeadLetter(**origin, offset=n, key=None, value=b"") for n in range(8)])
    path = f"/queues/{workflow.queue_id}/dlq/replay"

    def of(*offsets: int) -> dict[str, Any]:
        return {"letters": [{"topic": "t", "partition": 0, "offset": n} for n in offsets]}

    refused = problem(await client.post(path, json=of(2)), 409, "not-now")
    assert "replay all of its dead letters" in refused["detail"]
    assert "waits" in problem(await client.post(path, json=of(4)), 409, "not-now")["detail"], "it was replayed"
    assert (await client.post(path, json=of(1, 5))).status_code == 202
    again = await service.get(workflow.queue_id)
    assert [one.letters for one in again.steps if one.replay] == [("0:1:2", "0:5:6")]
    assert again.letters_read == workflow.letters_read
