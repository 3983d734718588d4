"""All that goes wrong is told in one form, says what to do, and never how the code looks inside."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from streamforge.manager.api.app import create_app
from streamforge.manager.api.error_answers import field_path
from streamforge.manager.api.routing import Limits
from streamforge.manager.engine.refusals import NotFound, NotNow
from streamforge.manager.use_cases import KeyReused
from streamforge_utils.model.errors import (
    ConfigError,
    ConflictError,
    InvalidInput,
    PermanentError,
    RetryableError,
    StreamForgeError,
)
from tests.limits import LIMIT_S
from tests.manager.api.support import (
    COLLECTION,
    LOCAL,
    REQUEST,
    TOKENS,
    UNKNOWN,
    candles,
    client_of,
    problem,
    started,
)
from tests.manager.memory_service import MemoryService

JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("error", "status", "kind", "retry_after"),
    [
        (NotFound("there is none"), 404, "not-found", None),
        (NotNow("it is running"), 409, "not-now", None),
        (KeyReused("it came before"), 422, "idempotency-key-reused", None),
        (InvalidInput("symbol", "symbol 'x' is none"), 422, "invalid-input", None),
        (RetryableError("the store does not answer"), 503, "unavailable", "5"),
        (RetryableError("the store does not answer", retry_after=0.2), 503, "unavailable", "1"),
        (RetryableError("the store does not answer", retry_after=61.5), 503, "unavailable", "62"),
        (RetryableError("the store does not answer", retry_after=1e300), 503, "unavailable", "86400"),
        (ConflictError("it changed 50 times"), 503, "busy", "1"),
        (ConfigError("a document of another version"), 503, "configuration", None),
        (PermanentError("the exchange refuses"), 422, "not-possible", None),
        (StreamForgeError("?"), 500, "internal-error", None),
        (RuntimeError("secret detail"), 500, "internal-error", None),
        (RecursionError(), 500, "internal-error", None),
    ],
)
async def test_what_the_service_raises_becomes_its_problem(
    client: httpx.AsyncClient,
    service: MemoryService,
    error: Exception,
    status: int,
    kind: str,
    retry_after: str | None,
) -> None:
    service.world.store.failing = error

    response = await client.get("/collections")

    body = problem(response, status, kind)
    assert response.headers.get("retry-after") == retry_after
    assert body["instance"] == "/collections"
    assert "secret detail" not in response.text
    if status < 500 or status == 503:
        assert body["detail"] == str(error)


async def test_names_that_may_have_been_meant_are_in_the_problem(
    client: httpx.AsyncClient, service: MemoryService
) -> None:
    service.world.store.failing = NotFound("nothing is known of A", meant=["B", "C\n"])
    assert problem(await client.get("/collections"), 404, "not-found")["did_you_mean"] == ["B", "C\ufffd"]
    service.world.store.failing = NotFound("nothing is known of A")
    assert problem(await client.get("/collections"), 404, "not-found")["did_you_mean"] == []


async def test_an_unexpected_failure_is_logged_under_the_incident_that_the_client_sees(
    client: httpx.AsyncClient, service: MemoryService, caplog: pytest.LogCaptureFixture
) -> None:
    service.world.store.failing = ZeroDivisionError("secret detail")

    body = problem(await client.get("/queues"), 500, "internal-error")

    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    incident = record.getMessage().split()[1].rstrip(":")
    assert incident in body["detail"]
    assert record.exc_info is not None


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "the body is not JSON: it is empty"),
        (b" \n", "the body is not JSON: it is empty"),
        (b"{", "it ends too early, after '{'"),
        (b"{'symbol': 1}", "object keys must be strings at byte 1, after '{'"),
        (b'{"symbol": NaN}', "invalid character at byte 11, after '{\"symbol\": '"),
        (b'{"symbol": "BTCUSDT",}', 'trailing comma in object at byte 21, after \'{"symbol": "BTCUSDT",\''),
        (b"symbol=BTCUSDT", "invalid character at byte 0, at its beginning"),
        (b'{"again": 1e999}', "range"),
        (b'{"symbol": "\\ud800"}', "body"),
        (b"\xff\xfe", "byte"),
        (b"[" * 100_000, "nested"),
        (b'{"a":' * 40_000 + b"1" + b"}" * 40_000, "nested"),
        (b"9" * 5_000, "range"),
        (b"null null", "trailing"),
    ],
)
@pytest.mark.parametrize("path", ["/queues/start", "/queues/start-pipeline"])
async def test_what_is_not_json_is_400_and_says_where(
    client: httpx.AsyncClient, path: str, body: bytes, said: str
) -> None:
    found = problem(await client.post(path, content=body, headers=JSON), 400, "malformed-json")

    assert said in found["detail"]
    assert found["title"] == "The body is not JSON"
    assert "malformed" not in found["detail"].lower()
    assert found["errors"][0]["field"] == "body"


@pytest.mark.parametrize("kind", ["", "text/plain", "application/x-www-form-urlencoded", "application/jsonx", ";;,"])
async def test_a_body_that_is_not_called_json_is_415(
    client: httpx.AsyncClient, service: MemoryService, kind: str
) -> None:
    response = await client.post("/queues/start", content=json.dumps(REQUEST), headers={"Content-Type": kind})

    problem(response, 415, "unsupported-media-type")
    assert await service.ids() == []


async def test_deep_nesting_in_parameters_is_refused(client: httpx.AsyncClient) -> None:
    deep: Any = 1
    for _ in range(200):
        deep = {"a": deep}

    response = await client.post("/queues/start", json={**REQUEST, "parameters": {"arango-candles": deep}})

    problem(response, 422, "invalid-input")


async def test_an_error_names_at_most_fifty_inputs(client: httpx.AsyncClient) -> None:
    response = await client.post("/queues/start", json={**REQUEST, **{f"x{index}": 1 for index in range(500)}})

    body = problem(response, 422, "invalid-input")
    assert len(body["errors"]) == 50
    assert "499 more" in body["detail"]


async def test_a_huge_name_is_cut_where_it_is_shown(client: httpx.AsyncClient) -> None:
    response = await client.post("/queues/start", json={**REQUEST, "x" * 100_000: 1})

    assert len(response.content) < 2_000
    assert len((await client.get("/" + "x" * 20_000)).content) < 1_000


@pytest.mark.parametrize("path", ["/nothing", "/Queues", "//queues", "/queues/a/b/c", "/%00", "/%ff"])
async def test_an_unknown_path_is_404(client: httpx.AsyncClient, path: str) -> None:
    problem(await client.get(LOCAL + path), 404, "not-found")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/queues", "GET"),
        ("TRACE", "/queues", "GET"),
        ("OPTIONS", "/queues", "GET"),
        ("PUT", f"/queues/{UNKNOWN}", "DELETE, GET"),
        ("POST", f"/queues/{UNKNOWN}", "DELETE, GET"),
        ("GET", "/queues/start", "POST"),
        ("DELETE", "/queues/start-pipeline", "POST"),
        ("GET", f"/queues/{UNKNOWN}/stop", "POST"),
        ("POST", "/", "GET"),
        ("POST", "/openapi.json", "GET, HEAD"),
    ],
)
async def test_another_method_is_405_and_the_right_ones_are_named(
    client: httpx.AsyncClient, method: str, path: str, allowed: str
) -> None:
    response = await client.request(method, path)

    found = problem(response, 405, "method-not-allowed")
    assert response.headers["allow"] == allowed
    assert found["detail"] == f"{method} {path} is not possible: the path takes {allowed}"


RECORDS = f"/collections/{COLLECTION}/records"
EVIL = "%F0%9F%98%80%00%0d%0aX-Evil:%201"
QUERIES = [
    ("GET", "/queues?limit=0", "limit", "it is '0', it must be at least 1"),
    ("GET", "/queues?limit=1001", "limit", "it must be at most 1000"),
    ("GET", "/queues?limit=many", "limit", "it is 'many', it must be a whole number"),
    ("GET", "/queues?status=asleep", "status[0]", "it is 'asleep', it must be 'pending', 'running'"),
    ("GET", "/queues?symbol=%00", "symbol", "symbol"),
    ("GET", "/queues?type=klines", "type", "type 'klines' is not known"),
    ("GET", "/queues?cursor=nonsense", "cursor", "cursor"),
    ("GET", f"/queues?cursor={EVIL}", "cursor", "cursor"),
    ("GET", f"/queues?cursor={'x' * 501}", "cursor", "it must have at most 500 characters"),
    *(("POST", f"/queues/{UNKNOWN}/ping?timeout_s={n}", "timeout_s", "") for n in ("0", "31", "nan", "inf", "-1")),
    *(("GET", f"/queues/{UNKNOWN}/events?after={n}", "after", "") for n in ("-2", "1e3", str(2**53), "x")),
    ("GET", "/coverage/BTCUSDT/api_candles_1m?time_range=x", "time_range", "time_range 'x' is not understood"),
    ("GET", f"{RECORDS}?limit=10001", "limit", "it must be at most 10000 or 'all'"),
    ("GET", f"{RECORDS}?limit=many", "limit", "it is 'many', it must be a whole number or 'all'"),
    *(("GET", f"{RECORDS}?after={key}", "after", "") for key in ("", "%00", EVIL, "x" * 501)),
    ("GET", f"{RECORDS}?format=xlsx", "format", "it is 'xlsx', it must be 'json'"),
    ("GET", f"{RECORDS}?time=utc", "time", "it is 'utc', it must be 'ms' or 'iso'"),
    ("GET", f"{RECORDS}?time_range=2024-13", "time_range", "'2024-13' is no date"),
    ("GET", f"{RECORDS}?symbol=BTCUSDT", "type", "type is lacking: a series has a symbol and a type"),
    ("GET", f"{RECORDS}?type=api_candles_1m", "symbol", "symbol is lacking"),
    ("GET", f"{RECORDS}?symbol=BTCUSDT&type=candles", "type", "type 'candles' is not known"),
    ("GET", "/coverage/BTC%20USDT/api_candles_1m", "symbol", "holds characters that no symbol has"),
    ("GET", "/coverage/%00/api_candles_1m", "symbol", ""),
    ("GET", "/coverage/BTCUSDT/klines", "type", "type 'klines' is not known"),
]


@pytest.mark.parametrize(("method", "address", "field", "words"), QUERIES, ids=[f"{q[1][:60]}" for q in QUERIES])
async def test_an_input_in_an_address_is_refused_with_its_name_and_what_was_given(
    client: httpx.AsyncClient, service: MemoryService, method: str, address: str, field: str, words: str
) -> None:
    await service.store(COLLECTION, candles(1))
    response = await client.request(method, address)
    found = problem(response, 422, "invalid-input")
    [error] = found["errors"]
    assert (error["field"], error["where"]) == (field, "query" if "?" in address else "path")
    assert words in error["message"]
    assert error["message"][:100] in found["detail"]
    assert "x-evil" not in response.headers


@pytest.mark.parametrize("path", ["/queues/start", "/queues/start-pipeline"])
async def test_a_body_of_another_kind_is_called_the_body(client: httpx.AsyncClient, path: str) -> None:
    for body, given in ((None, "null"), ([1], "a list"), (1, "1"), ("x", "'x'"), (True, "true")):
        found = problem(await client.post(path, content=json.dumps(body), headers=JSON), 422, "invalid-input")
        assert found["errors"][0]["where"] == "body"
        assert body is None or found["detail"] == f"the body: it is {given}, it must be an object"


async def test_a_body_beyond_the_limit_is_413_announced_or_not(service: MemoryService) -> None:
    app = create_app(service, limits=Limits(body_bytes=1000))

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(11):
            yield b" " * 100

    async with client_of(app) as client:
        for content in (b" " * 1001, chunks()):
            response = await client.post("/queues/start", content=content, headers=JSON)
            body = problem(response, 413, "content-too-large")
            assert "1000 bytes" in body["detail"]
        response = await client.post("/queues/start", content=b"{}", headers={**JSON, "Content-Length": "9" * 400})
        problem(response, 413, "content-too-large")
        fits = json.dumps(REQUEST).encode().ljust(1000)
        assert (await client.post("/queues/start", content=fits, headers=JSON)).status_code == 202


async def test_a_head_beyond_the_limit_is_431(client: httpx.AsyncClient) -> None:
    for path, headers in (("/queues", {"X-A": "a" * 40_000}), ("/queues?symbol=" + "a" * 40_000, {})):
        body = problem(await client.get(path, headers=headers), 431, "header-fields-too-large")
        assert "32768" in body["detail"]


async def test_a_client_that_takes_nothing_is_cut_off(service: MemoryService) -> None:
    app = create_app(service, limits=Limits(send_timeout_s=0.05))

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        await asyncio.sleep(3600)

    scope = {"type": "http", "method": "GET", "path": "/queues", "query_string": b"", "headers": [(b"host", b"[::1]")]}
    await asyncio.wait_for(app(scope, receive, send), LIMIT_S)


async def test_more_requests_than_allowed_are_told_to_come_back_and_probes_are_answered(
    service: MemoryService,
) -> None:
    workflow = await started(service)
    gate, both = asyncio.Event(), asyncio.Event()
    entered = []

    async def slow(queue_id: str, *, timeout_s: float = 2.0) -> dict[str, float | None]:
        entered.append(queue_id)
        if len(entered) == 2:
            both.set()
        await gate.wait()
        return {}

    service.ping = slow  # type: ignore[method-assign]
    app = create_app(service, limits=Limits(requests=2, retry_after_s=3))
    async with client_of(app) as client:
        place = f"/queues/{workflow.queue_id}"
        waiting = [asyncio.create_task(client.post(f"{place}/ping")) for _ in range(2)]
        await both.wait()
        refused = await client.get(place)
        assert (await client.get("/readyz")).status_code == 200
        gate.set()
        assert [response.status_code for response in await asyncio.gather(*waiting)] == [200, 200]
        problem(refused, 503, "busy")
        assert refused.headers["retry-after"] == "3"
        assert (await client.get(place)).status_code == 200


async def test_websockets_are_refused(service: MemoryService) -> None:
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    app = create_app(service, tokens=TOKENS)
    await app({"type": "websocket", "path": "/queues", "headers": [], "query_string": b""}, receive, send)

    assert sent == [{"type": "websocket.close", "code": 1008}]


def test_field_paths_are_written_as_people_do() -> None:
    assert field_path(["microservices", 0, "type"]) == "microservices[0].type"
    assert field_path([]) == ""
