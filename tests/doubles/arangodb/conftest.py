"""A double for a test, and a short way to ask it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import msgspec
import pytest

from tests.doubles.arangodb.double import ArangoDouble
from tests.doubles.arangodb.server import Settings
from tests.limits import LIMIT_S

Ask = Callable[..., Awaitable[tuple[int, Any]]]
"""method, path, JSON body (bytes: as they are), headers: the status and the JSON answer."""


@pytest.fixture(params=["3.12.10", "3.11.14"])
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def double(version: str) -> AsyncIterator[ArangoDouble]:
    async with ArangoDouble(Settings(version=version, password="secret")) as found:
        yield found


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    headers = {"Authorization": aiohttp.encode_basic_auth("root", "secret")}
    async with aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(total=LIMIT_S)) as found:
        yield found


@pytest.fixture
def ask(double: ArangoDouble, session: aiohttp.ClientSession) -> Ask:
    return asking(session, double.url)


def asking(session: aiohttp.ClientSession, url: str) -> Ask:
    """A short way to ask the double at `url`."""

    async def ask(method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        data = body if body is None or isinstance(body, bytes) else msgspec.json.encode(body)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        async with session.request(method, url + path, data=data, headers=sent) as response:
            answer = await response.read()
            is_json = response.content_type == "application/json"
            return response.status, msgspec.json.decode(answer) if answer and is_json else answer.decode() or None

    return ask
