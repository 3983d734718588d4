"""A workflow's history: read page by page, and followed as server-sent events."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from streamforge.manager.api.app import create_app
from streamforge.manager.api.routing import Limits
from streamforge.manager.api.sse import frame, stream
from tests.manager.api.support import LOCAL, client_of, event, problem, started
from tests.manager.memory_service import MemoryService

STREAM = {"Accept": "text/event-stream"}


async def test_history_is_paged_oldest_first(client: httpx.AsyncClient, service: MemoryService) -> None:
    workflow = await started(service)
    for records in (10, 20, 30):
        await service.event(event(workflow, records_written=records))
    place = f"/queues/{workflow.queue_id}/events"

    first = (await client.get(place, params={"limit": 2})).json()
    second = (await client.get(place, params={"limit": 2, "after": first["after"]})).json()
    last = (await client.get(place, params={"after": second["after"]})).json()

    assert first["queue_id"] == workflow.queue_id
    assert [(e["id"], e["event"]["records_written"]) for e in first["events"]] == [(0, 10), (3, 20)]
    assert (first["after"], first["more"]) == (3, True)
    assert [(e["id"], e["event"]["records_written"]) for e in second["events"]] == [(6, 30)]
    assert (second["after"], second["more"]) == (6, False)
    assert (last["events"], last["after"]) == ([], 6)
    assert first["events"][0]["event"]["event"] == "loading"
    assert first["events"][0]["event"]["producer"] == "loader-api-candles__000001"


async def test_what_is_no_event_is_passed_over(client: httpx.AsyncClient, service: MemoryService) -> None:
    workflow = await started(service)
    await service.event(b'{"event": 7}', workflow.queue_id)
    await service.event(event(workflow))

    body = (await client.get(f"/queues/{workflow.queue_id}/events")).json()

    assert [e["id"] for e in body["events"]] == [3]


@pytest.mark.e2e
async def test_the_stream_of_an_ended_workflow_gives_all_and_ends(
    client: httpx.AsyncClient, service: MemoryService
) -> None:
    workflow = await started(service)
    await service.event(event(workflow, "started"))
    await service.event(event(workflow, "finished", finished=True))
    await service.end(workflow.queue_id)

    response = await client.get(f"/queues/{workflow.queue_id}/events", headers=STREAM)

    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    parts = response.text.split("\n\n")
    assert parts[0] == "retry: 2000"
    assert parts[1].startswith('id: 0\ndata: {"event":"started",')
    assert parts[2].startswith('id: 3\ndata: {"event":"finished",')
    assert parts[3] == f'event: end\ndata: {{"queue_id":"{workflow.queue_id}","status":"finished"}}'
    assert parts[4:] == [""]


@pytest.mark.e2e
async def test_the_stream_continues_behind_the_last_event_id(client: httpx.AsyncClient, service: MemoryService) -> None:
    workflow = await started(service)
    for _ in range(3):
        await service.event(event(workflow))
    await service.end(workflow.queue_id)
    place = f"/queues/{workflow.queue_id}/events"

    resumed = await client.get(place, params={"after": -1}, headers={**STREAM, "Last-Event-ID": "3"})
    done = await client.get(place, headers={**STREAM, "Last-Event-ID": "6"})

    assert [line for line in resumed.text.splitlines() if line.startswith("id:")] == ["id: 6"]
    assert (done.status_code, done.content) == (204, b"")


@pytest.mark.parametrize("last", ["-1", "x", "1.5", "٣", "9" * 20, str(2**53)])
async def test_a_bad_last_event_id_is_refused(client: httpx.AsyncClient, service: MemoryService, last: str) -> None:
    workflow = await started(service)

    response = await client.get(
        f"/queues/{workflow.queue_id}/events",
        headers=[(b"Accept", b"text/event-stream"), (b"Last-Event-ID", last.encode())],
    )

    assert problem(response, 422, "invalid-input")["errors"][0]["field"] == "Last-Event-ID"


async def test_a_stream_of_an_unknown_queue_is_404_and_leaves_no_follower(service: MemoryService) -> None:
    app = create_app(service, limits=Limits(followers=1))
    async with client_of(app) as client:
        for _ in range(3):
            response = await client.get("/queues/wf-a-b-000000/events", headers=STREAM)
            problem(response, 404, "not-found")


async def test_silence_is_filled_with_comments_and_what_comes_is_given_at_once(service: MemoryService) -> None:
    workflow = await started(service)
    source = stream(service, workflow.queue_id, after=-1, keep_alive_s=0.01, closing=asyncio.Event())

    assert await anext(source) == b"retry: 2000\n\n"
    assert await anext(source) == b": still here\n\n"
    await service.event(event(workflow))
    assert (await _next_event(source)).startswith(b"id: 0\ndata: ")
    await service.end(workflow.queue_id)
    assert (await _next_event(source)).startswith(b"event: end\n")
    assert [part async for part in source] == []
    assert service.following == 0


def test_a_body_with_line_breaks_stays_one_event() -> None:
    assert frame(b'{\r\n"a": 1\n}', 7) == b'id: 7\ndata: {\ndata: "a": 1\ndata: }\n\n'


async def test_more_followers_than_allowed_are_told_to_come_back(service: MemoryService) -> None:
    workflow = await started(service)
    app = create_app(service, limits=Limits(followers=1))
    app.state.context.followers.enter()
    async with client_of(app) as client:
        response = await client.get(f"/queues/{workflow.queue_id}/events", headers=STREAM)
        body = problem(response, 503, "busy")
        assert response.headers["retry-after"] == "2"
        assert body["instance"] == f"/queues/{workflow.queue_id}/events"
        app.state.context.followers.leave()
        await service.end(workflow.queue_id)
        assert (await client.get(f"{LOCAL}/queues/{workflow.queue_id}/events", headers=STREAM)).status_code == 200
    assert app.state.context.followers.open == 0


async def _next_event(source: object) -> bytes:
    async for part in source:  # type: ignore[attr-defined]
        if not part.startswith(b":"):
            return bytes(part)
    raise AssertionError("the stream ended")
