"""Roles and addresses over every route that there is; a route added later is among them by itself."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Iterator

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute

from streamforge.manager.api import access_routes, plan_routes, queue_routes, topic_input_routes, topic_routes
from streamforge.manager.api.app import create_app
from streamforge.manager.api.guard import OPEN_PATHS, role_needed
from streamforge.manager.api.tokens import Access
from streamforge.manager.bars import routes as bar_routes
from streamforge.manager.batches import routes as batch_routes
from streamforge.manager.catalogue import routes as catalogue_routes
from streamforge.manager.coverage import routes as data_routes
from streamforge.manager.dead_letters import routes as dead_letter_routes
from streamforge.manager.feed import routes as feed_routes
from streamforge.manager.graphs import routes as graph_routes
from streamforge.manager.health import routes as health_routes
from streamforge.manager.logs import routes as log_routes
from streamforge.manager.models import routes as model_routes
from streamforge.manager.schedules import routes as schedule_routes
from streamforge_utils.model.errors import RetryableError
from tests.manager.api.support import OPERATOR, READER, REQUEST, TOKENS, UNKNOWN, candles, client_of, problem, started
from tests.manager.memory_service import MemoryService

VALUES = {
    "queue_id": UNKNOWN,
    "batch_id": "batch-x-20240801-zzzzzz",
    "symbol": "BTCUSDT",
    "type": "api_candles_1m",
    "name": "nothing",
    "graph": "nothing",
    "model": "nothing",
    "file": "model.safetensors",
    "instant": "2024-08-01",
}
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")


def operations(app: FastAPI) -> Iterator[tuple[str, str]]:
    """Method and path of every operation that the app describes, and of its own description."""
    for path, item in app.openapi()["paths"].items():
        for method in item:
            yield method.upper(), re.sub(r"\{(\w+)\}", lambda match: VALUES[match[1]], path)
    yield "GET", "/openapi.json"


APP = create_app(asyncio.run(MemoryService.made()))
ALL = sorted(operations(APP))


def test_the_matrix_holds_every_route() -> None:
    routes = [
        route
        for module in (
            access_routes,
            bar_routes,
            batch_routes,
            queue_routes,
            log_routes,
            dead_letter_routes,
            graph_routes,
            model_routes,
            health_routes,
            topic_input_routes,
            topic_routes,
            plan_routes,
            schedule_routes,
            data_routes,
            feed_routes,
            catalogue_routes,
        )
        for route in module.router.routes
    ]
    served = {(method, route.path) for route in routes if isinstance(route, APIRoute) for method in route.methods or ()}
    described = {(method.upper(), path) for path, item in APP.openapi()["paths"].items() for method in item}

    assert all(isinstance(route, APIRoute) for route in routes)
    assert served == described
    assert len(ALL) == len(served) + 1


@pytest.mark.parametrize(("method", "path"), ALL)
async def test_every_route_asks_for_its_role(service: MemoryService, method: str, path: str) -> None:
    app = create_app(service, tokens=TOKENS)
    app.state.context.followers.closing.set()  # a stream that would never end does so at once
    needs = None if path in OPEN_PATHS else Access.READER if method == "GET" else Access.OPERATOR
    assert role_needed(method, path) is needs

    async def ask(token: str | None) -> httpx.Response:
        async with client_of(app, token, base_url="http://manager.example") as client:
            return await client.request(method, path, json=REQUEST if method in ("POST", "PATCH") else None)

    if needs is None:
        assert (await ask(None)).status_code == 200
        return
    for token in (None, "nobody-knows-this-token", READER[:-1], READER.upper()):
        answer = await ask(token)
        body = problem(answer, 401, "unauthorized")
        assert answer.headers["www-authenticate"].startswith('Bearer realm="streamforge"')
        assert "Authorization: Bearer" in body["next_step"]
    reader = await ask(READER)
    if needs is Access.OPERATOR:
        body = problem(reader, 403, "forbidden")
        assert "reader" in body["detail"]
        assert "operator" in body["next_step"]
    else:
        assert reader.status_code in (200, 404, 422)
    assert (await ask(OPERATOR)).status_code in (200, 202, 404, 422)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("path", ["/nothing", "/queues", "/healthz/", "//healthz", "/healthz/../queues", "/HEALTHZ"])
async def test_nothing_is_told_to_whom_is_not_known(service: MemoryService, method: str, path: str) -> None:
    async with client_of(create_app(service, tokens=TOKENS)) as client:
        assert (await client.request(method, f"http://127.0.0.1{path}")).status_code == 401


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        f"Basic {OPERATOR}",
        OPERATOR,
        f"Bearer{OPERATOR}",
        f"Bearer {OPERATOR} x",
        "Bearer \xff",
    ],
)
async def test_a_malformed_authorization_is_401(service: MemoryService, header: str) -> None:
    async with client_of(create_app(service, tokens=TOKENS)) as client:
        answer = await client.get("/queues", headers={b"Authorization": header.encode("latin-1")})
        problem(answer, 401, "unauthorized")
        problem(await client.get(f"/queues?token={OPERATOR}"), 401, "unauthorized")
        assert (await client.get("/queues", headers={"Authorization": f"bEARER {READER}"})).status_code == 200


async def test_tokens_are_in_no_log_and_no_answer(service: MemoryService, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    service.world.store.failing = RuntimeError("something unforeseen")
    app = create_app(service, tokens=TOKENS)
    async with client_of(app, OPERATOR) as client:
        answers = [
            await client.get("/queues"),
            await client.post("/queues/start", json={**REQUEST, "x": 1}),
            await client.post("/queues/start", content=b"{"),
            await client.get(f"/queues?cursor={OPERATOR}"),
        ]

    assert [answer.status_code for answer in answers] == [500, 422, 415, 500]
    for answer in answers:
        assert OPERATOR not in answer.text
    assert "something unforeseen" in caplog.text
    assert f"Bearer {OPERATOR}" not in caplog.text
    assert OPERATOR not in "".join(record.getMessage() for record in caplog.records if record.name != "httpx")


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:8080", "localhost:9", "[::1]:8080", "[::1]", "LocalHost", "127.8.8.8:1"]
)
async def test_without_tokens_this_machine_is_served(service: MemoryService, host: str) -> None:
    async with client_of(create_app(service)) as client:
        assert (await client.get("/queues", headers={"Host": host})).status_code == 200
        assert (await client.post("/queues/start", json=REQUEST, headers={"Host": host})).status_code == 202


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8080",
        "10.0.0.1",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "",
        "[::1",
        "::1:",
    ],
)
async def test_without_tokens_another_name_is_refused(service: MemoryService, host: str) -> None:
    async with client_of(create_app(service)) as client:
        answer = await client.get("/queues", headers={"Host": host})
        assert "127.0.0.1" in problem(answer, 403, "forbidden")["next_step"]
        assert (await client.get("/healthz", headers={"Host": host})).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:3000"},
        {"Origin": "http://127.0.0.1:8080.evil.example"},
        {"Origin": "http://[::1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": "http://127.0.0.1:8080"},
    ],
)
async def test_without_tokens_a_web_page_from_elsewhere_changes_nothing(
    service: MemoryService, headers: dict[str, str]
) -> None:
    async with client_of(create_app(service)) as client:
        for method, path in ALL:
            if method != "GET":
                answer = await client.request(method, path, json=REQUEST, headers=headers)
                problem(answer, 403, "forbidden")
        answer = await client.get("/queues", headers=headers)
        assert await service.ids() == []
        ours = {"Origin": "http://127.0.0.1:8080", "Sec-Fetch-Site": "same-origin"}
        assert (await client.post("/queues/start", json=REQUEST, headers=ours)).status_code == 202
    assert "access-control-allow-origin" not in answer.headers


async def test_every_answer_forbids_sniffing_caching_and_framing(client: httpx.AsyncClient) -> None:
    for path in ("/queues", "/nothing"):
        headers = (await client.get(path)).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
        assert "default-src 'none'" in headers["content-security-policy"]


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
