"""The client of the API against a server that errs: retries, problems, event streams that break."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from streamforge.cli import client, terminal
from streamforge.cli.client import Api, checked_url, path_part, problem_of
from streamforge.cli.command_errors import ApiProblem, CliError, ServerLost, ServerSilent, UsageProblem
from streamforge.manager.listing_answers import WorkflowPage
from tests.limits import LIMIT_S

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "_PAUSE_S", 0.01)
    monkeypatch.setattr(client, "_LONGEST_PAUSE_S", 0.02)


@asynccontextmanager
async def serving(
    handler: Handler,
    token: str | None = None,
    *,
    process: int | None = None,
    say: Callable[[str], object] = terminal.say,
) -> AsyncIterator[Api]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with Api(f"http://127.0.0.1:{runner.addresses[0][1]}/", token, process=process, say=say) as api:
            yield api
    finally:
        await runner.cleanup()


def problem(status: int, kind: str, detail: str, next_step: str = "", **headers: str) -> web.Response:
    body = {"type": f"urn:streamforge:problem:{kind}", "detail": detail, "next_step": next_step}
    return web.json_response(body | {"did_you_mean": ["B"] * ("B?" in detail)}, status=status, headers=headers)


async def test_busy_is_asked_again_and_the_token_goes_along() -> None:
    seen: list[str | None] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        seen.append(request.headers.get("Authorization"))
        if len(seen) < 3:
            return problem(503, "busy", "full", **{"Retry-After": "1"})
        return web.json_response({"queues": [], "cursor": None})

    async with serving(handler, "secret-token-of-16") as api:
        assert (await api.get("/queues", WorkflowPage)).queues == []
    assert seen == ["Bearer secret-token-of-16"] * 3


async def test_a_server_of_this_machine_is_given_time_for_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop may be busy while it connects: its manager can run in it."""
    monkeypatch.setattr(client, "CONNECT_S", 1e-9)

    async def handler(_: web.Request) -> web.StreamResponse:
        return web.json_response({"queues": [], "cursor": None})

    async with serving(handler) as api:
        assert (await api.get("/queues", WorkflowPage)).queues == []


async def test_a_post_without_a_key_is_sent_once() -> None:
    seen: list[str | None] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        seen.append(request.headers.get("Idempotency-Key"))
        return problem(503, "unavailable", "the bus does not answer", "send it again")

    async with serving(handler) as api:
        with pytest.raises(ApiProblem, match="the bus does not answer: try again later"):
            await api.call("POST", "/queues/x/stop")
        assert seen == [None]
        with pytest.raises(ApiProblem):
            await api.call("POST", "/queues/start", body={}, key="k")
    assert seen == [None, *["k"] * client.TRIES]


PUT_TOKEN = "; put a token that the server knows into STREAMFORGE_TOKEN, or name its file with --token-file"


@pytest.mark.parametrize(
    ("status", "kind", "code", "detail", "message"),
    [
        (422, "invalid-input", 2, "type 'x' is not known: choose one of a, b", ""),
        (404, "not-found", 1, "there is no A: did you mean B?", ""),
        (
            404,
            "not-found",
            1,
            "there is no workflow 'x': GET /queues lists those that there are",
            "there is no workflow 'x': `streamforge queues` lists those that there are",
        ),
        (409, "not-now", 1, "workflow x has ended", ""),
        (401, "unauthorized", 1, "no token", f"no token{PUT_TOKEN}"),
        (403, "forbidden", 1, "the role is reader", f"the role is reader{PUT_TOKEN}"),
        (500, "internal-error", 1, "incident 1", "incident 1; report it"),
    ],
)
async def test_a_problem_becomes_a_sentence_and_an_exit_code(
    status: int, kind: str, code: int, detail: str, message: str
) -> None:
    async def handler(_: web.Request) -> web.StreamResponse:
        return problem(status, kind, detail, "report it")

    async with serving(handler) as api:
        with pytest.raises(ApiProblem) as raised:
            await api.call("GET", "/anything")
    found = raised.value
    assert str(found) == (message or detail)
    assert (found.exit_code, found.status, found.kind) == (code, status, kind)
    assert found.meant == (("B",) if "B?" in detail else ())


async def test_another_server_is_recognised() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        return web.Response(text="<html>", status=502 if request.path == "/bad" else 200)

    async with serving(handler) as api:
        with pytest.raises(CliError, match="answered something else than queue-manager does"):
            await api.get("/queues", WorkflowPage)
        with pytest.raises(ApiProblem, match="the server answered 502: <html>; is it queue-manager"):
            await api.call("GET", "/bad")
    assert str(problem_of(502, b"")) == "the server answered 502: nothing; is it queue-manager?"


