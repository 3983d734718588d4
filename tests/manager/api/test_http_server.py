"""The server on a real socket, and the service as it ships: `python -m app.main` in its folder."""

from __future__ import annotations

import asyncio
import re
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from streamforge.manager.api.app import create_app
from streamforge.manager.api.http_server import LimitedProtocol, Server, serve
from streamforge.manager.api.routing import Limits
from streamforge.manager.exports import records as record_reader
from streamforge.manager.manager_settings import ManagerSettings
from streamforge_utils.model.errors import ConfigError
from streamforge_utils.runtime.life.environment import variables
from tests.addresses import EVERYWHERE
from tests.cleanenv import environment
from tests.limits import LIMIT_S
from tests.manager.api.support import OPERATOR, REQUEST, TOKENS, candles, event, problem, started
from tests.manager.memory_service import MemoryService
from tests.places import ROOT

STREAM = {"Accept": "text/event-stream"}
LIMITS = Limits(keep_alive_s=0.05, header_timeout_s=LIMIT_S, body_timeout_s=LIMIT_S)
Start = Callable[..., Awaitable[Server]]


@pytest.fixture
async def start(service: MemoryService) -> AsyncIterator[Start]:
    servers: list[Server] = []

    async def make(**settings: Any) -> Server:
        limits = settings.pop("limits", LIMITS)
        app = create_app(service, limits=limits, tokens=settings.get("tokens"))
        server = await serve(
            app, port=settings.pop("port", 0), limits=limits, grace_s=settings.pop("grace_s", 1), **settings
        )
        servers.append(server)
        return server

    yield make
    for server in servers:
        await server.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not condition():  # noqa: ASYNC110 (what is waited for has no event of its own)
            await asyncio.sleep(0.01)


async def test_it_serves_on_a_free_port_and_leaves_it(start: Start) -> None:
    server = await start()
    async with httpx.AsyncClient(base_url=server.url) as client:
        assert (await client.post("/queues/start", json=REQUEST)).status_code == 202
        headers = (await client.get("/queues")).headers
        assert "server" not in headers

    await server.close()

    with pytest.raises(httpx.ConnectError):
        async with httpx.AsyncClient() as client:
            await client.get(f"{server.url}/healthz")
    again = await start(port=int(server.url.rpartition(":")[2]))
    assert again.url == server.url


async def test_a_port_in_use_is_named_with_what_to_do(start: Start) -> None:
    port = int((await start()).url.rpartition(":")[2])

    with pytest.raises(ConfigError, match=f"port {port} on 127.0.0.1 is in use.*choose another"):
        await start(port=port)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"port": 65_536}, "65535"),
        ({"host": EVERYWHERE}, "STREAMFORGE_TOKENS_FILE"),
        ({"host": "192.0.2.1", "tokens": TOKENS}, "no address of this machine"),
        ({"host": "host.invalid", "tokens": TOKENS}, "is not known"),
    ],
)
async def test_a_place_that_cannot_be_is_refused_by_name(start: Start, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        await start(**settings)


async def test_with_tokens_it_listens_anywhere_and_asks_for_them(start: Start) -> None:
    server = await start(host=EVERYWHERE, tokens=TOKENS)
    async with httpx.AsyncClient(base_url=server.url.replace(EVERYWHERE, "127.0.0.1")) as client:
        problem(await client.get("/queues"), 401, "unauthorized")
        assert (await client.get("/queues", headers={"Authorization": f"Bearer {OPERATOR}"})).status_code == 200
        assert (await client.get("/readyz")).status_code == 200


async def test_signals_stay_with_the_process(start: Start) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]

    await start()

    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


