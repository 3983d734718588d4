"""The feed on a real server: many clients, one that does not read, a connection that breaks, and another manager."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from streamforge.manager.api.app import create_app
from streamforge.manager.api.http_server import Server, serve
from streamforge.manager.api.routing import Limits
from streamforge.manager.api.tokens import Tokens, parsed
from streamforge.manager.engine.document import Workflow
from tests.limits import LIMIT_S
from tests.manager.api.support import OPERATOR, running, started
from tests.manager.feed.test_service import Told
from tests.manager.feed.test_service import parsed as events_of
from tests.manager.memory_service import MemoryService

LIMITS = Limits(feed_every_s=0.01, feed_stall_s=10)  # of a busy machine all but the deaf client take less
CLIENTS, WORKFLOWS = 20, 40


@asynccontextmanager
async def server_of(service: MemoryService, tokens: Tokens | None = None) -> AsyncIterator[tuple[Server, Any]]:
    app = create_app(service, tokens=tokens, limits=LIMITS)
    server = await serve(app, port=0, tokens=tokens, limits=LIMITS)
    try:
        yield server, app.state.context
    finally:
        await server.close()


async def told_by(answer: aiohttp.ClientResponse, until: Any) -> list[Told]:
    """The events of the stream, up to the first that `until` is true of, or to its end."""
    found: list[Told] = []
    text = b""
    async with asyncio.timeout(LIMIT_S):
        async for part in answer.content.iter_any():
            *whole, text = (text + part).split(b"\n\n")
            for block in whole:
                found += events_of(block)
                if found and until(found[-1]):
                    return found
    return found


@pytest.mark.long
async def test_many_clients_get_all_changes_and_one_that_does_not_read_is_ended(service: MemoryService) -> None:
    workflows = [await started(service, time_range=f"2024-0{1 + n // 28}-{1 + n % 28:02d}") for n in range(WORKFLOWS)]
    async with server_of(service) as (server, context), aiohttp.ClientSession() as session:
        place = urlsplit(server.url)
        deaf = socket.socket()
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(deaf, (place.hostname, place.port))
        await loop.sock_sendall(deaf, b"GET /feed HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        answers = [await session.get(f"{server.url}/feed?client=c{number}") for number in range(CLIENTS)]
        reading = [asyncio.create_task(_ends(answer)) for answer in answers]
        rounds = 0
        async with asyncio.timeout(LIMIT_S):
            while context.followers.open != CLIENTS:
                rounds += 1
                await _changed(service, workflows, rounds)
                await asyncio.sleep(0.05)
        for workflow in workflows:
            await service.end(workflow.queue_id)
        for ended in await asyncio.gather(*reading):
            assert ended == {workflow.queue_id for workflow in workflows}
        assert context.feed._bytes < 10_000 * WORKFLOWS, "of each workflow the latest event alone is kept"
        deaf.close()
        for answer in answers:
            answer.close()
        async with asyncio.timeout(LIMIT_S):
            while context.followers.open or context.feed._pump is not None:  # noqa: ASYNC110 - no event tells it
                await asyncio.sleep(0.001)


async def test_a_client_goes_on_after_its_connection_broke_and_reads_all_again_after_a_start(
    service: MemoryService,
) -> None:
    workflow = await started(service)
    async with aiohttp.ClientSession() as session:
        async with server_of(service) as (server, _):
            async with session.get(f"{server.url}/feed") as answer:
                assert answer.content_type == "text/event-stream"
                _, (name, last, _) = await told_by(answer, lambda event: event[0] == "workflow")
                assert name == "workflow"
            await service.put(running(workflow, stored=9))
            await service.put(running(workflow, stored=10))
            async with session.get(f"{server.url}/feed", headers={"Last-Event-ID": str(last)}) as answer:
                opened, (_, last, shown) = await told_by(answer, lambda event: event[0] == "workflow")
                assert (opened[1:], shown["progress"]["records_stored"]) == ((opened[1], {"resumed": True}), 10)
                await server.close()
                assert (await told_by(answer, lambda _: False))[-1][2]["reason"] == "closing"
        async with (
            server_of(service) as (again, _),
            session.get(f"{again.url}/feed", params={"since": str(last)}) as answer,
        ):
            opened, _ = await told_by(answer, lambda event: event[0] == "reset")
            assert opened[2] == {"resumed": False}
            await service.end(workflow.queue_id)
            told = await told_by(answer, lambda event: event[2].get("status") == "finished")
            assert told[-1][2]["queue_id"] == workflow.queue_id


async def test_the_token_comes_in_a_header_and_a_second_stream_of_a_client_ends_the_first(
    service: MemoryService,
) -> None:
    tokens = Tokens(parsed(f"reader:ui:{OPERATOR}", "tokens"))
    headers = {"Authorization": f"Bearer {OPERATOR}"}
    async with server_of(service, tokens) as (server, _), aiohttp.ClientSession(headers=headers) as session:
        url = f"{server.url}/feed?client=browser-1"
        async with session.get(url) as first, session.get(url) as second:
            assert (await told_by(second, lambda _: True))[0][0] == "open"
            told = await told_by(first, lambda _: False)
            assert [(name, data.get("reason")) for name, _, data in told] == [("open", None), ("end", "replaced")]
        async with session.get(url, headers={"Authorization": "Bearer none"}) as refused:
            assert refused.status == 401


async def _changed(service: MemoryService, workflows: list[Workflow], number: int) -> None:
    for workflow in workflows:
        await service.put(running(workflow, stored=number))


async def _ends(answer: aiohttp.ClientResponse) -> set[str]:
    """The workflows that the stream says are finished, once they are all."""
    ended: set[str] = set()

    def all_of_them(event: Told) -> bool:
        if event[0] == "workflow" and event[2]["status"] == "finished":
            ended.add(event[2]["queue_id"])
        return len(ended) == WORKFLOWS

    await told_by(answer, all_of_them)
    return ended