async def test_an_event_stream_that_breaks_goes_on_behind_the_last_event() -> None:
    seen: list[str | None] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        seen.append(request.headers.get("Last-Event-ID"))
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        if len(seen) == 1:
            await response.write(
                b'retry: 2000\n\n: still here\n\nid: 4\ndata: {"a":\ndata: 1}\n\nid: 5\ndata: {}\n\nid: 6\n'
            )
            assert request.transport is not None
            request.transport.abort()
        else:
            await response.write(b'id: 6\r\ndata: {"b":2}\r\n\r\nevent: end\ndata: {"status":"finished"}\n\n')
        return response

    async with serving(handler) as api:
        found = [event async for event in api.follow("wf")]
    assert found == [(4, b'{"a":\n1}'), (5, b"{}"), (6, b'{"b":2}')]
    assert seen == [None, "5"]


async def test_a_stream_with_nothing_more_ends_and_one_that_never_comes_gives_up() -> None:
    asked = 0

    async def handler(request: web.Request) -> web.StreamResponse:
        nonlocal asked
        asked += 1
        if request.path == "/queues/over/events":
            assert request.headers["Last-Event-ID"] == "9"
            return web.Response(status=204)
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async with serving(handler) as api:
        assert [event async for event in api.follow("over", after=9)] == []
        asked = 0
        with pytest.raises(ServerLost):
            _ = [event async for event in api.follow("broken")]
    assert asked >= client.TRIES


async def test_a_body_that_is_broken_off_is_an_error() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        await response.write(b"half")
        assert request.transport is not None
        request.transport.close()
        return response

    async with serving(handler) as api:
        with pytest.raises(ServerLost):
            async with api.stream("/x", {}, "*/*") as pieces:
                _ = [piece async for piece in pieces]


def test_addresses_and_names_are_checked() -> None:
    assert checked_url("http://h:1/") == "http://h:1"
    assert checked_url("https://h/base") == "https://h/base"
    for wrong in ("h:1", "http://", "http://h:0", "http://h:99999", "ftp://h", "http://[::1"):
        with pytest.raises(UsageProblem, match="write http://HOST:PORT"):
            checked_url(wrong)
    assert path_part("wf-ünï") == "wf-%C3%BCn%C3%AF"
    for wrong in ("", ".", "..", "a/b", "a\nb"):
        with pytest.raises(UsageProblem):
            path_part(wrong)


async def test_of_a_manager_that_is_stopped_one_line_is_said_and_of_one_that_lives_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client, "QUIET_S", 0.0)
    monkeypatch.setattr(client, "HEALTH_S", 0.01)
    continued, said = asyncio.Event(), list[str]()

    async def stopped(_: web.Request) -> web.StreamResponse:
        await continued.wait()
        return web.json_response({"queues": []})

    def say(text: str) -> None:
        said.append(text)
        continued.set()

    async with serving(stopped, process=4711, say=say) as api:
        assert (await api.get("/queues", WorkflowPage)).queues == []
        assert said == [f"the manager at {api.url} (process 4711) does not answer, waiting up to 1 min 00 s"]
    said.clear()
    monkeypatch.setattr(client, "HEALTH_S", LIMIT_S)
    asked, lived = asyncio.Event(), list[str]()

    async def slow(request: web.Request) -> web.StreamResponse:
        if request.path != "/healthz":
            await asked.wait()
            return web.json_response({"queues": []})
        lived.append(request.path)
        if len(lived) == 3:
            asked.set()
        return web.json_response({"status": "ok"})

    async with serving(slow, process=4711, say=said.append) as api:
        await api.get("/queues", WorkflowPage)
    assert (said, len(lived) >= 3) == ([], True)


@pytest.mark.parametrize(
    ("process", "asked", "told"),
    [
        (
            4711,
            1,
            r"the manager at http://.* \(process 4711\) did not answer within 0.1 s \(GET /queues\): is it stopped",
        ),
        (None, client.TRIES, r"http://127\S+ did not answer within 0.1 s \(GET /queues\): try again, or see the log"),
    ],
)
async def test_a_manager_that_never_answers_is_named_with_what_to_do(
    process: int | None, asked: int, told: str
) -> None:
    seen: list[str] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        if request.path == "/first":
            return web.json_response({})
        seen.append(request.path)
        await asyncio.Event().wait()
        raise AssertionError("nobody sets it")

    async with serving(handler, process=process) as api:
        await api.call("GET", "/first")
        with pytest.raises(ServerSilent, match=told) as raised:
            await api.call("GET", "/queues", within_s=0.1)
    assert ("`kill -CONT 4711` lets it go on" in str(raised.value)) is (process is not None)
    assert len(seen) == asked