@pytest.mark.e2e
async def test_a_follower_that_comes_back_misses_nothing(start: Start, service: MemoryService) -> None:
    workflow = await started(service)
    place = f"{(await start()).url}/queues/{workflow.queue_id}/events"
    for _ in range(3):
        await service.event(event(workflow))
    seen: list[int] = []

    async with httpx.AsyncClient() as client:
        async with client.stream("GET", place, headers=STREAM) as response:
            assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
            async for line in response.aiter_lines():
                if line.startswith("id: "):
                    seen.append(int(line[4:]))
                    if len(seen) == 2:
                        break
        await until(lambda: service.following == 0)  # the server noticed

        await service.event(event(workflow))
        lines: list[str] = []
        async with client.stream("GET", place, headers={**STREAM, "Last-Event-ID": str(seen[-1])}) as response:
            async for line in response.aiter_lines():
                lines.append(line)
                if line == "id: 9":
                    await service.event(event(workflow, "finished", finished=True))
                    await service.end(workflow.queue_id)

    assert seen == [0, 3]
    assert [line for line in lines if line.startswith("id: ")] == ["id: 6", "id: 9", "id: 12"]
    assert "event: end" in lines
    await until(lambda: service.following == 0)


async def test_a_silent_stream_is_kept_alive_and_ends_with_the_server(start: Start, service: MemoryService) -> None:
    workflow = await started(service)
    server = await start(grace_s=100 * LIMIT_S)  # a stream that went on would be waited for
    comments = 0
    async with (
        httpx.AsyncClient() as client,
        client.stream("GET", f"{server.url}/queues/{workflow.queue_id}/events", headers=STREAM) as response,
    ):
        async for line in response.aiter_lines():
            comments += line.startswith(":")
            if comments == 3:
                break
        await server.close()
    assert service.following == 0


async def test_a_failure_in_the_middle_of_an_export_breaks_it_off(
    start: Start, service: MemoryService, monkeypatch: pytest.MonkeyPatch
) -> None:
    await service.store("c", candles(50))
    monkeypatch.setattr(record_reader, "BATCH", 10)
    read, reads = service.world.store.read, count()

    async def broken(*given: Any, **named: Any) -> Any:
        if next(reads) == 2:
            raise RuntimeError("the disk is gone")
        return await read(*given, **named)

    monkeypatch.setattr(service.world.store, "read", broken)
    url = (await start()).url
    async with httpx.AsyncClient() as client:
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get(f"{url}/collections/c/records?limit=all&format=csv")

        whole = await client.get(f"{url}/collections/c/records?limit=all&format=csv")
        assert len(whole.text.splitlines()) == 51


HEAD = b"GET /queues HTTP/1.1\r\nHost: localhost\r\n"
START = b"POST /queues/start HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
HUGE = HEAD + b"X-A: " + b"a" * 40_000


async def test_a_head_or_a_body_that_does_not_come_is_not_waited_for(start: Start) -> None:
    url = (await start(limits=msgspec.structs.replace(LIMITS, header_timeout_s=0.3, body_timeout_s=0.3))).url
    assert [await _raw(url, sent) for sent in (b"", HEAD[:-2])] == [b"", b""]
    _problem(await _raw(url, START + b"Content-Length: 9\r\n\r\n{"), 408, "request-timeout")


def _problem(answer: bytes, status: int, kind: str) -> dict[str, Any]:
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines[1:])
    assert int(headers.get("content-length", len(body))) == len(body)
    assert headers["connection"] == "close"
    return problem(httpx.Response(int(lines[0].split()[1]), headers=headers, content=body), status, kind)


async def test_what_is_no_request_or_too_large_is_answered_with_a_problem(start: Start) -> None:
    url = (await start()).url
    for sent in (b"\x00\x01\r\n\r\n", b"GET /queues\r\n\r\n", HEAD[:-2].replace(b": ", b" ") + b"\r\n\r\n", HUGE):
        _problem(await _raw(url, sent), 400, "bad-request")
    # uvicorn may have all of a head that is too large before it looks at its size.
    assert (await _raw(url, HUGE + b"\r\n\r\n")).startswith((b"HTTP/1.1 431", b"HTTP/1.1 400"))
    # It is refused before it is read.
    _problem(await _raw(url, START + b"Content-Length: 1000000000\r\n\r\n"), 413, "content-too-large")


