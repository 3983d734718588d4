"""HEAD answers as GET does, without a body; an address with a slash at its end leads to the one without."""

from __future__ import annotations

import httpx
import pytest

from streamforge.manager.api.app import create_app
from streamforge_utils.model.errors import RetryableError
from tests.manager.api.support import READER, REQUEST, TOKENS, candles, client_of, started
from tests.manager.memory_service import MemoryService


@pytest.mark.parametrize(
    ("path", "status"),
    [("/readyz", 200), ("/healthz", 200), ("/queues", 200), ("/", 200), ("/nothing", 404), ("/queues/start", 405)],
)
async def test_head_answers_as_get_without_a_body(service: MemoryService, path: str, status: int) -> None:
    async with client_of(create_app(service)) as client:
        head, get = await client.head(path), await client.get(path)
    assert (head.status_code, head.content) == (status, b"")
    assert get.status_code == status
    assert {name: value for name, value in head.headers.items() if name != "date"} == dict(get.headers)


async def test_head_tells_when_something_does_not_work_and_needs_what_get_needs(service: MemoryService) -> None:
    service.world.bus.failing = RetryableError("it is away")
    async with client_of(create_app(service, tokens=TOKENS)) as stranger:
        answer = await stranger.head("/readyz")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        assert (await stranger.head("/queues")).status_code == 401
    async with client_of(create_app(service, tokens=TOKENS), READER) as reader:
        assert (await reader.head("/queues")).status_code == 200


async def test_head_of_a_stream_ends_before_the_stream_is_made(service: MemoryService) -> None:
    workflow = await started(service)
    await service.store(workflow.collection, candles(3))
    async with client_of(create_app(service)) as client:
        path = f"/collections/{workflow.collection}/records?limit=all&format=csv"
        whole = await client.head(path)
        live = await client.head(f"/queues/{workflow.queue_id}/events", headers={"Accept": "text/event-stream"})
    assert (whole.status_code, whole.headers["content-type"], whole.content) == (200, "text/csv; charset=utf-8", b"")
    assert (live.status_code, live.content) == (200, b"")


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("/queues/", "/queues"),
        ("/queues/?status=running&limit=1", "/queues?status=running&limit=1"),
        ("/docs/", "/docs"),
        ("//example.org/", "/example.org"),
        ("/symbols/%E8%BF%99/", "/symbols/%E8%BF%99"),
    ],
)
async def test_a_slash_at_the_end_leads_to_the_address_without(service: MemoryService, path: str, place: str) -> None:
    async with client_of(create_app(service)) as client:
        answer = await client.send(httpx.Request("GET", httpx.URL("http://127.0.0.1:8080", raw_path=path.encode())))
    assert (answer.status_code, answer.headers["location"]) == (308, place)


async def test_what_was_sent_arrives_behind_the_redirect(service: MemoryService) -> None:
    async with client_of(create_app(service)) as client:
        answer = await client.post("/queues/start/", json=REQUEST, follow_redirects=True)
    assert answer.status_code == 202