async def test_more_connections_than_the_limit_are_answered_with_a_problem(start: Start) -> None:
    url = (await start(limits=msgspec.structs.replace(LIMITS, requests=1))).url
    host, _, port = url.removeprefix("http://").rpartition(":")
    held = [await asyncio.open_connection(host, int(port)) for _ in range(4)]
    try:
        answer = await _raw(url, HEAD + b"\r\n")
        _problem(answer, 503, "busy")
        assert b"retry-after: 2" in answer.lower()
    finally:
        for _, writer in held:
            writer.close()
    async with httpx.AsyncClient(base_url=url) as client:
        async with asyncio.timeout(LIMIT_S):
            while (await client.get("/healthz")).status_code != 200:  # noqa: ASYNC110 (it has no event of its own)
                await asyncio.sleep(0.01)


async def test_nothing_is_logged_of_a_request(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    url = (await start(tokens=TOKENS)).url
    async with httpx.AsyncClient() as client:
        await client.get(f"{url}/queues?cursor=some-cursor", headers={"Authorization": f"Bearer {OPERATOR}"})

    ours = [record.getMessage() for record in caplog.records if not record.name.startswith("http")]
    assert not any("some-cursor" in line or OPERATOR in line for line in ours)


async def test_a_loop_that_has_the_port_on_ipv6_names_it_so(start: Start) -> None:
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            pytest.skip("this machine has no IPv6 loopback")
    server = await start(host="::1")
    assert server.url.startswith("http://[::1]:")
    async with httpx.AsyncClient(base_url=server.url) as client:
        assert (await client.get("/queues")).status_code == 200


async def test_an_answer_is_sent_at_once(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Head and body are two writes: the second must not wait until the first is acknowledged."""
    accepted: list[asyncio.Transport] = []
    made = LimitedProtocol.connection_made

    def note(self: LimitedProtocol, transport: asyncio.Transport) -> None:
        accepted.append(transport)
        made(self, transport)

    monkeypatch.setattr(LimitedProtocol, "connection_made", note)
    async with httpx.AsyncClient(base_url=(await start()).url) as client:
        assert (await client.get("/queues")).status_code == 200
        (transport,) = accepted
        assert transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def _raw(url: str, sent: bytes) -> bytes:
    host, _, port = url.removeprefix("http://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(sent)
        async with asyncio.timeout(LIMIT_S):
            return await reader.read()
    finally:
        writer.close()


FOLDER = ROOT / "services" / "queue-manager"


@pytest.mark.e2e
def test_it_starts_asks_for_a_token_and_ends_in_order(tmp_path: Path) -> None:
    ports = {"STREAMFORGE_PORT": "0", "STREAMFORGE_METRICS_PORT": "0"}
    process = subprocess.Popen(
        [sys.executable, "-m", "app.main"],
        cwd=FOLDER,
        env=environment(STREAMFORGE_DATA_DIR=str(tmp_path), STREAMFORGE_OPERATOR_TOKEN=OPERATOR, **ports),
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        said = process.stderr.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+", said)
        assert found is not None, said
        assert httpx.get(f"{found[0]}/healthz").json() == {"status": "ok"}
        problem(httpx.get(f"{found[0]}/queues"), 401, "unauthorized")
        allowed = httpx.get(f"{found[0]}/queues", headers={"Authorization": f"Bearer {OPERATOR}"})
        assert (allowed.json()["queues"], allowed.json()["cursor"]) == ([], None)
        process.send_signal(signal.SIGTERM)
        _, rest = process.communicate(timeout=LIMIT_S)
    finally:
        process.kill()
        process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0, rest
    assert OPERATOR not in said + rest


def test_its_readme_names_every_setting() -> None:
    text = (FOLDER / "README.md").read_text()
    unused = {"STREAMFORGE_WEIGHT_PER_MINUTE"}  # the manager has a share of its own

    names = {item.name for item in variables(ManagerSettings)} - unused
    assert {name for name in names if f"`{name}`" not in text} == set()
